"""The audit: each fed book is compared in turn with a fresh snapshot, and rebuilt where it is wrong.

One book is audited every `interval_s`, so each within `interval_s` times the number of fed books. A difference must be
seen twice running, at the same price, before the book is rebuilt: the two copies are never of one instant.
"""

from __future__ import annotations

import asyncio
from typing import Final

from services.domain.feed import BookSnapshot, FeedState
from services.market_data.app.engine import Engine
from services.market_data.model.audit import Watcher
from services.market_data.model.venue_market import VenueMarket
from services.market_data.ports import Clock
from services.venues.port import FeedLevel, VenueError

MARGIN_S: Final = 1.0
"""How long before and after the fetch our book is watched: more than a venue's snapshot lags behind its stream."""
LOOK_S: Final = 0.05
"""How often it is looked at meanwhile."""


class Auditor:
    """Audits books one after another, until canceled."""

    def __init__(self, engine: Engine, clock: Clock, *, interval_s: float, margin_s: float = MARGIN_S) -> None:
        self._engine = engine
        self._clock = clock
        self._interval_s = interval_s
        self._margin_s = margin_s
        self._turn = 0

    async def run(self) -> None:
        """Audit one book every interval."""
        while True:
            await self._clock.sleep(self._interval_s)
            books = self._fed_books()
            if books:
                self._turn = (self._turn + 1) % len(books)
                await self.audit(*books[self._turn])

    def _fed_books(self) -> list[tuple[str, str]]:
        """Return (venue, market) of every LIVE book."""
        now_ns = self._clock.time_ns()
        return [
            (name, market.name)
            for market in self._engine.markets.values()
            for name, venue in market.venues.items()
            if self._engine.venues[name].fed(market.name) >= FeedLevel.BOOK
            and venue.judge_book(now_ns).state is FeedState.LIVE
        ]

    async def audit(self, venue: str, market: str) -> bool:
        """Compare one book; True when it was found wrong, and a rebuild was asked for."""
        first = await self._differences(venue, market)
        if not first:
            return False
        second = await self._differences(venue, market)
        lasting = first.keys() & second.keys()
        if not lasting:
            return False
        self._engine.audit_differences[venue] += 1
        side, price = min(lasting)
        self._engine.venues[venue].resync(
            market, f"the audit found {len(lasting)} wrong levels, the first of the {side} at {price}"
        )
        return True

    async def _differences(self, venue: str, market: str) -> dict[tuple[str, int], int]:
        found = self._engine.markets[market].venues[venue]
        watcher = Watcher.begin(found)
        fetch = asyncio.ensure_future(self._fetch_later(venue, market))
        try:
            while not fetch.done():
                await self._look(watcher, found)
            snapshot = fetch.result()
        except VenueError:
            return {}
        finally:
            fetch.cancel()
        self._engine.audits[venue] += 1
        for _ in range(round(self._margin_s / LOOK_S)):
            await self._look(watcher, found)
        if found.judge_book(self._clock.time_ns()).state is not FeedState.LIVE:
            return {}
        return {(one.side, one.price): one.theirs for one in watcher.compare(found, snapshot)}

    async def _fetch_later(self, venue: str, market: str) -> BookSnapshot:
        await self._clock.sleep(self._margin_s)
        return await self._engine.venues[venue].fetch_book(market)

    async def _look(self, watcher: Watcher, market: VenueMarket) -> None:
        await self._clock.sleep(LOOK_S)
        watcher.look(market)
