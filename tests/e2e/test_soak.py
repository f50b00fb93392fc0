"""Price streams and orders for a time, everything included; then three times as many orders as that, which are shed.

`make soak` runs 1,000 streams and 200 orders a second for ten minutes; the suite runs a fraction for seconds. Figures
are printed: acknowledgements, prices, what each process used. What must hold at any size: every acknowledged order is
in the record and ends; the venues' own journals tell the same orders and the same fills; no call ends in any other way
than answered, or refused with RESOURCE_EXHAUSTED and a time.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.crowd import Books, quantile
from tests.support.soak import Meter, Soak, soaking

pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="module")]
ORDERS_PER_S = float(os.environ.get("SOAK_ORDERS_PER_S", "10"))
STREAMS = int(os.environ.get("SOAK_STREAMS", "40"))
SECONDS = float(os.environ.get("SOAK_SECONDS", "12"))
OVER = 3
OVER_SECONDS = float(os.environ.get("SOAK_OVER_SECONDS", "4"))
TRADERS = int(os.environ.get("SOAK_TRADERS", "4"))
FULL = SECONDS >= 300
GROWTH_MAX_MIB = 4.0
"""What the resident memory of a room may grow in a minute in the second half of a long run."""
BOUNDED = () if FULL else (("execution_intake_max", 4), ("execution_waiting_max", 8), ("edge_orders_max", 16))
LIMITS = {"calls_inside", "legs_waiting", "orders_on_their_way"}
"""The suite's overload must be one on any machine."""
BURST = 400 if FULL else 60
OTHERS = {"simulator", "postgres"}
"""They keep what happened: the witness and the record."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def soak() -> AsyncIterator[Soak]:
    async with soaking(traders=TRADERS, streams=STREAMS, interval_ms=1_000, **dict(BOUNDED)) as running:
        yield running


async def run(soak: Soak, name: str, per_s: float, seconds: float) -> tuple[Books, Meter]:
    """Trade for a time and print the figures."""
    await soak.streams.report()
    meter, began = Meter(soak.mesh), time.monotonic()
    task = asyncio.create_task(meter.run())
    books = await soak.crowd.trade(per_s, seconds)
    spent = time.monotonic() - began
    task.cancel()
    uses, seen = meter.end(), await soak.streams.report()
    taken = max(1, len(books.acknowledged))
    print(
        f"\n{name}: {per_s:g} orders/s for {seconds:g} s ({spent:.1f} s until the last answer), {STREAMS} streams, "
        f"load {os.getloadavg()[0]:.1f}\n"
        f"  {len(books.acknowledged)} acknowledged, p50 {quantile(books.ack_ms, 0.5):.1f} ms, "
        f"p99 {quantile(books.ack_ms, 0.99):.1f} ms; {sum(books.shed.values())} shed {dict(books.shed)}, "
        f"p99 {quantile(books.shed_ms, 0.99):.1f} ms; {books.cancels} cancels, p99 "
        f"{quantile(books.cancel_ms, 0.99):.1f} ms; {books.late} sent late; other failures {dict(books.failed)}\n"
        f"  prices {seen['messages'] / spent:,.0f}/s, from the venue's frame to here p50 "
        f"{quantile(seen['ages_ms'], 0.5):.1f} ms, p99 {quantile(seen['ages_ms'], 0.99):.1f} ms of "
        f"{len(seen['ages_ms'])}; longest silence {seen['longest_s']:.2f} s, {seen['broken']} streams broken"
    )
    for process, use in sorted(uses.items(), key=lambda item: -item[1].cpu_s):
        print(
            f"  {process:<12} {use.cpu_s / spent * 100:6.1f} % CPU, {use.cpu_s / taken * 1e3:6.2f} ms an order, "
            f"{use.rss_mib[-1][1]:6.0f} MiB, {use.growth():+.2f} MiB a minute"
        )
    return books, meter


async def test_what_is_acknowledged_is_done_and_equals_the_venues_books(soak: Soak) -> None:
    books, meter = await run(soak, "soak", ORDERS_PER_S, SECONDS)
    assert books.failed == {}, soak.mesh.faults()
    assert books.untimed == 0
    assert books.acknowledged, "orders were taken in"
    if FULL:
        assert not books.shed
        growing = {name: use.growth() for name, use in meter.uses.items() if use.growth() > GROWTH_MAX_MIB}
        assert growing.keys() <= OTHERS
    await soak.crowd.clear()
    await soak.ended()
    assert (await soak.lost(books.acknowledged))[:10] == []


async def test_beyond_what_it_can_do_it_sheds_with_a_reason_and_a_time(soak: Soak) -> None:
    books, _ = await run(soak, f"{OVER} times", OVER * ORDERS_PER_S, OVER_SECONDS)
    assert books.failed == {}, soak.mesh.faults()  # answered, or refused with RESOURCE_EXHAUSTED, and nothing else
    assert books.untimed == 0, "each refusal says when to come again"
    assert books.acknowledged, "what can be done is done meanwhile"
    assert set(books.shed) <= LIMITS
    await soak.crowd.clear()
    await soak.ended()
    assert (await soak.lost(books.acknowledged))[:10] == []


async def test_of_a_burst_the_edge_refuses_what_the_room_has_no_turn_for(soak: Soak) -> None:
    """All at once is more than may be on its way, on any machine."""
    books = await soak.crowd.trade(1_000_000, BURST / 1_000_000)
    assert books.failed == {}, soak.mesh.faults()
    assert books.shed["orders_on_their_way"] > 0
    assert set(books.shed) <= LIMITS
    assert books.untimed == 0
    await soak.crowd.clear()
    await soak.ended()
    assert (await soak.lost(books.acknowledged))[:10] == []
