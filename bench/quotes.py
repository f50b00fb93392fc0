"""Streams of quotes over a moving market: how late frames come, and what they cost and hold.

A whole mesh runs with the simulator; WatchQuote streams at the fastest cadence are read through the edge by
`bench.quote_reader`, a process of its own. Every stream asks for another size, or all for one. A frame is due one
interval after the one before it, or, where the book stood still for longer, when the book changed: then the feed was
short of time and not the quotes. Both are told, and what all else on the machine took.

python -m bench.quotes --streams 200 --seconds 20
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from typing import Any

import psutil
from perpmesh_client.quotes import Quotes

from tests.support.mesh import Mesh, running_mesh

GOAL_MS = 50.0
READER_S = 120.0
"""How much longer than it measures a reader may take on a busy machine."""


def busy_s() -> float:
    """Return the seconds of processor time that the machine has used."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait)


async def read(mesh: Mesh, streams: int, seconds: float, *, same: bool) -> dict[str, Any]:
    """Read streams for a time; return what the reader tells, and what the parts of the mesh used."""
    command = [sys.executable, "-m", "bench.quote_reader", mesh.edge, "--streams", str(streams), "--seconds"]
    reader = await asyncio.create_subprocess_exec(
        *command, str(seconds), *(["--same"] if same else []), stdout=asyncio.subprocess.PIPE
    )
    assert reader.stdout is not None
    parts = {name: psutil.Process(one["pid"]) for name, one in mesh.about["processes"].items()}
    async with asyncio.timeout(seconds + READER_S):
        assert await reader.stdout.readline() == b"settled\n", "the reader could not open its streams"
        began_s, all_s, held = time.perf_counter(), busy_s(), parts["routing"].memory_info().rss
        used_s = {name: sum(part.cpu_times()[:2]) for name, part in parts.items()}
        await reader.stdout.readline()
        spent_s, all_s = time.perf_counter() - began_s, busy_s() - all_s
        used = {name: (sum(part.cpu_times()[:2]) - used_s[name]) / spent_s for name, part in parts.items()}
        grown = parts["routing"].memory_info().rss - held
        told: dict[str, Any] = json.loads(await reader.stdout.readline())
        await reader.wait()
    ours = sum(used.values()) + told["cpu"]
    return told | {"used": used, "foreign": all_s / spent_s - ours, "held": held, "grown": grown}


async def run(streams: list[int], seconds: float) -> None:
    """Print the table."""
    async with running_mesh(simulator_seed=5, ip_requests_per_s=100_000) as mesh:
        async with Quotes(mesh.edge) as quotes, asyncio.timeout(60):
            while len((await quotes.quote("BTC-PERP", "buy", "1")).book_versions) < 2:
                await asyncio.sleep(0.2)
        await asyncio.sleep(8)  # backfills are over
        print(
            f"{'streams':>7} {'wish':<12} {'frames/s':>8} {'late p50':>8} {'p99':>6} {'p99.9':>6} {'gap p99':>8} "
            f"{'book p99':>8} {'routing':>8} {'edge':>5} {'reader':>6} {'others':>6} {'grown KiB':>9} {'RSS MiB':>7}"
        )
        for count in streams:
            for same in (True, False):
                told = await read(mesh, count, seconds, same=same)
                (late, _, late_99, late_999), (_, gap), (_, book) = told["late_ms"], told["gap_ms"], told["book_gap_ms"]
                used = told["used"]
                print(
                    f"{count:>7} {'one' if same else 'each its own':<12} {told['frames_per_s']:>8,.0f} "
                    f"{late:>8.1f} {late_99:>6.1f} {late_999:>6.1f} {gap:>8.1f} {book:>8.1f} "
                    f"{used['routing']:>8.0%} {used['envoy']:>5.0%} {told['cpu']:>6.0%} {told['foreign']:>6.0%} "
                    f"{told['grown'] / 1024:>9,.0f} {told['held'] / 2**20:>7.0f}"
                )
                if told["ended"] or told["silent"]:
                    print(f"        {told['ended']} streams ended, {told['silent']} came to nothing")
    print(
        f"ms; goal: p99 late within {GOAL_MS:g}. gap and book: between two frames, between two changes of the book. "
        f"CPU in parts of a core; others: what is neither mesh nor reader; load {os.getloadavg()[0]:.1f}"
    )


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--streams", type=int, nargs="*", default=[200])
    options.add_argument("--seconds", type=float, default=15.0)
    chosen = options.parse_args()
    asyncio.run(run(chosen.streams, chosen.seconds))


if __name__ == "__main__":
    main()
