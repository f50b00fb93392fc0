"""The costs of a leg, line by line. Lines add up exactly to the leg's cost, and legs to the plan's."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_UP, Decimal

from services.domain.decimals import quotient
from services.domain.market import HYPERLIQUID
from services.routing.model.inputs import ZERO, Inputs, VenueInputs
from services.routing.model.money import Charges
from services.routing.model.plan import CostKind, Line, PlanLeg


def leg_of(
    inputs: Inputs,
    venue: VenueInputs,
    charges: Charges,
    units: int,
    walked: tuple[int, int, int],
    *,
    resting: bool = False,
) -> PlanLeg:
    """Return the leg that takes `units`; `walked` is (notional, last price, levels) in the market's units."""
    sign = inputs.side.sign
    size = Decimal(units).scaleb(-inputs.size_decimals)
    notional = Decimal(walked[0]).scaleb(-inputs.price_decimals - inputs.size_decimals)
    book = sign * (notional - inputs.arrival_mid_price * size)
    fee = venue.maker_fee_rate if resting else venue.taker_fee_rate
    lines = [Line(CostKind.BOOK, book), Line(CostKind.VENUE_FEE, notional * fee, fee)]
    lines += _added_fees(venue, notional, resting=resting)
    if inputs.holding_s:
        rate = venue.funding_rate_hourly * sign
        lines.append(Line(CostKind.FUNDING, charges.funding * size, rate))
        lines.append(Line(CostKind.CLOSING, charges.closing * size, venue.closing_cost_rate))
    if inputs.volatility and not resting:
        lines.append(Line(CostKind.LATENCY, charges.latency * size))
        lines.append(Line(CostKind.STALENESS, charges.staleness * size))
    return PlanLeg(
        venue=venue.venue,
        size=size,
        average_price=_mean(notional, size, inputs.price_decimals),
        worst_price=Decimal(walked[1]).scaleb(-inputs.price_decimals),
        costs=tuple(lines),
        total_cost=sum([line.amount for line in lines], ZERO),
        level_count=walked[2],
        resting=resting,
        account_id=venue.account_id,
        initial_margin=_margin(venue, notional),
    )


def _added_fees(venue: VenueInputs, notional: Decimal, *, resting: bool) -> list[Line]:
    """Return what is paid on to an interface, to us (always a line), and for priority."""
    lines = []
    if venue.interface_fee_rate:
        kind = CostKind.BUILDER_FEE if venue.venue == HYPERLIQUID else CostKind.INTEGRATOR_FEE
        lines.append(Line(kind, notional * venue.interface_fee_rate, venue.interface_fee_rate))
    lines.append(Line(CostKind.PLATFORM_FEE, notional * venue.platform_fee_rate, venue.platform_fee_rate))
    if venue.priority_fee_rate and not resting:
        lines.append(Line(CostKind.PRIORITY_FEE, notional * venue.priority_fee_rate, venue.priority_fee_rate))
    return lines


def add_up(legs: Sequence[PlanLeg]) -> tuple[Line, ...]:
    """Return the lines of all legs added up by kind, in the order of `CostKind`; a rate stays where all have it."""
    if len(legs) == 1:
        return legs[0].costs
    amounts: dict[CostKind, Decimal] = {}
    rates: dict[CostKind, set[Decimal | None]] = {}
    for leg in legs:
        for line in leg.costs:
            amounts[line.kind] = amounts.get(line.kind, ZERO) + line.amount
            rates.setdefault(line.kind, set()).add(line.rate)
    return tuple(
        Line(kind, amounts[kind], next(iter(rates[kind])) if len(rates[kind]) == 1 else None)
        for kind in CostKind
        if kind in amounts
    )


def _mean(notional: Decimal, size: Decimal, price_decimals: int) -> Decimal:
    """Return the average price, rounded half to even eight decimals beyond the market's."""
    return quotient(notional, size, price_decimals + 8)


def _margin(venue: VenueInputs, notional: Decimal) -> Decimal | None:
    """Return the margin a leg takes at the account's leverage, rounded up to a millionth; None on the public basis."""
    if not venue.account_id or not venue.max_leverage:
        return None
    return quotient(notional, Decimal(venue.max_leverage), 6, ROUND_UP)
