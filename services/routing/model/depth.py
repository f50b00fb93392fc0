"""How much a side of a book holds, level by level, summed once for all quotes that are made from it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Final

from services.routing.model.books import Levels

KEPT_MAX: Final = 128
"""Sides remembered, of some 60 KiB at 500 levels; each change of a book makes new ones, and the old go first."""


@dataclass(frozen=True, slots=True)
class Depth:
    """The sums over a side's levels, the best first."""

    ends: tuple[int, ...]
    """Units up to the end of each level."""
    sums: tuple[int, ...]
    """Price times units up to the end of each level."""

    def units(self, levels: int) -> int:
        """Return the units that the first `levels` hold."""
        return self.ends[levels - 1] if levels else 0

    def money(self, levels: int) -> int:
        """Return the notional of the first `levels`."""
        return self.sums[levels - 1] if levels else 0


def depth_of(levels: Levels) -> Depth:
    """Return the sums of a side; the same tuple of levels is summed once."""
    known = _KNOWN.get(id(levels))
    if known is not None and known[0] is levels:
        return known[1]
    ends = tuple(accumulate([units for _, units in levels]))
    sums = tuple(accumulate([price * units for price, units in levels]))
    depth = Depth(ends, sums)
    while len(_KNOWN) >= KEPT_MAX:
        del _KNOWN[next(iter(_KNOWN))]
    _KNOWN[id(levels)] = levels, depth  # holding the levels, so that their id is no other's
    return depth


_KNOWN: dict[int, tuple[Levels, Depth]] = {}
