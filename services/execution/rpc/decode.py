"""Messages to values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import order_pb2
from perpmesh.type.v1 import order_type_pb2, side_pb2, size_unit_pb2, time_in_force_pb2

from services.domain.decimals import parse_decimal
from services.domain.errors import field_invalid
from services.execution.app.closing import Close
from services.execution.model.order import Exit, NewOrder
from services.execution.model.policy import LegPolicy
from services.execution.model.twap import Terms
from services.venues.actions import OrderType, Side, TimeInForce

SLICE_INTERVAL: Final = timedelta(seconds=30)
_NOT_YET: Final = ("holding_time",)


def new_order(request: pb.PlaceOrderRequest) -> NewOrder:
    """Return what a caller asks for. Raises FIELD_INVALID for what is not served yet."""
    for name in _NOT_YET:
        if request.HasField(name):
            raise field_invalid(name, "this is not served yet: leave it out")
    policy = leg_policy(request)
    if request.priority_fee_bps or request.split_resting:
        name = "priority_fee_bps" if request.priority_fee_bps else "split_resting"
        raise field_invalid(name, "this is not served yet: leave it out")
    name = order_type_pb2.OrderType.Name(request.type).removeprefix("ORDER_TYPE_")
    kind = OrderType.MARKET if name == "TWAP" else OrderType(name)
    tif = time_in_force_pb2.TimeInForce.Name(request.time_in_force).removeprefix("TIME_IN_FORCE_")
    if tif == "UNSPECIFIED":
        tif = "IMMEDIATE_OR_CANCEL" if kind is OrderType.MARKET else "GOOD_TILL_CANCELED"
    terms = _twap(request) if name == "TWAP" else None
    if terms is not None:
        tif = "IMMEDIATE_OR_CANCEL"
    if kind.has_trigger:
        _check_trigger(request, tif)
    return NewOrder(
        request_id=UUID(request.request_id),
        market=request.market,
        side=Side(side_pb2.Side.Name(request.side).removeprefix("SIDE_")),
        size=parse_decimal(request.size),
        size_in_usd=_in_usd(request, tif),
        type=kind,
        limit_price=parse_decimal(request.limit_price) if request.HasField("limit_price") else None,
        time_in_force=TimeInForce(tif),
        reduce_only=request.reduce_only,
        venue=request.venue,
        venues=tuple(request.venues),
        excluded=tuple(request.excluded_venues),
        account_ids=tuple(UUID(one) for one in request.account_ids),
        quote_id=UUID(request.quote_id) if request.HasField("quote_id") else None,
        max_slippage_bps=request.max_slippage_bps if request.HasField("max_slippage_bps") else None,
        client_order_id=request.client_order_id,
        allow_while_unknown=request.allow_while_unknown,
        expire_time=_until(request, tif),
        trigger_price=parse_decimal(request.trigger_price) if request.HasField("trigger_price") else None,
        take_profit=_exit(request, "take_profit") if request.HasField("take_profit") else None,
        twap=terms,
        stop_loss=_exit(request, "stop_loss") if request.HasField("stop_loss") else None,
        leg_policy=policy,
    )


def leg_policy(request: pb.PlaceOrderRequest) -> LegPolicy:
    """Return what happens to the other legs. Raises FIELD_INVALID where the policy could do nothing for the order."""
    if request.leg_policy in (order_pb2.LEG_POLICY_UNSPECIFIED, order_pb2.LEG_POLICY_KEEP):
        return LegPolicy.KEEP
    policy = LegPolicy(order_pb2.LegPolicy.Name(request.leg_policy).removeprefix("LEG_POLICY_"))
    why = ""
    if request.HasField("twap"):
        why = "the slices to come make up for what one falls short of"
    elif request.HasField("take_profit") or request.HasField("stop_loss"):
        why = "exits stand for what each leg fills, and keep it so"
    elif policy is LegPolicy.REROUTE and (request.venue or request.HasField("trigger_price")):
        why = "the order goes to one venue, so that there is no other to route to"
    elif policy is LegPolicy.UNWIND and request.reduce_only:
        why = "what an order that only reduces has traded cannot be traded back reduce-only"
    if why:
        raise field_invalid("leg_policy", f"{why}: LEG_POLICY_KEEP would pass")
    return policy


def close(request: pb.ClosePositionRequest) -> Close:
    """Return what a caller asks to be closed."""
    return Close(
        request_id=UUID(request.request_id),
        market=request.market,
        venue=request.venue,
        account_ids=tuple(UUID(one) for one in request.account_ids),
        size=parse_decimal(request.size) if request.HasField("size") else None,
        limit_price=parse_decimal(request.limit_price) if request.HasField("limit_price") else None,
        max_slippage_bps=request.max_slippage_bps if request.HasField("max_slippage_bps") else None,
    )


def _check_trigger(request: pb.PlaceOrderRequest, tif: str) -> None:
    if not request.reduce_only:
        problem = "stop and take-profit orders protect a position, and a venue takes them reduce-only: true would pass"
        raise field_invalid("reduce_only", problem)
    if tif != "GOOD_TILL_CANCELED":
        raise field_invalid("time_in_force", "an order with a trigger waits for it: leave time_in_force out")
    if request.HasField("quote_id"):
        raise field_invalid("quote_id", "an order with a trigger is not routed: leave it out")


def _exit(request: pb.PlaceOrderRequest, name: str) -> Exit:
    if request.reduce_only:
        raise field_invalid(name, "an order that only reduces opens nothing to protect: leave it out")
    one: order_pb2.Exit = getattr(request, name)
    return Exit(
        trigger_price=parse_decimal(one.trigger_price),
        limit_price=parse_decimal(one.limit_price) if one.HasField("limit_price") else None,
    )


_NOT_IN_SLICES: Final = ("expire_time", "quote_id", "take_profit", "stop_loss")


def _twap(request: pb.PlaceOrderRequest) -> Terms:
    for name in _NOT_IN_SLICES:
        if request.HasField(name):
            raise field_invalid(name, "an order in slices ends with its last one and has none of this: leave it out")
    if request.time_in_force not in (
        time_in_force_pb2.TIME_IN_FORCE_UNSPECIFIED,
        time_in_force_pb2.TIME_IN_FORCE_IMMEDIATE_OR_CANCEL,
    ):
        raise field_invalid("time_in_force", "every slice is immediate: leave time_in_force out")
    if request.size_unit == size_unit_pb2.SIZE_UNIT_USD:
        raise field_invalid("size_unit", "an order in slices is sized in units of the base asset")
    twap = request.twap
    interval = twap.slice_interval.ToTimedelta() if twap.HasField("slice_interval") else SLICE_INTERVAL
    duration = twap.duration.ToTimedelta()
    if interval > duration:
        raise field_invalid("twap.slice_interval", "a slice_interval of at most the duration would pass")
    return Terms(duration=duration, interval=interval, randomize=twap.randomize)


def _until(request: pb.PlaceOrderRequest, tif: str) -> datetime | None:
    """Return when what rests is to end, in whole milliseconds as venues count them."""
    until = moment(request, "expire_time")
    if until is not None and tif == "IMMEDIATE_OR_CANCEL":
        raise field_invalid("expire_time", "an immediate order never rests: leave it out")
    return in_milliseconds(until)


def in_milliseconds(moment: datetime | None) -> datetime | None:
    """Return a time in whole milliseconds, as venues count them."""
    return None if moment is None else moment.replace(microsecond=moment.microsecond // 1_000 * 1_000)


def _in_usd(request: pb.PlaceOrderRequest, tif: str) -> bool:
    in_usd = request.size_unit == size_unit_pb2.SIZE_UNIT_USD
    if in_usd and tif != "IMMEDIATE_OR_CANCEL":
        raise field_invalid("size_unit", "an order that rests is sized in units of the base asset")
    return in_usd


def moment(message: Any, name: str) -> datetime | None:
    """Return a time of a message; None where it has none."""
    if not message.HasField(name):
        return None
    stamp: Timestamp = getattr(message, name)
    return stamp.ToDatetime(tzinfo=UTC)


def side(value: int) -> str:
    """Return a side's name; empty where it is not stated."""
    name = side_pb2.Side.Name(value).removeprefix("SIDE_")  # type: ignore[arg-type]
    return "" if name == "UNSPECIFIED" else name
