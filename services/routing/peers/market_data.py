"""market_data as the port `Books`: a market is followed from its first quote until nobody has asked for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Final, cast

from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceStub

from services.chassis.client import Peer
from services.chassis.clock import Clock
from services.chassis.ids import seeded_random
from services.chassis.metrics import METRICS, Metrics
from services.chassis.tasks import Backoff
from services.chassis.telemetry import log
from services.domain.errors import DomainError, Reason
from services.routing.model.books import MarketBooks
from services.routing.peers.follower import BrokenStreamError, Follower

DEPTH: Final = 500
"""Levels per side over all venues; the most that market data streams."""
FIRST_S: Final = 3.0
"""How long a first quote of a market waits for its books."""
LINGER_S: Final = 120.0
"""How long a market is followed after its last quote."""
MARKETS_MAX: Final = 400
"""Markets followed at a time."""
LISTINGS_S: Final = 60.0
"""How often a followed market's listings are asked for again."""
SILENCE_S: Final = 40.0
"""A stream says something every 15 s; one that is silent for longer is dead."""
LIST_TIMEOUT_S: Final = 2.0


class _Followed:
    """One market with the tasks that follow it."""

    def __init__(self, follower: Follower, used_s: float) -> None:
        self.follower = follower
        self.used_s = used_s
        self.tasks: list[asyncio.Task[None]] = []
        self._waiters: list[asyncio.Future[None]] = []

    def tell(self) -> None:
        """Wake whoever waits for a change."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def changed(self) -> None:
        """Wait for the next change."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter


class MarketDataBooks:
    """The port `Books`."""

    def __init__(self, peer: Peer, clock: Clock, *, metrics: Metrics = METRICS) -> None:
        self._stub: Any = cast(Any, MarketDataServiceStub)(peer)  # a peer has the channel's methods that stubs use
        self._clock = clock
        self._followed: dict[str, _Followed] = {}
        self._beginning: dict[str, asyncio.Task[_Followed]] = {}
        self._restarts = metrics.counter("perpmesh_routing_book_restarts_total", "Book streams begun anew.")
        followed = metrics.gauge("perpmesh_routing_markets_followed", "Markets whose books are followed.")
        followed.set_function(lambda: float(len(self._followed)))

    async def market(self, name: str) -> MarketBooks:
        """Return a market as it stands, waiting a moment for its first books."""
        known = self._followed.get(name)
        if known is None:
            known = await self._begin(name)
        known.used_s = self._clock.monotonic()
        if known.follower.lost:
            await self._first(known)
        return known.follower.books()

    async def changed(self, name: str) -> None:
        """Wait until a followed market has changed."""
        known = self._followed.get(name)
        if known is None:
            await self.market(name)
            return
        known.used_s = self._clock.monotonic()
        await known.changed()

    async def run(self) -> None:
        """Let go of markets that nobody asks for, until canceled; then of all."""
        try:
            while True:
                await self._clock.sleep(LINGER_S / 10)
                end = self._clock.monotonic() - LINGER_S
                for name in [name for name, one in self._followed.items() if one.used_s < end]:
                    await self._end(self._followed.pop(name))
        finally:
            for one in self._followed.values():
                await self._end(one)
            self._followed.clear()

    async def _begin(self, name: str) -> _Followed:
        task = self._beginning.get(name)
        if task is None:
            task = self._beginning[name] = asyncio.create_task(self._open(name))
            task.add_done_callback(lambda _: self._beginning.pop(name, None))
        return await asyncio.shield(task)

    async def _open(self, name: str) -> _Followed:
        if len(self._followed) >= MARKETS_MAX:
            raise DomainError(
                Reason.LIMIT_REACHED,
                f"Quotes are made for {MARKETS_MAX} markets at a time: try again in a moment.",
                metadata={"limit": "markets_followed", "markets_max": str(MARKETS_MAX)},
                retry_after_s=LINGER_S / 10,
            )
        answer = await self._stub.GetMarket(pb.GetMarketRequest(market=name), timeout=LIST_TIMEOUT_S)
        known = self._followed[name] = _Followed(Follower(answer.market), self._clock.monotonic())
        for work in (self._book, self._price, self._listings):
            known.tasks.append(asyncio.create_task(self._again(name, known, work)))
        return known

    async def _first(self, known: _Followed) -> None:
        """Wait for books that are being fetched; return without them when they do not come."""
        try:
            async with asyncio.timeout(FIRST_S):
                while known.follower.lost:
                    await known.changed()
        except TimeoutError:
            return

    async def _end(self, known: _Followed) -> None:
        for task in known.tasks:
            task.cancel()
        await asyncio.gather(*known.tasks, return_exceptions=True)

    async def _again(self, name: str, known: _Followed, work: Callable[[str, _Followed], Any]) -> None:
        """Do a piece of following again and again, with pauses that grow while it fails."""
        backoff = Backoff(base_s=0.1, max_s=2.0, rng=seeded_random())
        while True:
            began_s = self._clock.monotonic()
            try:
                await work(name, known)
            except (DomainError, BrokenStreamError, TimeoutError) as error:
                log.warning("books.again", market=name, error=error)
            if work == self._book:
                known.follower.lose("market data does not stream it now")
                known.tell()
                self._restarts.inc()
            if self._clock.monotonic() - began_s > 10:
                backoff = Backoff(base_s=0.1, max_s=2.0, rng=seeded_random())
            await self._clock.sleep(backoff.next())

    async def _book(self, name: str, known: _Followed) -> None:
        follower, loop = known.follower, asyncio.get_running_loop()
        stream = self._stub.WatchOrderBook(pb.WatchOrderBookRequest(market=name, depth=DEPTH))
        async with asyncio.timeout(SILENCE_S) as silence, aclosing(stream) as messages:
            async for message in messages:
                silence.reschedule(loop.time() + SILENCE_S)
                event = message.WhichOneof("event")
                if event == "delta":
                    follower.delta(message.delta, self._clock.time_ns())
                elif event == "snapshot":
                    follower.snapshot(message.snapshot, self._clock.time_ns())
                elif event in ("gap", "end"):
                    return
                else:
                    continue
                known.tell()

    async def _price(self, name: str, known: _Followed) -> None:
        loop = asyncio.get_running_loop()
        stream = self._stub.WatchPrices(pb.WatchPricesRequest(markets=[name]))
        async with asyncio.timeout(SILENCE_S) as silence, aclosing(stream) as messages:
            async for message in messages:
                silence.reschedule(loop.time() + SILENCE_S)
                event = message.WhichOneof("event")
                if event == "price":
                    known.follower.price(message.price, self._clock.time_ns())
                elif event == "end":
                    return

    async def _listings(self, name: str, known: _Followed) -> None:
        await self._clock.sleep(LISTINGS_S)
        answer = await self._stub.GetMarket(pb.GetMarketRequest(market=name), timeout=LIST_TIMEOUT_S)
        known.follower.learn(answer.market)
