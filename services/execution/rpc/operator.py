"""`OperatorService`, for other rooms: the log again, from any number on."""

from __future__ import annotations

from typing import Any, Final

from perpmesh.execution.v1 import log_event_pb2
from perpmesh.execution.v1 import operator_service_pb2 as pb
from perpmesh.execution.v1.operator_service_pb2_grpc import OperatorServiceServicer

from services.execution.ports import Log

EVENTS_MAX: Final = 1_000


class OperatorRpc(OperatorServiceServicer):
    """Serves the contract, as far as its methods are defined here."""

    def __init__(self, log: Log) -> None:
        self._log = log

    async def ReadLog(self, request: pb.ReadLogRequest, context: Any) -> pb.ReadLogResponse:
        """Read the log from a number on."""
        count = min(request.event_count_max or EVENTS_MAX, EVENTS_MAX)
        events, last = await self._log.read(request.from_sequence, count)
        return pb.ReadLogResponse(events=[log_event_pb2.LogEvent.FromString(one) for one in events], last_sequence=last)
