"""A trade that a venue printed, and a hole in a stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from perpmesh_client.values.convert import decimal, time, word
from perpmesh_client.values.states import SIDES, Side
from perpmesh_client.values.to_json import WIDE

if TYPE_CHECKING:
    from perpmesh.marketdata.v1 import trade_pb2
    from perpmesh.type.v1 import stream_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A trade that a venue printed."""

    market: str
    """The canonical name, such as `BTC-PERP`."""
    venue: str
    trade_id: str
    """The venue's own id, unique within venue and market."""
    price: Decimal
    """In USD."""
    size: Decimal
    """In units of the base asset."""
    side: Side
    """The side of the aggressor."""
    liquidation: bool
    """Whether a liquidation printed it."""
    trade_time: datetime | None
    """The venue's time of the trade."""
    receive_time: datetime | None
    """When the mesh received it."""
    sequence: int = field(metadata=WIDE)
    """One more with every trade of this market, over all venues."""

    @classmethod
    def from_proto(cls, message: trade_pb2.Trade) -> Trade:
        """Return the value a message holds."""
        return cls(
            market=message.market,
            venue=message.venue,
            trade_id=message.trade_id,
            price=decimal(message.price),
            size=decimal(message.size),
            side=word(SIDES, message.side),
            liquidation=message.liquidation,
            trade_time=time(message.trade_time) if message.HasField("trade_time") else None,
            receive_time=time(message.receive_time) if message.HasField("receive_time") else None,
            sequence=message.sequence,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Messages that a stream lost and did not get back."""

    call: str
    """The call whose stream it was, such as `WatchPrices`."""
    market: str
    """The market whose messages were lost; empty where it may be any of those watched."""
    venue: str
    """The venue whose feed lost them; empty where they were lost between the mesh and here."""
    from_sequence: int = field(metadata=WIDE)
    """The first sequence number lost; zero where it is not known."""
    to_sequence: int = field(metadata=WIDE)
    """The last sequence number lost, inclusive; zero where it is not known."""
    message: str
    """Why, as a sentence."""

    @classmethod
    def from_proto(cls, call: str, message: stream_pb2.Gap) -> Gap:
        """Return the gap that a message of `call` states."""
        return cls(
            call=call,
            market=message.market,
            venue=message.venue,
            from_sequence=message.from_sequence,
            to_sequence=message.to_sequence,
            message=message.message,
        )

    def __str__(self) -> str:
        """Return the gap as one sentence."""
        where = self.market or "every market watched"
        numbers = f", sequence {self.from_sequence or '?'} to {self.to_sequence or '?'}"
        known = numbers if self.from_sequence or self.to_sequence else ""
        return f"{self.call} lost messages of {where}{known}: {self.message}"
