"""A room that stands still in the middle of its work, is replaced, and wakes: it sends and keeps nothing any more.

The room stops itself (SIGSTOP) before one step of its loop while an order is taken in, signed and sent. A second room
over the same record takes the order up, as after a death, and ends it. Then the first goes on where it stood.
`PERPMESH_STALE_STEPS` says how many steps of each venue are tried, spread by the seed.
"""

# ruff: noqa: ASYNC110 - what is awaited is in another process

from __future__ import annotations

import asyncio
import os
import random
import signal
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import leg_pb2, order_pb2
from perpmesh.type.v1 import order_type_pb2, side_pb2

from tests.support.execution_room import Brittle, Trader, brittle
from tests.support.vault import MARKET, middle
from tests.support.vault_room import Client

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(7_200)]
STEPS = int(os.environ.get("PERPMESH_STALE_STEPS", "2"))
SEED = int(os.environ.get("PERPMESH_TEST_SEED", "20261128"))
State = order_pb2.Order
Leg = leg_pb2.Leg


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def house(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Brittle, Client]]:
    async with brittle(tmp_path_factory.mktemp("stale"), lighter_delays=False) as made:
        yield made


def wish(trader: Trader) -> pb.PlaceOrderRequest:
    """Return a wish for an order that trades at once."""
    return pb.PlaceOrderRequest(
        request_id=str(uuid.uuid4()), market=MARKET, account_ids=[trader.owner.account_id], side=side_pb2.SIDE_BUY,
        size="0.01", type=order_type_pb2.ORDER_TYPE_LIMIT, limit_price=str(trader.price * 102 // 100),
    )  # fmt: skip


async def placed(trader: Trader, request: Any) -> order_pb2.Order:
    """Place an order and wait for its end."""
    order = (await trader.brittle.ask("PlaceOrder", request, trader.owner.metadata)).order
    trader.placed.append(order.order_id)
    return await trader.ended(order.order_id)


def is_true(order: order_pb2.Order) -> bool:
    """Whether an order was filled; or the wait outlived its bytes, and it is proven that they did nothing."""
    (leg,) = order.legs
    proven = {State.STATE_EXPIRED: Leg.EVIDENCE_NOT_SENT, State.STATE_FAILED: Leg.EVIDENCE_EXPIRY}
    return order.state == State.STATE_DONE or (proven.get(order.state) == leg.evidence and leg.filled_size == "0")


@pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
async def test_who_stood_still_while_another_took_over_sends_nothing(house: tuple[Brittle, Client], venue: str) -> None:
    brittle_room, vault = house
    owner = await vault.owner(venue)
    await owner.ready()
    owner.account = (await owner.get()).account
    trader = Trader(brittle_room, owner, venue)
    trader.price = int(await middle(brittle_room.ground.http, brittle_room.ground.face(venue), venue))
    counts = []
    for _ in range(2):
        brittle_room.room.arm()
        await placed(trader, wish(trader))
        counts.append(brittle_room.room.steps)
    brittle_room.room.disarm()
    slept = 0
    for step in sorted(random.Random(f"{SEED} {venue}").sample(range(1, counts[1] * 2 // 3), STEPS)):
        slept += await stands_still_at(trader, step)
        print(f"\n{venue}: stood still before step {step} of {counts[1]}, seed {SEED}")
    assert slept == STEPS
    await trader.compare()


async def stands_still_at(trader: Trader, step: int) -> bool:
    """Have the room stop before a step, another end the order, and the first wake; say whether it stopped."""
    room = trader.brittle
    request = wish(trader)
    room.room.arm(kill_at=step, number=signal.SIGSTOP)
    asked = asyncio.ensure_future(room.stub.PlaceOrder(request, metadata=trader.owner.metadata, timeout=20))
    async with asyncio.timeout(20):
        while not room.room.stopped:
            await asyncio.sleep(0.005)
    asked.cancel()  # its caller gives up, and asks the other
    await asyncio.wait((asked,))
    with room.twin() as (twin, run_file):
        twin.start()
        await room.turn_to(run_file)
        assert is_true(await placed(trader, request))
        room.room.disarm()
        room.room.kill(signal.SIGCONT)
        twin.kill()
    await room.turn_to(room.run_file)
    # One more order of the account: it is sent only once whatever the first still does for the account has ended.
    assert (await placed(trader, wish(trader))).state == State.STATE_DONE
    return True
