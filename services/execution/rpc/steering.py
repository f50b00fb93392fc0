"""The calls of `ExecutionService` that set, keep and ask what stands around orders: message to value and back."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from perpmesh.execution.v1 import cancel_all_switch_pb2, leverage_setting_pb2, usage_pb2, venue_budget_pb2
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceServicer
from perpmesh.type.v1 import margin_mode_pb2

from services.domain.decimals import parse_decimal
from services.domain.errors import field_invalid
from services.execution.app.budgets import BudgetLeft, VenueBudgets
from services.execution.app.gate import Gate, Used
from services.execution.app.leverage import LeverageAsked, LeverageHeld, Leverages
from services.execution.app.replacing import Replacer
from services.execution.app.switching import ArmAsked, Armed, Switching
from services.execution.model.replacing import ReplaceAsked
from services.execution.model.switch import RULES, remaining
from services.execution.ports import Clock
from services.execution.rpc import encode
from services.execution.rpc.caller import user
from services.venues.actions import MarginMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """What these calls use."""

    leverages: Leverages
    replacer: Replacer
    switching: Switching
    budgets: VenueBudgets
    gate: Gate
    clock: Clock


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

    async def ArmCancelAll(self, request: pb.ArmCancelAllRequest, context: Any) -> pb.ArmCancelAllResponse:
        """Arm, renew or disarm switches."""
        asked = ArmAsked(
            account_ids=tuple(UUID(one) for one in request.account_ids),
            delay=None if request.disarm else request.delay.ToTimedelta(),
            allow_mesh_keeper=request.allow_mesh_keeper,
        )
        armed = await self._steering.switching.arm(user(), asked)
        today = self._steering.clock.now().date()
        return pb.ArmCancelAllResponse(switches=[_armed(one, today) for one in armed])

    async def GetVenueBudget(self, request: pb.GetVenueBudgetRequest, context: Any) -> pb.GetVenueBudgetResponse:
        """Return what is left of the venues' limits."""
        account_id = UUID(request.account_id) if request.HasField("account_id") else None
        found = await self._steering.budgets.of_user(user(), venue=request.venue, account_id=account_id)
        now_ns = self._steering.clock.time_ns()
        return pb.GetVenueBudgetResponse(budgets=[_budget(one, now_ns) for one in found])

    async def GetUsage(self, request: pb.GetUsageRequest, context: Any) -> pb.GetUsageResponse:
        """Return what is left of our limits."""
        found = await self._steering.gate.usage(user())
        now_ns = self._steering.clock.time_ns()
        return pb.GetUsageResponse(usages=[_usage(one, now_ns) for one in found])


def _armed(one: Armed, today: date) -> cancel_all_switch_pb2.CancelAllSwitch:
    rule, switch = RULES[one.account.venue], one.switch
    message = cancel_all_switch_pb2.CancelAllSwitch(
        account_id=str(one.account.account_id),
        venue=one.account.venue,
        state=cancel_all_switch_pb2.CancelAllSwitch.State.Value(f"STATE_{one.state}"),
    )
    message.min_delay.FromTimedelta(rule.min_delay)
    if rule.max_delay is not None:
        message.max_delay.FromTimedelta(rule.max_delay)
    if switch is not None and switch.cancel_time is not None:
        message.keeper = message.KEEPER_MESH if switch.by_mesh else message.KEEPER_VENUE
        message.cancel_time.FromDatetime(switch.cancel_time)
        message.cancels_foreign_orders = not switch.by_mesh
    left = remaining(switch, rule, today)
    if left is not None:
        message.remaining_triggers = left
    if one.refusal is not None:
        message.refusal.CopyFrom(encode.refusal(one.refusal))
    return message


def _budget(one: BudgetLeft, now_ns: int) -> venue_budget_pb2.VenueBudget:
    use = one.use
    left = max(0, use.limit - use.used)
    scope = venue_budget_pb2.VenueBudget.SCOPE_ACCOUNT if use.by_account else venue_budget_pb2.VenueBudget.SCOPE_ADDRESS
    span = f" within {use.window_s:g} s" if use.window_s else ""
    kept = f", {use.reserved} of them kept for look-ups and cancels" if use.reserved else ""
    wait = f" The next order may go in {use.free_s:.1f} s." if use.free_s else ""
    message = venue_budget_pb2.VenueBudget(
        venue=one.venue,
        scope=scope,
        account_id=str(one.account_id or ""),
        name=use.name,
        unit=use.unit,
        limit=use.limit,
        remaining=left,
        reserved=use.reserved,
        next_order_cost=use.next_order_cost,
        explanation=f"{left} of {use.limit} {use.unit} are left{span}{kept}.{wait}",
    )
    if use.window_s:
        message.window.FromNanoseconds(round(use.window_s * 1e9))
        message.reset_time.FromNanoseconds(now_ns + round((use.free_s or use.window_s) * 1e9))
    return message


def _usage(one: Used, now_ns: int) -> usage_pb2.Usage:
    message = usage_pb2.Usage(name=one.name, limit=one.limit, remaining=max(0, one.limit - one.used))
    if one.window_s:
        message.window.FromNanoseconds(round(one.window_s * 1e9))
        message.reset_time.FromNanoseconds(now_ns + round((one.free_s or one.window_s) * 1e9))
    return message


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
