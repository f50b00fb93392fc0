"""What a quote costs: the solver alone, and QuoteRoute beside an empty unary call of the same server.

python -m bench.routing                  the solver, then the room with its database
python -m bench.routing --only solver
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import grpc
import psutil
from perpmesh.routing.v1 import routing_service_pb2 as pb
from perpmesh.type.v1 import side_pb2

from bench.serve_routing import MARKET
from services.chassis.migrate import folder_of, migrate, read_migrations
from services.chassis.postgres import connect
from services.routing.model.curve import Curve
from services.routing.model.solver import split
from tests.support.echo import SERVICE, SayRequest
from tests.support.postgres import postgres

QUOTE_ROUTE = "/perpmesh.routing.v1.RoutingService/QuoteRoute"
SAY = f"/{SERVICE}/Say"
SHAPES = ((2, 20), (2, 500), (5, 100))
INSTANCES = 400
GOAL_US = 30.0
GOAL_RATE = 0.4
PARALLEL = 16
WHOLE = 600
"""Net prices are multiples of it, so that a lot of 1, 10 or 100 that straddles levels has a whole mean."""
SLOW_WORDS = "the load of the machine was {:.1f}"


def book(chance: random.Random, levels: int) -> list[tuple[int, int]]:
    """Return (net price, units) of one venue's side."""
    price, rows = 1_000_000 + chance.randint(0, 300), []
    for _ in range(levels):
        rows.append((price * WHOLE, chance.randint(1, 4_000) * 100))
        price += chance.randint(1, 30)
    return rows


def curve(rows: list[tuple[int, int]], lot: int) -> Curve:
    """Return a book as the solver takes it."""
    return Curve.of(rows, lot=lot, smallest=lot, largest=sum(units for _, units in rows))


def solver() -> None:
    """Print how long a split takes over books as integers, for sizes up to half of what they hold."""
    print(f"{'venues x levels':<16} {'lots':<12} {'split, us: p50':>15} {'p99':>8} {'with curves: p50':>17} {'p99':>8}")
    for venues, levels in SHAPES:
        for lots in ((1,), (1, 100) if venues == 2 else (1, 10, 100)):
            chance = random.Random(f"{venues} {levels} {lots}")
            alone, whole = [], []
            for _ in range(INSTANCES // (1 if venues == 2 else 4)):
                books = [(book(chance, levels), lots[at % len(lots)]) for at in range(venues)]
                held = sum(units for rows, _ in books for _, units in rows)
                size = chance.randint(1, held // 200) * 100
                times = []
                for _ in range(3):  # the least of three: what the machine did meanwhile is not the solver's
                    begun = time.perf_counter_ns()
                    curves = [curve(rows, lot) for rows, lot in books]
                    made = time.perf_counter_ns()
                    found = split(curves, size)
                    done = time.perf_counter_ns()
                    assert found is not None
                    times.append((done - made, done - begun))
                alone.append(min(one for one, _ in times) / 1e3)
                whole.append(min(one for _, one in times) / 1e3)
            told = [percentile(values, at) for values in (alone, whole) for at in (50, 99)]
            name = "equal" if len(lots) == 1 else " ".join(map(str, lots))
            shape = f"{venues} x {levels}"
            print(f"{shape:<16} {name:<12} {told[0]:>15.1f} {told[1]:>8.1f} {told[2]:>17.1f} {told[3]:>8.1f}")
    print(f"goal: under {GOAL_US:g} us for 2 x 20")


def percentile(values: list[float], at: int) -> float:
    """Return a percentile of values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * at // 100)]


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[str, psutil.Process]]:
    """Run `python -m bench.serve_routing` beside this process; give its address and itself, and end it."""
    command = [sys.executable, "-m", "bench.serve_routing", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}", psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


async def rate(
    address: str, server: psutil.Process, method: str, request: Callable[[int], bytes], seconds: float
) -> tuple[float, float]:
    """Return (calls a second, microseconds of the server's CPU a call), `PARALLEL` calls at a time."""
    async with grpc.aio.insecure_channel(address) as channel:
        call, counts = channel.unary_unary(method), [0]

        async def some(until: float) -> None:
            while time.perf_counter() < until:
                counts[0] += 1
                await call(request(counts[0]))

        await asyncio.gather(*(some(time.perf_counter() + seconds / 4) for _ in range(PARALLEL)))
        counts[0] = 0
        before, begun = sum(server.cpu_times()[:2]), time.perf_counter()
        await asyncio.gather(*(some(begun + seconds) for _ in range(PARALLEL)))
        spent, used = time.perf_counter() - begun, sum(server.cpu_times()[:2]) - before
    return counts[0] / spent, used / counts[0] * 1e6


def wishes(*, same: bool, inputs: bool = False) -> Callable[[int], bytes]:
    """Return what makes the n-th request: always one wish, or another one each time."""

    numbers = count(1)

    def wish(_: int) -> bytes:
        size = 150_000 if same else 20_000 + next(numbers) * 7_919 % 400_000
        return pb.QuoteRouteRequest(
            market=MARKET, side=side_pb2.SIDE_BUY, size=f"{size / 1e5:.5f}", include_inputs=inputs
        ).SerializeToString()

    return wish


async def room(seconds: float, rounds: int) -> None:
    """Print the rates, in turns, so that the machine's moods fall on all."""
    empty = SayRequest().SerializeToString()
    with postgres() as database:
        connection = await connect(database.url())
        await connection.execute("CREATE SCHEMA routing; SET search_path = routing")
        await migrate(connection, "routing", read_migrations(folder_of("routing")))
        await connection.close()
        rows: dict[str, tuple[str, Callable[[int], bytes], str]] = {
            "an empty call": (SAY, lambda _: empty, "0"),
            "QuoteRoute, another wish each time": (QUOTE_ROUTE, wishes(same=False), "0"),
            "the same, with inputs in the answer": (QUOTE_ROUTE, wishes(same=False, inputs=True), "0"),
            "the same wish again, books at rest": (QUOTE_ROUTE, wishes(same=True), "0"),
            "the same wish, books move 20 times a second": (QUOTE_ROUTE, wishes(same=True), "20"),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in rows}
        with serving(database.url()) as still, serving(database.url(), "--moves", "20") as moving:
            for _ in range(rounds):
                for name, (method, request, moves) in rows.items():
                    found[name].append(await rate(*(moving if moves != "0" else still), method, request, seconds))
    print(f"\n{'':<46} {'calls/s':>9} {'ratio':>6} {'server CPU, us':>15} {'ratio':>6}")
    base = [median([one[at] for one in found["an empty call"]]) for at in (0, 1)]
    for name, values in found.items():
        per_second, cpu = (median([one[at] for one in values]) for at in (0, 1))
        print(f"{name:<46} {per_second:>9,.0f} {per_second / base[0]:>6.2f} {cpu:>15.0f} {base[1] / cpu:>6.2f}")
    print(f"goal: at least {GOAL_RATE:g} of the empty call's rate; {SLOW_WORDS.format(os.getloadavg()[0])}")


def median(values: list[float]) -> float:
    """Return the middle value."""
    return sorted(values)[len(values) // 2]


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", choices=("solver", "room"))
    options.add_argument("--seconds", type=float, default=2.0)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    if chosen.only != "room":
        solver()
    if chosen.only != "solver":
        asyncio.run(room(chosen.seconds, chosen.rounds))


if __name__ == "__main__":
    main()
