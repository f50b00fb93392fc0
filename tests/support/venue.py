"""A venue that says what a test tells it to; it passes the same port as the real adapters."""

from __future__ import annotations

import asyncio

from services.domain.feed import BookSnapshot, Event, FeedState, ListingsChanged, PastCandle, PastFunding
from services.domain.market import Listing, Source
from services.venues.port import Emit, FeedCounts, FeedLevel, VenueError, VenueStatus


class ScriptedVenue:
    """Emits what `say` is given; remembers what it was asked."""

    def __init__(self, name: str, *listings: Listing) -> None:
        self.name = name
        self.listings = listings
        self.wanted: dict[str, FeedLevel] = {}
        self.resyncs: list[tuple[str, str]] = []
        self.books: dict[str, BookSnapshot] = {}
        self.candles: dict[tuple[str, int], list[PastCandle]] = {}
        self.fundings: dict[str, list[PastFunding]] = {}
        self.asked: list[tuple[str, int, int, int]] = []
        self.fails: str | None = None
        self.state = FeedState.LIVE
        self.version = 1
        self._emit: Emit | None = None
        self.started = asyncio.Event()

    async def run(self, emit: Emit) -> None:
        self._emit = emit
        emit(ListingsChanged(venue=self.name, listings=self.listings, receive_time_ns=0))
        self.started.set()
        await asyncio.Event().wait()

    def say(self, *events: Event) -> list[bool]:
        assert self._emit is not None
        return [self._emit(event) for event in events]

    def want(self, levels: dict[str, FeedLevel]) -> None:
        self.wanted = levels

    def fed(self, market: str) -> FeedLevel:
        return self.wanted.get(market, FeedLevel.CONTEXT)

    def resync(self, market: str, reason: str) -> None:
        self.resyncs.append((market, reason))

    async def fetch_book(self, market: str) -> BookSnapshot:
        if market not in self.books:
            raise VenueError(f"{self.name} has no snapshot of {market} for this test")
        return self.books[market]

    async def fetch_candles(
        self, market: str, interval_s: int, start_time_ns: int, end_time_ns: int
    ) -> list[PastCandle]:
        self.asked.append((market, interval_s, start_time_ns, end_time_ns))
        if self.fails is not None:
            raise VenueError(self.fails)
        known = self.candles.get((market, interval_s), [])
        return [one for one in known if start_time_ns <= one.open_time_ns < end_time_ns]

    async def fetch_fundings(self, market: str, start_time_ns: int, end_time_ns: int) -> list[PastFunding]:
        if self.fails is not None:
            raise VenueError(self.fails)
        known = self.fundings.get(market, [])
        return [one for one in known if start_time_ns <= one.settle_time_ns < end_time_ns]

    def status(self) -> VenueStatus:
        return VenueStatus(
            venue=self.name,
            state=self.state,
            state_reason="",
            state_time_ns=1,
            source=Source.SIMULATED,
            address="http://test",
            connections=(),
            breakers=(),
            limits=(),
            counts=FeedCounts(),
            version=self.version,
        )
