"""A steady load on the edge that keeps books: calls that may not fail, streams that may not lose without a word."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import grpc
import websockets
from perpmesh_client import Gap, Perpmesh, Trade

from tests.support.mixed_calls import MARKETS, Mix


@dataclass(slots=True)
class Books:
    """What was seen."""

    calls: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    """How many calls of each name were made."""
    failed: Counter[str] = field(default_factory=Counter)
    late: int = 0
    """Calls that took longer than two seconds."""
    messages: int = 0
    gaps: int = 0
    torn: set[str] = field(default_factory=set)
    """Markets of whose trades some were reported missing."""
    trades: dict[tuple[str, int], dict[tuple[str, str], Trade]] = field(default_factory=dict)
    """What each reader of trades got, by venue and id."""
    doubles: int = 0
    sockets_ended: int = 0
    longest_s: float = 0.0
    """The longest silence of any stream of prices."""
    longest: str = ""
    """Of which kind of stream it was, and when it ended, on the clock that tests print by."""
    errors: Counter[str] = field(default_factory=Counter)

    def heard(self, kind: str, last: float) -> float:
        """Note a message of a stream whose last came at `last`, and return the time."""
        now = time.monotonic()
        if now - last > self.longest_s:
            self.longest_s, self.longest = now - last, f"{kind}, until {now:.1f}"
        return now


@contextlib.asynccontextmanager
async def load(edge: str, *, calls_per_s: float, streams: int, trading: bool = False) -> AsyncIterator[Books]:
    """Keep a load up for the time of a block; with `trading` a fifth of the calls is somebody's who trades."""
    books = Books()
    async with contextlib.AsyncExitStack() as held:
        channels = [grpc.aio.insecure_channel(edge, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(2)]
        clients = [await held.enter_async_context(Perpmesh(edge)) for _ in range(max(1, streams // 50))]
        mix = Mix(channels)
        if trading:
            await mix.sign_in()
        tasks = [asyncio.create_task(_calls(mix, calls_per_s, books))]
        for number in range(streams):
            market, client = MARKETS[number % len(MARKETS)], clients[number % len(clients)]
            if number % 10 == 0:
                reader = _trades(client, market, number, books)
            elif number % 10 == 5:
                reader = _socket(edge, market, books)
            else:
                reader = _prices(client, market, books)
            tasks.append(asyncio.create_task(reader))
        try:
            yield books
        finally:
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks, return_exceptions=True)
            for one in done:
                if isinstance(one, Exception) and not isinstance(one, asyncio.CancelledError):
                    books.errors[repr(one)[:200]] += 1
            for channel in channels:
                await channel.close()


async def _calls(mix: Mix, per_s: float, books: Books) -> None:
    """Make calls at a steady rate whatever the answers; none is made twice by this client."""
    running: set[asyncio.Task[None]] = set()
    began = time.monotonic()
    try:
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began + number / per_s - time.monotonic()))
            name, call = mix.call(number)
            task = asyncio.create_task(_one(name, call, books))
            running.add(task)
            task.add_done_callback(running.discard)
    finally:
        for done in await asyncio.gather(*running, return_exceptions=True):
            if isinstance(done, Exception):
                books.errors[repr(done)[:200]] += 1


async def _one(name: str, call: Awaitable[Any], books: Books) -> None:
    began = time.monotonic()
    books.calls += 1
    books.kinds[name] += 1
    try:
        await call
    except grpc.aio.AioRpcError as error:
        books.failed[f"{name}: {error.code().name}: {error.details()}"[:200]] += 1
    except Exception as error:
        books.errors[f"{name}: {error!r}"[:200]] += 1
    if time.monotonic() - began > 2:
        books.late += 1


async def _prices(client: Perpmesh, market: str, books: Books) -> None:
    last = time.monotonic()
    async for item in client.watch_prices(market, min_interval=0.25):
        last = books.heard("prices over gRPC", last)
        books.messages += item is not None


async def _socket(edge: str, market: str, books: Books) -> None:
    """Read prices over the WebSocket, and connect again at once whenever it ends."""
    last = time.monotonic()
    while True:
        try:
            async with websockets.connect(f"ws://{edge}/v1/ws", open_timeout=5) as socket:
                await socket.send(json.dumps({"subscribe": {"topics": [f"prices:{market}"]}}))
                async for frame in socket:
                    if "price" not in json.loads(frame):
                        continue
                    last = books.heard("prices over a WebSocket", last)
                    books.messages += 1
        except (OSError, TimeoutError, websockets.WebSocketException):
            books.sockets_ended += 1
        await asyncio.sleep(0.05)


async def _trades(client: Perpmesh, market: str, number: int, books: Books) -> None:
    async for item in client.watch_trades(market, unfilled="yield"):
        books.messages += 1
        if isinstance(item, Gap):
            books.gaps += 1
            books.torn.add(market)
        else:
            key = (item.venue, item.trade_id)
            seen = books.trades.setdefault((market, number), {})
            books.doubles += key in seen
            seen[key] = item


async def holes(books: Books, postgres_url: str) -> list[str]:
    """Return the trades that were recorded within the time of a reader, and that it neither got nor was told of."""
    connection = await asyncpg.connect(postgres_url)
    found = []
    try:
        for (market, _), seen in books.trades.items():
            times = [one.trade_time for one in seen.values() if one.trade_time is not None]
            if market in books.torn or not times:
                continue
            rows = await connection.fetch(
                "SELECT venue, trade_id FROM market_data.trades"
                " WHERE market = $1 AND trade_time > $2 AND trade_time < $3",
                *(market, min(times), max(times)),
            )
            found += [f"{market} {row[0]} {row[1]}" for row in rows if (row["venue"], row["trade_id"]) not in seen]
    finally:
        await connection.close()
    return found
