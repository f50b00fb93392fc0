"""The cheapest split of a size over venues, exactly, with a bound that proves it. Integers only.

For every set of venues that trade (each then between its smallest and its largest size) the least cost is found, and
with it a multiplier whose Lagrangian bound no plan on that set can undercut:

* venues of equal lots: the merged levels are filled from the cheapest (Federgruen and Groenevelt, Operations Research
  34(6), 1986); the water level is the multiplier, and the bound equals the cost;
* two lots: what the coarse venues take decides the rest, and the cost is convex in it; it is searched by its slope;
* more lots: the coarsest is enumerated outward from where a relaxation is least, as far as the relaxation, which is
  convex too, stays below the best found.

Sets are few: two to the power of the venues. A plan is the cheapest over all sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from services.routing.model.curve import Curve
from services.routing.model.merged import Merged, merge, relax

Names = tuple[int, ...]
"""Positions of venues, ascending."""


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


def split(curves: Sequence[Curve], size: int) -> Split | None:
    """Return the cheapest split of `size` units with its bounds; None where no set can carry it.

    Of plans that cost the same, the one over fewer venues is returned, then the first by position.
    """
    bounds = [bound_of(curves, members, size) for members in sets_of(len(curves))]
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


def bound_of(curves: Sequence[Curve], members: Names, size: int) -> SetBound:
    """Return the least cost of `size` with exactly `members` trading, and the bound that proves it."""
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
    groups = _groups(chosen, size - low)
    takes = _solve(groups, size)
    if takes is None:
        return SetBound(members)
    cost = sum(group.cost(units) for group, units in zip(groups, takes, strict=True))
    sizes = [0] * len(chosen)
    for group, units in zip(groups, takes, strict=True):
        for at, part in zip(group.owners, group.parts(units), strict=True):
            sizes[at] = part
    multiplier, bound = _dual(groups, takes, size)
    return SetBound(members, multiplier, bound, cost, tuple(sizes))


def _alone(curve: Curve, members: Names, size: int) -> SetBound:
    if not curve.smallest <= size <= curve.largest or size % curve.lot:
        return SetBound(members)
    cost = curve.cost(size)
    return SetBound(members, curve.left(size), cost, cost, (size,))


def _groups(chosen: Sequence[Curve], spare: int) -> list[Merged]:
    """Return the curves merged by equal lots, the coarsest lot first, as far as `spare` units beyond their smallest."""
    lots = sorted({curve.lot for curve in chosen}, reverse=True)
    if len(lots) == 1:
        return [merge(list(enumerate(chosen)), spare)]
    return [merge([(at, curve) for at, curve in enumerate(chosen) if curve.lot == lot], spare) for lot in lots]


def _solve(groups: Sequence[Merged], size: int) -> list[int] | None:
    """Return what each group takes at the least cost, or None where lots and limits leave nothing."""
    if len(groups) == 1:
        only = groups[0]
        return [size] if only.smallest <= size <= only.largest and size % only.lot == 0 else None
    if len(groups) == 2:
        coarse = _two(groups[0], groups[1], size)
        return None if coarse is None else [coarse, size - coarse]
    return _enumerate(groups, size)


def _two(coarse: Merged, fine: Merged, size: int) -> int | None:
    """Return what the coarse group takes: the least of a convex function on an arithmetic progression."""
    low = max(coarse.smallest, size - fine.largest)
    high = min(coarse.largest, size - fine.smallest)
    stride, first = _progression(coarse.lot, fine.lot, size, low)
    if first is None or first > high:
        return None
    lower, upper = 0, (high - first) // stride

    def money(turn: int) -> int:
        units = first + turn * stride
        return coarse.cost(units) + fine.cost(size - units)

    while lower < upper:  # the first turn from which one more does not pay
        middle = (lower + upper) // 2
        if money(middle + 1) < money(middle):
            lower = middle + 1
        else:
            upper = middle
    return first + lower * stride


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


def _enumerate(groups: Sequence[Merged], size: int) -> list[int] | None:
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
            takes = _solve(rest, size - units)
            if takes is None:
                continue
            cost = coarse.cost(units) + sum(one.cost(part) for one, part in zip(rest, takes, strict=True))
            if best is None or cost < best[0]:
                best = cost, [units, *takes]
    return None if best is None else best[1]


def _dual(groups: Sequence[Merged], takes: Sequence[int], size: int) -> tuple[int, int]:
    """Return the multiplier, among the slopes around the plan, whose bound is the highest, and that bound."""
    candidates: set[int] = set()
    for group, units in zip(groups, takes, strict=True):
        candidates.update(group.slopes(units))
    best: tuple[int, int] | None = None
    for multiplier in candidates:
        bound = multiplier * size
        for group in groups:
            units = group.best_at(multiplier)
            bound += group.cost(units) - multiplier * units
        if best is None or bound > best[1]:
            best = multiplier, bound
    assert best is not None, "a plan has a slope"
    return best
