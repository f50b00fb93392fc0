"""The cheapest split of a size over venues, exactly, with a bound that proves it. Integers only.

For every set of venues that trade (each then between its smallest and its largest size) the least cost is found, and
with it a multiplier whose Lagrangian bound no plan on that set can undercut:

* venues of equal lots: levels are filled from the cheapest (Federgruen and Groenevelt, Operations Research 34(6),
  1986), up to a water level that is found by halving; it is the multiplier, and the bound equals the cost;
* two lots: what the coarse venues take decides the rest, and the cost is convex in it: it is least next to where it
  would be without lots;
* more lots: the coarsest is enumerated outward from where a relaxation is least, as far as the relaxation, which is
  convex too, stays below the best found.

Sets are few: two to the power of the venues. A plan is the cheapest over all sets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from services.routing.model.curve import Curve
from services.routing.model.merged import Merged, merge, relax

Names = tuple[int, ...]
"""Positions of venues, ascending."""
Held = dict[int, int]
"""By price, the units that a set of venues holds up to it."""


@dataclass(frozen=True, slots=True)
class SetBound:
    """The bound of one set of venues; without a multiplier, where the set cannot carry the size."""

    members: Names
    multiplier: int | None = None
    bound: int | None = None
    cost: int | None = None
    sizes: tuple[int, ...] = ()
    """What each member takes at `cost`."""


@dataclass(frozen=True, slots=True)
class Split:
    """What each venue takes, the money in all, and the bounds that prove it."""

    sizes: tuple[int, ...]
    cost: int
    bounds: tuple[SetBound, ...]

    @property
    def lower_bound(self) -> int:
        """The smallest bound over the sets."""
        return min(one.bound for one in self.bounds if one.bound is not None)


def prices_of(curves: Sequence[Curve]) -> list[int]:
    """Return every net price of the curves, ascending, each once."""
    return sorted({price for curve in curves for price in curve.prices})


def split(
    curves: Sequence[Curve], size: int, prices: Sequence[int] = (), held: dict[Names, Held] | None = None
) -> Split | None:
    """Return the cheapest split of `size` units with its bounds; None where no set can carry it.

    Of plans that cost the same, the one over fewer venues is returned, then the first by position. `prices` are those
    of `prices_of`, for who asks for many sizes on the same curves, and `held` is a dictionary kept with them.
    """
    known = prices or prices_of(curves)
    merged: dict[Names, Merged] = {}
    bounds = [bound_of(curves, members, size, known, merged, held) for members in sets_of(len(curves))]
    best: SetBound | None = None
    for one in bounds:
        if one.cost is None:
            continue
        if best is None or best.cost is None or (one.cost, len(one.members)) < (best.cost, len(best.members)):
            best = one
    if best is None or best.cost is None:
        return None
    sizes = [0] * len(curves)
    for member, units in zip(best.members, best.sizes, strict=True):
        sizes[member] = units
    return Split(tuple(sizes), best.cost, tuple(bounds))


def sets_of(count: int) -> tuple[Names, ...]:
    """Return every set of venues but the empty one, in the order of their names."""
    if count not in _SETS:
        every = [tuple(at for at in range(count) if mask >> at & 1) for mask in range(1, 1 << count)]
        _SETS[count] = tuple(sorted(every))
    return _SETS[count]


_SETS: dict[int, tuple[Names, ...]] = {}


def bound_of(
    curves: Sequence[Curve],
    members: Names,
    size: int,
    prices: Sequence[int] = (),
    merged: dict[Names, Merged] | None = None,
    held: dict[Names, Held] | None = None,
) -> SetBound:
    """Return the least cost of `size` with exactly `members` trading, and the bound that proves it.

    `merged` keeps, from one set to the next, the curves of one lot that were merged for this size; `held`, from one
    size to the next, what a set holds up to the prices that were looked at.
    """
    if len(members) == 1:
        return _alone(curves[members[0]], members, size)
    chosen = [curves[at] for at in members]
    low = high = step = 0
    for curve in chosen:
        if curve.smallest > curve.largest:
            return SetBound(members)
        low, high, step = low + curve.smallest, high + curve.largest, gcd(step, curve.lot)
    if not low <= size <= high or size % step:
        return SetBound(members)
    known = prices or prices_of(chosen)
    level = _level(chosen, known, size, None if held is None else held.setdefault(members, {}))
    if len({curve.lot for curve in chosen}) == 1:
        return _filled(chosen, members, size, level)
    if len(chosen) == 2:
        return _pair(chosen, members, size, level)
    groups = _groups(curves, members, size, {} if merged is None else merged)
    takes = _solve(groups, size, known)
    if takes is None:
        return SetBound(members)
    cost = sum(group.cost(units) for group, units in zip(groups, takes, strict=True))
    sizes: dict[int, int] = {}
    for group, units in zip(groups, takes, strict=True):
        sizes.update(zip(group.owners, group.parts(units), strict=True))
    return SetBound(members, level, _dual(chosen, level, size), cost, tuple(sizes[at] for at in members))


def _alone(curve: Curve, members: Names, size: int) -> SetBound:
    if not curve.smallest <= size <= curve.largest or size % curve.lot:
        return SetBound(members)
    cost = curve.cost(size)
    return SetBound(members, curve.left(size), cost, cost, (size,))


def _level(curves: Sequence[Curve | Merged], prices: Sequence[int], size: int, held: Held | None = None) -> int:
    """Return the water level: the lowest price up to which the curves hold the size, found by halving."""
    if held is not None:
        known = held

        def up_to(price: int) -> int:
            units = known.get(price)
            if units is None:
                units = known[price] = sum([one.best_at(price) for one in curves])
            return units

        return prices[bisect_left(prices, size, key=up_to)]
    if len(curves) == 2:
        first, second = curves
        return prices[bisect_left(prices, size, key=lambda price: first.best_at(price) + second.best_at(price))]
    return prices[bisect_left(prices, size, key=lambda price: sum([one.best_at(price) for one in curves]))]


def _filled(chosen: Sequence[Curve], members: Names, size: int, level: int) -> SetBound:
    """Return the split over curves of one lot: all that is cheaper than the level, and of what costs it what is left.

    The level is the multiplier too: below it all is taken that can be and above it nothing, so that the bound is the
    cost.
    """
    sizes = [curve.best_at(level - 1) for curve in chosen]
    left = size - sum(sizes)
    for at, curve in enumerate(chosen):
        if not left:
            break
        used = min(left, curve.best_at(level) - sizes[at])
        sizes[at], left = sizes[at] + used, left - used
    cost = sum([curve.cost(units) for curve, units in zip(chosen, sizes, strict=True)])
    return SetBound(members, level, cost, cost, tuple(sizes))


def _pair(chosen: Sequence[Curve], members: Names, size: int, level: int) -> SetBound:
    """Return the split over two curves of different lots."""
    at = 0 if chosen[0].lot > chosen[1].lot else 1
    coarse, fine = chosen[at], chosen[1 - at]
    units = _two(coarse, fine, size, level)
    if units is None:
        return SetBound(members)
    sizes = (units, size - units) if at == 0 else (size - units, units)
    cost = coarse.cost(units) + fine.cost(size - units)
    return SetBound(members, level, _dual(chosen, level, size), cost, sizes)


def _dual(chosen: Sequence[Curve], level: int, size: int) -> int:
    """Return the bound at the water level, the highest of all multipliers.

    What a curve less the multiplier times its units comes to is least where one of its steps ends, and steps end on
    lots. So the bounds are those of the same problem without lots, whose highest is at the level that fills it.
    """
    bound = level * size
    for curve in chosen:
        units = curve.best_at(level)
        bound += curve.cost(units) - level * units
    return bound


def _groups(curves: Sequence[Curve], members: Names, size: int, merged: dict[Names, Merged]) -> list[Merged]:
    """Return the members' curves merged by equal lots, the coarsest lot first, as far as `size` needs."""
    found = []
    for lot in sorted({curves[at].lot for at in members}, reverse=True):
        owners = tuple(at for at in members if curves[at].lot == lot)
        known = merged.get(owners)
        if known is None:
            known = merged[owners] = merge([(at, curves[at]) for at in owners], size)
        found.append(known)
    return found


def _solve(groups: Sequence[Merged], size: int, prices: Sequence[int]) -> list[int] | None:
    """Return what each group takes at the least cost, or None where lots and limits leave nothing."""
    if len(groups) == 1:
        only = groups[0]
        return [size] if only.smallest <= size <= only.largest and size % only.lot == 0 else None
    if len(groups) == 2:
        coarse = _two(groups[0], groups[1], size, _level(groups, prices, size))
        return None if coarse is None else [coarse, size - coarse]
    return _enumerate(groups, size, prices)


def _two(coarse: Curve | Merged, fine: Curve | Merged, size: int, level: int) -> int | None:
    """Return what the coarse group takes: the least of a convex function on an arithmetic progression.

    Without lots the function is least all the way from `least` to `most`: what the coarse group takes of what costs the
    water level is of no matter. Of the progression a number in between is the best, else one of its two neighbors.
    """
    low = max(coarse.smallest, size - fine.largest)
    high = min(coarse.largest, size - fine.smallest)
    stride, first = _progression(coarse.lot, fine.lot, size, low)
    if first is None or first > high:
        return None
    least = max(coarse.best_at(level - 1), size - fine.best_at(level))
    most = min(coarse.best_at(level), size - fine.best_at(level - 1))
    turn = min(max(-((first - least) // stride), 0), (high - first) // stride)
    units = first + turn * stride
    if units <= most or turn == 0:
        return units
    before = units - stride
    if coarse.cost(before) + fine.cost(size - before) <= coarse.cost(units) + fine.cost(size - units):
        return before
    return units


def _progression(coarse_lot: int, fine_lot: int, size: int, low: int) -> tuple[int, int | None]:
    """Return (stride, first): the multiples of one lot, from `low` up, that leave a multiple of the other."""
    common = gcd(coarse_lot, fine_lot)
    turns = fine_lot // common
    stride = coarse_lot * turns
    if size % common:
        return stride, None
    start = -(-low // coarse_lot) * coarse_lot
    for turn in range(turns):
        if (size - start - turn * coarse_lot) % fine_lot == 0:
            return stride, start + turn * coarse_lot
    return stride, None


def _enumerate(groups: Sequence[Merged], size: int, prices: Sequence[int]) -> list[int] | None:
    """Try the coarsest group's sizes outward from where the relaxation is least, while it stays below the best."""
    coarse, rest = groups[0], list(groups[1:])
    low = -(-max(coarse.smallest, size - sum(one.largest for one in rest)) // coarse.lot)
    high = min(coarse.largest, size - sum(one.smallest for one in rest)) // coarse.lot
    if low > high:
        return None
    relaxed = relax(rest)

    def least(turn: int) -> int:
        units = turn * coarse.lot
        return coarse.cost(units) + relaxed.cost(size - units)

    lower, upper = low, high
    while lower < upper:
        middle = (lower + upper) // 2
        if least(middle + 1) < least(middle):
            lower = middle + 1
        else:
            upper = middle
    best: tuple[int, list[int]] | None = None
    for turns in (range(lower, high + 1), range(lower - 1, low - 1, -1)):
        for turn in turns:
            if best is not None and least(turn) >= best[0]:
                break
            units = turn * coarse.lot
            takes = _solve(rest, size - units, prices)
            if takes is None:
                continue
            cost = coarse.cost(units) + sum(one.cost(part) for one, part in zip(rest, takes, strict=True))
            if best is None or cost < best[0]:
                best = cost, [units, *takes]
    return None if best is None else best[1]
