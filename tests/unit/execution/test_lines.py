"""The lines in which bytes of accounts stand: one after another where nonces have an order, and gone when empty."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any
from uuid import UUID

from services.execution.app.lines import Lines

ORDERED: Any = SimpleNamespace(orders_nonces=True)
FREE: Any = SimpleNamespace(orders_nonces=False)


async def test_those_of_one_account_go_one_after_another_and_an_empty_line_is_gone() -> None:
    lines, inside, most = Lines(), 0, 0

    async def post(number: int, venue: Any) -> None:
        nonlocal inside, most
        async with lines.of(UUID(int=number), venue):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    jobs = [asyncio.create_task(post(1, ORDERED)) for _ in range(5)]
    await asyncio.sleep(0)
    jobs[1].cancel()  # who leaves the line does not let the next one past
    await asyncio.gather(*jobs, return_exceptions=True)
    assert (most, inside) == (1, 0)
    del jobs  # the traceback of the canceled one holds its line
    await asyncio.gather(*(post(number, ORDERED) for number in range(1_000)))
    assert most > 1, "accounts do not wait for each other"
    gc.collect()
    assert len(lines._locks) == 0


async def test_bytes_may_overtake_each_other_where_nonces_have_no_order() -> None:
    lines = Lines()
    async with asyncio.timeout(5), lines.of(UUID(int=1), FREE), lines.of(UUID(int=1), FREE):
        assert len(lines._locks) == 0
