"""The costs of a leg, line by line. Lines add up exactly to the leg's cost, and legs to the plan's."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_UP, Decimal
from typing import Final

from services.domain.decimals import quotient
from services.domain.market import HYPERLIQUID
from services.routing.model.inputs import ZERO, Inputs, Side, VenueInputs
from services.routing.model.money import Charges
from services.routing.model.plan import CostKind, Line, PlanLeg

AVERAGE_DECIMALS: Final = 8
"""Decimals of an average price beyond those of the market's prices; it is rounded half to even there."""
_NOTHING_ADDED: Final = (Line(CostKind.PLATFORM_FEE, ZERO, ZERO),)


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
    prices, sizes = inputs.price_decimals, inputs.size_decimals
    size = Decimal(units).scaleb(-sizes)
    notional = Decimal(walked[0]).scaleb(-prices - sizes)
    middle = inputs.arrival_mid_price * size
    fee = venue.maker_fee_rate if resting else venue.taker_fee_rate
    lines = [
        Line(CostKind.BOOK, notional - middle if inputs.side is Side.BUY else middle - notional),
        Line(CostKind.VENUE_FEE, notional * fee if fee else ZERO, fee),
        *_added_fees(venue, notional, resting=resting),
    ]
    if inputs.holding_s:
        rate = venue.funding_rate_hourly * inputs.side.sign
        lines.append(Line(CostKind.FUNDING, charges.funding * size, rate))
        lines.append(Line(CostKind.CLOSING, charges.closing * size, venue.closing_cost_rate))
    if inputs.volatility and not resting:
        lines.append(Line(CostKind.LATENCY, charges.latency * size))
        lines.append(Line(CostKind.STALENESS, charges.staleness * size))
    return PlanLeg(
        venue.venue,
        size,
        quotient(notional, size, prices + AVERAGE_DECIMALS),
        Decimal(walked[1]).scaleb(-prices),
        tuple(lines),
        sum([line.amount for line in lines], ZERO),
        walked[2],
        resting,
        venue.account_id,
        _margin(venue, notional) if venue.account_id else None,
    )


def _added_fees(venue: VenueInputs, notional: Decimal, *, resting: bool) -> Sequence[Line]:
    """Return what is paid on to an interface, to us (always a line), and for priority."""
    if not (venue.interface_fee_rate or venue.platform_fee_rate or venue.priority_fee_rate):
        return _NOTHING_ADDED
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


def _margin(venue: VenueInputs, notional: Decimal) -> Decimal | None:
    """Return the margin a leg takes at the account's leverage, rounded up to a millionth; None where unknown."""
    if not venue.max_leverage:
        return None
    return quotient(notional, Decimal(venue.max_leverage), 6, ROUND_UP)
