"""A whole mesh under load: price streams, orders, what they cost each process, and the venues' word on what became of
the orders.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import aiohttp
import asyncpg
import psutil

from tests.support.crowd import MARKET, Crowd
from tests.support.mesh import Mesh, running_mesh
from tests.support.trading_desk import VENUES

GENEROUS: Final[dict[str, object]] = {
    "simulator_hyperliquid_weight_max": 0, "simulator_hyperliquid_requests_max": 0,
    "simulator_hyperliquid_connections_max": 0, "simulator_hyperliquid_new_connections_max": 0,
    "simulator_lighter_requests_max": 0, "simulator_lighter_sends_max": 0, "simulator_lighter_delays": "false",
    "simulator_lighter_verifications_max": 2, "execution_hyperliquid_weight": 1_000_000,
    "execution_lighter_requests": 1_000_000, "execution_lighter_sends": 1_000_000,
    "execution_lighter_sends_of_a_kind": 1_000_000, "ip_requests_per_s": 1_000_000, "sign_ins_per_minute": 1_000_000,
}  # fmt: skip
"""Venues that count no requests and take orders at once, and an edge that takes a crowd from one address."""
SIZE_STEP: Final = Decimal("0.00001")
"""What the venues' journals count BTC in."""
PAGE: Final = 10_000
EVERY_S: Final = 1.0


@dataclass(slots=True)
class Use:
    """What one process used over a time."""

    cpu_s: float = 0.0
    rss_mib: list[tuple[float, float]] = field(default_factory=list)
    """Resident memory by the time it was looked at, in seconds and MiB."""

    def growth(self) -> float:
        """Return MiB a minute: the slope of a line through the second half of the time."""
        half = self.rss_mib[len(self.rss_mib) // 2 :]
        if len(half) < 3:
            return 0.0
        return statistics.linear_regression([at for at, _ in half], [mib for _, mib in half]).slope * 60


class Meter:
    """Looks at every process of a mesh once a second."""

    def __init__(self, mesh: Mesh) -> None:
        self._processes = {name: psutil.Process(mesh.pid(name)) for name in mesh.about["processes"]}
        self._began = {name: _cpu_s(process) for name, process in self._processes.items()}
        self.uses = {name: Use() for name in self._processes}

    async def run(self) -> None:
        """Look until canceled."""
        began = time.monotonic()
        while True:
            for name, process in self._processes.items():
                self.uses[name].rss_mib.append((time.monotonic() - began, process.memory_info().rss / 2**20))
            await asyncio.sleep(EVERY_S)

    def end(self) -> dict[str, Use]:
        """Return what was used."""
        for name, process in self._processes.items():
            self.uses[name].cpu_s = _cpu_s(process) - self._began[name]
        return self.uses


def _cpu_s(process: psutil.Process) -> float:
    """Return a process's own time and, of the database, that of its children, the ended ones included."""
    times = process.cpu_times()
    spent = times.user + times.system + times.children_user + times.children_system
    for child in process.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            spent += sum(child.cpu_times()[:2])
    return float(spent)


@dataclass(slots=True)
class Ledger:
    """What the venues wrote down: of each client order id its orders, and what they filled."""

    orders: defaultdict[tuple[str, int], set[int]] = field(default_factory=lambda: defaultdict(set))
    filled: defaultdict[tuple[str, int], Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    fills: int = 0


class Witness:
    """Reads the venues' journals before they forget."""

    def __init__(self, mesh: Mesh, http: aiohttp.ClientSession) -> None:
        self._url = f"http://{mesh.address('simulator.control')}/control/accounts/journal"
        self._http = http
        self._after = dict.fromkeys(VENUES, 0)
        self.ledger = Ledger()

    async def run(self) -> None:
        """Read until canceled."""
        while True:
            await self.read()
            await asyncio.sleep(10.0)

    async def read(self) -> None:
        """Read what is new."""
        for venue in VENUES:
            while await self._page(venue):
                pass

    async def _page(self, venue: str) -> bool:
        query = {"venue": venue, "after": str(self._after[venue]), "limit": str(PAGE), "kinds": "order,fill"}
        async with self._http.get(self._url, params=query) as answer:
            page = await answer.json()
        assert page["dropped"] <= self._after[venue], "the witness forgot what was not read yet"
        entries = page["entries"]
        for entry in entries:
            self._take(venue, entry)
        self._after[venue] = entries[-1]["seq"] if len(entries) == PAGE else page["last"]
        return len(entries) == PAGE

    def _take(self, venue: str, entry: Any) -> None:
        body, ledger = entry["body"], self.ledger
        key = venue, client_number(body["client"])
        if entry["kind"] == "order":
            ledger.orders[key].add(body["oid"])
        elif entry["account"] and key[1]:
            ledger.filled[key] += Decimal(body["size"]) * SIZE_STEP
            ledger.fills += 1


def client_number(client: Any) -> int:
    """Return a client order id as the number it is."""
    text = str(client or 0)
    return int(text, 16) if text.startswith("0x") else int(text)


class Streams:
    """The process that reads prices."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def report(self) -> Any:
        """Return what was read since the last report."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"\n")
        return json.loads(await self.process.stdout.readline())


@contextlib.asynccontextmanager
async def reading(mesh: Mesh, count: int, interval_ms: int) -> AsyncIterator[Streams]:
    """Have a process read price streams."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.readers", mesh.edge, "--streams", str(count),
        "--interval-ms", str(interval_ms),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(120):
            assert (await process.stdout.readline()).strip() == b"reading"
        yield Streams(process)
    finally:
        process.kill()
        await process.wait()


@dataclass(slots=True)
class Soak:
    """A mesh with a crowd, streams and witnesses."""

    mesh: Mesh
    crowd: Crowd
    streams: Streams
    witness: Witness

    async def ended(self, timeout_s: float = 120.0) -> None:
        """Wait until no order is under way."""
        connection = await asyncpg.connect(self.mesh.about["postgres_url"])
        try:
            deadline = time.monotonic() + timeout_s
            while rows := await connection.fetch(
                "SELECT o.order_id, o.state, l.venue, l.state AS leg, l.evidence, l.due_time, l.lease_time, l.settled "
                "FROM execution.orders o JOIN execution.legs l USING (order_id) WHERE o.finish_time IS NULL LIMIT 5"
            ):
                assert time.monotonic() < deadline, f"not ended within {timeout_s} s: {[dict(row) for row in rows]}"
                await asyncio.sleep(0.5)
        finally:
            await connection.close()

    async def lost(self, acknowledged: list[str]) -> list[str]:
        """Return what is wrong: orders that are not in the record, and legs whose venue tells something else."""
        await self.witness.read()
        ledger, wrong = self.witness.ledger, []
        connection = await asyncpg.connect(self.mesh.about["postgres_url"])
        try:
            rows = await connection.fetch(
                "SELECT o.order_id::text, l.venue, l.client_id, l.state, l.filled, l.venue_order_id, f.size FROM "
                "execution.orders o JOIN execution.legs l USING (order_id) LEFT JOIN (SELECT leg_id, sum(size) AS size "
                "FROM execution.fills GROUP BY leg_id) f USING (leg_id)"
            )
            known = {row[0] for row in await connection.fetch("SELECT order_id::text FROM execution.orders")}
        finally:
            await connection.close()
        wrong += [f"{one}: acknowledged and not in the record" for one in acknowledged if one not in known]
        ours = set()
        for row in rows:
            key = row["venue"], client_number(row["client_id"])
            ours.add(key)
            there, told = ledger.filled.get(key, Decimal(0)), row["filled"]
            if there != told or (row["size"] or 0) != told:
                wrong.append(f"{dict(row)}: filled {there} at the venue")
            if len(ledger.orders.get(key, ())) > 1:
                wrong.append(f"{dict(row)}: doubled at the venue")
            if row["venue_order_id"] and key not in ledger.orders:
                wrong.append(f"{dict(row)}: invented")
        wrong += [f"{key}: at the venue and not ours" for key in ledger.orders if key[1] and key not in ours]
        return wrong


@contextlib.asynccontextmanager
async def soaking(*, traders: int, streams: int, interval_ms: int, **settings: object) -> AsyncIterator[Soak]:
    """Start a mesh, its crowd and its streams."""
    given = GENEROUS | {"simulator_seed": 17} | settings
    async with running_mesh(**given) as mesh, aiohttp.ClientSession() as http:
        price = await _price(mesh)
        crowd = Crowd(mesh, traders, price)
        try:
            await crowd.begin()
            async with reading(mesh, streams, interval_ms) as read:
                witness = Witness(mesh, http)
                task = asyncio.create_task(witness.run())
                try:
                    yield Soak(mesh, crowd, read, witness)
                finally:
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
        finally:
            await crowd.close()


async def _price(mesh: Mesh) -> str:
    from tests.support.vault import middle

    async with aiohttp.ClientSession() as http:
        return str(await middle(http, f"http://{mesh.address('simulator.hyperliquid')}", "hyperliquid"))


__all__ = ["MARKET", "Meter", "Soak", "Streams", "Use", "soaking"]
