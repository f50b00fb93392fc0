"""Orders that were here of late: a view that never goes back, and forgets."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from services.execution.model.leg import Leg
from services.execution.model.order import Order
from services.execution.store import shelf
from services.execution.store.shelf import Shelf
from services.venues.actions import OrderType, Side, TimeInForce

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT = UUID(int=5)


def order(number: int, **changes: Any) -> Order:
    common: dict[str, Any] = {
        "market": "BTC-PERP", "side": Side.BUY, "size": Decimal(1), "type": OrderType.LIMIT, "reduce_only": False,
        "time_in_force": TimeInForce.GOOD_TILL_CANCELED, "create_time": NOW, "update_time": NOW,
        "limit_price": Decimal(9),
    }  # fmt: skip
    leg = Leg(
        leg_id=UUID(int=1_000_000 + number), number=1, venue="lighter", account_id=ACCOUNT, venue_market_id=1,
        client_id=f"{number}", **common,
    )  # fmt: skip
    made = Order(
        order_id=UUID(int=number), user_id=UUID(int=1), request_id=UUID(int=number), digest=bytes(32),
        client_order_id="", quote_id=None, max_slippage_bps=None, legs=(leg,), **common,
    )  # fmt: skip
    return replace(made, **changes)


def named(number: int, venue_order_id: str, version: int) -> Order:
    made = order(number)
    return replace(made, version=version, legs=(replace(made.legs[0], venue_order_id=venue_order_id),))


def test_a_newer_version_stays_whatever_is_put_after_it() -> None:
    here = Shelf()
    here.put(named(1, "a", 3))
    here.put(named(1, "b", 2))
    found = here.get(UUID(int=1))
    assert found is not None
    assert found.version == 3
    assert here.find(ACCOUNT, "", "a") == (UUID(int=1), UUID(int=1_000_001))
    assert here.find(ACCOUNT, "", "b") is None


def test_a_leg_is_found_by_our_id_and_by_the_last_of_its_venues() -> None:
    here = Shelf()
    here.put(named(1, "waiting", 1))
    here.put(named(1, "fired", 2))
    for client_id, venue_order_id in (("1", ""), ("", "fired"), ("1", "waiting")):
        assert here.find(ACCOUNT, client_id, venue_order_id) is not None
    assert here.find(ACCOUNT, "", "waiting") is None
    assert here.find(UUID(int=6), "1", "fired") is None, "another account's"
    assert here.find(ACCOUNT, "fired", "1") is None, "our ids are not the venue's"


def test_what_was_not_touched_for_the_longest_time_is_forgotten_with_all_its_names(monkeypatch: Any) -> None:
    monkeypatch.setattr(shelf, "ORDERS_MAX", 3)
    here = Shelf()
    for number in (1, 2, 3):
        here.put(named(number, f"v{number}", 1))
    here.count(UUID(int=1), [UUID(int=77)])
    here.report(UUID(int=1), Decimal(1))
    here.put(named(2, "v2", 2))
    here.put(named(4, "v4", 1))
    assert here.get(UUID(int=1)) is None
    assert here.find(ACCOUNT, "1", "v1") is None
    assert not here.is_counted(UUID(int=1), UUID(int=77))
    assert not here.is_reported(UUID(int=1), Decimal(1))
    assert all(here.get(UUID(int=number)) for number in (2, 3, 4))


async def test_changes_of_one_order_take_turns_and_leave_nothing_behind() -> None:
    here, inside, most = Shelf(), 0, 0

    async def change(order_id: UUID) -> None:
        nonlocal inside, most
        async with here.turn(order_id):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    jobs = [asyncio.create_task(change(UUID(int=1))) for _ in range(5)]
    await asyncio.sleep(0)
    jobs[2].cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    assert (most, inside) == (1, 0)
    assert here._turns == {}
