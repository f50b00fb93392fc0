"""Kill -9 of execution at steps of its loop and calls of its sockets: no order is lost, doubled or invented.

Each run plays one story at one venue, with a death before one step; the client goes on as clients do, with the same
request. Then the orders are compared with the venue's own journal. `PERPMESH_CRASH_STEPS=all` (`make crash`) takes
every step of every story, `places` (`make crash-places`) every place in the code that a story comes to and none before
it died in; the suite a sample of steps, spread by the seed.
"""

from __future__ import annotations

import asyncio
import os
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import leg_pb2, leverage_setting_pb2, order_pb2
from perpmesh.type.v1 import order_type_pb2, side_pb2, time_in_force_pb2

from tests.support.callers import caller_of
from tests.support.crash import CrashingRoom
from tests.support.execution_room import Brittle, Trader, brittle
from tests.support.vault import MARKET, middle
from tests.support.vault_room import Client

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(14_400)]
BOUND = os.environ.get("PERPMESH_CRASH_STEPS", "")
"""`all`, `places`, or how many steps are tried in all, as many of each story and spread over it; else a sample."""
SAMPLE = int(os.environ.get("PERPMESH_CRASH_SAMPLE", "2"))
SEED = int(os.environ.get("PERPMESH_TEST_SEED", "20261127"))
State = order_pb2.Order
Leg = leg_pb2.Leg
LIMIT = order_type_pb2.ORDER_TYPE_LIMIT
REST = time_in_force_pb2.TIME_IN_FORCE_GOOD_TILL_CANCELED
VAULT: list[Client] = []
"""The vault of the house, for stories that give an account another key."""
BUY, SELL = side_pb2.SIDE_BUY, side_pb2.SIDE_SELL


async def rests(trader: Trader) -> None:
    """An order rests until its owner cancels it."""
    order = await trader.place(side=BUY, size="0.01", type=LIMIT, limit_price=str(trader.price * 90 // 100))
    await trader.until(order.order_id, lambda one: bool(one.legs[0].venue_order_id))
    await trader.cancel(order.order_id)
    assert (await trader.ended(order.order_id)).state == State.STATE_CANCELED


async def crosses(trader: Trader) -> None:
    """An order trades at once, and another trades it back."""
    order = await trader.place(side=BUY, size="0.01", type=LIMIT, limit_price=str(trader.price * 102 // 100))
    assert (await trader.ended(order.order_id)).state == State.STATE_DONE
    back = await trader.place(side=SELL, size="0.01", type=LIMIT, limit_price=str(trader.price * 98 // 100))
    assert (await trader.ended(back.order_id)).state == State.STATE_DONE


async def is_refused(trader: Trader) -> None:
    """The venue refuses an order that may only rest and would trade."""
    order = await trader.place(
        side=BUY, size="0.01", type=LIMIT, limit_price=str(trader.price * 102 // 100),
        time_in_force=time_in_force_pb2.TIME_IN_FORCE_POST_ONLY,
    )  # fmt: skip
    assert (await trader.ended(order.order_id)).state in (State.STATE_REJECTED, State.STATE_CANCELED)


async def is_canceled_at_once(trader: Trader) -> None:
    """A cancel comes before the order was sent, or right after."""
    order = await trader.place(side=BUY, size="0.01", type=LIMIT, limit_price=str(trader.price * 90 // 100))
    await trader.cancel(order.order_id)
    assert (await trader.ended(order.order_id)).state == State.STATE_CANCELED


async def is_canceled_too_late(trader: Trader) -> None:
    """A cancel races an order that trades."""
    order = await trader.place(side=BUY, size="0.01", type=LIMIT, limit_price=str(trader.price * 102 // 100))
    await trader.cancel(order.order_id)
    assert (await trader.ended(order.order_id)).state in (State.STATE_DONE, State.STATE_CANCELED)


async def come_together(trader: Trader) -> None:
    """Several orders come in one call, and all that rest are canceled in another."""
    prices = (trader.price * 102 // 100, trader.price * 90 // 100, trader.price * 89 // 100)
    batch = pb.BatchPlaceOrdersRequest(
        requests=[
            pb.PlaceOrderRequest(
                request_id=str(uuid.uuid4()), market=MARKET, account_ids=[trader.owner.account_id],
                side=BUY, size="0.01", type=LIMIT, limit_price=str(price), time_in_force=REST,
            )
            for price in prices
        ]
    )  # fmt: skip
    answer = await trader.brittle.ask("BatchPlaceOrders", batch, trader.owner.metadata)
    ids = [result.order.order_id for result in answer.results]
    trader.placed += ids
    first = await trader.ended(ids[0])
    assert first.state == State.STATE_DONE, first
    await trader.brittle.ask("CancelAllOrders", pb.CancelAllOrdersRequest(market=MARKET), trader.owner.metadata)
    assert [(await trader.ended(one)).state for one in ids[1:]] == [State.STATE_CANCELED] * 2


async def waits_for_its_trigger(trader: Trader) -> None:
    """A stop waits at the venue until its owner cancels it."""
    order = await trader.place(
        side=SELL, size="0.01", type=order_type_pb2.ORDER_TYPE_STOP_MARKET, reduce_only=True,
        trigger_price=str(trader.price * 80 // 100),
    )  # fmt: skip
    await trader.until(order.order_id, lambda one: bool(one.legs[0].venue_order_id))
    await trader.cancel(order.order_id)
    assert (await trader.ended(order.order_id)).state == State.STATE_CANCELED


async def has_exits(trader: Trader) -> None:
    """An order trades at once, its exits come to wait at the venue, and its owner cancels it and trades back."""
    order = await trader.place(
        side=BUY, size="0.01", type=LIMIT, limit_price=str(trader.price * 102 // 100),
        take_profit=order_pb2.Exit(trigger_price=str(trader.price * 120 // 100)),
        stop_loss=order_pb2.Exit(trigger_price=str(trader.price * 80 // 100)),
    )  # fmt: skip
    await trader.until(order.order_id, covered)
    await trader.cancel(order.order_id)
    assert (await trader.ended(order.order_id)).state == State.STATE_DONE
    back = await trader.place(side=SELL, size="0.01", type=LIMIT, limit_price=str(trader.price * 98 // 100))
    assert (await trader.ended(back.order_id)).state == State.STATE_DONE


def covered(order: order_pb2.Order) -> bool:
    """Whether both exits wait at the venue for all that was filled."""
    waits = [leg for leg in order.legs if leg.role != Leg.ROLE_ENTRY and leg.state == Leg.STATE_OPEN]
    return {leg.role for leg in waits} == {Leg.ROLE_TAKE_PROFIT, Leg.ROLE_STOP_LOSS} and order.filled_size == "0.01"


async def is_replaced(trader: Trader) -> None:
    """A resting order is replaced by a larger one that trades: it fills exactly the new size, over both legs."""
    order = await trader.place(side=BUY, size="0.01", type=LIMIT, limit_price=str(trader.price * 90 // 100))
    await trader.until(order.order_id, lambda one: bool(one.legs[0].venue_order_id))
    terms = pb.ReplaceOrderRequest(
        order_id=order.order_id, request_id=str(uuid.uuid4()), size="0.02", limit_price=str(trader.price * 102 // 100)
    )
    for _ in range(2):
        await trader.brittle.ask("ReplaceOrder", terms, trader.owner.metadata)
    done = await trader.ended(order.order_id)
    assert (done.state, done.filled_size, len(done.legs)) == (State.STATE_DONE, "0.02", 2), done


async def sets_leverage(trader: Trader) -> None:
    """A leverage is set, once, and the venue holds it; what was signed for it holds up no order after it."""
    leverage = 3 + len(trader.placed) % 5
    wish = pb.SetLeverageRequest(
        account_id=trader.owner.account_id, market=MARKET, leverage=leverage, request_id=str(uuid.uuid4())
    )
    told = leverage_setting_pb2.LeverageSetting()
    async with asyncio.timeout(60):
        while told.state != told.STATE_CONFIRMED:
            told = (await trader.brittle.ask("SetLeverage", wish, trader.owner.metadata)).setting
            assert told.state != told.STATE_REFUSED, told
    assert told.leverage == leverage
    await crosses(trader)


async def is_signed_by_its_caller(trader: Trader) -> None:
    """A caller prepares an order, signs and submits it, and it trades; another rests until it is canceled."""
    caller = await caller_of(trader, VAULT[0])
    wish = caller.wish(side=BUY, size="0.01", type=LIMIT, limit_price=str(trader.price * 102 // 100))
    made = await caller.prepare(wish)
    await caller.submit(made.order.order_id, made.signables)
    assert (await trader.ended(made.order.order_id)).state == State.STATE_DONE
    rest = await caller.prepare(
        caller.wish(side=BUY, size="0.01", type=LIMIT, limit_price=str(trader.price * 90 // 100))
    )
    await caller.submit(rest.order.order_id, rest.signables)
    await trader.until(rest.order.order_id, lambda one: bool(one.legs[0].venue_order_id))
    await trader.cancel(rest.order.order_id)
    assert (await trader.ended(rest.order.order_id)).state == State.STATE_CANCELED


async def stands_alone(trader: Trader) -> None:
    """Of two sides one fills and the other finds nobody at its price: what stands alone is traded back, once."""
    wish = pb.PlaceHedgedOrderRequest(
        request_id=str(uuid.uuid4()), rollback=order_pb2.Rollback(action=order_pb2.Rollback.ACTION_UNWIND),
        legs=[
            pb.PlaceHedgedOrderRequest.HedgeLeg(
                market=market, side=side, size="0.01", venue=trader.venue, limit_price=limit,
                account_id=trader.owner.account_id,
            )
            for market, side, limit in ((MARKET, BUY, str(trader.price * 102 // 100)), ("ETH-PERP", SELL, "9000"))
        ],
    )  # fmt: skip
    told = [(await trader.brittle.ask("PlaceHedgedOrder", wish, trader.owner.metadata)).order for _ in range(2)]
    assert told[0].order_id == told[1].order_id, "the same request, two orders"
    trader.placed.append(told[0].order_id)
    order = await trader.ended(told[0].order_id)
    assert (order.state, order.filled_size) == (State.STATE_ABORTED, "0"), order
    assert sum(Decimal(leg.filled_size) for leg in order.legs if leg.role == Leg.ROLE_UNWIND) == Decimal("0.01"), order


STORIES: tuple[Callable[[Trader], Awaitable[None]], ...] = (
    rests, crosses, is_refused, is_canceled_at_once, is_canceled_too_late, come_together, is_replaced, sets_leverage,
    waits_for_its_trigger, has_exits, is_signed_by_its_caller, stands_alone,
)  # fmt: skip


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Brittle, Client, dict[str, Trader]]]:
    async with brittle(tmp_path_factory.mktemp("execution"), lighter_delays=False) as made:
        VAULT.append(made[1])
        yield *made, {}


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
@pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
async def test_no_death_loses_doubles_or_invents(
    house: tuple[Brittle, Client, dict[str, Trader]], venue: str, story: Callable[[Trader], Awaitable[None]]
) -> None:
    room, vault, traders = house
    if venue not in traders:
        owner = await vault.owner(venue)
        await owner.ready()
        owner.account = (await owner.get()).account
        traders[venue] = Trader(room, owner, venue)
    trader = traders[venue]
    vault.renew(trader.owner)
    trader.price = int(await middle(room.ground.http, room.ground.face(venue), venue))
    counts = []
    for _ in range(3):  # the first one also counts what happens once only
        room.room.arm()
        await story(trader)
        counts.append(room.room.steps)
    assert min(counts) > 20
    deaths, tried = room.deaths, 0
    for step in chosen(room.room, counts, f"{SEED} {venue} {story.__name__}"):
        tried += 1
        vault.renew(trader.owner)
        await room.revive()
        room.room.arm(**step)
        try:
            await story(trader)
        except BaseException:
            print(f"{venue}, {story.__name__}: the death at {step}, seed {SEED}")
            raise
    await room.revive()
    room.room.disarm()
    await trader.compare()
    died = room.deaths - deaths
    seen, died_at = room.room.places()
    TOTALS.update(steps=max(counts[1:]), tried=tried, deaths=died)
    print(
        f"\n{venue}, {story.__name__}: {max(counts[1:])} steps, {tried} tried, {died} deaths, seed {SEED}; so far "
        f"{TOTALS['steps']} steps, {TOTALS['tried']} tried, {TOTALS['deaths']} deaths, at {len(died_at & seen)} of the "
        f"{len(seen)} places in the code that were counted, {len(died_at)} in all"
    )
    assert died or BOUND == "places"


TOTALS: Counter[str] = Counter()


def chosen(room: CrashingRoom, counts: list[int], seed: str) -> list[dict[str, Any]]:
    """Return the deaths to be died in a story of so many steps each time it was counted, as `arm` takes them."""
    if BOUND == "places":
        seen, died = room.places()
        return [{"kill_in": place} for place in sorted(seen - died)]
    steps = list(range(1, max(counts[1:]) + 1))
    # Of those that surely come: how often a story waits and looks is chance.
    sure, chance = steps[: min(counts) * 2 // 3], random.Random(seed)
    if not BOUND:
        steps = sorted(chance.sample(sure, SAMPLE))
    elif BOUND != "all":
        count = min(len(steps), max(1, int(BOUND) // (2 * len(STORIES))))
        begin = chance.random()
        steps = sorted({steps[int((at + begin) * len(steps) / count)] for at in range(count)})
    return [{"kill_at": step} for step in steps]
