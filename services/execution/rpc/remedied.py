"""What a policy or a rollback rule is and did, as messages and sentences."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from perpmesh.execution.v1 import order_pb2

from services.domain.decimals import plain_text, rounding
from services.execution.model import hedge
from services.execution.model.hedge import Hedge
from services.execution.model.leg import Leg, Role
from services.execution.model.order import Order, OrderState
from services.execution.model.policy import LegPolicy
from services.execution.model.remedy import unwind_cost

COST_DECIMALS: Final = 12


def describe(message: order_pb2.Order, order: Order) -> None:
    """Add the rollback rule of an order, and what its policy or rule did."""
    if order.hedge is not None:
        rule = order.hedge.rollback
        message.rollback.action = order_pb2.Rollback.Action.Value(f"ACTION_{rule.action.value}")
        message.rollback.tolerated_size = plain_text(rule.tolerated) if rule.tolerated else ""
        message.rollback.patience.FromTimedelta(rule.patience)
        message.rollback.max_slippage_bps = rule.max_slippage_bps
    done = order.remedy
    if done is None:
        return
    result = message.policy_result
    result.policy = order_pb2.LegPolicy.Value(f"LEG_POLICY_{done.policy.value}")
    result.leg_id = str(done.leg_id)
    result.missing_size = plain_text(done.missing)
    result.added_leg_ids.extend(str(one) for one in done.added)
    cost = unwind_cost(order)
    if cost is not None:
        with rounding():
            result.unwind_cost = plain_text(cost.quantize(Decimal(1).scaleb(-COST_DECIMALS), rounding=ROUND_HALF_EVEN))
    result.explanation = what_was_done(order)
    result.act_time.FromDatetime(done.act_time)


def what_was_done(order: Order) -> str:
    """Return what a policy or rule did as a sentence; empty where it did nothing."""
    done = order.remedy
    if done is None:
        return ""
    short = next(leg for leg in order.legs if leg.leg_id == done.leg_id)
    added = [leg for leg in order.legs if leg.leg_id in done.added]
    filled = plain_text(sum((leg.filled for leg in added), Decimal(0)))
    missed = f"{plain_text(done.missing)} was missing after the leg at {short.venue} fell short"
    if order.hedge is not None:
        said = _rolled_back(order, order.hedge, short, filled, is_kept=done.policy is LegPolicy.KEEP)
    elif done.policy is LegPolicy.REROUTE:
        where = " and ".join(dict.fromkeys(leg.venue for leg in added))
        said = f"{missed}{f'; routed again to {where}, which filled {filled}' if added else ''}."
    else:
        said = f"{missed}; {filled} was traded back."
    if done.refusal is not None:
        said += f" It went no further: {done.refusal.message} {done.refusal.advice}".rstrip()
    return said


def _rolled_back(order: Order, pair: Hedge, short: Leg, filled: str, *, is_kept: bool) -> str:
    side, size = hedge.alone(pair, order.legs)
    left = ""
    if side:
        one = hedge.legs_of(order.legs, side)[0]
        left = f"{plain_text(size)} of {one.market} at {one.venue}"
    if is_kept:
        return f"The leg at {short.venue} fell short; {left or 'nothing'} is kept unhedged, as the rule says."
    stands = f" {left} stands alone." if left else ""
    if not any(leg.role is Role.UNWIND for leg in order.legs):
        return f"The leg at {short.venue} fell short, and what was out of both sides was canceled.{stands}"
    return f"The leg at {short.venue} fell short; {filled} that stood alone was traded back.{stands}"


def hedge_sentence(order: Order, pair: Hedge, state: OrderState) -> str:
    """Return how far the two sides of a hedged order are; empty where an order's own words say it."""
    if state not in (OrderState.DONE, OrderState.PARTIALLY_DONE, OrderState.RUNNING):
        return ""
    sides = " and ".join(
        f"{plain_text(hedge.net(order.legs, side))} of {plain_text(pair.side(side).size)} at "
        f"{hedge.legs_of(order.legs, side)[0].venue}"
        for side in (1, 2)
    )
    return f"Filled {'are' if state.is_final else 'so far are'} {sides}."
