"""The calls of `ExecutionService` that look at orders and change nothing: what one came to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import log_event_pb2

from services.execution.app.intake import unknown_order
from services.execution.ports import Reports
from services.execution.rpc.caller import user


class ReportingRpc:
    """Serves its part of the contract."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

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
