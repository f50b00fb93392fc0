"""Servers to be measured, each a process of its own: `python -m bench.serve bare|timed|room ...` prints its port.

* `bare`: a grpcio server that writes constant bytes on every stream as fast as it can. The limit.
* `timed`: a grpcio server that writes, at a rate, a message that carries the time of its writing. The limit of latency.
* `room`: the market data room's publisher and service behind the chassis, fed without sockets; it publishes the next
  price as soon as no stream has more than a few waiting, so that nothing is collapsed; were anything, it would end.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import struct
import sys
import time
from dataclasses import replace
from typing import cast

import grpc
import uvloop

from bench.streams import WATCH_PRICES
from services.chassis.clock import SYSTEM
from services.chassis.server import Server, ServerConfig
from services.chassis.watch.latest import QUEUE_MAX
from services.domain.market import Source
from services.domain.pages import Pager
from services.market_data.app.demand import Demand
from services.market_data.app.engine import Engine
from services.market_data.app.view import View
from services.market_data.rpc.history_calls import HistoryCalls
from services.market_data.rpc.publisher import StreamPublisher
from services.market_data.rpc.service import MarketDataService
from services.venues.port import FeedLevel
from tests.support.feed import HYPERLIQUID_BTC, LIGHTER_BTC, top
from tests.support.venue import ScriptedVenue

FEW_STREAMS = 8
IDLE_S = 0.001
SOURCES = {"hyperliquid": Source.SIMULATED, "lighter": Source.SIMULATED}


async def bare(size: int, per_second: float) -> None:
    """Write constant bytes, or with a rate the time of writing, on every stream."""
    filler = b"x" * size

    async def constant(_: bytes, context: grpc.aio.ServicerContext) -> None:  # type: ignore[type-arg]
        while True:
            await context.write(filler)

    async def timed(_: bytes, context: grpc.aio.ServicerContext) -> None:  # type: ignore[type-arg]
        while True:
            await asyncio.sleep(1 / per_second)
            await context.write(struct.pack(">Q", time.time_ns()) + filler[8:])

    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", 4096)])
    handler = grpc.unary_stream_rpc_method_handler(timed if per_second else constant, None, None)
    service, method = WATCH_PRICES[1:].split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    announce(port)
    await asyncio.Event().wait()


async def room(markets: list[str]) -> None:
    """Serve the room; publish whenever every stream has taken what was published."""
    lighter = ScriptedVenue("lighter", *(replace(LIGHTER_BTC, market=name) for name in markets))
    hyper = ScriptedVenue("hyperliquid", *(replace(HYPERLIQUID_BTC, market=name) for name in markets))
    publisher = StreamPublisher(sources=SOURCES, epoch=7, clock=SYSTEM, keep_price=lambda *_: None, streams_max=10_000)
    demand = Demand(dict.fromkeys(markets, FeedLevel.PRICE), SYSTEM)
    engine = Engine(venues=[lighter, hyper], publisher=publisher, demand=demand, clock=SYSTEM)
    service = MarketDataService(
        view=View(engine, SYSTEM),
        demand=demand,
        publisher=publisher,
        sources=SOURCES,
        pager=Pager(b"x"),
        clock=SYSTEM,
        history=cast("HistoryCalls", None),  # no past is asked for here
    )
    server = Server("market_data", ServerConfig(drain_grace_s=0.1, reflection=False))
    server.add("perpmesh.marketdata.v1.MarketDataService", service)
    port = await server.start()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(lighter.run(engine.intake.emit))
        tasks.create_task(hyper.run(engine.intake.emit))
        tasks.create_task(publisher.run())
        await lighter.started.wait()
        await hyper.started.wait()
        tasks.create_task(drive(engine, publisher, markets))
        announce(port)


async def drive(engine: Engine, publisher: StreamPublisher, markets: list[str]) -> None:
    """Move every market by one tick and publish it, as soon as all streams have room for it.

    Each stream is looked at once a publication, and waiting costs few turns of the loop: a driver that asks at every
    turn whether anybody is behind took 40 % of this process from what it measures.
    """
    price = 1_000_000
    hub = publisher.price_hub
    while True:
        price = price + 1 if price < 1_100_000 else 1_000_000
        now_ns = SYSTEM.time_ns()
        for name in markets:
            for venue in SOURCES:
                engine.intake.emit(top(venue, (price, 5_000), (price + 1, 7_000), at_ns=now_ns, market=name))
        engine.round()
        while not hub._open:
            await asyncio.sleep(0.01)
        pause_s = IDLE_S if len(hub._open) > FEW_STREAMS else 0.0
        for one in list(hub._open):
            while len(one.pending) + len(markets) > QUEUE_MAX:  # beyond, older values would give way
                await asyncio.sleep(pause_s)
            assert not one.lost, "a stream was read too slowly: what was measured is not every message"


def announce(port: int) -> None:
    """Tell the port to whoever started this, and be silent from now on."""
    print(port, flush=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def main() -> None:
    """Serve until killed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("kind", choices=("bare", "timed", "room"))
    options.add_argument("--size", type=int, default=300)
    options.add_argument("--rate", type=float, default=0.0)
    options.add_argument("--markets", type=int, default=1)
    chosen = options.parse_args()
    if chosen.kind == "room":
        uvloop.run(room([f"M{number}-PERP" for number in range(chosen.markets)]))
    else:
        uvloop.run(bare(chosen.size, chosen.rate if chosen.kind == "timed" else 0.0))


if __name__ == "__main__":
    main()
