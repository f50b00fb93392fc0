"""What a venue's feed can say: the only values that pass from the rim to the market data room.

Prices and sizes are integers in the listing's units (see `Listing`); contexts are `Decimal`, being slow and human.
Times are nanoseconds since the Unix epoch: `venue_time_ns` as the venue states it (0 where it states none) and
`receive_time_ns` by our clock when the frame was read. Each event names the canonical market, never the venue's symbol.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from services.domain.book import Level
from services.domain.market import Listing


class FeedState(Enum):
    """How far a feed can be trusted; the names are the contract's."""

    LIVE = "LIVE"
    STALE = "STALE"
    RECOVERING = "RECOVERING"
    HALTED = "HALTED"


@dataclass(slots=True, kw_only=True)
class BookSnapshot:
    """A whole book, or the whole of its near levels. Replaces what was known at the same `depth`."""

    venue: str
    market: str
    bids: list[Level]
    asks: list[Level]
    version: int
    depth: int
    """How many levels per side the venue gives in this kind of snapshot; 0 means all."""
    venue_time_ns: int
    receive_time_ns: int


@dataclass(slots=True)
class BookDelta:
    """The levels that changed, with absolute sizes (0 removes), upon the book whose version is `previous_version`.

    The one event that may be made by position: it comes by the thousand, and so takes half the time.
    """

    venue: str
    market: str
    bids: list[Level]
    asks: list[Level]
    version: int
    previous_version: int
    venue_time_ns: int
    receive_time_ns: int


@dataclass(slots=True, kw_only=True)
class TopOfBook:
    """The best level of each side, None where the side is empty."""

    venue: str
    market: str
    bid: Level | None
    ask: Level | None
    venue_time_ns: int
    receive_time_ns: int


@dataclass(slots=True, kw_only=True)
class Trade:
    """One print. `buy` tells the aggressor's side, None where the venue does not say."""

    venue: str
    market: str
    trade_id: str
    price: int
    size: int
    buy: bool | None
    liquidation: bool
    venue_time_ns: int
    receive_time_ns: int
    sequence: int = 0
    """The number that another replica has given it within its market; 0 for one that comes from the venue itself."""


@dataclass(slots=True, kw_only=True)
class Context:
    """What a venue says of a market beside its book. None where this message did not carry the value."""

    venue: str
    market: str
    mark_price: Decimal | None
    index_price: Decimal | None
    last_price: Decimal | None
    funding_rate: Decimal | None
    """The estimate for the running interval, as a fraction per `Listing.funding_interval_s`."""
    next_funding_time_ns: int
    volume_24h_usd: Decimal | None
    open_interest: Decimal | None
    """In units of the base asset."""
    receive_time_ns: int
    cadence_s: float
    """How often the venue repeats this context; the market's context is stale 3 s after it should have come."""


@dataclass(slots=True, kw_only=True)
class Alive:
    """Any frame of a connection: proof that `markets` subscribed on it are current as of then, where nothing changed.

    Sent at most four times a second per connection, not per frame.
    """

    venue: str
    connection: str
    markets: frozenset[str]
    receive_time_ns: int


@dataclass(slots=True, kw_only=True)
class MarketDown:
    """What is known of these markets is no longer current: the link is cut, a chain broke, or the venue fell silent."""

    venue: str
    markets: frozenset[str]
    state: FeedState
    reason: str
    """A sentence for a person."""
    receive_time_ns: int
    trades_lost: bool = False
    """Whether trades may have been missed meanwhile."""


@dataclass(slots=True, kw_only=True)
class TradesMissed:
    """Prints of these markets may have been missed; what is known of their prices and books holds as long as it did."""

    venue: str
    markets: frozenset[str]
    reason: str
    """A sentence for a person."""
    receive_time_ns: int


@dataclass(slots=True, kw_only=True)
class ListingsChanged:
    """The venue's listings, all of them; sent at the start and after each change."""

    venue: str
    listings: tuple[Listing, ...]
    receive_time_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PastCandle:
    """What a venue says was traded in one interval; None where it does not say."""

    open_time_ns: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    """In units of the base asset."""
    quote_volume: Decimal | None
    """In USD."""
    trade_count: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PastFunding:
    """A rate that a venue settled: a fraction per `Listing.funding_interval_s`, positive where longs paid."""

    settle_time_ns: int
    rate: Decimal
    premium: Decimal | None


Event = BookSnapshot | BookDelta | TopOfBook | Trade | Context | Alive | MarketDown | ListingsChanged | TradesMissed
