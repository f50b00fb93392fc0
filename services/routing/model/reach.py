"""How little and how much each venue may carry, and why: lot, minimums, depth within the price limits, and caps.

The slippage limit holds for each venue's own average price, so that it holds for the plan's too and every venue's limit
is a size of its own; the decision is recorded in `docs/decisions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Final

from services.domain.decimals import rounding
from services.routing.model.curve import Curve
from services.routing.model.inputs import Cap, CapKind, Inputs, VenueInputs
from services.routing.model.money import Charges, Scale, charges_of, net_levels

BPS: Final = Decimal(10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """One venue's curve with the limits it is cut by."""

    venue: VenueInputs
    charges: Charges
    curve: Curve
    caps: tuple[Cap, ...]
    """Every limit above the size, depth first."""
    by_notional: bool
    """Whether the smallest size comes from the smallest notional."""
    slippage_bound: bool
    """Whether the depth ends at the slippage limit rather than with the book or the limit price."""

    @property
    def binding(self) -> CapKind:
        """The limit that ends first."""
        return min(self.caps, key=_size).kind


def reach_of(inputs: Inputs, venue: VenueInputs, scale: Scale) -> Reach:
    """Return what `venue` may carry of the wish."""
    charges = charges_of(inputs, venue)
    levels = net_levels(inputs, venue, scale, charges.total)
    taken = venue.levels[: len(levels)]
    held = sum(units for _, units in taken)
    within = _within_slippage(inputs, taken)
    depth = min(held, within)
    caps = (Cap(CapKind.DEPTH, _size_of(depth, inputs)), *venue.caps)
    largest = depth
    for cap in venue.caps:
        largest = min(largest, units_down(cap.size, inputs.size_decimals))
    minimum = units_up(venue.min_size, inputs.size_decimals)
    worth = _smallest_notional(inputs, venue, taken)
    return Reach(
        venue=venue,
        charges=charges,
        curve=Curve.of(levels, lot=venue.lot, smallest=max(minimum, worth), largest=largest),
        caps=caps,
        by_notional=worth > minimum,
        slippage_bound=within < held,
    )


def units_down(size: Decimal, decimals: int) -> int:
    """Return the largest whole number of units in `size`."""
    with rounding():
        return int(size.scaleb(decimals).to_integral_value(rounding=ROUND_DOWN))


def units_up(size: Decimal, decimals: int) -> int:
    """Return the smallest whole number of units that covers `size`."""
    with rounding():
        return int(size.scaleb(decimals).to_integral_value(rounding=ROUND_UP))


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


def _within_slippage(inputs: Inputs, levels: Sequence[tuple[int, int]]) -> int:
    """Return the most units whose average price stays within the slippage limit."""
    held = sum(units for _, units in levels)
    if inputs.max_slippage_bps is None:
        return held
    sign = inputs.side.sign
    bound = inputs.arrival_mid_price * (1 + sign * inputs.max_slippage_bps / BPS)
    exponent = bound.as_tuple().exponent
    extra = max(0, -inputs.price_decimals - exponent) if isinstance(exponent, int) else 0
    limit = int(bound.scaleb(inputs.price_decimals + extra))
    spare, taken = 0, 0
    for price, units in levels:
        gain = sign * (limit - price * 10**extra)
        if gain >= 0:
            spare, taken = spare + gain * units, taken + units
            continue
        more = min(units, spare // -gain)
        taken += more
        if more < units:
            return taken
        spare += gain * units
    return taken


def _size_of(units: int, inputs: Inputs) -> Decimal:
    return Decimal(units).scaleb(-inputs.size_decimals)


def _size(cap: Cap) -> Decimal:
    return cap.size
