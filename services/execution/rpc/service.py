"""`ExecutionService`: message to value, one use case, value to message."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import log_event_pb2, order_pb2

from services.chassis import call
from services.chassis.clock import Clock
from services.chassis.errors import to_status
from services.domain.errors import DomainError, FieldViolation, Reason
from services.domain.pages import Pager, page_size, split_position
from services.execution.app.closing import Closer
from services.execution.app.hedging import Hedger
from services.execution.app.intake import Intake
from services.execution.app.pacing import Pacer
from services.execution.app.preparing import Preparer
from services.execution.app.previewing import Previewer
from services.execution.model.canceling import CancelScope, is_canceling
from services.execution.model.wanted import Wanted
from services.execution.ports.looking import Bell, Lists, Log, Reports
from services.execution.rpc import decode, encode
from services.execution.rpc.caller import user as _user
from services.execution.rpc.hedged import hedged
from services.execution.rpc.preparing import PreparingRpc
from services.execution.rpc.reporting import ReportingRpc
from services.execution.rpc.steering import Steering, SteeringRpc

PAGE_DEFAULT, PAGE_MAX = 50, 500
HEARTBEAT_S: Final = 15.0
EVENTS_MAX: Final = 500
STREAMS_MAX: Final = 2_000
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class ExecutionRpc(PreparingRpc, ReportingRpc, SteeringRpc):
    """Serves the contract, as far as its methods are defined here, in `preparing`, `reporting` and `steering`."""

    def __init__(
        self,
        *,
        steering: Steering,
        preparer: Preparer,
        intake: Intake,
        hedger: Hedger,
        closer: Closer,
        pacer: Pacer,
        lists: Lists,
        reports: Reports,
        previewer: Previewer,
        log: Log,
        bell: Bell,
        pager: Pager,
        clock: Clock,
    ) -> None:
        PreparingRpc.__init__(self, preparer)
        ReportingRpc.__init__(self, reports, previewer)
        SteeringRpc.__init__(self, steering)
        self._intake = intake
        self._hedger = hedger
        self._closer = closer
        self._pacer = pacer
        self._lists = lists
        self._log = log
        self._bell = bell
        self._pager = pager
        self._clock = clock
        self._streams = 0
        self._draining = False

    def drain(self) -> None:
        """End every stream, with its reason."""
        self._draining = True
        self._bell.ring()

    async def PlaceOrder(self, request: pb.PlaceOrderRequest, context: Any) -> pb.PlaceOrderResponse:
        """Accept an order."""
        placed = await self._intake.place(_user(), decode.new_order(request))
        return pb.PlaceOrderResponse(order=encode.order(placed))

    async def BatchPlaceOrders(self, request: pb.BatchPlaceOrdersRequest, context: Any) -> pb.BatchPlaceOrdersResponse:
        """Accept several orders, each for itself."""
        user, answer = _user(), pb.BatchPlaceOrdersResponse()
        for one in request.requests:
            result = answer.results.add(request_id=one.request_id)
            try:
                result.order.CopyFrom(encode.order(await self._intake.place(user, decode.new_order(one))))
            except DomainError as error:
                result.error.CopyFrom(to_status(error, call.request_id()))
        return answer

    async def PlaceHedgedOrder(self, request: pb.PlaceHedgedOrderRequest, context: Any) -> pb.PlaceHedgedOrderResponse:
        """Accept two orders that belong together."""
        placed = await self._hedger.place(_user(), hedged(request))
        return pb.PlaceHedgedOrderResponse(order=encode.order(placed))

    async def GetOrder(self, request: pb.GetOrderRequest, context: Any) -> pb.GetOrderResponse:
        """Return one order."""
        return pb.GetOrderResponse(order=encode.order(await self._intake.get(_user(), UUID(request.order_id))))

    async def BatchCancelOrders(
        self, request: pb.BatchCancelOrdersRequest, context: Any
    ) -> pb.BatchCancelOrdersResponse:
        """Ask for several orders to be canceled, each for itself."""
        user, answer = _user(), pb.BatchCancelOrdersResponse()
        for order_id in request.order_ids:
            result = answer.results.add(order_id=order_id)
            try:
                result.order.CopyFrom(encode.order(await self._intake.cancel(user, UUID(order_id))))
            except DomainError as error:
                result.error.CopyFrom(to_status(error, call.request_id()))
        return answer

    async def CancelAllOrders(self, request: pb.CancelAllOrdersRequest, context: Any) -> pb.CancelAllOrdersResponse:
        """Ask for every open order that the filters take in to be canceled, page by page."""
        user, answer = _user(), pb.CancelAllOrdersResponse()
        wanted = Wanted(
            market=request.market,
            venue=request.venue,
            side=decode.side(request.side),
            account_ids=tuple(UUID(one) for one in request.account_ids),
            active_only=True,
            count=PAGE_MAX,
        )
        scope = CancelScope(
            venue=wanted.venue, account_ids=wanted.account_ids, keep_reduce_only=request.keep_reduce_only
        )
        while page := await self._lists.orders(user, wanted):
            for one in page:
                order = await self._intake.cancel(user, one.order_id, scope)
                if is_canceling(order, scope):
                    answer.order_ids.append(str(order.order_id))
            wanted = replace(wanted, before=(page[-1].create_time, page[-1].order_id))
        return answer

    async def PauseOrder(self, request: pb.PauseOrderRequest, context: Any) -> pb.PauseOrderResponse:
        """Send no further slice of an order."""
        paused = await self._pacer.pause(_user(), UUID(request.order_id), cancel=request.cancel_resting)
        return pb.PauseOrderResponse(order=encode.order(paused))

    async def ResumeOrder(self, request: pb.ResumeOrderRequest, context: Any) -> pb.ResumeOrderResponse:
        """Go on with an order."""
        resumed = await self._pacer.resume(_user(), UUID(request.order_id))
        return pb.ResumeOrderResponse(order=encode.order(resumed))

    async def ClosePosition(self, request: pb.ClosePositionRequest, context: Any) -> pb.ClosePositionResponse:
        """Close positions of one market."""
        orders = await self._closer.close(_user(), decode.close(request))
        return pb.ClosePositionResponse(orders=[encode.order(one) for one in orders])

    async def ListOrders(self, request: pb.ListOrdersRequest, context: Any) -> pb.ListOrdersResponse:
        """Return a page of orders, the newest first."""
        user, arguments = _user(), _arguments(request)
        count = page_size(request.page_size, default=PAGE_DEFAULT, largest=PAGE_MAX)
        wanted = Wanted(
            market=request.market,
            venue=request.venue,
            side=decode.side(request.side),
            states=tuple(order_pb2.Order.State.Name(one).removeprefix("STATE_") for one in request.states),
            active_only=request.active_only,
            client_order_id=request.client_order_id,
            request_id=UUID(request.request_id) if request.HasField("request_id") else None,
            account_ids=tuple(UUID(one) for one in request.account_ids),
            start=decode.moment(request, "start_time"),
            end=decode.moment(request, "end_time"),
            before=self._before("ListOrders", arguments, request.page_token),
            count=count + 1,
        )
        found = await self._lists.orders(user, wanted)
        answer = pb.ListOrdersResponse(orders=[encode.order(one) for one in found[:count]])
        if len(found) > count:
            last = found[count - 1]
            answer.next_page_token = self._token("ListOrders", arguments, last.create_time, last.order_id)
        return answer

    async def ListFills(self, request: pb.ListFillsRequest, context: Any) -> pb.ListFillsResponse:
        """Return a page of fills, the newest first."""
        user, arguments = _user(), _arguments(request)
        count = page_size(request.page_size, default=PAGE_DEFAULT, largest=PAGE_MAX)
        wanted = Wanted(
            market=request.market,
            venue=request.venue,
            side=decode.side(request.side),
            order_id=UUID(request.order_id) if request.HasField("order_id") else None,
            account_ids=tuple(UUID(one) for one in request.account_ids),
            start=decode.moment(request, "start_time"),
            end=decode.moment(request, "end_time"),
            before=self._before("ListFills", arguments, request.page_token),
            count=count + 1,
        )
        found = await self._lists.fills(user, wanted)
        answer = pb.ListFillsResponse(fills=[encode.fill(one) for one in found[:count]])
        if len(found) > count:
            last = found[count - 1]
            answer.next_page_token = self._token("ListFills", arguments, last["fill_time"], last["fill_id"])
        return answer

    async def WatchOrders(self, request: pb.WatchOrdersRequest, context: Any) -> AsyncIterator[pb.WatchOrdersResponse]:
        """Stream orders: first those that have not ended, then every change."""
        user, after = _user(), await self._after(request.cursor)
        markets = set(request.markets)
        first: list[order_pb2.Order] = []
        if not request.cursor:
            active = await self._lists.orders(user, Wanted(active_only=True, count=PAGE_MAX))
            first = [encode.order(one) for one in reversed(active)]

        def shown(event: log_event_pb2.LogEvent) -> order_pb2.Order | None:
            order = event.order_changed.order
            return order if not markets or order.market in markets else None

        first = [one for one in first if not markets or one.market in markets]
        async for cursor, kind, value in self._follow(user, "order", after, first, shown):
            yield _framed(pb.WatchOrdersResponse(cursor=cursor), "order", kind, value)

    async def WatchFills(self, request: pb.WatchFillsRequest, context: Any) -> AsyncIterator[pb.WatchFillsResponse]:
        """Stream fills: the recent ones, the oldest first, then every new one."""
        user, after = _user(), await self._after(request.cursor)
        markets = set(request.markets)
        first = []
        if not request.cursor:
            rows = await self._lists.fills(user, Wanted(count=min(request.replay_count, PAGE_MAX)))
            first = [encode.fill(row) for row in reversed(rows)]

        def shown(event: log_event_pb2.LogEvent) -> Any:
            fill = event.fill_recorded.fill
            return fill if not markets or fill.market in markets else None

        first = [one for one in first if not markets or one.market in markets]
        async for cursor, kind, value in self._follow(user, "fill", after, first, shown):
            yield _framed(pb.WatchFillsResponse(cursor=cursor), "fill", kind, value)

    async def _follow(
        self,
        user: UUID,
        kind: str,
        after: int,
        first: list[Any],
        shown: Callable[[log_event_pb2.LogEvent], Any],
    ) -> AsyncIterator[tuple[str, str, Any]]:
        """Yield (cursor, what, value): the present, the mark, and every event of a user, none left out or twice."""
        if self._streams >= STREAMS_MAX:
            raise DomainError(
                Reason.LIMIT_REACHED,
                f"{STREAMS_MAX} streams are open: try again later.",
                metadata={"limit": "order_streams", "streams_max": str(STREAMS_MAX)},
                retry_after_s=5.0,
            )
        self._streams += 1
        grown = self._bell.listen()
        try:
            for value in first:
                yield _cursor(after), "value", value
            yield _cursor(after), "live", self._clock.time_ns()
            while not self._draining:
                grown.clear()
                events = await self._log.of_user(user, kind, after, EVENTS_MAX)
                for sequence, raw in events:
                    after = sequence
                    value = shown(log_event_pb2.LogEvent.FromString(raw))
                    if value is not None:
                        yield _cursor(after), "value", value
                if len(events) == EVENTS_MAX:
                    continue
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await grown.wait()
                except TimeoutError:
                    yield _cursor(after), "heartbeat", self._clock.time_ns()
            yield _cursor(after), "end", None
        finally:
            self._bell.forget(grown)
            self._streams -= 1

    async def _after(self, cursor: str) -> int:
        """Return the number after which a stream goes on. Raises CURSOR_INVALID."""
        if not cursor:
            return await self._log.last()
        number = cursor[1:]
        known = cursor[0] == "e" and number.isdecimal() and len(number) < 19
        if not known or int(number) > await self._log.last():
            advice = "this is no cursor of this call; send one exactly as received, or none"
            raise DomainError(
                Reason.CURSOR_INVALID,
                f"cursor: {advice}",
                metadata={"field": "cursor"},
                fields=(FieldViolation("cursor", advice),),
            )
        return int(number)

    def _before(self, name: str, arguments: str, token: str) -> tuple[datetime, UUID] | None:
        if not token:
            return None
        moment, key = split_position(self._pager.position(name, arguments, token), 2)
        return _EPOCH + timedelta(microseconds=int(moment)), UUID(key)

    def _token(self, name: str, arguments: str, moment: datetime, key: UUID) -> str:
        return self._pager.token(name, arguments, f"{(moment - _EPOCH) // timedelta(microseconds=1)} {key}")


def _framed(message: Any, name: str, kind: str, value: Any) -> Any:
    if kind == "value":
        getattr(message, name).CopyFrom(value)
    elif kind == "end":
        message.end.reason, message.end.resumable = Reason.DRAINING.value, True
        message.end.message = "The server is going away: open the stream again with this cursor."
    else:
        getattr(message, kind).send_time.FromNanoseconds(value)
    return message


def _cursor(sequence: int) -> str:
    return f"e{sequence}"


def _arguments(request: Any) -> str:
    """Return what a page token is bound to: the user and every argument but the page's own."""
    other = type(request)()
    other.CopyFrom(request)
    other.ClearField("page_token")
    other.ClearField("page_size")
    return f"{_user()} {other.SerializeToString(deterministic=True).hex()}"
