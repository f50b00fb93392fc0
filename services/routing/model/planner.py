"""From the inputs to the plan: reach of each venue, the exact split, costs by line, alternatives, and the proof.

Everything here is a function of `Inputs` alone, so that a quote can be made again from what was stored, digit by digit.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from math import gcd
from typing import Final

from services.routing.model import refusals
from services.routing.model.break_even import break_even_of, priority_advice
from services.routing.model.costs import add_up, leg_of
from services.routing.model.inputs import ZERO, Inputs
from services.routing.model.money import Scale, scale_of
from services.routing.model.plan import Alternative, Method, Neighbors, Plan, PlanLeg, Proof, SetProof
from services.routing.model.reach import Reach, reach_of, units_down
from services.routing.model.resting import rest
from services.routing.model.solver import Held, Names, SetBound, Split, prices_of, split
from services.routing.model.sums import bps, mean_price
from services.routing.model.wording import explain

SOLVER_VERSION: Final = "2"
"""Grows with every change that could make another plan, another number or another sentence of the same inputs."""


def make_plan(inputs: Inputs) -> Plan:
    """Return the cheapest plan for prepared inputs, or why there is none."""
    if inputs.resting:
        return rest(inputs)
    return plan_over(inputs, offers_of(inputs))


@dataclass(frozen=True, slots=True)
class Offers:
    """What plans of any size on the same books are made over."""

    scale: Scale
    reaches: Sequence[Reach]
    """Each venue's curve and limits."""
    prices: Sequence[int]
    """Every net price of the curves, ascending."""
    held: dict[Names, Held] = field(default_factory=dict)
    """What sets of venues hold up to prices, as far as sizes have asked."""

    def split(self, size: int) -> Split | None:
        """Return the cheapest split of a size in units."""
        return split([reach.curve for reach in self.reaches], size, self.prices, self.held)


def offers_of(inputs: Inputs) -> Offers:
    """Return what plans on these books are made over."""
    scale = scale_of(inputs)
    reaches = [reach_of(inputs, venue, scale) for venue in inputs.venues]
    return Offers(scale, reaches, prices_of([reach.curve for reach in reaches]))


def plan_over(inputs: Inputs, offers: Offers) -> Plan:
    """Return the cheapest plan for a size over curves, which may hold more levels than the inputs keep."""
    scale, reaches = offers.scale, offers.reaches
    size = size_in_units(inputs, offers)
    exact = Decimal(size).scaleb(-inputs.size_decimals)
    off_grid = not inputs.size_in_usd and exact != inputs.size
    found = offers.split(size) if size and not off_grid else None
    wish = replace(inputs, size=exact) if inputs.size_in_usd else inputs
    if found is None:
        return refusals.infeasible(wish, reaches, size)
    legs = legs_of(inputs, reaches, found.sizes)
    costs = add_up(legs)
    total = sum([line.amount for line in costs], ZERO)
    notional = inputs.arrival_mid_price * exact
    total_bps = bps(total, notional)
    others = _alternatives(wish, reaches, size, (legs, total), notional, found)
    later = break_even_of(inputs, reaches, others)
    return Plan(
        size=exact,
        legs=legs,
        costs=costs,
        total_cost=total,
        total_cost_bps=total_bps,
        average_price=mean_price(legs, inputs.price_decimals),
        fee_truncation_bound=_truncation(inputs, reaches, found.sizes, legs),
        alternatives=others,
        proof=_proof(wish, reaches, scale, found, size, notional),
        break_even_s=later[0] if later else None,
        break_even_venue=later[1] if later else "",
        explanation=explain(inputs, legs, others),
        priority_advice=priority_advice(inputs, legs),
    )


def size_in_units(inputs: Inputs, offers: Offers) -> int:
    """Return the size in units, rounded down; for a notional, the largest on the lots whose plan is worth no more."""
    if not inputs.size_in_usd:
        return units_down(inputs.size, inputs.size_decimals)
    reaches = offers.reaches
    lot = gcd(*(reach.curve.lot for reach in reaches))
    money = units_down(inputs.size, inputs.price_decimals + inputs.size_decimals)
    low, high = 0, sum(max(reach.curve.largest, 0) for reach in reaches) // lot
    while low < high:
        middle = (low + high + 1) // 2
        if _worth(inputs, offers, middle * lot) <= money:
            low = middle
        else:
            high = middle - 1
    return low * lot


def _worth(inputs: Inputs, offers: Offers, size: int) -> int:
    """Return the notional of the cheapest plan; where none carries exactly this size, that of the best prices."""
    found, reaches = offers.split(size), offers.reaches
    if found is not None:
        return sum(walk(reach, units)[0] for reach, units in zip(reaches, found.sizes, strict=True))
    sign = inputs.side.sign
    money, left = 0, size
    for _, price, units in sorted((sign * price, price, units) for one in reaches for price, units in one.venue.levels):
        used = min(left, units)
        money, left = money + price * used, left - used
        if not left:
            break
    return money


def walk(reach: Reach, units: int) -> tuple[int, int, int]:
    """Return (notional, last price, levels) of taking `units` at a venue, in the market's units."""
    if not units:
        return 0, 0, 0
    levels, depth = reach.venue.levels, reach.depth
    at = bisect_left(depth.ends, units)
    last = levels[at][0]
    return depth.sums[at] - (depth.ends[at] - units) * last, last, at + 1


def legs_of(inputs: Inputs, reaches: Sequence[Reach], sizes: Sequence[int]) -> tuple[PlanLeg, ...]:
    """Return the legs of a split, the largest first, then by name."""
    legs = [
        leg_of(inputs, reach.venue, reach.charges, units, walk(reach, units))
        for reach, units in zip(reaches, sizes, strict=True)
        if units
    ]
    return tuple(sorted(legs, key=lambda leg: (-leg.size, leg.venue)) if len(legs) > 1 else legs)


def _truncation(inputs: Inputs, reaches: Sequence[Reach], sizes: Sequence[int], legs: Sequence[PlanLeg]) -> Decimal:
    """Return what cutting each fill's fee gives back at most: a fill is a lot or more, a cut less than one unit."""
    fees = {leg.venue: line.amount for leg in legs for line in leg.costs if line.kind == "VENUE_FEE"}
    bound = Decimal(0)
    for reach, units in zip(reaches, sizes, strict=True):
        if units:
            cuts = Decimal(units // reach.curve.lot).scaleb(-reach.venue.fee_decimals)
            bound += max(Decimal(0), min(cuts, fees[reach.venue.venue]))
    return bound


def _alternatives(
    inputs: Inputs,
    reaches: Sequence[Reach],
    size: int,
    plan: tuple[tuple[PlanLeg, ...], Decimal],
    notional: Decimal,
    found: Split,
) -> tuple[Alternative, ...]:
    """Return every single venue and the even split, the cheapest first, what cannot be done last."""
    made: list[Alternative] = []
    for one in found.bounds:
        if len(one.members) > 1:
            continue
        at = one.members[0]
        venue = reaches[at].venue.venue
        if one.cost is None:
            made.append(Alternative(venue=venue, refusal=refusals.of_venue(inputs, reaches[at], size)))
        elif found.sizes[at] == size:
            legs, total = plan
            made.append(Alternative(venue, legs, total, ZERO, ZERO))
        else:
            sizes = [size if other == at else 0 for other in range(len(reaches))]
            made.append(_alternative(inputs, reaches, venue, sizes, plan[1], notional))
    if len(reaches) > 1:
        even = even_sizes(reaches, size)
        if even is None:
            made.append(Alternative(venue="", refusal=refusals.no_even_split(inputs, size)))
        else:
            made.append(_alternative(inputs, reaches, "", even, plan[1], notional))
    return tuple(sorted(made, key=lambda one: (one.total_cost is None, one.total_cost or ZERO, one.venue)))


def _alternative(
    inputs: Inputs, reaches: Sequence[Reach], venue: str, sizes: Sequence[int], total: Decimal, notional: Decimal
) -> Alternative:
    legs = legs_of(inputs, reaches, sizes)
    cost = sum([leg.total_cost for leg in legs], ZERO)
    extra = cost - total
    return Alternative(venue, legs, cost, extra, bps(extra, notional))


def even_sizes(reaches: Sequence[Reach], size: int) -> list[int] | None:
    """Return the same size at every venue, as near as lots allow, the rest at the finest lot; None where one cannot."""
    share = size // len(reaches)
    sizes = [share // reach.curve.lot * reach.curve.lot for reach in reaches]
    rest_at = min(range(len(reaches)), key=lambda at: (reaches[at].curve.lot, reaches[at].venue.venue))
    sizes[rest_at] += size - sum(sizes)
    for reach, units in zip(reaches, sizes, strict=True):
        if not reach.curve.smallest <= units <= reach.curve.largest or units % reach.curve.lot:
            return None
    return sizes


def _proof(inputs: Inputs, reaches: Sequence[Reach], scale: Scale, found: Split, size: int, notional: Decimal) -> Proof:
    """Return the certificate of a split."""
    lots = {reach.curve.lot for reach in reaches}
    cost, bound = scale.usd(found.cost), scale.usd(found.lower_bound)
    method = Method.WATER_FILLING if len(lots) == 1 else Method.COARSE_LOT_SEARCH
    if len(lots) > 1 and len(reaches) > 2:
        method = Method.DYNAMIC_PROGRAMMING
    return Proof(
        method=method,
        cost=cost,
        lower_bound=bound,
        gap=cost - bound,
        gap_bps=bps(cost - bound, notional),
        sets=tuple(_set_proof(inputs, reaches, scale, one, size) for one in found.bounds),
        neighbors=_neighbors(inputs, reaches, scale, found, size),
    )


def _set_proof(inputs: Inputs, reaches: Sequence[Reach], scale: Scale, one: SetBound, size: int) -> SetProof:
    venues = tuple(reaches[at].venue.venue for at in one.members)
    if one.multiplier is None or one.bound is None or one.cost is None:
        return SetProof(venues=venues, refusal=refusals.of_set(inputs, [reaches[at] for at in one.members], size))
    cost = scale.usd(one.cost)
    return SetProof(
        venues, scale.per_unit(one.multiplier), cost if one.bound == one.cost else scale.usd(one.bound), cost
    )


def _neighbors(inputs: Inputs, reaches: Sequence[Reach], scale: Scale, found: Split, size: int) -> Neighbors | None:
    """Return the proof by neighbors, where exactly two venues could trade and both do."""
    if len(reaches) != 2 or not all(found.sizes):
        return None
    at = 0 if reaches[0].curve.lot >= reaches[1].curve.lot else 1
    coarse, fine = reaches[at].curve, reaches[1 - at].curve
    lot = coarse.lot if coarse.lot % fine.lot == 0 else coarse.lot * fine.lot // gcd(coarse.lot, fine.lot)

    def money(units: int) -> Decimal | None:
        rest_units = size - units
        fits = coarse.smallest <= units <= coarse.largest and fine.smallest <= rest_units <= fine.largest
        return scale.usd(coarse.cost(units) + fine.cost(rest_units)) if fits else None

    taken = found.sizes[at]
    places = -inputs.size_decimals
    return Neighbors(
        venue=reaches[at].venue.venue,
        lot=Decimal(lot).scaleb(places),
        size=Decimal(taken).scaleb(places),
        below=money(taken - lot),
        above=money(taken + lot),
    )
