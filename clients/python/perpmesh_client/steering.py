"""What stands around orders: new terms, pauses, leverage, dead man's switches, budgets; and orders you sign yourself.

`Orders` has all of this. What comes back are the contract's own messages (`perpmesh.execution.v1`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from perpmesh.execution.v1 import (
    cancel_all_switch_pb2,
    leverage_setting_pb2,
    order_pb2,
    signable_pb2,
    usage_pb2,
    venue_budget_pb2,
)
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.type.v1 import margin_mode_pb2

from perpmesh_client.part import Part

if TYPE_CHECKING:
    from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceAsyncStub

MARGINS = {
    "": margin_mode_pb2.MARGIN_MODE_UNSPECIFIED,
    "cross": margin_mode_pb2.MARGIN_MODE_CROSS,
    "isolated": margin_mode_pb2.MARGIN_MODE_ISOLATED,
}


class Steering(Part):
    """Asks execution for what is no placing of an order."""

    async def replace(
        self,
        order_id: str,
        *,
        size: Decimal | str | None = None,
        limit_price: Decimal | str | None = None,
        expected_version: int = 0,
        request_id: str = "",
    ) -> order_pb2.Order:
        """Give an order that rests another size, filled part included, or another price; its place in a queue is lost.

        The answer says that it was asked for: the present leg is canceled, and another follows for what is left.
        """
        request = pb.ReplaceOrderRequest(
            order_id=order_id, request_id=request_id or str(uuid.uuid4()), expected_version=expected_version
        )
        if size is not None:
            request.size = text(size)
        if limit_price is not None:
            request.limit_price = text(limit_price)
        return (await self._ask(self._stub().ReplaceOrder, request)).order

    async def pause(self, order_id: str, *, cancel_resting: bool = False) -> order_pb2.Order:
        """Send no further slice of a TWAP order."""
        request = pb.PauseOrderRequest(order_id=order_id, cancel_resting=cancel_resting)
        return (await self._ask(self._stub().PauseOrder, request)).order

    async def resume(self, order_id: str) -> order_pb2.Order:
        """Go on with a TWAP order; its end moves by the time it was paused."""
        return (await self._ask(self._stub().ResumeOrder, pb.ResumeOrderRequest(order_id=order_id))).order

    async def set_leverage(
        self, account_id: str, market: str, leverage: int, *, margin: str = "", request_id: str = ""
    ) -> leverage_setting_pb2.LeverageSetting:
        """Set a market's leverage at an account, and return what its venue then holds; `margin`: cross or isolated."""
        if margin not in MARGINS:
            raise ValueError(f"margin must be cross or isolated, not {margin!r}")
        request = pb.SetLeverageRequest(
            account_id=account_id, market=market, leverage=leverage, margin_mode=MARGINS[margin],
            request_id=request_id or str(uuid.uuid4()),
        )  # fmt: skip
        return (await self._ask(self._stub().SetLeverage, request)).setting

    async def arm_cancel_all(
        self, delay: timedelta, *, account_ids: Sequence[str] = (), allow_mesh_keeper: bool = False
    ) -> Sequence[cancel_all_switch_pb2.CancelAllSwitch]:
        """Have everything open canceled after a delay, unless this is called again in time; all accounts by default.

        Each venue keeps the clock within its own limits; where it cannot, the mesh does if `allow_mesh_keeper`.
        """
        request = pb.ArmCancelAllRequest(account_ids=account_ids, allow_mesh_keeper=allow_mesh_keeper)
        request.delay.FromTimedelta(delay)
        return list((await self._ask(self._stub().ArmCancelAll, request)).switches)

    async def disarm_cancel_all(
        self, *, account_ids: Sequence[str] = ()
    ) -> Sequence[cancel_all_switch_pb2.CancelAllSwitch]:
        """Let the switches go; all accounts by default."""
        request = pb.ArmCancelAllRequest(account_ids=account_ids, disarm=True)
        return list((await self._ask(self._stub().ArmCancelAll, request)).switches)

    async def budgets(self, *, venue: str = "", account_id: str = "") -> Sequence[venue_budget_pb2.VenueBudget]:
        """Return how much of each limit of the venues is left."""
        request = pb.GetVenueBudgetRequest(venue=venue)
        if account_id:
            request.account_id = account_id
        return list((await self._ask(self._stub().GetVenueBudget, request)).budgets)

    async def usage(self) -> Sequence[usage_pb2.Usage]:
        """Return how much of the mesh's own limits is used."""
        return list((await self._ask(self._stub().GetUsage, pb.GetUsageRequest())).usages)

    async def prepare(
        self, request: pb.PlaceOrderRequest, signers: Sequence[signable_pb2.CallerSigner]
    ) -> pb.PrepareOrderResponse:
        """Prepare a `wish` that keys of your own sign; the answer has what to sign, and `submit_signed` takes it.

        Look at each `unsigned_body` before you sign: it is what the venue gets.
        """
        wanted = pb.PrepareOrderRequest(order=request, signers=signers)
        return await self._ask(self._stub().PrepareOrder, wanted)

    async def submit_signed(self, order_id: str, signatures: Mapping[str, str]) -> order_pb2.Order:
        """Bring the signatures of a prepared order, or of its cancel, by leg_id."""
        signed = [signable_pb2.LegSignature(leg_id=one, signature=signature) for one, signature in signatures.items()]
        request = pb.SubmitOrderRequest(order_id=order_id, signatures=signed)
        return (await self._ask(self._stub().SubmitOrder, request)).order

    async def ask_cancel(self, order_id: str) -> pb.CancelOrderResponse:
        """Ask for an order to be canceled; where only your own key can, the answer has what to sign."""
        return await self._ask(self._stub().CancelOrder, pb.CancelOrderRequest(order_id=order_id))

    def _stub(self) -> ExecutionServiceAsyncStub:
        stub: ExecutionServiceAsyncStub = ExecutionServiceStub(self._open())  # type: ignore[assignment, unused-ignore]
        return stub


def text(number: Decimal | str) -> str:
    """Return a number as the contract has it."""
    return format(number, "f") if isinstance(number, Decimal) else number
