"""market_data as the port `Books`: the books of markets that are traded in, with what they were a moment ago.

A market is followed from its first order until nobody has traded in it for a while. Nothing waits for this: an order
goes its way without books, and its report then says what nobody saw.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, cast

from perpmesh.marketdata.v1 import book_pb2, market_pb2, state_pb2
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceStub

from services.chassis.client import Peer
from services.chassis.clock import Clock
from services.chassis.ids import seeded_random
from services.chassis.tasks import Backoff
from services.chassis.telemetry import log
from services.domain.errors import DomainError
from services.execution.model.listing import Listing
from services.execution.model.quoted import Levels, Rates
from services.venues.actions import Side

DEPTH: Final = 100
"""Levels per side over all venues."""
HISTORY: Final = timedelta(seconds=20)
HISTORY_MAX: Final = 400
"""How long, and how many changes of a side of a venue's book, are remembered."""
FIRST_S: Final = 0.3
"""How long the first order of a market waits for its books."""
LINGER_S: Final = 120.0
MARKETS_MAX: Final = 32
"""Markets followed at a time; beyond, the one not traded in the longest is let go."""
SILENCE_S: Final = 40.0
"""A stream says something every 15 s; one that is silent for longer is dead."""
LIST_TIMEOUT_S: Final = 2.0


class BrokenStreamError(Exception):
    """A change does not fit what is here."""


class BookHistory:
    """One market's books by venue, now and a moment ago. Synchronous."""

    def __init__(self) -> None:
        self._sides: dict[tuple[str, Side], dict[Decimal, tuple[Decimal, Decimal]]] = {}
        self._past: dict[tuple[str, Side], deque[tuple[datetime, Levels]]] = {}
        self._whole_since: dict[str, datetime] = {}
        """Since when each venue's book has been live, with nothing lost."""
        self._sequence = 0
        self.listings: dict[str, Listing] = {}

    def learn(self, market: market_pb2.Market) -> None:
        """Take the market's listings."""
        self.listings = {
            one.venue: Listing(
                rates=Rates(taker=Decimal(one.taker_fee or "0"), maker=Decimal(one.maker_fee or "0")),
                lot=Decimal(one.lot),
                tick=Decimal(one.tick),
                min_size=Decimal(one.min_size or "0"),
                min_notional=Decimal(one.min_notional or "0"),
                max_leverage=one.max_leverage,
            )
            for one in market.listings
        }

    @property
    def is_live(self) -> bool:
        """Whether any venue's book is here."""
        return bool(self._whole_since)

    def snapshot(self, book: book_pb2.OrderBook, now: datetime) -> None:
        """Take a whole book."""
        self.lose()
        changed = self._change(Side.SELL, book.bids) | self._change(Side.BUY, book.asks)
        self._settle(book.sequence, book.versions, changed, now)

    def delta(self, delta: book_pb2.BookDelta, now: datetime) -> None:
        """Take a change. Raises `BrokenStreamError`."""
        if delta.previous_sequence != self._sequence:
            raise BrokenStreamError(f"a change upon {delta.previous_sequence}, the book is at {self._sequence}")
        changed = self._change(Side.SELL, delta.bids) | self._change(Side.BUY, delta.asks)
        self._settle(delta.sequence, delta.versions, changed, now)

    def lose(self) -> None:
        """The stream broke: what follows is not connected to what was before."""
        self._sides.clear()
        self._past.clear()
        self._whole_since.clear()

    def now(self, venue: str, side: Side) -> Levels | None:
        """Return the side that an order of `side` takes from; None where it is not known."""
        past = self._past.get((venue, side))
        return past[-1][1] if past and venue in self._whole_since else None

    def since(self, venue: str, side: Side, moment: datetime) -> tuple[Sequence[Levels], bool]:
        """Return what the side was from a moment on, the oldest first, and whether nothing of it is missing."""
        past = self._past.get((venue, side), ())
        begun = self._whole_since.get(venue)
        later = [levels for received, levels in past if received > moment]
        before = [levels for received, levels in past if received <= moment]
        is_whole = begun is not None and begun <= moment and bool(before)
        return [*before[-1:], *later], is_whole

    def mid(self) -> Decimal | None:
        """Return the mean of the best bid and the best ask over the venues; None where there is none."""
        best = {
            side: [past[-1][1][0][0] for (venue, one), past in self._past.items() if one is side and past[-1][1]]
            for side in Side
        }
        if not best[Side.BUY] or not best[Side.SELL]:
            return None
        return (min(best[Side.BUY]) + max(best[Side.SELL])) / 2

    def _change(self, side: Side, levels: Iterable[book_pb2.BookLevel]) -> set[tuple[str, Side]]:
        """Take levels that orders of `side` trade with; return which venues' sides changed."""
        changed = set()
        for level in levels:
            price = Decimal(level.price)
            there = {one.venue: Decimal(one.size) for one in level.venues}
            if level.size == "0":
                there = {}
            for (venue, one), book in self._sides.items():
                if one is side and venue not in there and book.pop(price, None) is not None:
                    changed.add((venue, side))
            for venue, size in there.items():
                self._sides.setdefault((venue, side), {})[price] = (price, size)
                changed.add((venue, side))
        return changed

    def _settle(
        self, sequence: int, versions: Iterable[book_pb2.BookVersion], changed: set[tuple[str, Side]], now: datetime
    ) -> None:
        self._sequence = sequence
        for version in versions:
            if version.state == state_pb2.STATE_LIVE:
                self._whole_since.setdefault(version.venue, now)
            else:
                self._whole_since.pop(version.venue, None)
        for venue, side in changed:
            past = self._past.setdefault((venue, side), deque(maxlen=HISTORY_MAX))
            levels = sorted(self._sides[venue, side].values(), reverse=side is Side.SELL)
            past.append((now, tuple(levels)))
            while len(past) > 1 and past[1][0] < now - HISTORY:
                past.popleft()


class _Followed:
    """One market and the task that follows it."""

    def __init__(self) -> None:
        self.history = BookHistory()
        self.used_s = 0.0
        self.first = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class FollowedBooks:
    """The port `Books`; without a peer nothing is ever known."""

    def __init__(self, peer: Peer | None, clock: Clock) -> None:
        self._stub: Any = cast(Any, MarketDataServiceStub)(peer) if peer is not None else None
        self._clock = clock
        self._followed: dict[str, _Followed] = {}

    async def ready(self, market: str) -> None:
        """Begin to follow a market, waiting a moment for its first books; again, only note that it is traded in."""
        known = self._followed.get(market)
        if known is None and self._stub is not None:
            if len(self._followed) >= MARKETS_MAX:
                await self._end(min(self._followed, key=lambda name: self._followed[name].used_s))
            known = self._followed[market] = _Followed()
            known.used_s = self._clock.monotonic()
            known.task = asyncio.create_task(self._again(market, known))
            try:
                async with asyncio.timeout(FIRST_S):
                    await known.first.wait()
            except TimeoutError:
                return
        if known is not None:
            known.used_s = self._clock.monotonic()

    def now(self, market: str, venue: str, side: Side) -> Levels | None:
        """Return the side that an order of `side` takes from as it stands; None where it is not known."""
        known = self._followed.get(market)
        return known.history.now(venue, side) if known is not None else None

    def since(self, market: str, venue: str, side: Side, moment: datetime) -> tuple[Sequence[Levels], bool]:
        """Return what it was from a moment on, and whether nothing of it is missing."""
        known = self._followed.get(market)
        return known.history.since(venue, side, moment) if known is not None else ((), False)

    def mid(self, market: str) -> Decimal | None:
        """Return the mid price over the venues; None where it is not known."""
        known = self._followed.get(market)
        return known.history.mid() if known is not None else None

    def listing(self, market: str, venue: str) -> Listing | None:
        """Return what a venue demands of orders; None where it is not known."""
        known = self._followed.get(market)
        return known.history.listings.get(venue) if known is not None else None

    async def run(self) -> None:
        """Let go of markets in which nobody trades, until canceled; then of all."""
        try:
            while True:
                await self._clock.sleep(LINGER_S / 10)
                end = self._clock.monotonic() - LINGER_S
                for market in [name for name, one in self._followed.items() if one.used_s < end]:
                    await self._end(market)
        finally:
            for market in list(self._followed):
                await self._end(market)

    async def _end(self, market: str) -> None:
        known = self._followed.pop(market)
        if known.task is not None:
            known.task.cancel()
            await asyncio.gather(known.task, return_exceptions=True)

    async def _again(self, market: str, known: _Followed) -> None:
        """Follow again and again, with pauses that grow while it fails."""
        backoff = Backoff(base_s=0.2, max_s=5.0, rng=seeded_random())
        while True:
            began_s = self._clock.monotonic()
            try:
                await self._follow(market, known)
            except (DomainError, BrokenStreamError, TimeoutError) as error:
                log.warning("books.again", market=market, error=error)
            known.history.lose()
            if self._clock.monotonic() - began_s > 10:
                backoff.reset()
            await self._clock.sleep(backoff.next())

    async def _follow(self, market: str, known: _Followed) -> None:
        history, loop = known.history, asyncio.get_running_loop()
        answer = await self._stub.GetMarket(pb.GetMarketRequest(market=market), timeout=LIST_TIMEOUT_S)
        history.learn(answer.market)
        stream = self._stub.WatchOrderBook(pb.WatchOrderBookRequest(market=market, depth=DEPTH))
        async with asyncio.timeout(SILENCE_S) as silence, aclosing(stream) as messages:
            async for message in messages:
                silence.reschedule(loop.time() + SILENCE_S)
                event = message.WhichOneof("event")
                if event == "delta":
                    history.delta(message.delta, self._clock.now())
                elif event == "snapshot":
                    history.snapshot(message.snapshot, self._clock.now())
                elif event in ("gap", "end"):
                    return
                if history.is_live:
                    known.first.set()
