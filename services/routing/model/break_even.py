"""What time changes: when funding makes another venue the cheapest, and what a basis point of priority buys."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from typing import Final

from services.domain.decimals import rounding
from services.routing.model.inputs import Inputs
from services.routing.model.money import HOUR_S, YEAR_S
from services.routing.model.plan import Alternative, PlanLeg
from services.routing.model.reach import Reach

BREAK_EVEN_MAX_S: Final = YEAR_S
"""The longest holding time the contract takes."""
BASIS_POINT: Final = Decimal("0.0001")


def break_even_of(
    inputs: Inputs, reaches: Sequence[Reach], alternatives: Sequence[Alternative]
) -> tuple[Decimal, str] | None:
    """Return (seconds, venue): the holding time beyond which another single venue is the cheapest, or None.

    Only single venues are compared, since funding is paid on all that is held there. With b the cost at the holding
    time of the wish and g what funding adds per hour, the lines b + g t cross where the cheaper one is overtaken.
    """
    pace = {one.venue.venue: _per_hour(inputs, one) for one in reaches}
    alone = [(one.total_cost, one.venue) for one in alternatives if one.venue and one.total_cost is not None]
    if len(alone) < 2:
        return None
    cost, venue = min(alone)
    first: tuple[Decimal, str] | None = None
    for other_cost, other in alone:
        gain = pace[venue] - pace[other]
        if other == venue or gain <= 0:
            continue
        with rounding():
            hours = (other_cost - cost) / (gain * _size(alternatives, venue))
            seconds = (hours * HOUR_S).to_integral_value(rounding=ROUND_UP)
        moment = inputs.holding_s + seconds
        if moment <= BREAK_EVEN_MAX_S and (first is None or (moment, other) < first):
            first = moment, other
    return first


def _per_hour(inputs: Inputs, reach: Reach) -> Decimal:
    """Return what funding costs a unit of the base asset in an hour, in USD."""
    return inputs.side.sign * reach.venue.funding_rate_hourly * reach.venue.mark_price


def _size(alternatives: Sequence[Alternative], venue: str) -> Decimal:
    return next(one.legs[0].size for one in alternatives if one.venue == venue)


def priority_advice(inputs: Inputs, legs: Sequence[PlanLeg]) -> str:
    """Return how long a delay costs, at the stated volatility, what one basis point of priority costs."""
    selling = {venue.venue for venue in inputs.venues if venue.sells_priority}
    deviation = inputs.volatility * inputs.risk_factor
    if not deviation or not any(leg.venue in selling for leg in legs):
        return ""
    with rounding():
        seconds = ((BASIS_POINT / deviation) ** 2 * YEAR_S).quantize(Decimal("0.001"), rounding=ROUND_DOWN)
    return (
        f"At a volatility of {inputs.volatility * 100:f} percent a year, one basis point for priority pays off where "
        f"it saves more than {seconds:f} s."
    )
