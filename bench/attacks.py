"""What an honest client feels while the edge is attacked: `python -m bench.attacks`.

The same call through the edge, a hundred times a second, quiet and then under each attack in turn, round after round,
so that whatever else the machine does meets all of them alike; the goal is that its p99 over all rounds stays within
twice the quiet value. The attacker comes from an address of its own. It runs on this machine as well, in the time that
nobody else wants, as if it had a machine of its own: otherwise its time slices are measured, three to four milliseconds
each. The line `busy machine` is the same call beside a process that counts in such time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from perpmesh.marketdata.v1.market_data_service_pb2 import GetPriceRequest
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceStub

from tests.support.attacks import ATTACKS
from tests.support.edge import running_edge
from tests.support.mesh import running_mesh

ROOT = Path(__file__).resolve().parents[1]
PERIOD_S = 0.01
GOAL = 2.0
"""How many times its quiet value the p99 may be."""
BUSY = (
    "import os, time\nos.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))\n"
    "end = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"
)


def p99(took: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(took)[max(0, len(took) * 99 // 100 - 1)]


class Honest:
    """A client that makes one call after another, at its own pace."""

    def __init__(self, address: str, request: Any) -> None:
        """Prepare; `request` is what GetPrice takes."""
        self.failed = 0
        self.why = ""
        self._raw = request.SerializeToString()
        self._channel = grpc.aio.insecure_channel(address)
        self.took: list[float] = []
        self._stopped = asyncio.Event()

    async def __aenter__(self) -> Honest:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self._channel.close()

    def stop(self) -> None:
        """End after the call under way."""
        self._stopped.set()

    async def call_until_stopped(self) -> None:
        """Call, and remember how long each took."""
        call = self._channel.unary_unary("/perpmesh.marketdata.v1.MarketDataService/GetPrice")
        while not self._stopped.is_set():
            began = time.perf_counter()
            try:
                await call(self._raw, timeout=10)
            except grpc.aio.AioRpcError as error:
                self.failed += 1
                self.why = f"{error.code().name}: {error.details()}"
            self.took.append(time.perf_counter() - began)
            await asyncio.sleep(PERIOD_S)

    @property
    def answered(self) -> int:
        """How many calls there were."""
        return len(self.took)

    @property
    def p99_s(self) -> float:
        """The 99th percentile of how long a call took, in seconds."""
        return p99(self.took)

    def __str__(self) -> str:
        """Return the figures in words."""
        return f"p99 {self.p99_s * 1e3:.1f} ms over {self.answered} calls, {self.failed} failed {self.why}"


async def measure(seconds: float, rounds: int, names: list[str]) -> None:
    """Print a line for each attack; a flood of sign-ins meets a whole mesh, the others the edge before a small room."""
    found = {
        "quiet": ("-c", f"import time; time.sleep({seconds})"),
        "busy machine": ("-c", BUSY.format(seconds=seconds)),
    }
    attacks = {name: ("-m", "tests.support.attacks", name, "", str(seconds), "leftover") for name in names}
    inner = {name: command for name, command in attacks.items() if name != "sign_ins"}
    print(f"{'':<16} {'calls':>6} {'p99, ms':>8} {'beside quiet':>13} (goal {GOAL:g})")
    if inner:
        with tempfile.TemporaryDirectory() as folder:
            async with running_edge(Path(folder)) as edge:
                await in_rounds(edge.address, rounds, found | inner)
    if "sign_ins" in attacks:
        async with running_mesh() as mesh:
            async with grpc.aio.insecure_channel(mesh.edge) as channel, asyncio.timeout(60):
                market = MarketDataServiceStub(channel)
                while await market.GetPrice(GetPriceRequest(market="BTC-PERP")).code() is not grpc.StatusCode.OK:
                    await asyncio.sleep(0.2)
            await in_rounds(mesh.edge, rounds, {"quiet mesh": found["quiet"], "sign_ins": attacks["sign_ins"]})


async def in_rounds(address: str, rounds: int, commands: dict[str, tuple[str, ...]]) -> None:
    """Make honest calls beside each command in turn, and print how long they took; the first is the yardstick."""
    took: dict[str, list[float]] = {name: [] for name in commands}
    seen: dict[str, Counter[str]] = {name: Counter() for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            arguments = [part or address for part in command]
            process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdout=-1)
            async with Honest(address, GetPriceRequest(market="BTC-PERP")) as honest:
                running = asyncio.create_task(honest.call_until_stopped())
                out, _ = await process.communicate()
                honest.stop()
                await running
            took[name] += honest.took
            seen[name].update(json.loads(out or "{}"))
            seen[name]["failed"] += honest.failed
    quiet = p99(next(iter(took.values())))
    for name, times in took.items():
        print(f"{name:<16} {len(times):>6} {p99(times) * 1e3:>8.1f} {p99(times) / quiet:>13.1f}   {dict(seen[name])}")


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=4.0, help="of each attack in a round")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--attacks", nargs="*", choices=ATTACKS, default=list(ATTACKS))
    given = options.parse_args()
    asyncio.run(measure(given.seconds, given.rounds, given.attacks))


if __name__ == "__main__":
    main()
