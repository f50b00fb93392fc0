"""What an honest client feels while the edge is attacked: `python -m bench.attacks`.

The same call through the edge, a hundred times a second, quiet and then under each attack in turn; the goal is that
its p99 stays within twice the quiet value. The attacker runs on this machine as well, at a lower priority, so that part
of what is measured is the machine being busy: the line `busy machine` is the same call beside a process that only
counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc

from tests.support.attacks import ATTACKS
from tests.support.edge import running_edge

ROOT = Path(__file__).resolve().parents[1]
PERIOD_S = 0.01
GOAL = 2.0
"""How many times its quiet value the p99 may be."""
BUSY = "import os, time\nos.nice(5)\nend = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"


class Honest:
    """A client that makes one call after another, at its own pace."""

    def __init__(self, address: str, request: Any) -> None:
        """Prepare; `request` is what GetPrice takes."""
        self.failed = 0
        self.why = ""
        self._raw = request.SerializeToString()
        self._channel = grpc.aio.insecure_channel(address)
        self._took: list[float] = []
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
            self._took.append(time.perf_counter() - began)
            await asyncio.sleep(PERIOD_S)

    @property
    def answered(self) -> int:
        """How many calls there were."""
        return len(self._took)

    @property
    def p99_s(self) -> float:
        """The 99th percentile of how long a call took, in seconds."""
        return sorted(self._took)[max(0, len(self._took) * 99 // 100 - 1)]

    def __str__(self) -> str:
        """Return the figures in words."""
        return f"p99 {self.p99_s * 1e3:.1f} ms over {self.answered} calls, {self.failed} failed {self.why}"


async def measure(seconds: float) -> None:
    """Print a line for each attack."""
    with tempfile.TemporaryDirectory() as folder:
        async with running_edge(Path(folder), ip_requests_per_s=1_000_000) as edge:
            request = edge.room.message("perpmesh.marketdata.v1.GetPriceRequest")(market="BTC-PERP")

            async def beside(*command: str) -> tuple[Honest, str]:
                process = await asyncio.create_subprocess_exec(sys.executable, *command, cwd=ROOT, stdout=-1)
                async with Honest(edge.address, request) as honest:
                    running = asyncio.create_task(honest.call_until_stopped())
                    out, _ = await process.communicate()
                    honest.stop()
                    await running
                return honest, out.decode().strip()

            quiet, _ = await beside("-c", f"import time; time.sleep({seconds})")
            print(f"{'':<16} {'p99, ms':>8} {'beside quiet':>13} (goal {GOAL:g})")
            print(f"{'quiet':<16} {quiet.p99_s * 1e3:>8.1f}")
            busy, _ = await beside("-c", BUSY.format(seconds=seconds))
            print(f"{'busy machine':<16} {busy.p99_s * 1e3:>8.1f} {busy.p99_s / quiet.p99_s:>13.1f}")
            for name in ATTACKS:
                honest, said = await beside("-m", "tests.support.attacks", name, edge.address, str(seconds))
                share = honest.p99_s / quiet.p99_s
                print(
                    f"{name:<16} {honest.p99_s * 1e3:>8.1f} {share:>13.1f}   {json.loads(said)}, failed {honest.failed}"
                )


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=float, default=12.0)
    asyncio.run(measure(options.parse_args().seconds))


if __name__ == "__main__":
    main()
