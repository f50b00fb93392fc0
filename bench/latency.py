"""From a venue's socket to a client: one-way latency, direct and through Envoy, beside a bare grpcio server.

The bare server writes, at the same rate, a message of the same size that carries only the time of its writing: what
gRPC alone costs. Ours is the room under the launcher's Envoy, fed by the simulator; the time is taken from the price's
own `receive_time` (when the frame was read from the venue's socket) to its arrival at the client, on one machine's
clock. The loaded lines add streams that watch 40 markets each, read by another process, and one that is never read:
paced, and unpaced, which is more than any Python server can write.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

from bench import streams
from tests.support.mesh import running_mesh

MARKET = "BTC-PERP"
PACED = ("--batch", "40", "--interval-ms", "250")
"""What a client of 40 markets would ask for: all that changed, four times a second, in one message."""


async def bare_latencies(address: str, seconds: float) -> list[float]:
    """Return the milliseconds from writing to reading, of one stream."""
    found = []
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_stream(streams.WATCH_PRICES)(b"")
        end = time.monotonic() + seconds
        async for message in call:
            found.append((time.time_ns() - struct.unpack(">Q", message[:8])[0]) / 1e6)
            if time.monotonic() > end:
                break
        call.cancel()
    return found


async def price_latencies(address: str, seconds: float) -> tuple[list[float], int]:
    """Return the milliseconds from the venue's socket to here of every newer price, and a message's size."""
    found, size = [], 0
    newest = 0
    async with grpc.aio.insecure_channel(address) as channel:
        call = channel.unary_stream(streams.WATCH_PRICES)(streams.watch_request([MARKET]))
        end = time.monotonic() + seconds
        async for raw in call:
            now_ns = time.time_ns()
            message = pb.WatchPricesResponse.FromString(raw)
            if message.WhichOneof("event") == "price":
                size = len(raw)
                received = max(one.receive_time.ToNanoseconds() for one in message.price.venues)
                if received > newest and newest:
                    found.append((now_ns - received) / 1e6)
                newest = max(newest, received)
            if time.monotonic() > end:
                break
        call.cancel()
    return found, size


@contextmanager
def loaded(address: str, count: int, markets: list[str], *more: str) -> Iterator[None]:
    """Have a process of its own read `count` streams over `markets` (`bench.load`), so that ours only measures."""
    words = [sys.executable, "-m", "bench.load", address, "--streams", str(count), "--markets", ",".join(markets)]
    words += more
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "reading"
        yield
    finally:
        process.kill()
        process.wait()


def show(name: str, values: list[float], limit: tuple[float, float] | None) -> tuple[float, float]:
    """Print p50 and p99 and their ratios to a limit's."""
    if len(values) < 2:
        print(f"{name:<36} {len(values):>7}  too few arrived in the time: the client's own core was busy")
        return 0.0, 0.0
    cuts = statistics.quantiles(values, n=100)
    p50, p99 = cuts[49], cuts[98]
    ratios = "" if limit is None else f"{p50 / limit[0]:>7.2f} {p99 / limit[1]:>7.2f}"
    print(f"{name:<36} {len(values):>7} {p50:>8.2f} {p99:>8.2f} {ratios}")
    return p50, p99


async def run(seconds: float, others: int) -> None:
    """Measure and print."""
    print(f"{'':<36} {'values':>7} {'p50 ms':>8} {'p99 ms':>8} {'x bare p50':>7} {'p99':>7}")
    async with running_mesh(mesh_tls=False, simulator_seed=3, ip_requests_per_s=100_000) as mesh:
        room, edge = mesh.address("market_data"), mesh.edge
        warm, size = await price_latencies(room, 2.0)
        rate = max(len(warm) / 2.0, 1.0)
        with streams.serving("timed", "--size", str(size), "--rate", str(rate)) as address:
            limit = show("bare grpcio, idle", await bare_latencies(address, seconds), None)
        show("ours direct, idle", (await price_latencies(room, seconds))[0], limit)
        show("ours through Envoy, idle", (await price_latencies(edge, seconds))[0], limit)
        if not others:
            return
        async with grpc.aio.insecure_channel(room) as channel:
            listed = await channel.unary_unary(
                "/perpmesh.marketdata.v1.MarketDataService/ListMarkets",
                request_serializer=pb.ListMarketsRequest.SerializeToString,
                response_deserializer=pb.ListMarketsResponse.FromString,
            )(pb.ListMarketsRequest(page_size=1000))
        markets = [one.market for one in listed.markets][:40]
        wanted = sorted({MARKET, *markets})[:40]
        for name, more in ((", 4 a second", PACED), (", all at once", ())):
            with loaded(room, others, wanted, *more):
                await asyncio.sleep(3)
                show(f"direct, {others} x 40{name}", (await price_latencies(room, seconds))[0], limit)
                show(f"via Envoy, {others} x 40{name}", (await price_latencies(edge, seconds))[0], limit)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=5.0)
    options.add_argument("--streams", type=int, default=1000)
    chosen = options.parse_args()
    asyncio.run(run(chosen.seconds, chosen.streams))


if __name__ == "__main__":
    main()
