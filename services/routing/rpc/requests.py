"""Requests to wishes."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from google.protobuf.message import Message
from perpmesh.routing.v1 import planner_service_pb2
from perpmesh.routing.v1 import routing_service_pb2 as pb
from perpmesh.type.v1 import size_unit_pb2, time_in_force_pb2

from services.domain.decimals import parse_decimal
from services.domain.errors import field_invalid
from services.routing.model.caps import AccountLimits
from services.routing.model.inputs import ZERO
from services.routing.model.wish import Limits, Wish
from services.routing.rpc.inputs import SIDES_BACK, seconds

_TIMES: Final = time_in_force_pb2.TimeInForce
_RESTING: Final = (_TIMES.TIME_IN_FORCE_GOOD_TILL_CANCELED, _TIMES.TIME_IN_FORCE_POST_ONLY)


def wish_of(request: pb.QuoteRouteRequest, path: str = "") -> Wish:
    """Return the wish of a request. Raises FIELD_INVALID for what is not planned."""
    resting = request.time_in_force in _RESTING
    if resting and not request.HasField("limit_price"):
        raise field_invalid(f"{path}limit_price", "an order that waits needs the price at which it waits")
    if request.split_resting and not resting:
        raise field_invalid(
            f"{path}split_resting",
            "only what waits is split so: send GOOD_TILL_CANCELED or POST_ONLY as time_in_force, or leave it out",
        )
    return Wish(
        market=request.market,
        side=SIDES_BACK[request.side],
        size=parse_decimal(request.size),
        size_in_usd=request.size_unit == size_unit_pb2.SIZE_UNIT_USD,
        limit_price=parse_decimal(request.limit_price) if request.HasField("limit_price") else None,
        max_slippage_bps=request.max_slippage_bps if request.HasField("max_slippage_bps") else None,
        venues=tuple(request.venues),
        excluded=tuple(request.excluded_venues),
        reduce_only=request.reduce_only,
        holding_s=seconds(request.holding_time) if request.HasField("holding_time") else ZERO,
        priority_fee_bps=request.priority_fee_bps,
        charge_latency=request.charge_latency,
        resting=resting,
        post_only=request.time_in_force == _TIMES.TIME_IN_FORCE_POST_ONLY,
        split_resting=request.split_resting,
    )


def limits_of(given: Iterable[planner_service_pb2.PlanRouteRequest.AccountLimits]) -> Limits:
    """Return what accounts may carry, by venue."""
    return {
        one.venue: (
            one.account_id,
            AccountLimits(
                max_order_notional=_amount(one, "max_order_notional"),
                max_position_notional=_amount(one, "max_position_notional"),
                budget_spent=one.budget_spent,
            ),
        )
        for one in given
    }


def _amount(message: Message, name: str) -> Decimal | None:
    return parse_decimal(getattr(message, name)) if message.HasField(name) else None


def forecast_of(request: pb.ForecastCostRequest) -> Wish:
    """Return the wish behind a forecast; its size is of no matter."""
    return Wish(
        market=request.market,
        side=SIDES_BACK[request.side],
        size=ZERO,
        max_slippage_bps=request.max_slippage_bps if request.HasField("max_slippage_bps") else None,
        venues=tuple(request.venues),
        holding_s=seconds(request.holding_time) if request.HasField("holding_time") else ZERO,
    )
