"""A load of many streams from one process, and the start of the server it is aimed at (`bench.serve`).

The client reads raw bytes, so that its own cost is the same whatever the server is.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
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


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """Run `python -m bench.serve ...` beside this process; give its address, and end it."""
    process = subprocess.Popen([sys.executable, "-m", "bench.serve", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


def watch_request(markets: list[str], batch_size: int = 0, *, interval_ms: int = 0) -> bytes:
    """Return a WatchPrices request."""
    request = pb.WatchPricesRequest(markets=markets, batch_size=batch_size)
    if interval_ms:
        request.min_interval.FromMilliseconds(interval_ms)
    return request.SerializeToString()
