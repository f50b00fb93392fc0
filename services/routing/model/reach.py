"""How little and how much each venue may carry, and why: lot, minimums, depth within the price limits, and caps.

The slippage limit holds for each venue's own average price, so that it holds for the plan's too and every venue's limit
is a size of its own; the decision is recorded in `docs/decisions`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Final

from services.domain.decimals import rounding
from services.routing.model.books import Levels
from services.routing.model.curve import Curve
from services.routing.model.depth import Depth, depth_of
from services.routing.model.inputs import ZERO, Cap, CapKind, Inputs, VenueInputs
from services.routing.model.money import Charges, Scale, charges_of, net_levels

BPS: Final = Decimal(10_000)
_MID_DECIMALS: Final = 1
"""The mean of two prices of the market has one decimal more than they have at most."""
_BPS_DECIMALS: Final = 4
_FINER: Final[int] = 100_000
"""As many decimals more, so that a bound is a whole number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """One venue's curve with the limits it is cut by."""

    venue: VenueInputs
    charges: Charges
    curve: Curve
    depth: Depth

    @property
    def binding(self) -> CapKind:
        """The limit that ends first."""
        return min(self.venue.caps, key=_size).kind


def prepare(inputs: Inputs) -> Inputs:
    """Return the inputs with every venue's limits in sizes: what a plan is made from, and what is stored."""
    return replace(inputs, venues=tuple(_prepared(inputs, venue) for venue in inputs.venues))


def _prepared(inputs: Inputs, venue: VenueInputs) -> VenueInputs:
    count, depth = _within_limit(inputs, venue), depth_of(venue.levels)
    held = depth.units(count)
    caps = [Cap(CapKind.DEPTH, _size_of(held, inputs))]
    if inputs.max_slippage_bps is not None:
        caps.append(Cap(CapKind.SLIPPAGE, _size_of(_within_slippage(inputs, venue.levels, depth, count), inputs)))
    levels = venue.levels if count == len(venue.levels) else venue.levels[:count]
    minimum = max(venue.lot, units_up(venue.min_size, inputs.size_decimals))
    worth = _smallest_notional(inputs, venue, levels)
    smallest = -(-max(minimum, worth) // venue.lot) * venue.lot
    return venue._replace(
        levels=levels,
        min_size=_size_of(smallest, inputs),
        min_notional=venue.min_notional if worth > minimum else ZERO,
        caps=(*caps, *venue.caps),
    )


def reach_of(inputs: Inputs, venue: VenueInputs, scale: Scale) -> Reach:
    """Return what `venue` may carry of the wish; its limits are prepared."""
    charges = charges_of(inputs, venue)
    curve = Curve.of(
        net_levels(inputs, venue, scale, charges.total),
        lot=venue.lot,
        smallest=units_down(venue.min_size, inputs.size_decimals),
        largest=min(units_down(cap.size, inputs.size_decimals) for cap in venue.caps),
    )
    return Reach(venue=venue, charges=charges, curve=curve, depth=depth_of(venue.levels))


def clip(inputs: Inputs, size: int) -> Inputs:
    """Return prepared inputs with as many levels of each venue as `size` units and one level more need."""
    return replace(inputs, venues=tuple(one._replace(levels=clipped(one.levels, size)) for one in inputs.venues))


def clipped(levels: Levels, size: int) -> Levels:
    """Return the levels that hold `size` units, and one more."""
    return levels[: bisect_left(depth_of(levels).ends, size) + 2]


def _within_limit(inputs: Inputs, venue: VenueInputs) -> int:
    """Return how many levels are no worse than the limit price."""
    if inputs.limit_price is None:
        return len(venue.levels)
    sign = inputs.side.sign
    rounded = ROUND_DOWN if sign > 0 else ROUND_UP  # to whole units of price, which levels are
    with rounding():
        limit = int(inputs.limit_price.scaleb(inputs.price_decimals).to_integral_value(rounding=rounded))
    return bisect_right(venue.levels, sign * limit, key=lambda level: sign * level[0])


def units_down(size: Decimal, decimals: int) -> int:
    """Return the largest whole number of units in `size`, which is not negative."""
    return int(size.scaleb(decimals))


def units_up(size: Decimal, decimals: int) -> int:
    """Return the smallest whole number of units that covers `size`, which is not negative."""
    scaled = size.scaleb(decimals)
    whole = int(scaled)
    return whole + 1 if scaled > whole else whole


def _smallest_notional(inputs: Inputs, venue: VenueInputs, levels: Sequence[tuple[int, int]]) -> int:
    """Return the fewest units worth the smallest notional at the price of the last level they take.

    The last price and not the average, since the order goes out with that limit and venues judge it by its limit.
    """
    if venue.min_notional <= 0:
        return 0
    needed = units_up(venue.min_notional, inputs.price_decimals + inputs.size_decimals)
    end = 0
    for price, units in levels:
        start, end = end, end + units
        wanted = max(-(-needed // price), start + 1)
        if -(-wanted // venue.lot) * venue.lot <= end:
            return wanted
    return end + 1


def _within_slippage(inputs: Inputs, levels: Levels, depth: Depth, count: int) -> int:
    """Return the most units of the first `count` levels whose average price stays within the slippage limit.

    What better prices leave to worse ones grows along the book and then shrinks, so that its end is searched.
    """
    if inputs.max_slippage_bps is None:
        return depth.units(count)
    sign = inputs.side.sign
    bound: Decimal = inputs.arrival_mid_price * (1 + sign * inputs.max_slippage_bps / BPS)
    limit = int(bound.scaleb(inputs.price_decimals + _MID_DECIMALS + _BPS_DECIMALS))

    def spare(taken: int) -> int:
        return sign * (limit * depth.units(taken) - depth.money(taken) * _FINER)

    better = bisect_right(levels, sign * limit, 0, count, key=lambda level: sign * level[0] * _FINER)
    whole = bisect_right(range(better + 1, count + 1), 0, key=lambda taken: spare(taken) < 0) + better
    if whole == count:
        return depth.units(count)
    return depth.units(whole) + spare(whole) // (sign * (levels[whole][0] * _FINER) - sign * limit)


def _size_of(units: int, inputs: Inputs) -> Decimal:
    return Decimal(units).scaleb(-inputs.size_decimals)


def _size(cap: Cap) -> Decimal:
    return cap.size
