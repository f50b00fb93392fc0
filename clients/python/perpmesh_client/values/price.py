"""What one market shows over all venues. Prices are in USD, sizes in units of the base asset, rates are fractions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from perpmesh_client.values.convert import decimal, difference, maybe_decimal, span, time, word
from perpmesh_client.values.states import SOURCES, STATES, Source, State
from perpmesh_client.values.to_json import WIDE

if TYPE_CHECKING:
    from perpmesh.marketdata.v1 import price_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class BestLevel:
    """The best level of one side, and whose it is."""

    price: Decimal
    """In USD."""
    size: Decimal
    """In units of the base asset."""
    venue: str
    """Of two venues with one price, the one with the larger size."""

    @classmethod
    def from_proto(cls, message: price_pb2.BestLevel) -> BestLevel:
        """Return the value a message holds."""
        return cls(price=decimal(message.price), size=decimal(message.size), venue=message.venue)


@dataclass(frozen=True, slots=True, kw_only=True)
class VenuePrice:
    """What one venue shows of a market; None where the venue has not given a value."""

    venue: str
    state: State
    """How far the best bid and ask can be trusted."""
    bid: Decimal | None
    """The best bid, in USD."""
    bid_size: Decimal | None
    """In units of the base asset."""
    ask: Decimal | None
    """The best ask, in USD."""
    ask_size: Decimal | None
    """In units of the base asset."""
    last_price: Decimal | None
    """The price of the last trade, in USD."""
    mark_price: Decimal | None
    """In USD."""
    index_price: Decimal | None
    """The index or oracle price, in USD."""
    funding_rate: Decimal | None
    """For the running interval, a fraction; longs pay when it is positive."""
    volume_24h: Decimal | None
    """The notional of the last 24 hours, in USD."""
    open_interest: Decimal | None
    """In units of the base asset."""
    venue_time: datetime | None
    """The venue's own time of the best bid and ask."""
    receive_time: datetime | None
    """When the mesh received them."""
    age: timedelta | None
    """How long before the price's `update_time` the venue last confirmed them."""
    state_reason: str
    """Why the state is not LIVE, as a sentence; empty when it is."""
    source: Source
    """Where the values come from."""
    context_age: timedelta | None
    """How long before `update_time` mark, index, funding, volume and open interest were received."""

    @classmethod
    def from_proto(cls, message: price_pb2.VenuePrice) -> VenuePrice:
        """Return the value a message holds."""
        return cls(
            venue=message.venue,
            state=word(STATES, message.state),
            bid=maybe_decimal(message.bid),
            bid_size=maybe_decimal(message.bid_size),
            ask=maybe_decimal(message.ask),
            ask_size=maybe_decimal(message.ask_size),
            last_price=maybe_decimal(message.last_price),
            mark_price=maybe_decimal(message.mark_price),
            index_price=maybe_decimal(message.index_price),
            funding_rate=maybe_decimal(message.funding_rate),
            volume_24h=maybe_decimal(message.volume_24h),
            open_interest=maybe_decimal(message.open_interest),
            venue_time=time(message.venue_time) if message.HasField("venue_time") else None,
            receive_time=time(message.receive_time) if message.HasField("receive_time") else None,
            age=span(message.age) if message.HasField("age") else None,
            state_reason=message.state_reason,
            source=word(SOURCES, message.source),
            context_age=span(message.context_age) if message.HasField("context_age") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """The best bid and ask of a market among its LIVE venues, and every venue's own values."""

    market: str
    """The canonical name, such as `BTC-PERP`."""
    best_bid: BestLevel | None
    """The highest bid of the LIVE venues; None when none of them has a bid."""
    best_ask: BestLevel | None
    """The lowest ask of the LIVE venues; None when none of them has an ask."""
    crossed: bool
    """Whether the best bid is at or above the best ask; that happens between venues and is no fault."""
    venues: tuple[VenuePrice, ...]
    """Every venue that lists the market, ordered by name. A venue never vanishes: its state says what it is worth."""
    sequence: int = field(metadata=WIDE)
    """One more with every change of this market."""
    update_time: datetime | None
    """When this price was made."""

    @classmethod
    def from_proto(cls, message: price_pb2.Price) -> Price:
        """Return the value a message holds."""
        return cls(
            market=message.market,
            best_bid=BestLevel.from_proto(message.best_bid) if message.HasField("best_bid") else None,
            best_ask=BestLevel.from_proto(message.best_ask) if message.HasField("best_ask") else None,
            crossed=message.crossed,
            venues=tuple(VenuePrice.from_proto(venue) for venue in message.venues),
            sequence=message.sequence,
            update_time=time(message.update_time) if message.HasField("update_time") else None,
        )

    @property
    def spread(self) -> Decimal | None:
        """Best ask less best bid, in USD; negative when crossed, None when a side is missing."""
        if self.best_bid is None or self.best_ask is None:
            return None
        return difference(self.best_ask.price, self.best_bid.price)

    def venue(self, name: str) -> VenuePrice | None:
        """Return what one venue shows, or None if it does not list the market."""
        return next((venue for venue in self.venues if venue.venue == name), None)
