"""What one venue takes for a size: a convex, piecewise linear curve in integers.

    curve = Curve.of(levels, lot=10, smallest=10, largest=5_000)
    curve.cost(250)      # the money for 250 units

A level is (net price, units): the money one more unit takes there, fees and charges included, rising along the book
for a buy and for a sale alike (a sale takes negative money). Units are the finest size step of the market, money is in
units of `Scale`. A curve is defined on the venue's lots alone: where a lot straddles levels it is a step of its own, so
that the curve on the lots stays convex and exact.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

Step = tuple[int, int]
"""(net price, units)."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The money for each number of lots; `smallest` and `largest` are units on the lot."""

    lot: int
    smallest: int
    largest: int
    prices: Sequence[int]
    """Net price of each step, ascending."""
    ends: Sequence[int]
    """Units up to the end of each step."""
    sums: Sequence[int]
    """Money up to the end of each step."""

    @classmethod
    def of(cls, levels: Iterable[Step], *, lot: int, smallest: int, largest: int) -> Curve:
        """Return the curve over `levels`, best first.

        `smallest` is rounded up and `largest` down to the lot; with nothing left between them, nothing can be traded.
        `levels` may end before `largest` where no larger size is asked of the curve.
        """
        steps = levels if isinstance(levels, list) else list(levels)
        if lot > 1:
            steps = on_lots(steps, lot)
        prices = [price for price, _ in steps]
        ends = list(accumulate([units for _, units in steps]))
        sums = list(accumulate([price * units for price, units in steps]))
        largest = largest // lot * lot
        smallest = max(lot, -(-smallest // lot) * lot)
        return cls(lot, smallest, largest, prices, ends, sums)

    @property
    def is_empty(self) -> bool:
        """Whether no size can be traded."""
        return self.smallest > self.largest

    def cost(self, units: int) -> int:
        """Return the money for `units`, from 0 to what the levels hold."""
        if units == 0:
            return 0
        at = bisect_left(self.ends, units)
        return self.sums[at] - (self.ends[at] - units) * self.prices[at]

    def left(self, units: int) -> int:
        """Return what the last of `units` took; `units` is at least one."""
        return self.prices[bisect_left(self.ends, units)]

    def right(self, units: int) -> int | None:
        """Return what one unit beyond `units` would take; None where the levels end."""
        at = bisect_right(self.ends, units)
        return self.prices[at] if at < len(self.prices) else None

    def best_at(self, multiplier: int) -> int:
        """Return the units, between smallest and largest, for which cost minus `multiplier` times units is least."""
        at = bisect_right(self.prices, multiplier)
        taken = self.ends[at - 1] if at else 0
        return min(max(taken, self.smallest), self.largest)


def on_lots(steps: Sequence[Step], lot: int) -> list[Step]:
    """Return `steps` with every boundary on a lot; a lot that straddles steps is one of its own, at their mean.

    Venues publish whole lots; where one does not, prices must be whole multiples of the lot, so that every mean is
    exact (`Scale` sees to it). What does not fill a last lot is dropped. Raises `ValueError` for a mean between units.
    """
    found: list[Step] = []
    part, money = 0, 0  # an unfinished lot
    for price, units in steps:
        rest = units
        if part:
            used = min(lot - part, rest)
            part, money, rest = part + used, money + used * price, rest - used
            if part < lot:
                continue
            mean, odd = divmod(money, lot)
            if odd:
                raise ValueError("prices are not whole multiples of the lot, and a lot straddles two levels")
            found.append((mean, lot))
            part = money = 0
        whole = rest - rest % lot
        if whole:
            found.append((price, whole))
        part = rest - whole
        money = part * price
    return found
