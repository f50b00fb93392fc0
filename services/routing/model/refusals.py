"""Why a wish cannot be met, and the nearest sizes that can."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from math import gcd, lcm
from typing import Final

from services.domain.decimals import plain_text
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.routing.model.inputs import ZERO, CapKind, Inputs
from services.routing.model.plan import Plan
from services.routing.model.reach import Reach
from services.routing.model.solver import bound_of, sets_of
from services.routing.model.wording import name

TRIES_MAX: Final = 64
"""How many sizes in a row are tried at the edge of a set of mixed lots."""

CAP_WORDS: Final[dict[CapKind, tuple[RefusalReason, str, str]]] = {
    CapKind.DEPTH: (RefusalReason.INSUFFICIENT_LIQUIDITY, "the book", "Ask for less, or widen the price limits."),
    CapKind.SLIPPAGE: (
        RefusalReason.SLIPPAGE_EXCEEDED,
        "the book within the slippage limit",
        "Ask for less, or allow more slippage.",
    ),
    CapKind.MARGIN: (RefusalReason.INSUFFICIENT_MARGIN, "the free margin", "Ask for less, or add margin."),
    CapKind.POSITION_LIMIT: (
        RefusalReason.POSITION_LIMIT,
        "the venue's largest position at the account's leverage",
        "Ask for less, or lower the leverage.",
    ),
    CapKind.REDUCE_ONLY: (RefusalReason.REDUCE_ONLY, "the position to reduce", "Ask for no more than the position."),
    CapKind.BUDGET: (RefusalReason.VENUE_BUDGET, "the venue's request budget", "Ask again when it has refilled."),
    CapKind.ORDER_LIMIT: (RefusalReason.SIZE_TOO_LARGE, "the venue's largest order", "Split the order."),
    CapKind.TRADING_LIMIT: (
        RefusalReason.TRADING_LIMIT,
        "what the account's own limits allow",
        "Ask for less, or raise the limits (SetTradingLimits).",
    ),
}
"""What a limit is called when it is what a wish fails at: the reason, the words, what to do."""


EMPTY_ADVICE: Final[dict[CapKind, str]] = {
    CapKind.DEPTH: "Ask again when somebody has an order there.",
    CapKind.SLIPPAGE: "Allow more slippage.",
    CapKind.MARGIN: "Add margin.",
    CapKind.POSITION_LIMIT: "Lower the leverage, or trade at another venue.",
    CapKind.TRADING_LIMIT: "Raise the account's limits (SetTradingLimits), or trade from another account.",
    CapKind.REDUCE_ONLY: "Trade where the position is, or leave reduce-only out.",
}
"""What to do where the limit leaves nothing at all, and asking for less would not help."""


def infeasible(inputs: Inputs, reaches: Sequence[Reach], size: int) -> Plan:
    """Return the plan that says why no set of venues carries the wish; `size` is the wish rounded down to units."""
    near = nearest_sizes(reaches, size)
    sizes = tuple(Decimal(one).scaleb(-inputs.size_decimals) for one in near)
    wanted = _closest(inputs.size, sizes)
    refusals = tuple(
        Refusal(
            reason=one.reason,
            origin=one.origin,
            message=one.message,
            advice=one.advice,
            field=one.field,
            given_value=one.given_value,
            passing_value=wanted,
            venue=one.venue,
        )
        for one in (of_venue(inputs, reach, size) for reach in reaches)
    )
    nearby = " or ".join(plain_text(one) for one in sizes)
    explanation = f"No plan carries {plain_text(inputs.size)}: " + (
        f"the nearest that can be met is {nearby}." if nearby else "nothing can be traded within these limits."
    )
    return Plan(size=inputs.size, refusals=refusals, nearest_sizes=sizes, explanation=explanation)


def of_venue(inputs: Inputs, reach: Reach, size: int) -> Refusal:
    """Return why this venue alone does not carry the size."""
    curve, venue = reach.curve, reach.venue
    asked = plain_text(inputs.size)
    at = name(venue.venue)
    smallest = _text(curve.smallest, inputs)
    if curve.is_empty or size > curve.largest:
        reason, what, advice = CAP_WORDS[reach.binding]
        limited = reach.binding is CapKind.DEPTH and inputs.limit_price is not None
        if limited:
            what = f"the book within the limit price of {plain_text(inputs.limit_price or ZERO)}"
        most = _text(max(curve.largest, 0), inputs)
        if curve.is_empty:
            most = f"{most}, less than the smallest order of {smallest}"
            advice = "Widen the limit price." if limited else EMPTY_ADVICE.get(reach.binding, advice)
        return _no(reason, f"At {at}, {what} carries {most}, and {asked} was asked for.", advice, inputs, venue.venue)
    if size < curve.smallest:
        reason, rule = RefusalReason.SIZE_TOO_SMALL, smallest
        if venue.min_notional:
            reason = RefusalReason.NOTIONAL_TOO_SMALL
            rule = f"worth {plain_text(venue.min_notional)} USD, which is {smallest} here"
        message = f"The smallest order at {at} is {rule}; {asked} was asked for."
        return _no(reason, message, "Ask for more.", inputs, venue.venue)
    lot = _text(curve.lot, inputs)
    message = f"The size {asked} is not a multiple of {at}'s lot of {lot}."
    return _no(RefusalReason.SIZE_OFF_LOT, message, "Round the size to the lot.", inputs, venue.venue)


def of_set(inputs: Inputs, reaches: Sequence[Reach], size: int) -> Refusal:
    """Return why a set of venues, all trading, does not carry the size; checked from sizes alone."""
    if len(reaches) == 1:
        return of_venue(inputs, reaches[0], size)
    for reach in reaches:
        if reach.curve.is_empty:
            return of_venue(inputs, reach, max(size, 1))
    low, high = sum(one.curve.smallest for one in reaches), sum(one.curve.largest for one in reaches)
    names = " and ".join(name(one.venue.venue) for one in reaches)
    asked = plain_text(inputs.size)
    if size < low:
        message = f"{names} together trade {_text(low, inputs)} at least, and {asked} was asked for."
        return _no(RefusalReason.SIZE_TOO_SMALL, message, "Ask for more.", inputs)
    if size > high:
        message = f"{names} together carry {_text(high, inputs)}, and {asked} was asked for."
        return _no(RefusalReason.INSUFFICIENT_LIQUIDITY, message, "Ask for less.", inputs)
    message = f"The lots of {names} do not add up to {asked} within their limits."
    return _no(RefusalReason.SIZE_OFF_LOT, message, "Round the size to the lots.", inputs)


def no_even_split(inputs: Inputs, size: int) -> Refusal:
    """Return why the even split cannot be done."""
    message = f"An equal part of {_text(size, inputs)} is outside of what some venue can trade."
    return _no(RefusalReason.SIZE_TOO_SMALL, message, "", inputs)


def nearest_sizes(reaches: Sequence[Reach], size: int) -> tuple[int, ...]:
    """Return the sizes in units nearest to `size` that some set of venues carries: at most one below and one above."""
    curves = [reach.curve for reach in reaches]
    below: int | None = None
    above: int | None = None
    for members in sets_of(len(curves)):
        chosen = [curves[at] for at in members]
        if any(curve.is_empty for curve in chosen):
            continue
        low, high = sum(curve.smallest for curve in chosen), sum(curve.largest for curve in chosen)
        step = gcd(*(curve.lot for curve in chosen))
        tries = min(TRIES_MAX, lcm(*(curve.lot for curve in chosen)) // step + 1)
        start = min(size, high) // step * step
        down = _first(reaches, members, (start - turn * step for turn in range(tries)), low, high)
        if down is not None and (below is None or down > below):
            below = down
        start = -(-max(size + 1, low) // step) * step
        up = _first(reaches, members, (start + turn * step for turn in range(tries)), low, high)
        if up is not None and (above is None or up < above):
            above = up
    return tuple(one for one in (below, above) if one is not None)


def _first(reaches: Sequence[Reach], members: tuple[int, ...], sizes: Iterable[int], low: int, high: int) -> int | None:
    curves = [reach.curve for reach in reaches]
    for units in sizes:
        if units < low or units > high:
            return None
        if bound_of(curves, members, units).cost is not None:
            return units
    return None


def _closest(size: Decimal, sizes: Sequence[Decimal]) -> str:
    return plain_text(min(sizes, key=lambda one: abs(one - size))) if sizes else ""


def _text(units: int, inputs: Inputs) -> str:
    return plain_text(Decimal(units).scaleb(-inputs.size_decimals))


def _no(reason: RefusalReason, message: str, advice: str, inputs: Inputs, venue: str = "") -> Refusal:
    return Refusal(
        reason=reason,
        origin=Origin.MESH,
        message=message,
        advice=advice,
        field="size",
        given_value=plain_text(inputs.size),
        venue=venue,
    )
