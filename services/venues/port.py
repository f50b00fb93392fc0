"""What the house asks of an exchange: public market data.

One object of this shape stands for one venue. It owns its sockets, subscriptions, limits and repairs; what it learns it
gives, as events of `services.domain.feed`, to the `emit` it was started with. It never raises out of `run` for anything
a venue can do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from services.domain.feed import BookSnapshot, Event, FeedState, PastCandle, PastFunding
from services.domain.market import Listing, Source

Emit = Callable[[Event], bool]
"""Takes one event, never blocks. False means it was dropped because the room is behind: the venue then resyncs the
market of a dropped book event as if its chain had broken."""


class FeedLevel(IntEnum):
    """How much of a market is wanted; each includes those before it."""

    CONTEXT = 1
    PRICE = 2
    BOOK = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionStatus:
    """One socket to the venue, as it now stands."""

    name: str
    state: FeedState
    state_reason: str
    last_frame_time_ns: int
    subscription_count: int
    reconnect_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerStatus:
    """The circuit breaker of one endpoint, as it now stands. `state` is closed, open or half_open."""

    endpoint: str
    state: str
    failure_count: int
    change_time_ns: int
    retry_time_ns: int
    last_failure: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUse:
    """How much of a documented limit of the venue is in use."""

    name: str
    used: int
    allowed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedCounts:
    """What has passed since the start."""

    frames: int = 0
    bad_frames: int = 0
    gaps: int = 0
    resyncs: int = 0
    refused_subscriptions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueStatus:
    """A venue's feed as a whole. `version` grows with every change worth showing."""

    venue: str
    state: FeedState
    state_reason: str
    state_time_ns: int
    source: Source
    address: str
    connections: tuple[ConnectionStatus, ...]
    breakers: tuple[BreakerStatus, ...]
    limits: tuple[LimitUse, ...]
    counts: FeedCounts
    version: int


class Venue(Protocol):
    """Public market data of one exchange."""

    @property
    def name(self) -> str:
        """The venue's name, such as `hyperliquid`."""
        ...

    async def run(self, emit: Emit) -> None:
        """Feed until canceled: list the markets, connect, subscribe, repair. Emits `ListingsChanged` first."""
        ...

    def want(self, levels: dict[str, FeedLevel]) -> None:
        """Say what is wanted of each canonical market, replacing what was said before.

        A market that is not named is wanted at CONTEXT, or at PRICE where the venue's limits leave room: the venue
        decides, and `fed` tells. Markets given first come first where the venue's message rate makes some wait.
        """
        ...

    def fed(self, market: str) -> FeedLevel:
        """Return how much of `market` is subscribed now."""
        ...

    def resync(self, market: str, reason: str) -> None:
        """Build the book of `market` again from a fresh snapshot. Idempotent while one is under way."""
        ...

    async def fetch_book(self, market: str) -> BookSnapshot:
        """Return a fresh snapshot by REST, for the audit. Raises `VenueError`."""
        ...

    async def fetch_candles(
        self, market: str, interval_s: int, start_time_ns: int, end_time_ns: int
    ) -> list[PastCandle]:
        """Return by REST the candles that open in [start, end), oldest first, those with trades alone.

        `interval_s` is 60, 300, 900, 3600, 14400 or 86400. A venue that answers with fewer than there are gives the
        oldest of them first, so that the caller can ask on from the last. Raises `VenueError`.
        """
        ...

    async def fetch_fundings(self, market: str, start_time_ns: int, end_time_ns: int) -> list[PastFunding]:
        """Return by REST the rates settled in [start, end), oldest first; asked on from the last as candles are.

        Raises `VenueError`.
        """
        ...

    def status(self) -> VenueStatus:
        """Return how the feed stands."""
        ...


class VenueError(Exception):
    """A venue that did not answer, or not with what its protocol says. The message is a sentence for a person."""


class SeatsTakenError(VenueError):
    """A venue that lets one address listen to so many accounts and no more: another must end first."""


def listing_of(listings: tuple[Listing, ...], market: str) -> Listing | None:
    """Return the listing of `market`, or None."""
    return next((listing for listing in listings if listing.market == market), None)
