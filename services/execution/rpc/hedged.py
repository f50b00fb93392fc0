"""A hedged order as it is asked for: message to value."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import order_pb2
from perpmesh.type.v1 import side_pb2, time_in_force_pb2

from services.domain.decimals import parse_decimal
from services.domain.errors import field_invalid
from services.execution.model.hedge import Action, HedgeAsked, HedgeLegAsked, Rollback
from services.execution.rpc.decode import in_milliseconds, moment
from services.venues.actions import Side, TimeInForce

_RULE: Final = Rollback()
IMMEDIATE: Final = TimeInForce.IMMEDIATE_OR_CANCEL


def hedged(request: pb.PlaceHedgedOrderRequest) -> HedgeAsked:
    """Return two orders that belong together. Raises FIELD_INVALID."""
    first, second = (_leg(one, f"legs[{at}]") for at, one in enumerate(request.legs))
    rule = request.rollback
    if request.HasField("expire_time") and first.time_in_force is second.time_in_force is IMMEDIATE:
        raise field_invalid("expire_time", "immediate legs never rest: leave it out")
    if rule.action != order_pb2.Rollback.ACTION_KEEP and (first.reduce_only or second.reduce_only):
        problem = "what a leg that only reduces has traded cannot be traded back reduce-only: ACTION_KEEP would pass"
        raise field_invalid("rollback.action", problem)
    return HedgeAsked(
        request_id=UUID(request.request_id),
        legs=(first, second),
        rollback=Rollback(
            action=Action.KEEP if rule.action == order_pb2.Rollback.ACTION_KEEP else Action.UNWIND,
            tolerated=parse_decimal(rule.tolerated_size) if rule.tolerated_size else _RULE.tolerated,
            patience=rule.patience.ToTimedelta() if rule.HasField("patience") else _RULE.patience,
            max_slippage_bps=rule.max_slippage_bps if rule.HasField("max_slippage_bps") else _RULE.max_slippage_bps,
        ),
        max_slippage_bps=request.max_slippage_bps if request.HasField("max_slippage_bps") else None,
        expire_time=in_milliseconds(moment(request, "expire_time")),
        client_order_id=request.client_order_id,
    )


def _leg(one: pb.PlaceHedgedOrderRequest.HedgeLeg, name: str) -> HedgeLegAsked:
    tif = time_in_force_pb2.TimeInForce.Name(one.time_in_force).removeprefix("TIME_IN_FORCE_")
    kind = IMMEDIATE if tif == "UNSPECIFIED" else TimeInForce(tif)
    if kind is not IMMEDIATE and not one.HasField("limit_price"):
        raise field_invalid(f"{name}.limit_price", "a leg that may rest needs the price it rests at")
    return HedgeLegAsked(
        market=one.market,
        side=Side(side_pb2.Side.Name(one.side).removeprefix("SIDE_")),
        size=parse_decimal(one.size),
        venue=one.venue,
        account_id=UUID(one.account_id) if one.HasField("account_id") else None,
        limit_price=parse_decimal(one.limit_price) if one.HasField("limit_price") else None,
        time_in_force=kind,
        reduce_only=one.reduce_only,
    )
