"""A load of many streams from one process, and servers to aim it at; used by `fanout` and `latency`.

The client reads raw bytes, so that its own cost is the same whatever the server is.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection

import grpc
import uvloop
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

WATCH_PRICES = "/perpmesh.marketdata.v1.MarketDataService/WatchPrices"
CHANNELS_MAX = 8


@dataclass(frozen=True)
class Count:
    """What a client read in a span of time."""

    messages: int
    bytes: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Messages per second over all streams."""
        return self.messages / self.seconds


async def count_messages(address: str, streams: int, request: bytes, *, seconds: float, settle_s: float = 1.0) -> Count:
    """Open `streams` streams, and count what arrives in `seconds` after `settle_s`."""
    channels = [
        grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(min(CHANNELS_MAX, max(1, streams // 50)))
    ]
    counts = [0, 0]

    async def read(channel: grpc.aio.Channel) -> None:
        call = channel.unary_stream(WATCH_PRICES)(request)
        async for message in call:
            counts[0] += 1
            counts[1] += len(message)

    tasks = [asyncio.ensure_future(read(channels[number % len(channels)])) for number in range(streams)]
    await asyncio.sleep(settle_s)
    before, start = list(counts), time.perf_counter()
    await asyncio.sleep(seconds)
    after, spent = list(counts), time.perf_counter() - start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for channel in channels:
        await channel.close()
    return Count(after[0] - before[0], after[1] - before[1], spent)


def bare_server(payload: bytes) -> Callable[[Connection], Awaitable[None]]:
    """Return a grpcio server that writes constant bytes on every stream as fast as it can: the limit."""

    async def serve(pipe: Connection) -> None:
        async def write(_: bytes, context: grpc.aio.ServicerContext) -> None:  # type: ignore[type-arg]
            while True:
                await context.write(payload)

        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", 4096)])
        handler = grpc.unary_stream_rpc_method_handler(write, None, None)
        service, method = WATCH_PRICES[1:].split("/")
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        pipe.send(port)
        await asyncio.get_running_loop().run_in_executor(None, pipe.recv)
        await server.stop(0)

    return serve


def start(serve: Callable[[Connection], Awaitable[None]]) -> tuple[multiprocessing.Process, Connection, str]:
    """Run a server in a process of its own; return the process, its pipe (send to stop) and its address."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_run, args=(serve, theirs), daemon=True)
    process.start()
    return process, ours, f"127.0.0.1:{ours.recv()}"


def _run(serve: Callable[[Connection], Awaitable[None]], pipe: Connection) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the log of a measured server goes nowhere
    uvloop.run(serve(pipe))


def stop(process: multiprocessing.Process, pipe: Connection) -> None:
    """Stop a server."""
    pipe.send(None)
    process.join(5)
    if process.is_alive():
        process.kill()


def watch_request(markets: list[str], batch_size: int = 0) -> bytes:
    """Return a WatchPrices request."""
    return pb.WatchPricesRequest(markets=markets, batch_size=batch_size).SerializeToString()
