"""A simulator as a real process, for tests: `async with running_simulator(seed=7) as venue: ...`.

The process is started with ports chosen by the system, awaited through its run file, and stopped with SIGTERM. Options
are the fields of `services.simulator.config.Config`, such as `seed`, `start_ms`, `frozen`, `recording`,
`recording_speed`, `lighter_requests_max`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from services.simulator.config import Config

ROOT = Path(__file__).resolve().parents[2]
READY_S = 90.0
STOP_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """A running simulator: where its faces listen, and its control calls."""

    hyperliquid_http: str
    hyperliquid_ws: str
    lighter_http: str
    lighter_ws: str
    control_http: str
    pid: int
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: object = None, **query: str) -> Any:
        """Make a control call such as ("GET", "state"); raise AssertionError with the lesson when it is refused."""
        url = f"{self.control_http}/control/{path}"
        async with self.session.request(method, url, json=body, params=query) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return answer

    async def state(self) -> Any:
        """Return addresses, sources, connections and totals."""
        return await self.call("GET", "state")

    async def fault(self, kind: str, **rule: object) -> int:
        """Put one fault in force (`venue`, `channel`, `market`, `probability`, `count`, `duration_s`, `params`)."""
        return int((await self.call("POST", "faults", {"kind": kind, **rule}))["rules"][0]["id"])

    async def clear_faults(self) -> None:
        """End all faults."""
        await self.call("DELETE", "faults")

    async def faults(self) -> Any:
        """Return the rules in force, counts by kind, and what was injected."""
        return await self.call("GET", "faults")

    async def source(self, kind: str, **spec: object) -> Any:
        """Change the source: synthetic, recording or script."""
        return await self.call("POST", "source", {"kind": kind, **spec})

    async def freeze(self) -> None:
        """Let the market stand still; clients soon hold what is true."""
        await self.call("POST", "clock", {"frozen": True})

    async def thaw(self) -> None:
        """Let the market go on."""
        await self.call("POST", "clock", {"frozen": False})

    async def step(self, milliseconds: int) -> None:
        """Move a frozen market forward."""
        await self.call("POST", "clock", {"step_ms": milliseconds})

    async def book(self, venue: str, market: str) -> Any:
        """Return the true book now: bids and asks as [price, size] texts, best first."""
        return await self.call("GET", "book", venue=venue, market=market)

    async def fund(self, venue: str, address: str, usdc: str, **more: object) -> Any:
        """Make an account if it is new and give it money; `more` is what POST /control/accounts takes besides."""
        return await self.call("POST", "accounts", {"venue": venue, "address": address, "usdc": usdc, **more})

    async def journal(self, venue: str, **query: str) -> Any:
        """Return the witness: what the private face received, answered, accepted, filled."""
        return await self.call("GET", "accounts/journal", venue=venue, **query)

    async def sums(self) -> Any:
        """Return both exchanges' sums; `money` and `sizes` of each audit must be zero and empty."""
        return await self.call("GET", "exchange")

    async def ledger(self, **query: str) -> Any:
        """Return what was sent."""
        return await self.call("GET", "ledger", **query)


@asynccontextmanager
async def running_simulator(**options: object) -> AsyncIterator[Simulator]:
    """Start a simulator, yield it once it is ready, stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="perpmesh-sim-") as folder:
        run_file = Path(folder) / "simulator.json"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "services.simulator",
            env=_environment(options, run_file),
            cwd=ROOT,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            told = await _addresses(process, run_file)
            drain = asyncio.create_task(_drain(process))
            async with aiohttp.ClientSession() as session:
                yield Simulator(
                    hyperliquid_http=told["hyperliquid"]["http"],
                    hyperliquid_ws=told["hyperliquid"]["ws"],
                    lighter_http=told["lighter"]["http"],
                    lighter_ws=told["lighter"]["ws"],
                    control_http=told["control"]["http"],
                    pid=process.pid,
                    session=session,
                )
        finally:
            if process.returncode is None:
                process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), STOP_S)
                except TimeoutError:
                    process.kill()
                    await process.wait()
        await drain


def _environment(options: dict[str, object], run_file: Path) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PERPMESH_")}
    environment["PERPMESH_RUN_FILE"] = str(run_file)
    environment["PYTHONPATH"] = str(ROOT)
    for name, value in options.items():
        if name not in Config.__dataclass_fields__:
            raise TypeError(f"{name} is no setting of the simulator")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        environment[f"PERPMESH_SIMULATOR_{name.upper()}"] = text
    return environment


async def _addresses(process: asyncio.subprocess.Process, run_file: Path) -> Any:
    deadline = time.monotonic() + READY_S
    while (told := _told(run_file)) is None:
        if process.returncode is not None or time.monotonic() > deadline:
            said = b"" if process.stderr is None or process.returncode is None else await process.stderr.read()
            raise AssertionError(f"the simulator did not start (code {process.returncode}): {said.decode()}")
        await asyncio.sleep(0.02)
    return told


def _told(run_file: Path) -> Any:
    return json.loads(run_file.read_text()) if run_file.exists() else None


async def _drain(process: asyncio.subprocess.Process) -> None:
    """Read what the process says, so that it never waits for us."""
    assert process.stderr is not None
    while await process.stderr.read(65536):
        pass
