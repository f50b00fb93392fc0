"""What a delivered message costs in CPU: two replicas beside one, 1,000 streams beside 100; and memory per stream.

A whole mesh runs with the simulator; streams of prices are read past the edge, with the edge's certificate, in messages
that are not decoded. CPU is that of the market_data processes, less what they use while nobody reads. The reader shares
the machine, so the streams of one row all run at the rate the simulator moves, and what counts is CPU, not messages. A
message costs less the more of them leave a connection at once, so every row has the same connections, spread over the
replicas, and two replicas are also compared with one that has as many streams as each of them. Rows come in rounds, and
what is told of each is of all rounds together.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass
from typing import Any

import psutil
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

from tests.support.mesh import Mesh, running_mesh

MARKETS = ("BTC-PERP", "ETH-PERP", "SOL-PERP", "HYPE-PERP", "XRP-PERP", "DOGE-PERP")
CONNECTIONS = 8
METHOD = "/perpmesh.marketdata.v1.MarketDataService/WatchPrices"


@dataclass(slots=True)
class Row:
    """What one arrangement cost."""

    messages: int
    cpu_s: float
    idle_cpu_s: float
    kib_per_stream: float

    def __add__(self, other: Row) -> Row:
        """Return two rounds of one arrangement as one."""
        return Row(
            self.messages + other.messages,
            self.cpu_s + other.cpu_s,
            self.idle_cpu_s + other.idle_cpu_s,
            max(self.kib_per_stream, other.kib_per_stream),
        )

    @property
    def us_per_message(self) -> float:
        """Microseconds of CPU of all replicas for one message, beside what they use without readers."""
        return (self.cpu_s - self.idle_cpu_s) / max(self.messages, 1) * 1e6


def processes(mesh: Mesh, replicas: list[str]) -> list[psutil.Process]:
    """Return the rooms' processes."""
    return [psutil.Process(mesh.pid(name)) for name in replicas]


def cpu(found: list[psutil.Process]) -> float:
    """Return the CPU seconds that processes have used."""
    return sum(one.cpu_times().user + one.cpu_times().system for one in found)


def rss(found: list[psutil.Process]) -> int:
    """Return the bytes that processes hold."""
    return sum(one.memory_info().rss for one in found)


async def measure(scale: int, streams: int, seconds: float) -> Row:
    """Run a mesh with `scale` replicas and read `streams` streams, spread over them."""
    async with running_mesh(simulator_seed=5, scale=scale) as mesh:
        replicas = ["market_data", *(f"market_data.{number}" for number in range(2, scale + 1))]
        await asyncio.sleep(12)  # backfills and first books are over
        found = processes(mesh, replicas)
        before = cpu(found)
        await asyncio.sleep(seconds)
        idle = cpu(found) - before
        held = rss(found)
        count = 0

        async def read(call: Any) -> None:
            nonlocal count
            async for _ in call:
                count += 1

        channels = [mesh.channel(name) for name in replicas for _ in range(CONNECTIONS // scale)]
        tasks = []
        for number in range(streams):
            request = pb.WatchPricesRequest(markets=[MARKETS[number % len(MARKETS)]]).SerializeToString()
            tasks.append(asyncio.create_task(read(channels[number % len(channels)].unary_stream(METHOD)(request))))
        await asyncio.sleep(3)
        count, before, began = 0, cpu(found), time.monotonic()
        await asyncio.sleep(seconds)
        used = (cpu(found) - before) * seconds / (time.monotonic() - began)
        row = Row(count, used, idle, (rss(found) - held) / 1024 / streams)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for channel in channels:
            await channel.close()
        return row


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    rows: dict[tuple[int, int], Row] = {}
    for _ in range(chosen.rounds):
        for case in ((1, 100), (1, 500), (1, 1000), (2, 1000)):
            row = asyncio.run(measure(*case, chosen.seconds))
            rows[case] = rows[case] + row if case in rows else row
    seconds = chosen.seconds * chosen.rounds
    print(
        f"{'replicas':>8} {'streams':>8} {'messages/s':>11} {'CPU us/message':>15} {'idle CPU':>9} {'KiB/stream':>11}"
    )
    for (scale, streams), row in rows.items():
        print(
            f"{scale:>8} {streams:>8} {row.messages / seconds:>11,.0f} {row.us_per_message:>15.1f}"
            f" {row.idle_cpu_s / seconds:>8.0%} {row.kib_per_stream:>11.1f}"
        )
    one, half, many, two = rows.values()
    print(f"1,000 streams beside 100: {many.us_per_message / one.us_per_message:.2f} (goal 1.2)")
    print(f"two replicas beside one:  {two.us_per_message / many.us_per_message:.2f} (goal 1.1)")
    print(f"two replicas beside one of as many streams each: {two.us_per_message / half.us_per_message:.2f}")
    whole = [(row.cpu_s / row.messages) for row in (many, two)]
    print(f"the same, the feed's own CPU included: {whole[1] / whole[0]:.2f}")


if __name__ == "__main__":
    main()
