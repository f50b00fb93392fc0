"""Resident memory of the market data room: per market fed with its book, and per idle and busy stream.

The room's process is measured by the operating system; differences are divided by what was added.
"""

from __future__ import annotations

import argparse
import asyncio

import grpc
import psutil
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

from bench import streams
from tests.support.mesh import running_mesh

WATCH_BOOK = "/perpmesh.marketdata.v1.MarketDataService/WatchOrderBook"


def resident(pid: int) -> float:
    """Return the resident memory of a process in KiB."""
    return psutil.Process(pid).memory_info().rss / 1024


async def hold(address: str, path: str, requests: list[bytes], *, read: bool) -> list[asyncio.Task[None]]:
    """Open a stream per request; read them all, or only their first message."""
    channels = [grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) for _ in range(8)]
    opened = asyncio.Semaphore(0)

    async def one(channel: grpc.aio.Channel, request: bytes) -> None:
        call = channel.unary_stream(path)(request)
        await call.read()
        opened.release()
        while read:
            await call.read()
        await asyncio.Event().wait()

    tasks = [asyncio.ensure_future(one(channels[n % 8], request)) for n, request in enumerate(requests)]
    for _ in requests:
        await opened.acquire()
    await asyncio.sleep(2)
    return tasks


async def drop(tasks: list[asyncio.Task[None]]) -> None:
    """Close the streams."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(1)


async def run(count: int) -> None:
    """Measure and print."""
    async with running_mesh(mesh_tls=False, simulator_seed=3, markets="BTC-PERP", ip_requests_per_s=100_000) as mesh:
        room, pid = mesh.address("market_data"), mesh.pid("market_data")
        async with grpc.aio.insecure_channel(room) as channel:
            listed = await channel.unary_unary(
                "/perpmesh.marketdata.v1.MarketDataService/ListMarkets",
                request_serializer=pb.ListMarketsRequest.SerializeToString,
                response_deserializer=pb.ListMarketsResponse.FromString,
            )(pb.ListMarketsRequest(page_size=1000))
        names = [one.market for one in listed.markets if len(one.listings) == 2][:30]
        await asyncio.sleep(3)
        print(f"{'':<34} {'KiB each':>9} {'count':>6} {'room MiB':>9}")
        before = resident(pid)
        books = [pb.WatchOrderBookRequest(market=name, depth=500).SerializeToString() for name in names]
        tasks = await hold(room, WATCH_BOOK, books, read=True)
        after = resident(pid)
        each = (after - before) / len(names)
        print(f"{'market with both books, watched':<34} {each:>9.0f} {len(names):>6} {after / 1024:>9.0f}")
        for label, request, read in (
            ("stream of one quiet market", streams.watch_request([names[-1]]), True),
            ("stream of 30 moving markets", streams.watch_request(names), True),
            ("stream of 30, never read", streams.watch_request(names), False),
        ):
            before = resident(pid)
            held = await hold(room, streams.WATCH_PRICES, [request] * count, read=read)
            after = resident(pid)
            print(f"{label:<34} {(after - before) / count:>9.1f} {count:>6} {after / 1024:>9.0f}")
            await drop(held)
        await drop(tasks)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--streams", type=int, default=500)
    asyncio.run(run(options.parse_args().streams))


if __name__ == "__main__":
    main()
