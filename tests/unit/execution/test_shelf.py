"""Orders that were here of late: a view that never goes back, and forgets."""

from __future__ import annotations

import asyncio
import tracemalloc
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


def sliced(number: int, version: int, leg_count: int) -> Order:
    made = order(number)
    legs = tuple(
        replace(made.legs[0], leg_id=UUID(int=number * 1_000 + at), number=at, client_id=f"{number}-{at}")
        for at in range(leg_count)
    )
    return replace(made, version=version, legs=legs)


def test_what_is_kept_is_bounded_by_legs_and_trades_too(monkeypatch: Any) -> None:
    monkeypatch.setattr(shelf, "PARTS_MAX", 12)
    here = Shelf()
    here.put(sliced(1, 1, 5))
    here.put(sliced(2, 1, 5))
    here.put(sliced(2, 2, 6))
    here.put(sliced(2, 3, 7))
    assert here.get(UUID(int=1)) is not None, "a newer version takes the place of the older one"
    here.count(UUID(int=2), [UUID(int=70)])
    assert here.get(UUID(int=1)) is None, "the trade was one part too many"
    here.count(UUID(int=2), [UUID(int=70), UUID(int=71), UUID(int=72), UUID(int=73)])
    here.count(UUID(int=2), [UUID(int=73)])
    here.put(replace(order(3), version=1))
    assert here.is_counted(UUID(int=2), UUID(int=73)), "a trade counted twice is one part: 7 legs, 4 trades, 1 leg"
    here.put(sliced(4, 1, 13))
    assert (here._orders, here._names, here._counted, here._parts) == ({}, {}, {}, 0), "larger than all of it: not kept"


def test_memory_is_flat_once_the_shelf_is_full(monkeypatch: Any) -> None:
    """Five shelves full of orders go by, each with its versions, trade and report; what is held stays the same."""
    monkeypatch.setattr(shelf, "ORDERS_MAX", 200)
    here, sizes = Shelf(), []
    tracemalloc.start()
    try:
        for number in range(1, 1_201):
            for version, name in enumerate(("", f"v{number}"), start=1):
                here.put(named(number, name, version))
            here.count(UUID(int=number), [UUID(int=7_000_000 + number)])
            here.report(UUID(int=number), Decimal(1))
            if number % 200 == 0:
                sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    held = (here._orders, here._counted, here._reported)
    assert [len(one) for one in held] == [200] * 3
    assert len(here._names) == 400, "our name and the venue's of each leg"
    assert max(sizes[1:]) < 1.1 * sizes[0] + 65_536, sizes


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
