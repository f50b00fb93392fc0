"""The simulator's exchange liquidates at the price we said, over seeded accounts: both venues, cross, isolated, tiers.

It has its own formulas, in whole units of 1e-6 dollars, and shares no code with ours. 500 accounts in the suite, 5,000
by PERPMESH_LIQUIDATION_SEEDS=5000; a failure names its seed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import pytest

from services.domain.decimals import rounding
from services.portfolio.model.exposure import Member, deaths, equalize, first_death, moved, nearest, need
from services.portfolio.model.liquidation import liquidation_price
from services.portfolio.model.margin import Holding, MarketRules, fraction_tier, leverage_tiers
from services.portfolio.model.values import MarginMode
from services.simulator.exchange.core import Exchange
from services.simulator.exchange.terms import Fraction, Setting
from services.simulator.exchange.terms import fraction_tier as their_fraction
from services.simulator.exchange.terms import leverage_tiers as their_tiers
from services.simulator.exchange.values import Liquidated, Wanted
from tests.support.street import HandStreet
from tests.unit.simulator.test_exchange_matching import exchange, terms

SEEDS = int(os.environ.get("PERPMESH_LIQUIDATION_SEEDS", "500"))
NOW = 1_795_348_802_000_000
MICRO = Decimal("0.000001")
ACCOUNT = 1


@pytest.fixture(autouse=True)
def _rounding() -> Iterator[None]:
    with rounding():
        yield


@dataclass(slots=True)
class Scene:
    """An account at the simulator's exchange, and as we see it."""

    exchange: Exchange
    street: HandStreet
    holdings: list[Holding]
    rules: dict[str, MarketRules]
    cash: Decimal
    decimals: dict[str, int]

    def member(self, number: int, venue: str) -> Member:
        return Member(
            account_id=UUID(int=number), venue=venue, holdings=tuple(self.holdings), rules=self.rules, cash=self.cash
        )

    def liquidated(self, market: str, mark: int) -> list[Liquidated]:
        """Set a mark and return who is liquidated."""
        self.street.marks[market] = mark
        self.exchange.take_events()
        self.exchange.marked(NOW)
        return [event for event in self.exchange.take_events() if isinstance(event, Liquidated)]


def draw_terms(rng: Random, venue: str, market: str) -> tuple[Any, MarketRules]:
    price_decimals = rng.choice((1, 2, 4))
    leverage = rng.choice((5, 10, 20, 40))
    facts: dict[str, Any] = {"price_decimals": price_decimals, "size_decimals": 6 - price_decimals}
    setting = Setting(rng.random() < 0.3, Fraction(1, rng.randint(2, leverage)))
    if venue == "hyperliquid":
        rows = [(0, leverage)]
        while rng.random() < 0.5 and rows[-1][1] > 3:
            rows.append((rows[-1][0] + rng.choice((5_000, 20_000, 100_000)), rows[-1][1] // 2))
        facts["tiers"] = their_tiers(tuple(rows))
        ours = leverage_tiers([(Decimal(lower), times) for lower, times in rows])
    else:
        least = 10_000 // leverage
        facts["tiers"] = their_fraction(least, least * 6 // 10, least * 4 // 10)
        ours = fraction_tier(Decimal(least * 6 // 10) / 10_000, leverage)
    found = terms(venue, market, default=setting, **facts)
    return found, MarketRules(venue=venue, market=market, tiers=ours)


def draw(seed: int, venue: str) -> Scene:
    rng = Random(seed)
    names = [f"M{number}-PERP" for number in range(rng.randint(1, 3))]
    drawn = {name: draw_terms(rng, venue, name) for name in names}
    subject, street = exchange(venue, *[row for row, _ in drawn.values()])
    subject.state.margin_free = True
    account = subject.open_account(ACCOUNT)
    subject.deposit(ACCOUNT, 10**15, NOW)
    for name, (row, _) in drawn.items():
        mark = rng.randint(10, 50_000) * 10**row.price_decimals // rng.choice((1, 10))
        street.marks[name] = mark = max(mark, 1_000)
        notional = rng.randint(50, 300_000) * 10**6
        buy = rng.random() < 0.5
        price = mark * rng.randint(950, 1_050) // 1_000
        size = max(1, notional // price)
        street.levels[name] = {True: {price: 10**18}, False: {price: 10**18}}
        subject.place(ACCOUNT, Wanted(market=name, buy=buy, price=price, size=size, tif="ioc"), NOW)
    subject.state.margin_free = False
    holdings = []
    for name, (row, _) in drawn.items():
        held = account.position(name)
        holdings.append(
            Holding(
                market=name, size=Decimal(held.size).scaleb(-row.size_decimals), cost=held.entry * MICRO,
                mark=Decimal(street.marks[name]).scaleb(-row.price_decimals),
                leverage=Decimal(row.default.initial.den) / row.default.initial.num,
                mode=MarginMode.ISOLATED if held.isolated else MarginMode.CROSS,
                collateral=held.collateral * MICRO if held.isolated else Decimal(0),
            )
        )  # fmt: skip
    rules = {name: rule for name, (_, rule) in drawn.items()}
    decimals = {name: row.price_decimals for name, (row, _) in drawn.items()}
    scene = Scene(subject, street, holdings, rules, Decimal(0), decimals)
    settle_cash(scene, rng)
    return scene


def settle_cash(scene: Scene, rng: Random) -> None:
    """Leave the account with a little more than it must maintain, so that liquidation is within reach."""
    account = scene.exchange.account(ACCOUNT)
    assert account is not None
    cross = [held for held in scene.holdings if held.mode is MarginMode.CROSS]
    profit = sum((held.profit for held in cross), Decimal(0))
    must = sum((scene.rules[held.market].maintenance(held.notional) for held in cross), Decimal(0))
    gross = sum((held.notional for held in cross), Decimal(0))
    want = must - profit + 1 + gross * rng.randint(1, 400) / 1_000
    cash = int(want / MICRO)
    entries = sum(int(held.cost / MICRO) * (1 if held.size > 0 else -1) for held in cross)
    scene.exchange.deposit(ACCOUNT, cash - entries - account.cash[""], NOW)
    scene.cash = cash * MICRO


def healthy(scene: Scene) -> bool:
    return all(
        held.value > scene.rules[held.market].maintenance(held.notional) + 1
        for held in scene.holdings
        if held.mode is MarginMode.ISOLATED
    )


@pytest.mark.timeout(900)
def test_the_exchange_liquidates_at_the_price_we_said() -> None:
    seen: Counter[str] = Counter()
    seed = 0
    while sum(seen.values()) < SEEDS:
        seed += 1
        venue = ("hyperliquid", "lighter")[seed % 2]
        scene = draw(seed, venue)
        if not healthy(scene):
            continue
        index = seed // 2 % len(scene.holdings)
        held = scene.holdings[index]
        price = liquidation_price(held, scene.holdings, scene.rules, scene.cash)
        rule = scene.rules[held.market]
        unit = Decimal(1).scaleb(-scene.decimals[held.market])
        if price is None:
            assert held.size > 0, seed
            assert not scene.liquidated(held.market, 1), seed
            seen[f"{venue} never"] += 1
            continue
        exact = price / unit
        # The exchange cuts each maintenance margin to 1e-6: it may liquidate this much later, in units of price.
        slack = int(len(scene.holdings) * MICRO / (abs(held.size) * unit * (1 - rule.tiers[-1].rate))) + 2
        safe, dead = int(exact) + (1 if held.size > 0 else 0), int(exact) - (slack if held.size > 0 else -slack)
        assert (held.mark > price) == (held.size > 0), seed
        assert not scene.liquidated(held.market, safe), (seed, "too early")
        if dead < 1:
            continue
        (event, *_) = scene.liquidated(held.market, dead) or [None]
        assert event is not None, (seed, "too late", price)
        assert event.isolated == (held.market if held.mode is MarginMode.ISOLATED else ""), seed
        tiered = "tiered" if len(rule.tiers) > 1 else "one tier"
        seen[f"{venue} {held.mode.name.lower()} {tiered}"] += 1
    print(f"\n{sum(seen.values())} accounts of {seed} seeds: {dict(sorted(seen.items()))}")
    assert len([kind for kind in seen if "never" not in kind]) == 6


def members_of(seed: int) -> list[Member]:
    rng = Random(seed)
    scenes = [draw(rng.randrange(10**9), venue) for venue in ("hyperliquid", "lighter")]
    return [scene.member(number, venue) for number, (scene, venue) in enumerate(zip(scenes, ("a", "b"), strict=True))]


def at_move(member: Member, market: str, move: Decimal) -> Member:
    """Return an account after the price of one market has moved."""
    held = tuple(replace(one, mark=one.mark * (1 + move)) if one.market == market else one for one in member.holdings)
    return replace(member, holdings=held)


def dies(member: Member, market: str) -> bool:
    """Say whether the account is under its maintenance margin, or an isolated position of the market is."""
    standing = member.standing
    if any(one.market == market and one in member.cross for one in member.holdings) and standing.buffer < 0:
        return True
    return any(
        one.value < member.rules[one.market].maintenance(one.notional)
        for one in member.holdings
        if one.mode is MarginMode.ISOLATED and one.market == market
    )


def test_moved_to_the_stated_price_the_leg_that_was_named_dies_first() -> None:
    named = 0
    for seed in range(120):
        members = members_of(seed)
        if any(dies(one, "M0-PERP") for one in members):
            continue
        for rise in (True, False):
            death = first_death(members, "M0-PERP", rise=rise)
            if death is None or (death.move > 0) != rise:
                continue
            just = Decimal("0.0000001") * death.move
            before = [at_move(one, "M0-PERP", death.move - just) for one in members]
            after = [at_move(one, "M0-PERP", death.move + just) for one in members]
            assert not any(dies(one, "M0-PERP") for one in before), seed
            assert [one.account_id for one in after if dies(one, "M0-PERP")] == [death.member.account_id], seed
            named += 1
    assert named > 80
    print(f"\n{named} first deaths")


def test_after_the_stated_transfer_the_distances_are_equal() -> None:
    equal = 0
    for seed in range(120):
        members = members_of(seed)
        transfers, distance = equalize(members)
        if distance is None:
            continue
        change: Counter[UUID] = Counter()
        for one in transfers:
            change[one.source.account_id] -= one.amount  # type: ignore[assignment]
            change[one.target.account_id] += one.amount  # type: ignore[assignment]
        for one in members:
            if not one.cross:
                continue
            after = moved(one, Decimal(change[one.account_id]))
            left = min((abs(death.move) for death in deaths(replace(after, holdings=after.cross))), default=None)
            assert left is not None
            assert abs(left - distance) < Decimal("0.00001"), (seed, left, distance)
        equal += 1
    assert equal > 30
    print(f"\n{equal} pictures made equal")


def test_what_an_account_needs_for_its_own_distance_is_what_it_has() -> None:
    for seed in range(60):
        (member, _) = members_of(seed)
        cross = replace(member, holdings=member.cross)
        death = nearest(cross)
        if death is not None and death.move:
            assert abs(need(cross, abs(death.move)) - cross.standing.value) < Decimal("0.000000001")
