"""Funding made comparable: per hour and per year, and the spread between venues."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from services.domain.decimals import rounding
from services.domain.feed import FeedState
from services.market_data.model.market import Market

HOURS_PER_YEAR: Final = 24 * 365
CONTEXT_STALE_SLACK_S: Final = 3.0
"""How long after it should have come a context is stale."""


@dataclass(frozen=True, slots=True)
class VenueFunding:
    """The funding of one venue; rates are fractions, None where the venue has not said."""

    venue: str
    rate: Decimal | None
    interval_s: int
    hourly: Decimal | None
    yearly: Decimal | None
    next_time_ns: int
    state: FeedState
    receive_time_ns: int


@dataclass(frozen=True, slots=True)
class Funding:
    """The funding of one market."""

    venues: tuple[VenueFunding, ...]
    hourly_spread: Decimal | None
    highest_venue: str
    lowest_venue: str


def funding_of(market: Market, now_ns: int) -> Funding:
    """Return what `market` pays now; the spread is over venues whose contexts are LIVE."""
    venues = []
    for name, venue in market.venues.items():
        context, interval_s = venue.context, venue.listing.funding_interval_s
        rate = context.funding_rate if context is not None else None
        with rounding():
            hourly = None if rate is None else rate * 3600 / interval_s
            yearly = None if hourly is None else hourly * HOURS_PER_YEAR
        state = FeedState.RECOVERING
        next_ns = 0
        if context is not None:
            age_s = (now_ns - context.receive_time_ns) / 1e9
            state = FeedState.LIVE if age_s <= context.cadence_s + CONTEXT_STALE_SLACK_S else FeedState.STALE
            next_ns = context.next_funding_time_ns or _next_multiple(now_ns, interval_s)
        venues.append(VenueFunding(name, rate, interval_s, hourly, yearly, next_ns, state, venue.context_time_ns))
    ranked = sorted((one.hourly, one.venue) for one in venues if one.hourly is not None and one.state is FeedState.LIVE)
    if len(ranked) < 2:
        return Funding(tuple(venues), None, "", "")
    (low, lowest), (high, highest) = ranked[0], ranked[-1]
    return Funding(tuple(venues), high - low, highest, lowest)


def _next_multiple(now_ns: int, interval_s: int) -> int:
    """Return the next whole multiple of the interval since the epoch (both venues settle on the hour)."""
    interval_ns = interval_s * 1_000_000_000
    return (now_ns // interval_ns + 1) * interval_ns
