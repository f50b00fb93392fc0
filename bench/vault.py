"""Sign and ReportOutcome of a running vault beside the bare signature, in one run: what safety costs an order.

The bare signature is what `bench.signing` measures: the action encoded, hashed and signed in this process. The vault's
Sign is a call over mutual TLS that checks the account's limits, allocates the nonce under its fence, opens the sealed
key, signs, and keeps bytes and audit row in PostgreSQL before it answers. The database flushes to disk at every commit
as in production; beside it the time of one empty commit, which is the floor of any design that keeps what it signed.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg

from bench.signing import hyperliquid as bare_hyperliquid
from bench.signing import lighter as bare_lighter
from tests.support.crash import crashing
from tests.support.vault import middle, order, report_request, sign_request
from tests.support.vault_room import Client, client, grounds

ONE_BY_ONE = 400
AT_ONCE = 2_000
WARM = 30


def quantile(times: list[float], share: float) -> float:
    """Return a quantile of times, in milliseconds."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3


async def commit_ms(url: str) -> float:
    """Return the median time of a commit of one small row."""
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE IF NOT EXISTS bench_commit (at bigint)")
    times = []
    for number in range(200):
        start = time.perf_counter()
        await connection.execute("INSERT INTO bench_commit VALUES ($1)", number)
        times.append(time.perf_counter() - start)
    await connection.close()
    return statistics.median(times) * 1e3


async def one_by_one(vault: Client, venue: str) -> tuple[list[float], list[float]]:
    """Return the times of Sign and of ReportOutcome, one order after another."""
    owner = await vault.owner(venue)
    await owner.ready()
    price = str(int(await middle(vault.grounds.http, vault.grounds.face(venue), venue)) * 95 // 100)
    signs, reports = [], []
    for number in range(WARM + ONE_BY_ONE):
        request = sign_request(owner.account_id, order(venue, price=price, size="0.001"))
        start = time.perf_counter()
        answer = await vault.signer.Sign(request)
        signed = time.perf_counter()
        assert answer.HasField("signed_action"), answer
        await vault.signer.ReportOutcome(report_request(request, "NOT_SENT"))
        if number >= WARM:
            signs.append(signed - start)
            reports.append(time.perf_counter() - signed)
    return signs, reports


async def at_once(vault: Client) -> float:
    """Return how many Hyperliquid orders a second one key signs and settles with 64 callers at once."""
    owner = await vault.owner("hyperliquid")
    await owner.ready()
    price = str(int(await middle(vault.grounds.http, vault.grounds.face("hyperliquid"), "hyperliquid")) * 95 // 100)
    left = iter(range(AT_ONCE))

    async def caller() -> None:
        for _ in left:
            request = sign_request(owner.account_id, order("hyperliquid", price=price, size="0.001"))
            answer: Any = await vault.signer.Sign(request)
            assert answer.HasField("signed_action"), answer
            await vault.signer.ReportOutcome(report_request(request, "NOT_SENT"))

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(64)))
    return AT_ONCE / (time.perf_counter() - start)


async def measure(folder: Path) -> None:
    """Run everything and print it."""
    bare = {"hyperliquid": bare_hyperliquid()[0] / 1e3, "lighter": (await bare_lighter())[0] / 1e3}
    async with grounds(folder, postgres_settings={"fsync": "on"}) as ground:
        floor = await commit_ms(ground.postgres.url())
        run_file = folder / "vault.json"
        environ = ground.environ(run_file, event_loop="uvloop")
        with crashing("services.vault.__main__", "vault", environ, folder / "vault.log") as room:
            room.start()
            async with client(ground, run_file) as vault:
                print(f"one commit of one row, the floor of whatever is kept: {floor:.2f} ms")
                for venue in ("hyperliquid", "lighter"):
                    signs, reports = await one_by_one(vault, venue)
                    p50, p99 = quantile(signs, 0.5), quantile(signs, 0.99)
                    print(
                        f"{venue}: Sign p50 {p50:.2f} ms, p99 {p99:.2f} ms; the bare signature {bare[venue]:.3f} ms; "
                        f"ReportOutcome p50 {quantile(reports, 0.5):.2f} ms, p99 {quantile(reports, 0.99):.2f} ms; "
                        f"Sign is {p50 / floor:.1f} commits"
                    )
                print(f"hyperliquid, 64 callers at one key: {await at_once(vault):.0f} signed and settled a second")


def main() -> int:
    """Measure in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="perpmesh-bench-") as folder:
        asyncio.run(measure(Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
