"""The calls of `ExecutionService` that set, keep and ask what stands around orders: message to value and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import leverage_setting_pb2
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceServicer
from perpmesh.type.v1 import margin_mode_pb2

from services.domain.decimals import parse_decimal
from services.domain.errors import field_invalid
from services.execution.app.leverage import LeverageAsked, LeverageHeld, Leverages
from services.execution.app.replacing import Replacer
from services.execution.model.replacing import ReplaceAsked
from services.execution.rpc import encode
from services.execution.rpc.caller import user
from services.venues.actions import MarginMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """What these calls use."""

    leverages: Leverages
    replacer: Replacer


class SteeringRpc(ExecutionServiceServicer):
    """Serves a part of the contract."""

    def __init__(self, steering: Steering) -> None:
        self._steering = steering

    async def SetLeverage(self, request: pb.SetLeverageRequest, context: Any) -> pb.SetLeverageResponse:
        """Set the leverage of a market."""
        mode = margin_mode_pb2.MarginMode.Name(request.margin_mode).removeprefix("MARGIN_MODE_")
        asked = LeverageAsked(
            account_id=UUID(request.account_id),
            market=request.market,
            leverage=request.leverage,
            margin_mode=None if mode == "UNSPECIFIED" else MarginMode(mode),
            request_id=UUID(request.request_id) if request.HasField("request_id") else None,
        )
        return pb.SetLeverageResponse(setting=_setting(await self._steering.leverages.set(user(), asked)))

    async def ReplaceOrder(self, request: pb.ReplaceOrderRequest, context: Any) -> pb.ReplaceOrderResponse:
        """Replace the terms of an order that rests."""
        if request.HasField("trigger_price"):
            raise field_invalid("trigger_price", "this is not served yet: leave it out")
        asked = ReplaceAsked(
            order_id=UUID(request.order_id),
            request_id=UUID(request.request_id),
            size=parse_decimal(request.size) if request.HasField("size") else None,
            limit_price=parse_decimal(request.limit_price) if request.HasField("limit_price") else None,
            expected_version=request.expected_version,
        )
        return pb.ReplaceOrderResponse(order=encode.order(await self._steering.replacer.replace(user(), asked)))


def _setting(held: LeverageHeld) -> leverage_setting_pb2.LeverageSetting:
    message = leverage_setting_pb2.LeverageSetting(
        account_id=str(held.account.account_id),
        venue=held.account.venue,
        market=held.market,
        leverage=held.leverage,
        state=leverage_setting_pb2.LeverageSetting.State.Value(f"STATE_{held.state}"),
    )
    if held.margin_mode is not None:
        message.margin_mode = margin_mode_pb2.MarginMode.Value(f"MARGIN_MODE_{held.margin_mode.value}")
    if held.refusal is not None:
        message.refusal.CopyFrom(encode.refusal(held.refusal))
    message.update_time.FromDatetime(held.update_time)
    return message
