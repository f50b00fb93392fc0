"""Several venues of one lot as one curve: their levels merged, each venue's smallest size taken first.

The least cost of a size over convex curves of one lot is the merged curve at that size (infimal convolution), and the
merged levels say who takes what.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from services.routing.model.curve import Curve


@dataclass(frozen=True, slots=True)
class Merged:
    """The curve of several venues together; beyond `base` units each further one goes to the cheapest."""

    lot: int
    owners: tuple[int, ...]
    bases: tuple[int, ...]
    """What each owner takes in any case."""
    base: int
    base_cost: int
    largest: int
    """The largest size of all owners; the steps may end earlier, where the size they were merged for does."""
    prices: Sequence[int]
    ends: Sequence[int]
    sums: Sequence[int]
    takers: Sequence[int]
    """Whose step each is, as a position in `owners`."""

    @property
    def smallest(self) -> int:
        """The smallest size: what all take in any case."""
        return self.base

    def cost(self, units: int) -> int:
        """Return the least money for `units`, from smallest to largest."""
        more = units - self.base
        if more <= 0:
            return self.base_cost
        at = bisect_left(self.ends, more)
        return self.base_cost + self.sums[at] - (self.ends[at] - more) * self.prices[at]

    def parts(self, units: int) -> list[int]:
        """Return what each owner takes of `units`."""
        found = list(self.bases)
        left = units - self.base
        before = 0
        for end, taker in zip(self.ends, self.takers, strict=True):
            if left <= 0:
                break
            used = min(left, end - before)
            found[taker] += used
            left, before = left - used, end
        return found

    def slopes(self, units: int) -> list[int]:
        """Return the net prices on both sides of `units`."""
        more = units - self.base
        at = bisect_left(self.ends, more) if more > 0 else -1
        found = [self.prices[at]] if at >= 0 else []
        after = bisect_right(self.ends, more)
        if after < len(self.prices):
            found.append(self.prices[after])
        return found or [0]

    def best_at(self, multiplier: int) -> int:
        """Return the units for which cost minus `multiplier` times units is least."""
        at = bisect_right(self.prices, multiplier)
        return self.base + (self.ends[at - 1] if at else 0)


def merge(curves: Sequence[tuple[int, Curve]], spare: int) -> Merged:
    """Return the curves of (owner, curve), all of one lot, as one, as far as `spare` units beyond their smallest."""
    lot = curves[0][1].lot
    spare += -spare % lot
    base = cost = largest = 0
    rows: list[tuple[int, int, int]] = []
    for taker, (_, curve) in enumerate(curves):
        low = curve.smallest
        high = min(curve.largest, low + spare)
        base, cost, largest = base + low, cost + curve.cost(low), largest + curve.largest
        at = bisect_right(curve.ends, low)
        before = low
        for price, end in zip(curve.prices[at:], curve.ends[at:], strict=True):
            end = min(end, high)
            if end <= before:
                break
            rows.append((price, taker, end - before))
            before = end
    rows.sort()
    owners = tuple(owner for owner, _ in curves)
    bases = tuple(curve.smallest for _, curve in curves)
    return _of(rows, lot, owners, bases, base, cost, largest)


def relax(groups: Sequence[Merged]) -> Merged:
    """Return groups of several lots as one that may take any unit: below the least cost of every size on the lots."""
    rows: list[tuple[int, int, int]] = []
    for taker, group in enumerate(groups):
        before = 0
        for price, end in zip(group.prices, group.ends, strict=True):
            rows.append((price, taker, end - before))
            before = end
    rows.sort()
    bases = tuple(group.base for group in groups)
    money = sum(group.base_cost for group in groups)
    largest = sum(group.largest for group in groups)
    return _of(rows, 1, tuple(range(len(groups))), bases, sum(bases), money, largest)


def _of(
    rows: list[tuple[int, int, int]],
    lot: int,
    owners: tuple[int, ...],
    bases: tuple[int, ...],
    base: int,
    base_cost: int,
    largest: int,
) -> Merged:
    return Merged(
        lot=lot,
        owners=owners,
        bases=bases,
        base=base,
        base_cost=base_cost,
        largest=largest,
        prices=[price for price, _, _ in rows],
        ends=list(accumulate([units for _, _, units in rows])),
        sums=list(accumulate([price * units for price, _, units in rows])),
        takers=[taker for _, taker, _ in rows],
    )
