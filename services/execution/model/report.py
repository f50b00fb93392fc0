"""What an order came to against its quote, line by line, and where the difference comes from. Pure.

The difference is told as a chain of what-ifs. Each step replaces one thing of the quote by what it really was, and what
that changes is that cause's part, so that the parts add up to the difference by construction, exactly:

    the quote for the size quoted
      -> the size that was sent            ROUNDING
      -> the size that was filled          PARTIAL_FILL
      -> the book when it was sent         BOOK_MOVED
      -> the book when the venue acted     LATENCY
      -> the prices that were paid         VENUE, or UNEXPLAINED where nobody saw the books in between
      -> the fee rates that were charged   FEE_TIER
      -> the fees to the last digit        ROUNDING

The book when the venue acted is, of those that were seen since the sending, the one that explains the fills best; one
that explains them to the last digit leaves the venue nothing. A leg that the quote had not (routed again, traded back)
is POLICY as a whole. So is an exit, which is measured from its trigger price: what the position earned on the way to it
is no cost of an execution.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.domain.decimals import plain_text, rounding
from services.execution.model.charged import charged_rate
from services.execution.model.leg import ZERO, Leg
from services.execution.model.order import Order
from services.execution.model.phases import phases_of
from services.execution.model.quoted import (
    CostKind,
    Levels,
    Quoted,
    QuotedLeg,
    Rates,
    Taken,
    costs_of,
    expected,
    interface_kind,
    walk,
)
from services.execution.model.reported import (
    NOTHING_UNEXPLAINED,
    SENTENCES,
    Attribution,
    Cause,
    Filled,
    LegReport,
    Line,
    Report,
    Seen,
    explanation,
)
from services.venues.actions import Side


def report(
    order: Order,
    quoted: Quoted | None,
    fills: Mapping[UUID, Sequence[Filled]],
    seen: Mapping[UUID, Seen],
    now: datetime,
) -> Report:
    """Return what an order came to; `fills` and `seen` are by leg."""
    with rounding():  # nothing is rounded with 80 digits; what is, says so
        return _report(order, quoted, fills, seen, now)


def _report(
    order: Order,
    quoted: Quoted | None,
    fills: Mapping[UUID, Sequence[Filled]],
    seen: Mapping[UUID, Seen],
    now: datetime,
) -> Report:
    by_leg = {one.leg_id: one for one in quoted.legs if one.leg_id is not None} if quoted is not None else {}
    mid = quoted.arrival_mid_price if quoted is not None else ZERO
    legs: list[LegReport] = []
    parts: defaultdict[tuple[Cause, str], Decimal] = defaultdict(Decimal)
    for leg in order.legs:
        mine, wanted = fills.get(leg.leg_id, ()), by_leg.get(leg.leg_id)
        near = _near(leg, order, by_leg, mid)
        legs.append(_leg_report(leg, wanted, mine, near))
        for cause, amount in _parts(leg, wanted, mine, seen.get(leg.leg_id, Seen()), near):
            parts[cause, leg.venue] += amount
    dropped = [one for one in (quoted.legs if quoted is not None else ()) if one.leg_id is None]
    lost: list[tuple[Line, ...]] = []
    for one in dropped:  # the order has no leg for it: nothing of it was filled
        costs = _quoted_costs(one, one.size, mid, order.side)
        lost.append(_lines(costs, {}))
        parts[Cause.PARTIAL_FILL, one.venue] -= sum(costs.values(), ZERO)
    lines = _added(line for group in (*(leg.lines for leg in legs), *lost) for line in group)
    attributions = _attributions(parts, legs)
    received = {leg_id: [one.receive_time for one in mine] for leg_id, mine in fills.items() if mine}
    made = Report(
        order=order,
        quoted=quoted,
        is_complete=order.state.is_final,
        lines=lines,
        attributions=attributions,
        phases=phases_of(order, quoted, received),
        legs=tuple(legs),
        fill_count=sum(len(one) for one in fills.values()),
        explanation="",
        create_time=now,
    )
    assert sum((one.amount for one in attributions), ZERO) == made.difference, "parts add up to the difference"
    return replace(made, explanation=explanation(made))


def _near(leg: Leg, order: Order, by_leg: Mapping[UUID, QuotedLeg], mid: Decimal) -> Decimal:
    """Return the price that a leg is measured from: its trigger, or the mid price of its market at the arrival."""
    if leg.trigger_price is not None and not leg.role.trades_the_order:
        return leg.trigger_price
    if leg.market == order.market:
        return mid
    mids = (by_leg[one.leg_id].mid for one in order.legs if one.market == leg.market and one.leg_id in by_leg)
    return next((one for one in mids if one is not None), mid)


def _parts(
    leg: Leg, quoted: QuotedLeg | None, fills: Sequence[Filled], seen: Seen, mid: Decimal
) -> list[tuple[Cause, Decimal]]:
    """Return the parts of one leg's difference."""
    achieved = _achieved(leg, fills, mid)
    total = sum(achieved.values(), ZERO)
    if quoted is None:
        return [(Cause.POLICY, total)]
    side, rates = leg.side, quoted.rates
    filled = sum((one.size for one in fills), ZERO)

    def cost(taken: Taken) -> Decimal:
        costs = costs_of(taken, venue=leg.venue, mid=mid, side=side, rates=rates, rests=leg.may_rest)
        return sum(costs.values(), ZERO)

    def at(levels: Levels) -> Decimal:
        return cost(walk(levels, filled, side=side, limit=leg.limit_price, rest_at=leg.limit_price))

    def at_quote(size: Decimal) -> Decimal:
        return sum(_quoted_costs(quoted, size, mid, side).values(), ZERO)

    begun, sized, part = at_quote(quoted.size), at_quote(min(quoted.size, leg.size)), at_quote(filled)
    paid = cost(_taken(fills))
    moved, acted, cause = _moves(part, paid, seen, at)
    tier, digits = _fees(fills, rates)
    return [
        (Cause.ROUNDING, sized - begun),
        (Cause.PARTIAL_FILL, part - sized),
        (Cause.BOOK_MOVED, moved - part),
        (Cause.LATENCY, acted - moved),
        (cause, paid - acted),
        (Cause.FEE_TIER, tier),
        (Cause.ROUNDING, digits),
        (Cause.UNEXPLAINED, total - paid - tier - digits),  # what a venue charges beyond all kinds that are known
    ]


def _moves(part: Decimal, paid: Decimal, seen: Seen, at: Callable[[Levels], Decimal]) -> tuple[Decimal, Decimal, Cause]:
    """Return the cost at the book of the sending, that at the book of the acting, and the cause of what is left.

    Where the book of the sending is not known, what a later one explains counts as moved before it.
    """
    if paid == part:
        return part, part, Cause.VENUE
    books = (*(() if seen.sent is None else (seen.sent,)), *seen.after)
    acted = min((at(one) for one in books), key=lambda one: abs(paid - one), default=part)
    if abs(paid - part) <= abs(paid - acted) and not seen.is_whole:
        acted = part
    sent = acted if seen.sent is None else at(seen.sent)
    return sent, acted, Cause.VENUE if seen.is_whole else Cause.UNEXPLAINED


def _fees(fills: Sequence[Filled], rates: Rates) -> tuple[Decimal, Decimal]:
    """Return what other rates than quoted changed of the fees, and what the cutting of digits did."""
    tier, digits = ZERO, ZERO
    for is_maker, quoted in ((False, rates.taker), (True, rates.maker)):
        mine = [one for one in fills if one.is_maker is is_maker]
        for pairs, rate in (
            ([(one.price * one.size, one.fee) for one in mine], quoted),
            ([(one.price * one.size, one.interface_fee) for one in mine], rates.interface),
        ):
            notional = sum((each for each, _ in pairs), ZERO)
            charged = charged_rate(pairs, rate)
            gap = sum((fee for _, fee in pairs), ZERO) - notional * rate
            changed = gap if charged is None else notional * (charged - rate)
            tier, digits = tier + changed, digits + gap - changed
    return tier, digits


def _taken(fills: Sequence[Filled]) -> Taken:
    return Taken(
        size=sum((one.size for one in fills), ZERO),
        notional=sum((one.price * one.size for one in fills if not one.is_maker), ZERO),
        resting=sum((one.price * one.size for one in fills if one.is_maker), ZERO),
    )


def _achieved(leg: Leg, fills: Sequence[Filled], mid: Decimal) -> dict[CostKind, Decimal]:
    taken = _taken(fills)
    return {
        CostKind.BOOK: leg.side.sign * (taken.total - mid * taken.size),
        CostKind.VENUE_FEE: sum((one.fee for one in fills), ZERO),
        interface_kind(leg.venue): sum((one.interface_fee for one in fills), ZERO),
        CostKind.PLATFORM_FEE: ZERO,
    }


def _quoted_costs(quoted: QuotedLeg, size: Decimal, mid: Decimal, side: Side) -> dict[CostKind, Decimal]:
    taken = expected(quoted, size, side)
    return costs_of(taken, venue=quoted.venue, mid=mid, side=side, rates=quoted.rates, rests=quoted.rests)


def _leg_report(leg: Leg, quoted: QuotedLeg | None, fills: Sequence[Filled], mid: Decimal) -> LegReport:
    taken = _taken(fills)
    wanted = _quoted_costs(quoted, quoted.size, mid, leg.side) if quoted is not None else {}
    return LegReport(
        leg_id=leg.leg_id,
        venue=leg.venue,
        quoted_size=quoted.size if quoted is not None else ZERO,
        quoted_notional=expected(quoted, quoted.size, leg.side).total if quoted is not None else ZERO,
        filled_size=taken.size,
        notional=taken.total,
        lines=_lines(wanted, _achieved(leg, fills, mid)),
    )


def _lines(quoted: Mapping[CostKind, Decimal], achieved: Mapping[CostKind, Decimal]) -> tuple[Line, ...]:
    """Return the lines in the order of their kinds; a kind that nobody pays is left out, our own fee never."""
    always = (CostKind.BOOK, CostKind.VENUE_FEE, CostKind.PLATFORM_FEE)
    return tuple(
        Line(kind=kind, quoted=quoted.get(kind, ZERO), achieved=achieved.get(kind, ZERO))
        for kind in CostKind
        if kind in always or quoted.get(kind) or achieved.get(kind)
    )


def _added(lines: Iterable[Line]) -> tuple[Line, ...]:
    quoted: defaultdict[CostKind, Decimal] = defaultdict(Decimal)
    achieved: defaultdict[CostKind, Decimal] = defaultdict(Decimal)
    for line in lines:
        quoted[line.kind] += line.quoted
        achieved[line.kind] += line.achieved
    return _lines(quoted, achieved)


def _attributions(parts: Mapping[tuple[Cause, str], Decimal], legs: Sequence[LegReport]) -> tuple[Attribution, ...]:
    found = []
    for (cause, venue), amount in sorted(parts.items(), key=lambda one: (list(Cause).index(one[0][0]), one[0][1])):
        if amount:
            mine = [leg for leg in legs if leg.venue == venue]
            said = SENTENCES[cause].format(
                venue=venue,
                filled=plain_text(sum((leg.filled_size for leg in mine), ZERO)),
                quoted=plain_text(sum((leg.quoted_size for leg in mine), ZERO)),
            )
            found.append(Attribution(cause=cause, amount=amount, venue=venue, explanation=said))
    if not any(one.cause is Cause.UNEXPLAINED for one in found):
        found.append(Attribution(cause=Cause.UNEXPLAINED, amount=ZERO, venue="", explanation=NOTHING_UNEXPLAINED))
    return tuple(found)
