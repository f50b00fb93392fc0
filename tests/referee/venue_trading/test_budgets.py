"""The budgets: after many mixed actions our count is the venue's own, and not one request was refused for its rate.

80 actions a venue, or PERPMESH_ACTIONS of them; the simulator enforces the limits that our budgets keep.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from services.domain.market import HYPERLIQUID, LIGHTER
from services.domain.refusal import Origin, RefusalReason
from services.venues.actions import (
    Action,
    Cancel,
    CancelAll,
    MarginMode,
    OrderReference,
    SetLeverage,
    Side,
    TimeInForce,
)
from services.venues.hyperliquid.budgets import WEIGHT_PER_MINUTE
from services.venues.hyperliquid.trader import HyperliquidTrader
from services.venues.lighter.trader import LighterTrader
from services.venues.trading import Accepted, NonceFate, Refused, Submission, Unknown
from tests.referee.venue_trading import desks
from tests.referee.venue_trading.desks import MARKET, TESTNET, Desk, desk_at, place

pytestmark = [pytest.mark.skipif(TESTNET, reason="would use the venue up"), pytest.mark.timeout(3_600)]
COUNT = int(os.environ.get("PERPMESH_ACTIONS", "80"))
SEED = 20261122
WEIGHT = WEIGHT_PER_MINUTE * 10
D = Decimal


async def mixed(desk: Desk, rng: random.Random, resting: list[OrderReference], bid: Decimal) -> Action:
    """Return a random action; most are fine, some are refused."""
    kind = rng.random()
    if kind < 0.45 or not resting:
        terms = desk.terms(Side.BUY, bid * D(rng.randrange(800, 960)) / 1000, D("0.02"))
        resting.append(OrderReference(market=MARKET, venue_market_id=terms.venue_market_id, client_id=terms.client_id))
        return place(terms)
    if kind < 0.55 and desk.name == HYPERLIQUID:
        batch = [desk.terms(Side.BUY, bid * D("0.9"), D("0.02")) for _ in range(rng.randrange(2, 60))]
        resting += [
            OrderReference(market=MARKET, venue_market_id=terms.venue_market_id, client_id=terms.client_id)
            for terms in batch
        ]
        return place(*batch)
    if kind < 0.9:
        count = rng.randrange(1, 40) if desk.name == HYPERLIQUID else 1
        chosen = [resting.pop(rng.randrange(len(resting))) for _ in range(min(count, len(resting)))]
        return Cancel(orders=tuple(chosen))
    if kind < 0.95:
        return SetLeverage(
            market=MARKET,
            venue_market_id=desk.listing.venue_market_id,
            leverage=rng.randrange(1, 60),
            margin_mode=MarginMode.CROSS,
        )
    return place(desk.terms(Side.BUY, bid * D("0.9"), desk.listing.lot))


async def test_our_count_is_hyperliquids_own_after_many_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(desks.UNLIMITED, "hyperliquid_weight_max", WEIGHT)
    rng = random.Random(SEED)
    async with desk_at(HYPERLIQUID) as desk:
        trader = desk.venue
        assert isinstance(trader, HyperliquidTrader)
        trader.budgets.weight._windows[0].limit = WEIGHT
        await trader.count_requests(desk.account)
        weighed = await limit_of(desk, "weight"), trader.budgets.weight.spent
        before = trader.budgets.address(desk.account.address).used
        resting: list[OrderReference] = []
        found: Counter[str] = Counter()
        bid, _ = await desk.best()
        turn = asyncio.Semaphore(12)

        async def one(action: Action) -> None:
            async with turn:
                while True:
                    made = await trader.submit(desk.account, await desk.sign(action))
                    if made.nonce is not NonceFate.NOT_SENT:
                        break
                    await asyncio.sleep(0.5)  # our own budget said no, before the venue could
                count(found, made)

        async with asyncio.TaskGroup() as group:
            for n in range(COUNT):
                group.create_task(one(await mixed(desk, rng, resting, bid)))
                if n % 25 == 0:
                    await asyncio.sleep(0)
        used = trader.budgets.address(desk.account.address).used
        await trader.count_requests(desk.account)
        theirs = trader.budgets.address(desk.account.address).used
        weight = await limit_of(desk, "weight")
        ours, venues = trader.budgets.weight.spent - weighed[1], weight["used"] - weighed[0]["used"]
        print(f"seed {SEED}: {COUNT} actions, {dict(found)}; requests {used - before}, the venue {theirs - before}; "
              f"weight {ours}, the venue {venues}; {weight['refused']} answers of 429")  # fmt: skip
        assert used == theirs
        assert ours == venues
        assert weight["refused"] == 0
        assert found["unknown"] == 0
        assert found["VENUE_BUDGET"] == 0


async def test_lighter_refuses_nothing_for_its_rate() -> None:
    """What our own budget of the account lets through passes, and each nonce is used in its turn."""
    rng = random.Random(SEED)
    async with desk_at(LIGHTER) as desk:
        resting: list[OrderReference] = []
        found: Counter[str] = Counter()
        bid, _ = await desk.best()
        for _ in range(COUNT):
            action = await mixed(desk, rng, resting, bid)
            signed = await desk.sign(action)
            while True:
                made = await desk.venue.submit(desk.account, signed)
                if made.nonce is not NonceFate.NOT_SENT:
                    break
                await asyncio.sleep(0.5)  # our own budget said no, before the venue could
            count(found, made)
        trader = desk.venue
        assert isinstance(trader, LighterTrader)
        sends, requests = await limit_of(desk, "sends"), await limit_of(desk, "requests")
        ours = trader.budgets.sends, trader.budgets.requests.spent
        print(f"seed {SEED}: {COUNT} actions, {dict(found)}; sends {ours[0]}, the venue {sends['used']}; "
              f"requests {ours[1]}, the venue {requests['used'] + sends['used']}; "
              f"{sends['refused'] + requests['refused']} answers of 429")  # fmt: skip
        assert ours == (sends["used"], requests["used"] + sends["used"])
        assert sends["refused"] == requests["refused"] == 0
        assert found["unknown"] == 0
        assert found["VENUE_BUDGET"] == 0
        assert found["NONCE"] == 0


async def test_lighters_volume_quota_is_kept_to() -> None:
    """A premium account that has traded nothing has 1,000 orders; the next is held back before the venue refuses it."""
    async with desk_at(LIGHTER, volume="0") as desk:
        bid, _ = await desk.best()
        sent = 0
        while sent < 1_100:
            missing = desk.terms(Side.BUY, bid * D("0.9"), D("0.02"), tif=TimeInForce.IMMEDIATE_OR_CANCEL)
            made = await desk.venue.submit(desk.account, await desk.sign(place(missing)))
            if made.nonce is NonceFate.NOT_SENT:
                break
            sent += 1
        (outcome,) = made.outcomes
        assert isinstance(outcome, Refused)
        assert (outcome.refusal.reason, outcome.refusal.origin) == (RefusalReason.VENUE_BUDGET, Origin.MESH)
        assert 1_000 <= sent <= 1_002
        assert (await limit_of(desk, "sends"))["refused"] == 0
        canceled = await desk.send(CancelAll())
        assert isinstance(canceled.outcomes[0], Accepted)  # which needs no quota


async def limit_of(desk: Desk, name: str) -> Any:
    """Return what the simulator's own limit has counted: units used, and requests refused with 429."""
    assert desk.simulator is not None
    return (await desk.simulator.state())["venues"][desk.name]["limits"][name]


def count(found: Counter[str], made: Submission) -> None:
    for outcome in made.outcomes:
        if isinstance(outcome, Accepted):
            found["accepted"] += 1
        elif isinstance(outcome, Unknown):
            found["unknown"] += 1
        elif isinstance(outcome, Refused):
            found[outcome.refusal.reason.value] += 1
            assert outcome.refusal.reason is not RefusalReason.SIGNATURE
