"""The solver against people who solve the same problem another way: brute force, HiGHS, dynamic programming."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from services.routing.model.curve import Curve
from services.routing.model.solver import Split, split
from tests.support.routing import SEED, Venue, costs_by_size, instance, samples


def solved(venues: tuple[Venue, ...], size: int) -> Split | None:
    return split([venue.curve() for venue in venues], size)


def brute_force(venues: tuple[Venue, ...], size: int) -> int | None:
    """Try every combination of sizes on the lots."""
    best: dict[int, int] = {0: 0}
    for venue in venues[:-1]:
        found: dict[int, int] = {}
        for taken, money in best.items():
            for units, cost in costs_by_size(venue, size - taken).items():
                total = money + cost
                if total < found.get(taken + units, total + 1):
                    found[taken + units] = total
        best = found
    last = costs_by_size(venues[-1], size)
    costs = [money + last[size - taken] for taken, money in best.items() if size - taken in last]
    return min(costs, default=None)


def check(venues: tuple[Venue, ...], size: int, found: Split | None, best: int | None) -> None:
    said = f"seed {SEED}: {size} of {venues}"
    assert (None if found is None else found.cost) == best, said
    if found is None:
        return
    assert sum(found.sizes) == size, said
    for venue, units in zip(venues, found.sizes, strict=True):
        assert units == 0 or (units % venue.lot == 0 and venue.smallest <= units <= venue.largest), said
    walked = [costs_by_size(venue, size)[units] for venue, units in zip(venues, found.sizes, strict=True)]
    assert sum(walked) == found.cost, said
    assert found.lower_bound <= found.cost, said
    if len({venue.lot for venue in venues}) == 1:
        assert found.lower_bound == found.cost, said


def test_no_plan_on_the_lots_costs_less_by_brute_force() -> None:
    chance = random.Random(SEED)
    gaps = 0
    count = samples(2_000, 20_000)
    for _ in range(count):
        venues = instance(chance, chance.choice((1, 2, 2, 2, 3)))
        size = chance.randint(1, 30)
        found = solved(venues, size)
        check(venues, size, found, brute_force(venues, size))
        gaps += found is not None and found.lower_bound < found.cost
    print(f"seed {SEED}: {count} instances, {gaps} with a gap")
    assert gaps < count // 4


def test_three_to_five_venues_by_dynamic_programming() -> None:
    chance = random.Random(SEED + 1)
    for _ in range(samples(200, 2_000)):
        venues = instance(chance, chance.randint(3, 5), levels=5)
        size = chance.randint(5, 60)
        check(venues, size, solved(venues, size), brute_force(venues, size))


def highs(venues: tuple[Venue, ...], size: int) -> int | None:
    """Level by level as a mixed integer program, solved to a zero gap."""
    prices: list[int] = []
    lower: list[float] = []
    upper: list[float] = []
    rows: list[dict[int, float]] = []
    row_low: list[float] = []
    row_high: list[float] = []
    integral: list[int] = []

    def variable(price: int, low: float, high: float) -> int:
        prices.append(price)
        lower.append(low)
        upper.append(high)
        integral.append(1)
        return len(prices) - 1

    def row(terms: dict[int, float], low: float, high: float) -> None:
        rows.append(terms)
        row_low.append(low)
        row_high.append(high)

    total: dict[int, float] = {}
    for venue in venues:
        taken = [variable(price, 0, units) for price, units in venue.levels]
        lots = variable(0, 0, size // venue.lot)
        active = variable(0, 0, 1)
        most = min(venue.largest, size, sum(units for _, units in venue.levels))
        row({**dict.fromkeys(taken, 1.0), lots: -float(venue.lot)}, 0, 0)
        row({lots: float(venue.lot), active: -float(most)}, -np.inf, 0)
        row({lots: float(venue.lot), active: -float(max(venue.smallest, venue.lot))}, 0, np.inf)
        total |= dict.fromkeys(taken, 1.0)
    row(total, size, size)
    matrix = np.zeros((len(rows), len(prices)))
    for at, terms in enumerate(rows):
        for column, value in terms.items():
            matrix[at, column] = value
    found = milp(
        np.array(prices, dtype=float),
        constraints=LinearConstraint(matrix, row_low, row_high),
        bounds=Bounds(np.array(lower), np.array(upper)),
        integrality=np.array(integral),
        options={"mip_rel_gap": 0},
    )
    if found.status != 0:
        return None
    return sum(price * round(value) for price, value in zip(prices, found.x, strict=True))


def test_no_plan_on_the_lots_costs_less_by_highs() -> None:
    chance = random.Random(SEED + 2)
    for _ in range(samples(200, 2_000)):
        venues = instance(chance, chance.choice((2, 2, 3)), levels=6)
        size = chance.randint(3, 60)
        check(venues, size, solved(venues, size), highs(venues, size))


def more_depth(chance: random.Random, venues: tuple[Venue, ...]) -> tuple[Venue, ...]:
    at = chance.randrange(len(venues))
    one = venues[at]
    levels = tuple((price, units + one.lot) for price, units in one.levels)
    return (*venues[:at], Venue(levels, one.lot, one.smallest, one.largest), *venues[at + 1 :])


def test_what_must_follow_from_another_instance_follows() -> None:
    chance = random.Random(SEED + 3)
    for _ in range(samples(500, 5_000)):
        venues = instance(chance, chance.choice((2, 3)))
        size = chance.randint(1, 30)
        found = solved(venues, size)
        if found is None:
            continue
        scaled = tuple(
            Venue(tuple((price * 7, units) for price, units in one.levels), one.lot, one.smallest, one.largest)
            for one in venues
        )
        halved = tuple(
            Venue(
                tuple(
                    half
                    for price, units in one.levels
                    for half in ((price, units - units // 2), (price, units // 2))
                    if half[1]
                ),
                one.lot,
                one.smallest,
                one.largest,
            )
            for one in venues
        )
        assert solved(scaled, size).cost == 7 * found.cost, "scaling prices scales the cost"  # type: ignore[union-attr]
        assert solved(halved, size).cost == found.cost, "a level split in two is the same level"  # type: ignore[union-attr]
        assert solved(venues[::-1], size).cost == found.cost, "the order of venues is of no matter"  # type: ignore[union-attr]
        whole = tuple(
            Venue(tuple((p, u * one.lot) for p, u in one.levels), one.lot, one.smallest, one.largest) for one in venues
        )
        before, after = solved(whole, size), solved(more_depth(chance, whole), size)
        assert before is None or (after is not None and after.cost <= before.cost), "more depth never costs more"


def test_raising_one_venues_price_never_raises_its_share() -> None:
    chance = random.Random(SEED + 4)
    for _ in range(samples(500, 5_000)):
        venues = instance(chance, 2, lots=(1,))
        size = chance.randint(1, 30)
        one = venues[0]
        dearer = Venue(tuple((price + 1_200, units) for price, units in one.levels), one.lot, one.smallest, one.largest)
        before, after = solved(venues, size), solved((dearer, venues[1]), size)
        if before is not None and after is not None and _one_best(venues, size):
            assert after.sizes[0] <= before.sizes[0]


def _one_best(venues: tuple[Venue, ...], size: int) -> bool:
    """Say whether only one split costs the least: with several, any of them may be returned."""
    first, second = (costs_by_size(venue, size) for venue in venues)
    costs = sorted(first[units] + second[size - units] for units in first if size - units in second)
    return len(costs) == 1 or costs[0] < costs[1]


def test_a_lot_that_straddles_levels_needs_a_whole_mean() -> None:
    with pytest.raises(ValueError, match="whole multiples"):
        Curve.of([(3, 1), (4, 1)], lot=2, smallest=0, largest=2)
