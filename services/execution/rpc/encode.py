"""Values to messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.execution.v1 import fill_pb2, leg_pb2, order_pb2
from perpmesh.type.v1 import cost_pb2, order_type_pb2, refusal_pb2, side_pb2, time_in_force_pb2

from services.domain.decimals import plain_text, rounding
from services.domain.market import HYPERLIQUID
from services.domain.refusal import Refusal
from services.execution.model.leg import Leg, Role
from services.execution.model.order import Exit, Order, OrderState
from services.execution.model.replacing import was_replaced_by_none
from services.execution.model.twap import Twap
from services.execution.rpc.remedied import describe, hedge_sentence, what_was_done

PRICE_DECIMALS: Final = 12
_SENTENCES: Final = {
    OrderState.PLANNED: "It is kept, and will be sent at once.",
    OrderState.RUNNING: "It is at the venues: {filled} of {size} is filled.",
    OrderState.PAUSED: "It is paused: {filled} of {size} is filled.",
    OrderState.SUBMIT_UNKNOWN: "Whether a venue acted on it is being found out; to place it again could double it.",
    OrderState.DONE: "It is filled in full.",
    OrderState.PARTIALLY_DONE: "It ended with {filled} of {size} filled.",
    OrderState.CANCELED: "It was canceled before anything was filled.",
    OrderState.EXPIRED: "Its time ran out before anything was filled.",
    OrderState.DENIED: "It was not sent.",
    OrderState.REJECTED: "The venue refused it.",
    OrderState.FAILED: "It is proven that no venue ever acted on it.",
    OrderState.ABORTED: "It ended by its own policy: what was filled has been traded back.",
}


def order(value: Order) -> order_pb2.Order:
    """Return an order as it stands."""
    state, refused = value.state, value.refusal or next((leg.refusal for leg in value.legs if leg.refusal), None)
    said = " ".join(one for one in (_sentence(value, state), what_was_done(value)) if one)
    if value.replacement is not None:
        terms = value.replacement
        said += f" It is being replaced: {plain_text(terms.size)} in all at {plain_text(terms.limit_price)}."
    message = order_pb2.Order(
        order_id=str(value.order_id),
        request_id=str(value.request_id),
        market=value.market,
        side=side_pb2.Side.Value(f"SIDE_{value.side.value}"),
        size=plain_text(value.size),
        type=order_type_pb2.OrderType.Value(f"ORDER_TYPE_{'TWAP' if value.twap else value.type.value}"),
        limit_price=None if value.limit_price is None else plain_text(value.limit_price),
        time_in_force=time_in_force_pb2.TimeInForce.Value(f"TIME_IN_FORCE_{value.time_in_force.value}"),
        reduce_only=value.reduce_only,
        state=order_pb2.Order.State.Value(f"STATE_{state.value}"),
        explanation=f"{said} {refused.message}" if refused is not None else said,
        legs=[leg(one) for one in value.legs],
        routed_to=list(dict.fromkeys(one.venue for one in value.legs)),
        filled_size=plain_text(value.filled),
        average_price=mean(value.notional, value.gross),
        costs=_fees(value.legs),
        quote_id="" if value.quote_id is None else str(value.quote_id),
        client_order_id=value.client_order_id,
        max_slippage_bps=value.max_slippage_bps,
        trigger_price=None if value.trigger_price is None else plain_text(value.trigger_price),
        leg_policy=order_pb2.LegPolicy.Value(f"LEG_POLICY_{value.leg_policy.value}"),
        caller_signed=value.caller_signed,
        version=value.version,
    )
    if value.twap is not None:
        _twap(message, value, value.twap)
    describe(message, value)
    _exit(message.take_profit, value.take_profit)
    _exit(message.stop_loss, value.stop_loss)
    if refused is not None:
        message.refusal.CopyFrom(refusal(refused))
    submits = [one.submit_time for one in value.legs if one.submit_time]
    executes = [one.execute_time for one in value.legs if one.execute_time]
    _stamp(message.create_time, value.create_time)
    _stamp(message.update_time, value.update_time)
    for field, moment in (
        (message.submit_time, min(submits, default=None)),
        (message.execute_time, max(executes, default=None)),
        (message.cancel_time, value.cancel_time),
        (message.finish_time, value.finish_time),
        (message.expire_time, value.expire_time),
    ):
        if moment is not None:
            _stamp(field, moment)
    return message


def _twap(message: order_pb2.Order, order: Order, schedule: Twap) -> None:
    message.twap.duration.FromTimedelta(schedule.terms.duration)
    message.twap.slice_interval.FromTimedelta(schedule.terms.interval)
    message.twap.randomize = schedule.terms.randomize
    progress = message.twap_progress
    progress.slice_count, progress.sent_slice_count = schedule.terms.count, schedule.sent
    progress.shortfall_size = plain_text(schedule.shortfall(order.size, order.filled))
    if order.slice_time is not None:
        _stamp(progress.next_slice_time, order.slice_time)
        _stamp(message.expire_time, schedule.end_time)


def _exit(field: order_pb2.Exit, one: Exit | None) -> None:
    if one is not None:
        field.trigger_price = plain_text(one.trigger_price)
        if one.limit_price is not None:
            field.limit_price = plain_text(one.limit_price)


def _sentence(value: Order, state: OrderState) -> str:
    unsigned = [leg for leg in value.legs if leg.awaits_signature and leg.sign_by is not None]
    if unsigned:
        until = min(leg.sign_by for leg in unsigned if leg.sign_by is not None).isoformat(timespec="seconds")
        what = "Its cancel" if unsigned[0].action_number else "It"
        return f"{what} waits for your signature until {until.replace('+00:00', 'Z')}: SubmitOrder takes it."
    if value.hedge is not None and (said := hedge_sentence(value, value.hedge, state)):
        return said
    if state.is_final and was_replaced_by_none(value):
        return (
            f"Its old terms were taken down for new ones, and these were not taken: {plain_text(value.filled)} of "
            f"{plain_text(value.size)} is filled, and nothing of it is open."
        )
    if (
        state is OrderState.RUNNING
        and value.trigger_price is not None
        and not any(leg.trigger_time for leg in value.legs)
    ):
        return f"It waits for the mark price to reach {plain_text(value.trigger_price)}."
    if (
        state is OrderState.RUNNING
        and value.filled
        and all(leg.is_final for leg in value.legs if leg.role.trades_the_order)
    ):
        return f"{plain_text(value.filled)} of {plain_text(value.size)} is filled, and its exits wait at the venue."
    if state is OrderState.RUNNING and value.twap is not None:
        said = f"{value.twap.sent} of {value.twap.terms.count} slices were sent, and {plain_text(value.filled)} of "
        missed = value.twap.refusal
        return (
            said
            + f"{plain_text(value.size)} is filled."
            + (f" The last one was not sent: {missed.message}" if missed is not None else "")
        )
    return _SENTENCES[state].format(filled=plain_text(value.filled), size=plain_text(value.size))


def leg(value: Leg) -> leg_pb2.Leg:
    """Return a leg as it stands."""
    message = leg_pb2.Leg(
        leg_id=str(value.leg_id),
        number=value.number,
        role=leg_pb2.Leg.Role.Value(f"ROLE_{value.role.value}"),
        venue=value.venue,
        account_id=str(value.account_id),
        market=value.market,
        side=side_pb2.Side.Value(f"SIDE_{value.side.value}"),
        size=plain_text(value.size),
        limit_price=plain_text(value.limit_price),
        trigger_price=None if value.trigger_price is None else plain_text(value.trigger_price),
        type=order_type_pb2.OrderType.Value(f"ORDER_TYPE_{value.type.value}"),
        time_in_force=time_in_force_pb2.TimeInForce.Value(f"TIME_IN_FORCE_{value.time_in_force.value}"),
        reduce_only=value.reduce_only,
        state=leg_pb2.Leg.State.Value(f"STATE_{value.state.value}"),
        evidence=leg_pb2.Leg.Evidence.Value(f"EVIDENCE_{value.evidence.value}"),
        filled_size=plain_text(value.filled),
        average_price=mean(value.notional, value.filled),
        costs=_fees((value,)),
        venue_client_id=value.client_id,
        venue_order_id=value.venue_order_id,
        transaction_hash=value.transaction_hash,
        send_count=value.send_count,
        slice_number=value.part if value.role is Role.SLICE else 0,
    )
    if value.refusal is not None:
        message.refusal.CopyFrom(refusal(value.refusal))
    for name in ("create_time", "submit_time", "acknowledge_time", "execute_time", "update_time", "resolve_time",
                 "trigger_time"):  # fmt: skip
        moment = getattr(value, name)
        if moment is not None:
            _stamp(getattr(message, name), moment)
    return message


def fill(row: Any) -> fill_pb2.Fill:
    """Return a fill out of its row, or out of anything with the row's names."""
    costs = [cost(cost_pb2.COST_KIND_VENUE_FEE, row["fee"])]
    if row["interface_fee"]:
        costs.append(cost(_interface(row["venue"]), row["interface_fee"]))
    costs.append(cost(cost_pb2.COST_KIND_PLATFORM_FEE, Decimal(0)))
    message = fill_pb2.Fill(
        fill_id=str(row["fill_id"]),
        order_id=str(row["order_id"] or ""),
        leg_id=str(row["leg_id"] or ""),
        venue=row["venue"],
        account_id=str(row["account_id"]),
        market=row["market"],
        side=side_pb2.Side.Value(f"SIDE_{row['side']}"),
        price=plain_text(row["price"]),
        size=plain_text(row["size"]),
        liquidity=fill_pb2.Fill.Liquidity.Value(f"LIQUIDITY_{row['liquidity']}"),
        costs=costs,
        total_cost=plain_text(row["fee"] + row["interface_fee"]),
        realized_pnl="" if row["realized_pnl"] is None else plain_text(row["realized_pnl"]),
        cause=fill_pb2.Fill.Cause.Value(f"CAUSE_{row['cause']}"),
        venue_trade_id=row["trade_id"],
        venue_order_id=row["venue_order_id"],
        sequence=row["number"],
    )
    _stamp(message.fill_time, row["fill_time"])
    _stamp(message.receive_time, row["receive_time"])
    return message


def _fees(legs: Sequence[Leg]) -> list[cost_pb2.Cost]:
    fees = sum((one.fees for one in legs), Decimal(0))
    lines = [cost(cost_pb2.COST_KIND_VENUE_FEE, fees)]
    for venue in dict.fromkeys(one.venue for one in legs):
        amount = sum((one.interface_fees for one in legs if one.venue == venue), Decimal(0))
        if amount:
            lines.append(cost(_interface(venue), amount))
    return [*lines, cost(cost_pb2.COST_KIND_PLATFORM_FEE, Decimal(0))]


def _interface(venue: str) -> cost_pb2.CostKind.ValueType:
    return cost_pb2.COST_KIND_BUILDER_FEE if venue == HYPERLIQUID else cost_pb2.COST_KIND_INTEGRATOR_FEE


def cost(kind: cost_pb2.CostKind.ValueType, amount: Decimal) -> cost_pb2.Cost:
    """Return one line of a cost."""
    return cost_pb2.Cost(kind=kind, amount=plain_text(amount))


def mean(notional: Decimal, size: Decimal) -> str:
    """Return an average price, rounded half to even; empty before the first fill."""
    if not size:
        return ""
    with rounding():
        return plain_text((notional / size).quantize(Decimal(1).scaleb(-PRICE_DECIMALS), rounding=ROUND_HALF_EVEN))


def refusal(value: Refusal) -> refusal_pb2.Refusal:
    """Return a refusal."""
    message = refusal_pb2.Refusal(
        reason=refusal_pb2.RefusalReason.Value(f"REFUSAL_REASON_{value.reason.value}"),
        origin=refusal_pb2.Refusal.Origin.Value(f"ORIGIN_{value.origin.value}"),
        message=value.message,
        advice=value.advice,
        field=value.field,
        given_value=value.given_value,
        passing_value=value.passing_value,
        venue=value.venue,
        venue_code=value.venue_code,
        venue_message=value.venue_message,
    )
    if value.retry_time_ns:
        message.retry_time.FromNanoseconds(value.retry_time_ns)
    return message


def _stamp(field: Timestamp, moment: datetime) -> None:
    field.FromDatetime(moment)
