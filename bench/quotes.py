"""Streams of quotes over a moving market: how far from their cadence frames come, and what they cost and hold.

A whole mesh runs with the simulator; WatchQuote streams at the fastest cadence are read through the edge, in messages
that are not decoded. Every stream asks for another size, or all for one. A frame is due one interval after the one
before it, and the market moves all the time, so that the gap between two frames less the interval is how late it is.

python -m bench.quotes --streams 200 --seconds 20
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time

import grpc
import psutil
from perpmesh.routing.v1 import routing_service_pb2 as pb
from perpmesh.type.v1 import side_pb2
from perpmesh_client.quotes import Quotes

from tests.support.mesh import Mesh, running_mesh

WATCH_QUOTE = "/perpmesh.routing.v1.RoutingService/WatchQuote"
INTERVAL_S = 0.1
GOAL_MS = 50.0
CHANNELS = 4
SETTLE_S = 4.0
"""Frames live for three seconds and are remembered so long: what they hold is full after that."""


class Reader:
    """Reads streams and notes the gaps between their frames."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self.counting = False

    async def read(self, channel: grpc.aio.Channel, request: bytes) -> None:
        """Read one stream until canceled."""
        last = 0.0
        async for message in channel.unary_stream(WATCH_QUOTE)(request):
            if len(message) < 200:  # a heartbeat, or the mark that what follows is live
                continue
            now = time.perf_counter()
            if self.counting and last:
                self.gaps.append(now - last)
            last = now


def wish(number: int, *, same: bool) -> bytes:
    """Return the request of the n-th stream."""
    size = "1.5" if same else f"{0.05 + number * 0.01:.2f}"
    route = pb.QuoteRouteRequest(market="BTC-PERP", side=side_pb2.SIDE_BUY, size=size)
    return pb.WatchQuoteRequest(route=route).SerializeToString()


async def measure(mesh: Mesh, streams: int, seconds: float, *, same: bool) -> None:
    """Print a row."""
    process, reader = psutil.Process(mesh.pid("routing")), Reader()
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(mesh.edge, options=options) for _ in range(CHANNELS)]
    tasks = []
    for number in range(streams):
        tasks.append(asyncio.create_task(reader.read(channels[number % CHANNELS], wish(number, same=same))))
        await asyncio.sleep(INTERVAL_S / streams)  # as clients come: not all at one moment
    await asyncio.sleep(SETTLE_S)
    held, used, begun = process.memory_info().rss, sum(process.cpu_times()[:2]), time.perf_counter()
    reader.counting = True
    await asyncio.sleep(seconds)
    reader.counting = False
    spent, used = time.perf_counter() - begun, sum(process.cpu_times()[:2]) - used
    grown = process.memory_info().rss - held
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for channel in channels:
        await channel.close()
    late = sorted((gap - INTERVAL_S) * 1e3 for gap in reader.gaps)
    at = [late[min(len(late) - 1, len(late) * share // 1000)] for share in (500, 990, 999)]
    print(
        f"{streams:>7} {'one' if same else 'each its own':<13} {len(late) / spent:>9,.0f} {at[0]:>8.1f} {at[1]:>8.1f} "
        f"{at[2]:>8.1f} {used / spent * 100:>9.0f} {grown / 1024:>10,.0f} {held / 2**20:>9.0f}"
    )


async def run(streams: list[int], seconds: float) -> None:
    """Print the table."""
    async with running_mesh(simulator_seed=5, ip_requests_per_s=100_000) as mesh:
        async with Quotes(mesh.edge) as quotes, asyncio.timeout(60):
            while len((await quotes.quote("BTC-PERP", "buy", "1")).book_versions) < 2:
                await asyncio.sleep(0.2)
        await asyncio.sleep(8)  # backfills are over
        print(
            f"{'streams':>7} {'wish':<13} {'frames/s':>9} {'late p50':>8} {'p99':>8} {'p99.9':>8} {'CPU, %':>9} "
            f"{'grown, KiB':>10} {'RSS, MiB':>9}"
        )
        for count in streams:
            await measure(mesh, count, seconds, same=True)
            await measure(mesh, count, seconds, same=False)
    print(f"late in ms, goal: p99 within {GOAL_MS:g}; the load of the machine was {os.getloadavg()[0]:.1f}")


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--streams", type=int, nargs="*", default=[20, 200])
    options.add_argument("--seconds", type=float, default=15.0)
    chosen = options.parse_args()
    asyncio.run(run(chosen.streams, chosen.seconds))


if __name__ == "__main__":
    main()
