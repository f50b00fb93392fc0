"""What funding a market pays now. Rates are fractions of the notional; longs pay shorts when a rate is positive."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from perpmesh_client.values.convert import maybe_decimal, span, time, word
from perpmesh_client.values.states import SOURCES, STATES, Source, State
from perpmesh_client.values.to_json import WIDE

if TYPE_CHECKING:
    from perpmesh.marketdata.v1 import funding_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueFunding:
    """The funding of one venue; None where the venue has not given a value."""

    venue: str
    rate: Decimal | None
    """The venue's estimate for the running interval, a fraction."""
    interval: timedelta | None
    """How often the venue pays."""
    hourly_rate: Decimal | None
    """Per hour, a fraction."""
    yearly_rate: Decimal | None
    """Over 365 days without compounding, a fraction."""
    next_time: datetime | None
    """When it is paid next."""
    state: State
    """How far the value can be trusted."""
    age: timedelta | None
    """How long before `update_time` it was received."""
    source: Source
    """Where the value comes from."""

    @classmethod
    def from_proto(cls, message: funding_pb2.VenueFunding) -> VenueFunding:
        """Return the value a message holds."""
        return cls(
            venue=message.venue,
            rate=maybe_decimal(message.rate),
            interval=span(message.interval) if message.HasField("interval") else None,
            hourly_rate=maybe_decimal(message.hourly_rate),
            yearly_rate=maybe_decimal(message.yearly_rate),
            next_time=time(message.next_time) if message.HasField("next_time") else None,
            state=word(STATES, message.state),
            age=span(message.age) if message.HasField("age") else None,
            source=word(SOURCES, message.source),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingRate:
    """What funding a market pays now, at every venue."""

    market: str
    """The canonical name, such as `BTC-PERP`."""
    venues: tuple[VenueFunding, ...]
    """The rate at each venue, ordered by name."""
    hourly_spread: Decimal | None
    """The highest hourly rate less the lowest among LIVE venues, a fraction; None with fewer than two."""
    highest_venue: str
    """Where a short earns most; empty with fewer than two."""
    lowest_venue: str
    """Where a long pays least; empty with fewer than two."""
    sequence: int = field(metadata=WIDE)
    """One more with every change of this market."""
    update_time: datetime | None
    """When this value was made."""

    @classmethod
    def from_proto(cls, message: funding_pb2.FundingRate) -> FundingRate:
        """Return the value a message holds."""
        return cls(
            market=message.market,
            venues=tuple(VenueFunding.from_proto(venue) for venue in message.venues),
            hourly_spread=maybe_decimal(message.hourly_spread),
            highest_venue=message.highest_venue,
            lowest_venue=message.lowest_venue,
            sequence=message.sequence,
            update_time=time(message.update_time) if message.HasField("update_time") else None,
        )

    def venue(self, name: str) -> VenueFunding | None:
        """Return the funding of one venue, or None if it does not list the market."""
        return next((venue for venue in self.venues if venue.venue == name), None)
