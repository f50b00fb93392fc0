"""All that the market data room asks of the world."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from services.market_data.model.candle import Candle
from services.market_data.model.history import FundingPoint, PriceSample, RecordedTrade
from services.market_data.model.market import Market
from services.market_data.model.relay import Ask, Told
from services.market_data.model.trade_log import NumberedTrade
from services.venues.port import Venue, VenueStatus

__all__ = [
    "Answer",
    "CandlePublisher",
    "Clock",
    "HistorySink",
    "HistoryStore",
    "Lease",
    "Publisher",
    "Replicas",
    "Tap",
    "Venue",
]

T = TypeVar("T")


class Clock(Protocol):
    """Time, and waiting for it."""

    def time_ns(self) -> int:
        """Return nanoseconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds of a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Publisher(Protocol):
    """Where changes go. Every method is synchronous and bounded: a slow reader is its own problem."""

    def prices(self, markets: Sequence[Market], now_ns: int) -> None:
        """These markets show something new."""
        ...

    def book_changes(self, markets: Sequence[Market], now_ns: int) -> None:
        """The books of these markets may have changed."""
        ...

    def trades(self, market: Market, trades: Sequence[NumberedTrade]) -> None:
        """These trades were printed."""
        ...

    def trades_lost(self, market: Market, venue: str, reason: str) -> None:
        """Trades of `market` at `venue` may have been missed, by no count that is known."""
        ...

    def fundings(self, markets: Sequence[Market], now_ns: int) -> None:
        """The funding of these markets may have changed."""
        ...

    def venue(self, status: VenueStatus, *, market_count: int, counts: tuple[int, int, int]) -> None:
        """A venue's feed stands differently. `counts` are audits, differences they found, and events dropped."""
        ...


class Tap(Protocol):
    """Who hears of every trade, and of trades that were missed. Synchronous and bounded as a publisher is."""

    def trades(self, market: Market, trades: Sequence[NumberedTrade]) -> None:
        """These trades were printed."""
        ...

    def trades_lost(self, market: str, venue: str) -> None:
        """Trades of `market` at `venue` may have been missed."""
        ...


class Lease(enum.Enum):
    """Who may feed the others now, as far as it can be known."""

    OURS = "ours"
    THEIRS = "theirs"
    NOBODYS = "nobodys"
    """Left for a replica that knows more, which went on until a moment ago."""
    UNKNOWN = "unknown"
    """Nobody could be asked."""


class Replicas(Protocol):
    """The other replicas of this room. Telling and asking never wait; what is lost shows to who listens."""

    async def lease(self, *, knows: bool) -> Lease:
        """Take the lease, or keep it, and say whose it is.

        One that does not know what was told before (`knows`) takes it only where nobody has had it for a while.
        """
        ...

    async def release(self) -> None:
        """Give the lease back, if it is ours."""
        ...

    def tell(self, told: Told) -> None:
        """Tell the others what a venue said."""
        ...

    def ask(self, ask: Ask) -> None:
        """Ask the replica that feeds."""
        ...

    async def listen(
        self, told: Callable[[Told, bool], None], ask: Callable[[Ask], None], *, deaf: Callable[[], bool]
    ) -> None:
        """Hear the others until canceled; with what is told, whether something before it was missed.

        While `deaf` says so nothing that is told is read.
        """
        ...


class CandlePublisher(Protocol):
    """Where candles go as they form and close."""

    def wanted(self) -> Set[tuple[str, int, str]]:
        """Return (market, interval, venue or empty) of what somebody watches."""
        ...

    def candle(self, candle: Candle) -> None:
        """This is how a candle stands now."""
        ...


class HistorySink(Protocol):
    """Where what is recorded goes. Never waits and never fails: what cannot be kept is counted there."""

    def prices(self, samples: Iterable[PriceSample]) -> None:
        """Record samples of prices."""
        ...

    def trades(self, trades: Iterable[RecordedTrade]) -> None:
        """Record prints."""
        ...

    def candles(self, candles: Iterable[Candle]) -> None:
        """Record closed candles; those that are recorded already change nothing."""
        ...

    def fundings(self, points: Iterable[FundingPoint]) -> None:
        """Record settled funding; what is recorded already changes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """Rows of history, and how old they may be: 0 from the database that is written to."""

    rows: list[T]
    age_s: float = 0.0


class HistoryStore(Protocol):
    """Questions to what was recorded. Each raises `DomainError` when the database is away, busy or slow."""

    async def candles(
        self, market: str, interval_s: int, venues: Sequence[str], start_ns: int, end_ns: int, limit: int
    ) -> Answer[Candle]:
        """Return at most `limit` closed candles that open in [start, end), newest first, then by venue."""
        ...

    async def prices(
        self, market: str, venues: Sequence[str], start_ns: int, before: tuple[int, str], limit: int
    ) -> Answer[PriceSample]:
        """Return at most `limit` samples since `start_ns` after `before` (time, venue), newest first."""
        ...

    async def trades(
        self, market: str, venues: Sequence[str], before: tuple[int, str, str], limit: int
    ) -> Answer[RecordedTrade]:
        """Return at most `limit` trades before (microseconds, venue, id), newest first."""
        ...

    async def fundings(
        self, market: str, venues: Sequence[str], start_ns: int, before: tuple[int, str], limit: int
    ) -> Answer[FundingPoint]:
        """Return at most `limit` rates since `start_ns` after `before` (time, venue), newest first."""
        ...

    async def span_of_candles(self, market: str, venue: str) -> dict[int, tuple[int, int]]:
        """Return when the oldest and the newest candle of each length opened, in nanoseconds."""
        ...

    async def last_funding(self, market: str, venue: str) -> int:
        """Return when the newest rate was settled, in nanoseconds; 0 when there is none."""
        ...
