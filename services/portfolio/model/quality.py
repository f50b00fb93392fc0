"""How well orders were executed: cost against quote and against each venue alone, slippage, time to fill. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final

from services.portfolio.model.performance import Grouping, GroupKey
from services.portfolio.model.rounding import ZERO, ratio_half_even
from services.portfolio.model.values import OrderReport

BPS: Final = Decimal(10_000)
BUCKETS: Final = tuple(Decimal(bound) for bound in (0, 1_000, 10_000, 100_000, 1_000_000))
"""The lower bounds of the buckets of size, in USD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What one venue alone would have cost."""

    venue: str
    orders: int
    single: Decimal
    achieved: Decimal
    volume: Decimal

    @property
    def saving(self) -> Decimal:
        """Return what routing saved; negative where it cost more."""
        return self.single - self.achieved

    @property
    def saving_bps(self) -> Decimal:
        """Return the same in basis points of the volume."""
        return ratio_half_even(self.saving * BPS, self.volume) if self.volume else ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The figures of one group."""

    orders: int
    volume: Decimal
    quoted: Decimal
    achieved: Decimal
    comparisons: Sequence[Comparison]
    slippage: Decimal
    arrival: Decimal
    size: Decimal
    filled: Decimal
    times_us: Sequence[int]
    """Times to the last fill, the shortest first."""

    @property
    def difference_bps(self) -> Decimal | None:
        """Return achieved less quoted cost in basis points of the volume."""
        return ratio_half_even((self.achieved - self.quoted) * BPS, self.volume) if self.volume else None

    @property
    def slippage_bps(self) -> Decimal | None:
        """Return the average slippage against the arrival mid price, weighted by notional."""
        return ratio_half_even(self.slippage * BPS, self.arrival) if self.arrival else None

    @property
    def fill_ratio(self) -> Decimal | None:
        """Return the part of the size that was filled."""
        return ratio_half_even(self.filled, self.size) if self.size else None

    def time_within(self, percent: int) -> int | None:
        """Return the time in microseconds that `percent` of 100 orders stay within (nearest rank), None without any."""
        if not self.times_us:
            return None
        return self.times_us[max(0, -(-len(self.times_us) * percent // 100) - 1)]


def quality_of(reports: Sequence[OrderReport]) -> Quality:
    """Return the figures of some orders.

    What was quoted counts in the share that was filled, and so does what a venue alone would have cost.
    """
    venues: dict[str, list[tuple[Decimal, Decimal, Decimal]]] = {}
    quoted = ZERO
    for one in reports:
        quoted += _filled_part(one, one.quoted_cost)
        for venue, cost in one.single_venue_costs:
            if one.filled_size:
                venues.setdefault(venue, []).append((_filled_part(one, cost), one.achieved_cost, one.notional))
    return Quality(
        orders=len(reports),
        volume=sum((one.notional for one in reports), ZERO),
        quoted=quoted,
        achieved=sum((one.achieved_cost for one in reports), ZERO),
        comparisons=[
            Comparison(
                venue=venue,
                orders=len(found),
                single=sum((single for single, _, _ in found), ZERO),
                achieved=sum((achieved for _, achieved, _ in found), ZERO),
                volume=sum((volume for _, _, volume in found), ZERO),
            )
            for venue, found in sorted(venues.items())
        ],
        slippage=sum((one.slippage for one in reports), ZERO),
        arrival=sum((one.arrival_notional for one in reports), ZERO),
        size=sum((one.size for one in reports), ZERO),
        filled=sum((one.filled_size for one in reports), ZERO),
        times_us=sorted(one.time_to_fill_us for one in reports if one.time_to_fill_us is not None),
    )


def groups_of(reports: Iterable[OrderReport], groupings: Iterable[Grouping]) -> list[tuple[GroupKey, Quality]]:
    """Return the figures by group, in the order of the groups' names."""
    wanted = frozenset(groupings)
    if not wanted:
        return []
    found: dict[GroupKey, list[OrderReport]] = {}
    for one in reports:
        key: GroupKey = (
            one.venue if Grouping.VENUE in wanted else "",
            one.market if Grouping.MARKET in wanted else "",
            one.side if Grouping.SIDE in wanted else 0,
            one.placed.date() if Grouping.DAY in wanted else None,
        )
        found.setdefault(key, []).append(one)
    ordered = sorted(found.items(), key=lambda item: (*item[0][:3], item[0][3] or date.min))
    return [(key, quality_of(reports)) for key, reports in ordered]


def buckets_of(reports: Sequence[OrderReport]) -> list[tuple[Decimal, Decimal | None, Quality]]:
    """Return the figures by notional: lower bound, upper bound (None for the last), figures."""
    found = []
    for index, lower in enumerate(BUCKETS):
        upper = BUCKETS[index + 1] if index + 1 < len(BUCKETS) else None
        inside = [one for one in reports if one.notional >= lower and (upper is None or one.notional < upper)]
        found.append((lower, upper, quality_of(inside)))
    return found


def _filled_part(one: OrderReport, cost: Decimal) -> Decimal:
    if not one.quoted_size:
        return cost
    return ratio_half_even(cost * one.filled_size, one.quoted_size)
