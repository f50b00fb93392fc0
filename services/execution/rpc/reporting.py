"""The calls of `ExecutionService` that look at orders and change nothing: what one came to, what one would come to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import log_event_pb2
from perpmesh.type.v1 import cost_pb2

from services.domain.decimals import plain_text
from services.execution.app.intake import unknown_order
from services.execution.app.previewing import Previewer
from services.execution.model.preview import Preview, PreviewLeg
from services.execution.model.quoted import CostKind
from services.execution.ports.looking import Reports
from services.execution.rpc import decode, encode
from services.execution.rpc.caller import user


class ReportingRpc:
    """Serves its part of the contract."""

    def __init__(self, reports: Reports, previewer: Previewer) -> None:
        self._reports = reports
        self._previewer = previewer

    async def GetExecutionReport(
        self, request: pb.GetExecutionReportRequest, context: Any
    ) -> pb.GetExecutionReportResponse:
        """Return what an order came to against its quote."""
        order_id = UUID(request.order_id)
        event = await self._reports.report(user(), order_id)
        if event is None:
            raise unknown_order(order_id)
        told = log_event_pb2.LogEvent.FromString(event).execution_reported
        return pb.GetExecutionReportResponse(report=told.report)

    async def PreviewOrder(self, request: pb.PreviewOrderRequest, context: Any) -> pb.PreviewOrderResponse:
        """Say whether an order would pass, and what would come of it."""
        return preview_message(await self._previewer.preview(user(), decode.new_order(request.order)))


def preview_message(preview: Preview) -> pb.PreviewOrderResponse:
    """Return a preview."""
    return pb.PreviewOrderResponse(
        passes=preview.passes,
        refusals=[encode.refusal(one) for one in preview.refusals],
        legs=[_leg(leg) for leg in preview.legs],
        initial_margin=_text(preview.initial_margin),
        max_size=_text(preview.max_size),
        expected_cost=plain_text(preview.cost) if preview.passes and preview.legs else "",
        explanation=preview.explanation,
    )


def _leg(one: PreviewLeg) -> pb.PreviewOrderResponse.PreviewLeg:
    always = (CostKind.BOOK, CostKind.VENUE_FEE, CostKind.PLATFORM_FEE)
    return pb.PreviewOrderResponse.PreviewLeg(
        venue=one.leg.venue,
        account_id=str(one.leg.account_id),
        size=plain_text(one.leg.size),
        limit_price=plain_text(one.leg.limit_price),
        initial_margin=_text(one.initial_margin),
        free_margin=_text(one.free_margin),
        costs=[
            encode.cost(cost_pb2.CostKind.Value(f"COST_KIND_{kind.value}"), amount)
            for kind, amount in one.costs.items()
            if amount or kind in always
        ],
        refusals=[encode.refusal(refusal) for refusal in one.refusals],
    )


def _text(value: Decimal | None) -> str:
    """Return a decimal as text; empty where it is not known."""
    return "" if value is None else plain_text(value)
