"""One market's books over the venues, as a quote takes them: values of one moment, in the market's finest scales."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from services.domain.feed import FeedState

Levels = tuple[tuple[int, int], ...]
"""(price, size), best first."""


class Status(StrEnum):
    """Whether a venue trades the market; the contract's names."""

    ACTIVE = "ACTIVE"
    HALTED = "HALTED"
    DELISTED = "DELISTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueRules:
    """What a venue demands of orders in the market, and its public fees."""

    venue: str
    tick: Decimal
    price_decimals: int
    price_significant_figures: int
    lot: Decimal
    min_size: Decimal
    min_notional: Decimal
    maker_fee: Decimal
    taker_fee: Decimal
    max_leverage: int
    status: Status
    leverage_tiers: tuple[tuple[Decimal, int], ...] = ()
    """(the notional from which it holds, the greatest leverage), the lowest first."""
    max_order_notional: Decimal = Decimal(0)
    """Of an order that trades at once; zero where the venue sets none, as for the next."""
    max_resting_notional: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueContext:
    """What a venue says of the market beside its book; zero where it says nothing."""

    mark_price: Decimal = Decimal(0)
    funding_rate_hourly: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueBook:
    """Where one venue's book stands."""

    venue: str
    state: FeedState
    reason: str
    """Why the state is not LIVE."""
    version: int
    confirmed_ns: int
    """When the venue last confirmed it, by our clock; 0 before the first time."""
    bids: Levels
    asks: Levels


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketBooks:
    """One market. Venues are in the order of their names; every one that lists the market is here, live or not."""

    market: str
    price_decimals: int
    size_decimals: int
    rules: tuple[VenueRules, ...]
    books: tuple[VenueBook, ...]
    contexts: tuple[VenueContext, ...]
    volatility: Decimal
    """A fraction per square root of a year, estimated from the mid prices seen; zero before there are enough."""
    number: int
    """Grows with every change of any book."""
    versions: str = ""
    """Versions and states of the books and a digest of the rules, equal in every process that has these books; empty
    where they cannot be said."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a quote was made from, to be compared: within this process by `number`, with others by `versions`."""

    number: int
    versions: str
