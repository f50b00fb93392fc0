"""How little and how much each venue may carry, and why: lot, minimums, depth within the price limits, and caps.

The slippage limit holds for each venue's own average price, so that it holds for the plan's too and every venue's limit
is a size of its own; the decision is recorded in `docs/decisions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Final

from services.domain.decimals import rounding
from services.routing.model.curve import Curve
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

    @property
    def binding(self) -> CapKind:
        """The limit that ends first."""
        return min(self.venue.caps, key=_size).kind


def prepare(inputs: Inputs) -> Inputs:
    """Return the inputs with every venue's limits in sizes: what a plan is made from, and what is stored."""
    return replace(inputs, venues=tuple(_prepared(inputs, venue) for venue in inputs.venues))


def _prepared(inputs: Inputs, venue: VenueInputs) -> VenueInputs:
    taken = _within_limit(inputs, venue)
    held = sum(units for _, units in taken)
    caps = [Cap(CapKind.DEPTH, _size_of(held, inputs))]
    if inputs.max_slippage_bps is not None:
        caps.append(Cap(CapKind.SLIPPAGE, _size_of(_within_slippage(inputs, taken), inputs)))
    minimum = max(venue.lot, units_up(venue.min_size, inputs.size_decimals))
    worth = _smallest_notional(inputs, venue, taken)
    smallest = -(-max(minimum, worth) // venue.lot) * venue.lot
    return replace(
        venue,
        levels=taken,
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
    return Reach(venue=venue, charges=charges, curve=curve)


def clip(inputs: Inputs, size: int) -> Inputs:
    """Return the inputs with as many levels of each venue as `size` units and one level more need."""
    return replace(inputs, venues=tuple(replace(one, levels=_clipped(one.levels, size)) for one in inputs.venues))


def _clipped(levels: tuple[tuple[int, int], ...], size: int) -> tuple[tuple[int, int], ...]:
    held = 0
    for at, (_, units) in enumerate(levels):
        if held >= size:
            return levels[: at + 1]
        held += units
    return levels


def _within_limit(inputs: Inputs, venue: VenueInputs) -> tuple[tuple[int, int], ...]:
    """Return the levels no worse than the limit price."""
    if inputs.limit_price is None:
        return venue.levels
    limit = inputs.limit_price.scaleb(inputs.price_decimals)
    if inputs.side.sign > 0:
        return tuple(level for level in venue.levels if level[0] <= limit)
    return tuple(level for level in venue.levels if level[0] >= limit)


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
    bound: Decimal = inputs.arrival_mid_price * (1 + sign * inputs.max_slippage_bps / BPS)
    limit = int(bound.scaleb(inputs.price_decimals + _MID_DECIMALS + _BPS_DECIMALS))
    spare, taken = 0, 0  # what better prices leave to worse ones
    for price, units in levels:
        gain = sign * (limit - price * _FINER)
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
