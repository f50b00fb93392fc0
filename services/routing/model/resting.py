"""Where an order that waits for its price is placed: a rule, stated, and no forecast of when it is filled.

At one limit price every venue pays the same for the asset, so that what differs is the fee of a maker, funding and
closing over the holding time, and who stands before the order. An order goes where

    total cost + tick * rest * ahead / (ahead + rest)

is least: `rest` is what waits, `ahead` what the venue's own side shows at the limit price or better. The second term is
not paid and no part of any cost. It is what being behind is worth at most: one tick, for which one could stand before
everybody at that price. Equal venues: the shorter queue, then the name. What the limit crosses trades at once, at a
taker's fee, and the rest waits. A split is even over as many venues as can carry their part, the best ones first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_UP, Decimal
from typing import Final

from services.domain.decimals import plain_text, rounding
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.routing.model.costs import add_up, leg_of
from services.routing.model.inputs import ZERO, Inputs, VenueInputs
from services.routing.model.money import charges_of
from services.routing.model.plan import Alternative, CostKind, Line, Plan, PlanLeg
from services.routing.model.refusals import CAP_WORDS
from services.routing.model.sums import bps, mean_price
from services.routing.model.wording import name

WORTH_DECIMALS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A venue as a place to wait at."""

    venue: VenueInputs
    ahead: int
    """Units at the limit price or better on the order's own side."""
    refusal: Refusal | None
    """Why no order of this kind may wait here, whatever its size."""


def prepare_resting(inputs: Inputs) -> Inputs:
    """Return the inputs of a resting plan with every venue's limits in sizes and the levels that the limit reaches."""
    limit = _limit(inputs)
    sign = inputs.side.sign
    venues = []
    for venue in inputs.venues:
        smallest = venue.min_size
        if venue.min_notional > 0:
            with rounding():
                worth = (venue.min_notional / limit).quantize(
                    Decimal(1).scaleb(-inputs.size_decimals), rounding=ROUND_UP
                )
            smallest = max(smallest, worth)
        lots = max(1, -(-int(smallest.scaleb(inputs.size_decimals)) // venue.lot))
        units = int(limit.scaleb(inputs.price_decimals))
        found = venue._replace(
            levels=tuple(level for level in venue.levels if (level[0] - units) * sign <= 0),
            own_levels=tuple(level for level in venue.own_levels if (level[0] - units) * sign >= 0),
            min_size=Decimal(lots * venue.lot).scaleb(-inputs.size_decimals),
            min_notional=venue.min_notional if smallest > venue.min_size else ZERO,
        )
        venues.append(found)
    return replace(inputs, venues=tuple(venues))


def crosses(inputs: Inputs) -> bool:
    """Return whether the limit price reaches the other side of any venue; the inputs are prepared."""
    return any(venue.levels for venue in inputs.venues)


def rest(inputs: Inputs) -> Plan:
    """Return the resting plan for prepared inputs, or why there is none."""
    limit = _limit(inputs)
    size = inputs.size
    if inputs.size_in_usd:
        with rounding():
            size = (inputs.size / limit).quantize(Decimal(1).scaleb(-inputs.size_decimals), rounding=ROUND_DOWN)
        finest = min(venue.lot for venue in inputs.venues)
        size = Decimal(int(size.scaleb(inputs.size_decimals)) // finest * finest).scaleb(-inputs.size_decimals)
    spots = [_spot(inputs, venue) for venue in inputs.venues]
    alone = [(spot, spot.refusal or _unfit(inputs, spot.venue, size)) for spot in spots]
    ranked = sorted((spot for spot, refusal in alone if refusal is None), key=lambda spot: _rank(inputs, spot, size))
    chosen = _even(inputs, [spot for spot in spots if spot.refusal is None], size) if inputs.split_resting else None
    if chosen is None and ranked:
        chosen = [(ranked[0], size)]
    if not chosen:
        return _nowhere(inputs, size, [refusal for _, refusal in alone if refusal is not None], spots)
    legs = tuple(sorted((_leg(inputs, *one) for one in chosen), key=lambda leg: (-leg.size, leg.venue)))
    costs = add_up(legs)
    total = sum((line.amount for line in costs), ZERO)
    notional = inputs.arrival_mid_price * size
    return Plan(
        size=size,
        legs=legs,
        costs=costs,
        total_cost=total,
        total_cost_bps=bps(total, notional),
        average_price=mean_price(legs, inputs.price_decimals),
        fee_truncation_bound=sum((_cut(inputs, spot.venue, leg) for spot, _ in chosen for leg in legs
                                  if leg.venue == spot.venue.venue), ZERO),
        alternatives=_alternatives(inputs, alone, size, total, notional),
        explanation=_explain(inputs, chosen, legs),
    )  # fmt: skip


def _limit(inputs: Inputs) -> Decimal:
    assert inputs.limit_price is not None, "the contract demands it of orders that rest"
    return inputs.limit_price


def _spot(inputs: Inputs, venue: VenueInputs) -> Spot:
    limit, at = _limit(inputs), name(venue.venue)
    ahead = sum(units for _, units in venue.own_levels)
    refusal = None
    if limit % venue.tick:
        with rounding():
            way = ROUND_DOWN if inputs.side.sign > 0 else ROUND_UP
            near = (limit / venue.tick).to_integral_value(rounding=way) * venue.tick
        refusal = _no(
            RefusalReason.PRICE_OFF_TICK,
            f"The price {plain_text(limit)} is not on the grid of {at}, whose step is {plain_text(venue.tick)}.",
            f"{plain_text(near)} would pass.",
            venue.venue,
            field="limit_price",
            given=plain_text(limit),
            passing=plain_text(near),
        )
    elif inputs.post_only and venue.levels:
        best = Decimal(venue.levels[0][0]).scaleb(-inputs.price_decimals)
        refusal = _no(
            RefusalReason.POST_ONLY_CROSSED,
            f"At {at} the limit price {plain_text(limit)} would trade at once: the other side begins at "
            f"{plain_text(best)}.",
            "Move the limit price away from it, or let the order take.",
            venue.venue,
            field="limit_price",
            given=plain_text(limit),
        )
    return Spot(venue=venue, ahead=ahead, refusal=refusal)


def _unfit(inputs: Inputs, venue: VenueInputs, size: Decimal) -> Refusal | None:
    """Return why a venue alone does not carry a size."""
    at, asked = name(venue.venue), plain_text(size)
    lot = Decimal(venue.lot).scaleb(-inputs.size_decimals)
    if size % lot:
        message = f"The size {asked} is not a multiple of {at}'s lot of {plain_text(lot)}."
        return _no(RefusalReason.SIZE_OFF_LOT, message, "Round the size to the lot.", venue.venue, given=asked)
    if size < venue.min_size or not size:
        reason, rule = RefusalReason.SIZE_TOO_SMALL, plain_text(venue.min_size)
        if venue.min_notional:
            reason = RefusalReason.NOTIONAL_TOO_SMALL
            rule = f"worth {plain_text(venue.min_notional)} USD, which is {rule} here"
        message = f"The smallest order at {at} is {rule}; {asked} was asked for."
        return _no(reason, message, "Ask for more.", venue.venue, given=asked)
    binding = min(venue.caps, key=lambda cap: cap.size, default=None)
    if binding is not None and size > binding.size:
        reason, what, advice = CAP_WORDS[binding.kind]
        message = f"At {at}, {what} carries {plain_text(binding.size)}, and {asked} was asked for."
        return _no(reason, message, advice, venue.venue, given=asked)
    return None


def _rank(inputs: Inputs, spot: Spot, size: Decimal) -> tuple[Decimal, int, str]:
    leg = _leg(inputs, spot, size)
    waits = size - _takes(inputs, spot.venue, size)
    ahead = Decimal(spot.ahead).scaleb(-inputs.size_decimals)
    worth = ZERO
    if ahead and waits:
        with rounding():
            worth = (spot.venue.tick * waits * ahead / (ahead + waits)).quantize(
                Decimal(1).scaleb(-WORTH_DECIMALS), rounding=ROUND_HALF_EVEN
            )
    return leg.total_cost + worth, spot.ahead, spot.venue.venue


def _takes(inputs: Inputs, venue: VenueInputs, size: Decimal) -> Decimal:
    held = Decimal(sum(units for _, units in venue.levels)).scaleb(-inputs.size_decimals)
    return min(size, held)


def _leg(inputs: Inputs, spot: Spot, size: Decimal) -> PlanLeg:
    """Return the leg that takes what the limit reaches and waits with the rest."""
    venue, limit = spot.venue, _limit(inputs)
    takes = _takes(inputs, venue, size)
    notional, left, count = 0, int(takes.scaleb(inputs.size_decimals)), 0
    for price, units in venue.levels:
        if not left:
            break
        used = min(left, units)
        notional, left, count = notional + price * used, left - used, count + 1
    taken = Decimal(notional).scaleb(-inputs.price_decimals - inputs.size_decimals)
    waiting = limit * (size - takes)
    whole = taken + waiting
    units = int(size.scaleb(inputs.size_decimals))
    money = int(whole.scaleb(inputs.price_decimals + inputs.size_decimals))
    base = leg_of(
        inputs, venue, charges_of(inputs, venue), units, (money, int(limit.scaleb(inputs.price_decimals)), count),
        resting=True,
    )  # fmt: skip
    lines = []
    for line in base.costs:
        if line.kind is CostKind.VENUE_FEE and takes:
            fee = taken * venue.taker_fee_rate + waiting * venue.maker_fee_rate
            line = Line(CostKind.VENUE_FEE, fee, venue.taker_fee_rate if takes == size else None)
        lines.append(line)
    total = sum((line.amount for line in lines), ZERO)
    return base._replace(costs=tuple(lines), total_cost=total)


def _cut(inputs: Inputs, venue: VenueInputs, leg: PlanLeg) -> Decimal:
    """Return what cutting each fill's fee gives back at most."""
    fee = next((line.amount for line in leg.costs if line.kind is CostKind.VENUE_FEE), ZERO)
    lots = int(leg.size.scaleb(inputs.size_decimals)) // venue.lot
    return max(ZERO, min(Decimal(lots).scaleb(-venue.fee_decimals), fee))


def _even(inputs: Inputs, spots: Sequence[Spot], size: Decimal) -> list[tuple[Spot, Decimal]] | None:
    """Return an even split over as many of the venues as can carry it, the best first; None where none can."""
    ranked = sorted(spots, key=lambda spot: _rank(inputs, spot, size))
    units = int(size.scaleb(inputs.size_decimals))
    for count in range(len(ranked), 0, -1):
        members = ranked[:count]
        parts = [units // count // spot.venue.lot * spot.venue.lot for spot in members]
        finest = min(range(count), key=lambda at: members[at].venue.lot)  # the best of those with the finest lot
        parts[finest] += units - sum(parts)
        sizes = [Decimal(part).scaleb(-inputs.size_decimals) for part in parts]
        if all(_unfit(inputs, spot.venue, part) is None for spot, part in zip(members, sizes, strict=True)):
            return list(zip(members, sizes, strict=True))
    return None


def _alternatives(
    inputs: Inputs, alone: Sequence[tuple[Spot, Refusal | None]], size: Decimal, total: Decimal, notional: Decimal
) -> tuple[Alternative, ...]:
    made = []
    for spot, refusal in alone:
        if refusal is not None:
            made.append(Alternative(venue=spot.venue.venue, refusal=refusal))
            continue
        leg = _leg(inputs, spot, size)
        extra = leg.total_cost - total
        made.append(
            Alternative(
                venue=spot.venue.venue, legs=(leg,), total_cost=leg.total_cost, extra_cost=extra,
                extra_cost_bps=bps(extra, notional),
            )
        )  # fmt: skip
    return tuple(sorted(made, key=lambda one: (one.total_cost is None, one.total_cost or ZERO, one.venue)))


def _most(venue: VenueInputs) -> Decimal:
    return min((cap.size for cap in venue.caps), default=ZERO)


def _nowhere(inputs: Inputs, size: Decimal, refusals: Sequence[Refusal], spots: Sequence[Spot]) -> Plan:
    """Return the plan that says why no venue takes the order, and the nearest sizes that one would."""
    near: set[Decimal] = set()
    for spot in spots:
        if spot.refusal is not None:
            continue
        lot = Decimal(spot.venue.lot).scaleb(-inputs.size_decimals)
        for one in (size // lot * lot, (size // lot + 1) * lot):
            fit = max(one, spot.venue.min_size)
            if spot.venue.caps:
                fit = min(fit, _most(spot.venue) // lot * lot)
            if fit and _unfit(inputs, spot.venue, fit) is None:
                near.add(fit)
    below, above = (
        max((one for one in near if one < size), default=None),
        min((one for one in near if one > size), default=None),
    )
    sizes = tuple(one for one in (below, above) if one is not None)
    wanted = plain_text(min(sizes, key=lambda one: abs(one - size))) if sizes else ""
    told = tuple(replace(one, passing_value=wanted) if one.field == "size" else one for one in refusals)
    nearby = " or ".join(plain_text(one) for one in sizes)
    said = f"the nearest size that can is {nearby}." if nearby else "no venue takes such an order."
    return Plan(
        size=size, refusals=told, nearest_sizes=sizes,
        explanation=f"No venue lets {plain_text(size)} wait at {plain_text(_limit(inputs))}: {said}",
    )  # fmt: skip


def _explain(inputs: Inputs, chosen: Sequence[tuple[Spot, Decimal]], legs: Sequence[PlanLeg]) -> str:
    parts = []
    for spot, size in chosen:
        takes = _takes(inputs, spot.venue, size)
        ahead = plain_text(Decimal(spot.ahead).scaleb(-inputs.size_decimals))
        at = name(spot.venue.venue)
        if takes:
            parts.append(f"{plain_text(takes)} trade at once at {at} and {plain_text(size - takes)} wait there")
        else:
            parts.append(f"{plain_text(size)} wait at {at} behind {ahead}")
    why = "evenly, as was asked for" if len(legs) > 1 else "where fee, funding and queue come to the least"
    return f"At {plain_text(_limit(inputs))}, {' and '.join(parts)}, {why}."


def _no(
    reason: RefusalReason, message: str, advice: str, venue: str, *, given: str, passing: str = "", field: str = "size"
) -> Refusal:
    return Refusal(
        reason=reason, origin=Origin.MESH, message=message, advice=advice, field=field, given_value=given,
        passing_value=passing, venue=venue,
    )  # fmt: skip
