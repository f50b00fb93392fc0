"""What is looked at before an order is taken in."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import pytest

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Refusal, RefusalReason
from services.execution.app.gate import BUDGET_WAIT_MAX_S, Gate
from services.execution.model.order import NewOrder, mesh_says_no
from services.execution.ports import Look, TradingAccount
from services.venues.actions import OrderType, Side, TimeInForce
from services.venues.trading import AccountRef
from tests.support.clock import ManualClock

USER = UUID(int=1)


def wanted(**changes: object) -> NewOrder:
    made = NewOrder(
        request_id=UUID(int=9), market="BTC-PERP", side=Side.BUY, size=Decimal(1), size_in_usd=False,
        type=OrderType.LIMIT, limit_price=Decimal(100), time_in_force=TimeInForce.GOOD_TILL_CANCELED,
        reduce_only=False, venue="", venues=(), excluded=(), account_ids=(), quote_id=None, max_slippage_bps=None,
        client_order_id="mine", allow_while_unknown=False,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def account(venue: str) -> TradingAccount:
    return TradingAccount(
        account_id=UUID(int=len(venue)), user_id=USER, venue=venue, environment="SIMULATED", is_default=True,
        can_trade=True, why_not="", ref=AccountRef(account_id=venue),
    )  # fmt: skip


@dataclass
class World:
    """Everything a gate asks, as a test wants it."""

    look_now: Look = field(default_factory=lambda: Look(open_count=0))
    halted: str = ""
    waits: dict[str, float] = field(default_factory=dict)
    clock: ManualClock = field(default_factory=ManualClock)

    def gate(self, **limits: int) -> Gate:
        given = {"orders_per_minute": 100, "open_orders_max": 5} | limits
        return Gate(
            stops=self.stops, standing=cast(Any, self), venues=cast(Any, self), clock=cast(Any, self.clock),
            monotonic_ns=self.clock.monotonic_ns, **given,
        )  # fmt: skip

    async def look(self, user_id: UUID, order: NewOrder | None, open_max: int) -> Look:
        return self.look_now

    def stops(self, user_id: UUID, venue: str) -> Refusal | None:
        return mesh_says_no(RefusalReason.HALTED, "Halted.", venue=venue) if venue == self.halted else None

    def at(self, venue: str, environment: str) -> Any:
        world = self

        class Venue:
            def order_wait_s(self, ref: AccountRef) -> float:
                return world.waits.get(venue, 0.0)

        return Venue()


BOTH = (account("hyperliquid"), account("lighter"))


async def test_an_order_goes_around_what_is_halted_or_used_up_and_is_refused_where_nothing_is_left() -> None:
    world = World(halted="lighter")
    assert await world.gate().admit(USER, wanted(), BOTH) == [BOTH[0]]
    world.waits["hyperliquid"] = BUDGET_WAIT_MAX_S + 1
    assert await world.gate().admit(USER, wanted(), BOTH) == [BOTH[0]], "what rests can wait"
    at_once = wanted(time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)
    refused = await world.gate().admit(USER, at_once, (BOTH[0],))
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.venue) == (RefusalReason.VENUE_BUDGET, "hyperliquid")
    assert refused.retry_time_ns > world.clock.time_ns()
    assert await world.gate().admit(USER, wanted(reduce_only=True), BOTH) == BOTH, "what only reduces passes"
    world.waits["hyperliquid"] = BUDGET_WAIT_MAX_S
    assert await world.gate().admit(USER, at_once, BOTH) == [BOTH[0]], "a short wait is no refusal"
    world.halted, world.waits["hyperliquid"] = "", BUDGET_WAIT_MAX_S + 1
    assert await world.gate().admit(USER, at_once, BOTH) == [replace(BOTH[0], budget_spent=True), BOTH[1]]
    stop = wanted(time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL, type=OrderType.STOP_MARKET)
    assert await world.gate().admit(USER, stop, BOTH) == [BOTH[1]], "no plan is made of it that could pass it over"


async def test_the_same_order_with_an_unknown_outcome_is_not_placed_again_unless_that_is_wished() -> None:
    world = World(look_now=Look(open_count=1, unknown_id=UUID(int=5)))
    refused = await world.gate().admit(USER, wanted(), BOTH)
    assert isinstance(refused, Refusal)
    assert (refused.reason, refused.field) == (RefusalReason.OUTCOME_UNKNOWN, "allow_while_unknown")
    assert str(UUID(int=5)) in refused.message
    assert await world.gate().admit(USER, wanted(allow_while_unknown=True), BOTH) == list(BOTH)


async def test_a_client_order_id_of_an_open_order_is_refused() -> None:
    with pytest.raises(DomainError) as caught:
        await World(look_now=Look(open_count=1, twin_id=UUID(int=5))).gate().admit(USER, wanted(), BOTH)
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.REQUEST_ID_REUSED, "client_order_id")


async def test_as_many_orders_are_open_as_may_be() -> None:
    world = World(look_now=Look(open_count=5))
    refused = await world.gate().admit(USER, wanted(), BOTH)
    assert isinstance(refused, Refusal)
    assert refused.reason is RefusalReason.TOO_MANY_OPEN_ORDERS
    assert await world.gate().admit(USER, wanted(reduce_only=True), BOTH) == BOTH
    world.look_now = Look(open_count=4)
    assert await world.gate().admit(USER, wanted(), BOTH) == list(BOTH)


async def test_orders_that_come_too_fast_are_told_when_the_next_may_and_usage_counts_them() -> None:
    world = World()
    gate = world.gate(orders_per_minute=3)
    for _ in range(3):
        await gate.admit(USER, wanted(), BOTH)
    with pytest.raises(DomainError) as caught:
        await gate.admit(USER, wanted(), BOTH)
    assert caught.value.reason is Reason.LIMIT_REACHED
    assert caught.value.retry_after_s == pytest.approx(60, abs=1)
    assert await gate.admit(UUID(int=2), wanted(), BOTH) == list(BOTH), "one user's haste is nobody else's"
    orders = {one.name: one for one in await gate.usage(USER)}["orders"]
    assert (orders.limit, orders.used) == (3, 3)
    assert orders.free_s == pytest.approx(60, abs=1)
    await world.clock.advance(60.1)
    assert await gate.admit(USER, wanted(), BOTH) == list(BOTH)
