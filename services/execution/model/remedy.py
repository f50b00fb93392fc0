"""What is due on an order whose legs fell short, by its policy or by the rule of its hedge. Pure.

    FOLLOW       another leg follows what the leading side filled
    CANCEL_REST  what is out of both sides is canceled, before what stands alone is traded back
    REROUTE      what is missing is routed again
    TRADE_BACK   what was filled, or stands alone, is traded back
    KEEP         what stands alone is kept, and said

An order of which something is due has not ended, whatever its legs say: the decision to act and the order's end are
read from the same record, so that no death between them loses either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

from services.domain.decimals import rounding
from services.execution.model import hedge, policy
from services.execution.model.clients import venue_client_id
from services.execution.model.hedge import Action, Hedge
from services.execution.model.leg import ZERO, Evidence, Leg, LegState, Role, Told, tell
from services.execution.model.policy import LegPolicy, Remedy

if TYPE_CHECKING:
    from services.execution.model.order import Order


class Act(StrEnum):
    """What is to be done."""

    FOLLOW = "FOLLOW"
    CANCEL_REST = "CANCEL_REST"
    REROUTE = "REROUTE"
    TRADE_BACK = "TRADE_BACK"
    KEEP = "KEEP"


@dataclass(frozen=True, slots=True)
class Due:
    """What is to be done, and from when on."""

    act: Act
    time: datetime


def due(order: Order) -> Due | None:
    """Return what is due on an order; None where nothing is, or its legs are to end first."""
    if order.finish_time is not None or order.refusal is not None or not order.legs:
        return None
    if order.remedy is not None and order.remedy.is_over:
        return None
    if order.hedge is not None:
        return _due_of_hedge(order, order.hedge)
    return _due_of_policy(order)


def _due_of_policy(order: Order) -> Due | None:
    if order.leg_policy is LegPolicy.KEEP or order.cancel_time is not None or order.replacement is not None:
        return None
    if not all(leg.is_final for leg in order.legs) or not policy.short_legs(order.legs, order.leg_policy):
        return None
    if order.leg_policy is LegPolicy.REROUTE:
        return Due(Act.REROUTE, _next(order)) if policy.to_reroute(order.legs, order.size) else None
    return Due(Act.TRADE_BACK, _next(order)) if policy.to_trade_back(order.legs) else None


def _due_of_hedge(order: Order, pair: Hedge) -> Due | None:
    legs = order.legs
    side, _ = hedge.alone(pair, legs)
    if all(leg.is_final for leg in legs):
        if not side:
            return None
        return Due(Act.KEEP if pair.rollback.action is Action.KEEP else Act.TRADE_BACK, _next(order))
    if order.remedy is not None or order.cancel_time is not None:
        return None  # what is out is being canceled
    found = [] if (at := hedge.follows_at(pair, legs)) is None else [Due(Act.FOLLOW, at)]
    if pair.rollback.action is Action.UNWIND and any(_can_be_canceled(leg) for leg in legs):
        if any(hedge.is_spent(pair, legs, one) for one in (1, 2)):
            found.append(Due(Act.CANCEL_REST, order.update_time))
        elif pair.differ_time is not None:
            found.append(Due(Act.CANCEL_REST, pair.differ_time + pair.rollback.patience))
    return min(found, key=lambda one: one.time, default=None)


def _can_be_canceled(leg: Leg) -> bool:
    """Whether a cancel may find something of a leg: it may rest, or was not sent. What is immediate ends by itself."""
    if leg.is_final or leg.state is LegState.HELD:
        return False
    return leg.may_rest or leg.state in (LegState.PREPARED, LegState.SIGNED)


def _next(order: Order) -> datetime:
    waits = order.remedy.next_time if order.remedy is not None else None
    return order.update_time if waits is None else waits


def follow(order: Order, now: datetime) -> Order:
    """Return a hedged order with what its legs' present state brings about: the side that follows, and since when the
    two differ. Others are returned as they are.
    """
    if order.hedge is None or order.finish_time is not None or order.refusal is not None:
        return order
    order = _followed(order, order.hedge, now)
    assert order.hedge is not None, "a hedge stays one"
    marked = hedge.marked(order.hedge, order.legs, now)
    return order if marked is order.hedge else replace(order, hedge=marked)


def _followed(order: Order, pair: Hedge, now: datetime) -> Order:
    """Return the order with the held leg released when there is something to follow, or ended when there never will."""
    if not pair.lead:
        return order
    held = next((leg for leg in order.legs if leg.role is Role.HEDGE and leg.state is LegState.HELD), None)
    released = hedge.followers(pair, order.legs)
    is_ending = order.remedy is not None or order.cancel_time is not None
    size = ZERO if is_ending else hedge.to_follow(pair, order.legs)
    if held is not None:
        leads = hedge.legs_of(order.legs, pair.lead)
        if size:
            return _put(order, replace(tell(held, Told.RELEASE, Evidence.NOT_SENT, now), size=size, update_time=now))
        if is_ending or all(leg.is_final for leg in leads):
            return _put(order, tell(held, Told.CANCEL, Evidence.NOT_SENT, now))
        return order
    last = released[-1] if released else None
    if size and last is not None and last.is_final and last.filled >= last.size:
        return followed_on(order, now)
    return order


def followed_on(order: Order, now: datetime) -> Order:
    """Return a hedged order with another leg that follows what the last ones have not."""
    pair = order.hedge
    assert pair is not None, "asked of hedged orders"
    released = hedge.followers(pair, order.legs)
    size = hedge.to_follow(pair, order.legs)
    if not size or not released or not released[-1].is_final or hedge.is_spent(pair, order.legs, pair.follower):
        return order
    return replace(order, legs=(*order.legs, _like(order, released[-1], size, now)))


def rest_canceled(order: Order, now: datetime) -> Order:
    """Return a hedged order whose rollback begins: what is out of both sides is to be canceled."""
    pair = order.hedge
    assert pair is not None, "asked of hedged orders"
    side, size = hedge.alone(pair, order.legs)
    legs = tuple(
        replace(leg, cancel_wanted=True) if not leg.is_final and leg.state is not LegState.HELD else leg
        for leg in order.legs
    )
    short = _short_side(order, pair, side)
    begun = Remedy(policy=LegPolicy.UNWIND, leg_id=short.leg_id, missing=size, act_time=now)
    return follow(replace(order, legs=legs, remedy=begun), now)


def _short_side(order: Order, pair: Hedge, side: int) -> Leg:
    """Return the leg that fell short: the last one of the side that does not stand alone, or that is spent."""
    which = hedge.other(side) if side else next((one for one in (1, 2) if hedge.is_spent(pair, order.legs, one)), 2)
    return hedge.legs_of(order.legs, which)[-1]


def begun(order: Order, now: datetime) -> Remedy:
    """Return what was done so far; where that is nothing, what is short now."""
    if order.remedy is not None:
        return order.remedy
    if order.hedge is not None:
        side, size = hedge.alone(order.hedge, order.legs)
        rule = LegPolicy.KEEP if order.hedge.rollback.action is Action.KEEP else LegPolicy.UNWIND
        return Remedy(policy=rule, leg_id=_short_side(order, order.hedge, side).leg_id, missing=size, act_time=now)
    short = policy.short_legs(order.legs, order.leg_policy)
    missing = sum((leg.size - leg.filled for leg in short), ZERO)
    return Remedy(policy=order.leg_policy, leg_id=short[0].leg_id, missing=missing, act_time=now)


def to_trade_back(order: Order) -> list[tuple[Leg, Decimal]]:
    """Return what is to be traded back: a leg that traded each, and how much."""
    if order.hedge is None:
        return policy.to_trade_back(order.legs)
    side, size = hedge.alone(order.hedge, order.legs)
    return [(hedge.legs_of(order.legs, side)[0], size)] if side else []


def unwind_cost(order: Order) -> Decimal | None:
    """Return what trades back cost in USD: what was paid less what came back, and their fees; None where none was.

    What was paid for a part of a leg is its share of all the leg, or its side of a hedge, traded.
    """
    backs = [leg for leg in order.legs if leg.role is Role.UNWIND and leg.filled]
    if not backs:
        return None
    cost = ZERO
    with rounding():
        for back in backs:
            entry = order.legs[back.entry - 1]
            traded = [entry] if order.hedge is None else hedge.legs_of(order.legs, back.part)
            size, paid = (sum((getattr(leg, name) for leg in traded), ZERO) for name in ("filled", "notional"))
            cost += entry.side.sign * (paid * back.filled / size - back.notional) + back.fees + back.interface_fees
    return cost


def _put(order: Order, leg: Leg) -> Order:
    return replace(order, legs=tuple(leg if one.leg_id == leg.leg_id else one for one in order.legs))


def _like(order: Order, model: Leg, size: Decimal, now: datetime) -> Leg:
    """Return a new leg like another, under an id that is a function of its number."""
    number = len(order.legs) + 1
    leg_id = leg_id_of(order.order_id, number)
    return Leg(
        leg_id=leg_id, number=number, venue=model.venue, account_id=model.account_id, market=model.market,
        venue_market_id=model.venue_market_id, side=model.side, size=size, limit_price=model.limit_price,
        type=model.type, time_in_force=model.time_in_force, reduce_only=model.reduce_only,
        client_id=venue_client_id(model.venue, leg_id), role=model.role, part=model.part, create_time=now,
        update_time=now,
    )  # fmt: skip


def leg_id_of(order_id: UUID, number: int) -> UUID:
    """Return the id of a leg that a rule adds to its order."""
    return uuid5(order_id, f"remedy {number}")
