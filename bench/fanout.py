"""Messages delivered, none collapsed, to 1, 100 and 1,000 streams, beside a bare grpcio server writing constant bytes.

Ours is the room's own publisher and service behind the chassis. It publishes the next price when every stream has taken
the last, so nothing is collapsed. With ten markets to a message the prices per second are shown as well.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from multiprocessing.connection import Connection

from bench import streams
from services.chassis.clock import SYSTEM
from services.chassis.server import Server, ServerConfig
from services.domain.market import Source
from services.market_data.app.demand import Demand
from services.market_data.app.engine import Engine
from services.market_data.app.view import View
from services.market_data.model.pages import Pager
from services.market_data.rpc.publisher import StreamPublisher
from services.market_data.rpc.service import MarketDataService
from services.venues.port import FeedLevel
from tests.support.feed import HYPERLIQUID_BTC, LIGHTER_BTC, top
from tests.support.venue import ScriptedVenue

SOURCES = {"hyperliquid": Source.SIMULATED, "lighter": Source.SIMULATED}
MARKETS = [f"M{number}-PERP" for number in range(10)]


def room(markets: list[str]) -> Callable[[Connection], Awaitable[None]]:
    """Return a server of the room over `markets`."""

    async def serve(pipe: Connection) -> None:
        await _serve(pipe, markets)

    return serve


async def _serve(pipe: Connection, markets: list[str]) -> None:
    """Serve the room; publish whenever every stream has taken what was published."""
    lighter = ScriptedVenue("lighter", *(replace(LIGHTER_BTC, market=name) for name in markets))
    hyper = ScriptedVenue("hyperliquid", *(replace(HYPERLIQUID_BTC, market=name) for name in markets))
    publisher = StreamPublisher(sources=SOURCES, epoch=7, clock=SYSTEM, keep_price=lambda *_: None, streams_max=10_000)
    demand = Demand(dict.fromkeys(markets, FeedLevel.PRICE), SYSTEM)
    engine = Engine(venues=[lighter, hyper], publisher=publisher, demand=demand, clock=SYSTEM)
    service = MarketDataService(
        view=View(engine, SYSTEM), demand=demand, publisher=publisher, sources=SOURCES, pager=Pager(b"x"), clock=SYSTEM
    )
    server = Server("market_data", ServerConfig(drain_grace_s=0.1, reflection=False))
    server.add("perpmesh.marketdata.v1.MarketDataService", service)
    port = await server.start()
    tasks = [
        asyncio.create_task(one)
        for one in (
            lighter.run(engine.intake.emit),
            hyper.run(engine.intake.emit),
            publisher.run(),
            drive(engine, publisher, markets),
        )
    ]
    await lighter.started.wait()
    await hyper.started.wait()
    pipe.send(port)
    await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
    for task in tasks:
        task.cancel()
    await server.stop()


async def drive(engine: Engine, publisher: StreamPublisher, markets: list[str]) -> None:
    """Move every market by one tick and publish it, each time all streams are idle."""
    price = 1_000_000
    while True:
        price = price + 1 if price < 1_100_000 else 1_000_000
        now_ns = SYSTEM.time_ns()
        for name in markets:
            for venue in SOURCES:
                engine.intake.emit(top(venue, (price, 5_000), (price + 1, 7_000), at_ns=now_ns, market=name))
        engine.round()
        hub = publisher.price_hub
        while any(one.pending for one in hub._open) or not hub._open:
            await asyncio.sleep(0 if hub._open else 0.01)


def measure(
    serve: Callable[[Connection], Awaitable[None]], streams_count: int, request: bytes, seconds: float
) -> streams.Count:
    """Return what one client process reads from one server."""
    process, pipe, address = streams.start(serve)
    try:
        return asyncio.run(streams.count_messages(address, streams_count, request, seconds=seconds))
    finally:
        streams.stop(process, pipe)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=3.0)
    options.add_argument("--streams", type=int, nargs="*", default=[1, 100, 1000])
    chosen = options.parse_args()
    one, ten = streams.watch_request(MARKETS[:1]), streams.watch_request(MARKETS, batch_size=10)
    print(f"{'streams':>8} {'server':<22} {'messages/s':>12} {'prices/s':>12} {'bytes':>7} {'ratio':>7}")
    for count in chosen.streams:
        sample = measure(room(MARKETS[:1]), 1, one, 0.5)
        size = sample.bytes // max(sample.messages, 1)
        bare = measure(streams.bare_server(b"x" * size), count, one, chosen.seconds)
        ours = measure(room(MARKETS[:1]), count, one, chosen.seconds)
        batch = measure(room(MARKETS), count, ten, chosen.seconds)
        rows = [("bare grpcio", bare, 1), ("ours", ours, 1), ("ours, 10 markets each", batch, 10)]
        for name, result, prices in rows:
            ratio = result.per_second * prices / bare.per_second
            width = result.bytes // max(result.messages, 1)
            print(
                f"{count:>8} {name:<22} {result.per_second:>12,.0f} {result.per_second * prices:>12,.0f}"
                f" {width:>7} {ratio:>7.2f}"
            )


if __name__ == "__main__":
    main()
