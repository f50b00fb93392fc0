"""`OperatorService`, for other rooms and for the operator: the log, halts, and what is stuck."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from perpmesh.execution.v1 import halt_pb2, log_event_pb2, stuck_work_pb2
from perpmesh.execution.v1 import operator_service_pb2 as pb
from perpmesh.execution.v1.operator_service_pb2_grpc import OperatorServiceServicer

from services.domain.pages import Pager, page_size, split_position
from services.execution.app.halting import Halts
from services.execution.model.halt import Halt, HaltKind, Scope
from services.execution.model.retry import ADVICE
from services.execution.model.trouble import Failing
from services.execution.ports.looking import Log
from services.execution.ports.steering import Troubles

EVENTS_MAX: Final = 1_000
PAGE_DEFAULT, PAGE_MAX = 100, 1_000
_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class OperatorRpc(OperatorServiceServicer):
    """Serves the contract."""

    def __init__(self, log: Log, halts: Halts, troubles: Troubles, pager: Pager) -> None:
        self._log = log
        self._halts = halts
        self._troubles = troubles
        self._pager = pager

    async def HaltTrading(self, request: pb.HaltTradingRequest, context: Any) -> pb.HaltTradingResponse:
        """Halt a scope."""
        halt = await self._halts.begin(
            _scope(request.scope),
            reason=request.reason,
            operator=request.operator,
            cancels_orders=request.cancel_open_orders,
        )
        return pb.HaltTradingResponse(halt=_halt(halt), halts_in_force=self._in_force())

    async def ResumeTrading(self, request: pb.ResumeTradingRequest, context: Any) -> pb.ResumeTradingResponse:
        """End the halt of a scope."""
        await self._halts.end(_scope(request.scope), operator=request.operator)
        return pb.ResumeTradingResponse(halts_in_force=self._in_force())

    async def ListStuckWork(self, request: pb.ListStuckWorkRequest, context: Any) -> pb.ListStuckWorkResponse:
        """Return a page of what is stuck, the oldest first."""
        count = page_size(request.page_size, default=PAGE_DEFAULT, largest=PAGE_MAX)
        kind = stuck_work_pb2.StuckWork.Kind.Name(request.kind).removeprefix("KIND_")
        kind = "" if kind == "UNSPECIFIED" else kind
        arguments = f"{kind} {request.venue}"
        after = None
        if request.page_token:
            moment, key = split_position(self._pager.position("ListStuckWork", arguments, request.page_token), 2)
            after = _EPOCH + timedelta(microseconds=int(moment)), UUID(key)
        found = await self._troubles.stuck(kind=kind, venue=request.venue, after=after, count=count + 1)
        answer = pb.ListStuckWorkResponse(works=[_work(one) for one in found[:count]])
        if len(found) > count:
            last = found[count - 1]
            position = f"{(last.first_time - _EPOCH) // timedelta(microseconds=1)} {last.work_id}"
            answer.next_page_token = self._pager.token("ListStuckWork", arguments, position)
        return answer

    async def ReadLog(self, request: pb.ReadLogRequest, context: Any) -> pb.ReadLogResponse:
        """Read the log from a number on."""
        count = min(request.event_count_max or EVENTS_MAX, EVENTS_MAX)
        events, last = await self._log.read(request.from_sequence, count)
        return pb.ReadLogResponse(events=[log_event_pb2.LogEvent.FromString(one) for one in events], last_sequence=last)

    def _in_force(self) -> list[halt_pb2.Halt]:
        return [_halt(one) for one in self._halts.in_force()]


def _scope(message: halt_pb2.HaltScope) -> Scope:
    which = message.WhichOneof("scope")
    if which == "venue":
        return Scope(HaltKind.VENUE, message.venue)
    return Scope(HaltKind.USER, str(UUID(message.user_id))) if which == "user_id" else Scope(HaltKind.EVERYTHING)


def _halt(halt: Halt) -> halt_pb2.Halt:
    message = halt_pb2.Halt(halt_id=str(halt.halt_id), reason=halt.reason, operator=halt.operator)
    if halt.scope.kind is HaltKind.VENUE:
        message.scope.venue = halt.scope.name
    elif halt.scope.kind is HaltKind.USER:
        message.scope.user_id = halt.scope.name
    else:
        message.scope.everything.SetInParent()
    message.create_time.FromDatetime(halt.create_time)
    return message


def _work(one: Failing) -> stuck_work_pb2.StuckWork:
    message = stuck_work_pb2.StuckWork(
        work_id=str(one.work_id),
        kind=stuck_work_pb2.StuckWork.Kind.Value(f"KIND_{one.kind.value}"),
        user_id=str(one.user_id),
        account_id=str(one.account_id),
        venue=one.venue,
        order_id=str(one.order_id or ""),
        leg_id=str(one.leg_id or ""),
        attempt_count=one.attempts,
        last_error=one.last_error,
        advice=ADVICE[one.trouble],
    )
    message.first_attempt_time.FromDatetime(one.first_time)
    message.last_attempt_time.FromDatetime(one.last_time)
    return message
