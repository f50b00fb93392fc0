"""What happens around every call: one wrapper per method, made at start.

In order: request id, who calls (by the contract's access rule), reading and validating the request, a deadline for
unary calls, the handler, errors to status, measures, one log line. It is a single function around the handler rather
than a chain of interceptors, because each link of a chain costs a coroutine per call; a streaming handler's messages go
straight to the transport, so a message costs nothing here.

A handler takes `(request, context)` and returns or yields messages, or bytes that are already serialized.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from services.chassis import errors, ids, validation
from services.chassis.call import CURRENT, Call
from services.chassis.clock import Clock
from services.chassis.methods import Access, Method
from services.chassis.metrics import Metrics
from services.chassis.principal import Principal
from services.chassis.telemetry import Level, Log
from services.chassis.tracing import TRACING
from services.domain.errors import DomainError, Reason

Handler = Callable[[Any, Any], Any]
"""A servicer's method, bound: `(request, context)` to an awaitable, or to an async generator when it streams."""

_WELL_FORMED_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_ACCESS_PUBLIC = Access.ACCESS_PUBLIC
_END = object()
_new_request_id = ids.request_ids()
M = TypeVar("M", bound=Message)


class Verifier(Protocol):
    """What decides who calls; the room gives one to the server, and without one only public calls are let in."""

    def verify(self, access: int, method: str, credentials: Credentials) -> Principal | None:
        """Return who calls, None for nobody where `access` is public, or raise TOKEN_* or PERMISSION_DENIED."""

    def follow(self, principal: Principal, end: Callable[[DomainError], None]) -> Callable[[], None]:
        """Call `end` once when the principal's token ends or is revoked; return what stops that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a call brought to say who calls."""

    authorization: tuple[str, ...] = ()
    """Every `authorization` header, as it came; more than one is nobody's."""
    service: str = ""
    """The service named by the certificate of the connection; empty without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the wrappers of one server share."""

    clock: Clock
    log: Log
    metrics: Metrics
    draining: asyncio.Event
    verifier: Verifier | None
    callers: frozenset[str] | None = None
    """The parts that may call, by the names in their certificates; None where connections have none."""


class Measures:
    """The counters of one method."""

    __slots__ = ("_calls", "_children", "_duration", "_method", "in_flight")

    def __init__(self, metrics: Metrics, method: Method) -> None:
        name = method.full_name
        self._method = name
        self._calls = metrics.counter("perpmesh_rpc_total", "Calls that ended, by code.", ("method", "code"))
        self._duration = metrics.histogram("perpmesh_rpc_seconds", "How long unary calls took.", ("method",)).labels(
            name
        )
        self._children: dict[str, Any] = {}
        self.in_flight = 0
        gauge = metrics.gauge("perpmesh_rpc_in_flight", "Calls being served now.", ("method",))
        gauge.labels(name).set_function(lambda: float(self.in_flight))

    def ended(self, code: str, seconds: float | None) -> None:
        """Count a call that ended; a stream gives no duration."""
        child = self._children.get(code)
        if child is None:
            child = self._children[code] = self._calls.labels(self._method, code)
        child.inc()
        if seconds is not None:
            self._duration.observe(seconds)


def serialize(answer: Message | bytes) -> bytes:
    """Return the bytes of an answer; bytes pass through."""
    return answer if type(answer) is bytes else answer.SerializeToString()  # type: ignore[union-attr]


def wrap(method: Method, handler: Handler, around: Surroundings, deadline_s: float) -> grpc.RpcMethodHandler[Any, Any]:
    """Return what grpc serves for one method."""
    validation.prepare(method.request)
    if method.access == Access.ACCESS_UNSPECIFIED:
        raise ValueError(f"{method.full_name} states no perpmesh.type.v1.access: the contract must say who may call it")
    if method.streams:
        return grpc.unary_stream_rpc_method_handler(_stream(method, handler, around), None, serialize)
    return grpc.unary_unary_rpc_method_handler(_unary(method, handler, around, deadline_s), None, serialize)


def refuse(message: str) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler for a method of the contract that is not served."""

    async def not_served(_: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        request_id, _metadata = _identify(context)
        await errors.abort(context, DomainError(Reason.CALL_NOT_SERVED, message), request_id)

    return grpc.unary_unary_rpc_method_handler(not_served)


def foreign(
    path: str, handler: Callable[[bytes, Any], Awaitable[bytes]], around: Surroundings
) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler for a call of another's contract, from the mesh's own parts: no token and no log line."""

    async def serve(raw: bytes, context: Any) -> bytes:
        if around.callers is not None and _service_of(context) not in around.callers:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{path} is for the mesh's own parts.")
        return await handler(raw, context)

    return grpc.unary_unary_rpc_method_handler(serve)


def _identify(context: grpc.aio.ServicerContext[Any, Any]) -> tuple[str, Any]:
    """Return the request id (the caller's when it is well formed, else a new one) and the metadata."""
    metadata = context.invocation_metadata() or ()
    for key, value in metadata:
        if key == errors.REQUEST_ID_KEY and isinstance(value, str) and _WELL_FORMED_ID.fullmatch(value):
            return value, metadata
    return _new_request_id(), metadata


def _admit(method: Method, metadata: Any, context: Any, around: Surroundings) -> Principal | None:
    """Return who calls, or refuse."""
    verifier, service = around.verifier, ""
    if around.callers is not None:
        service = _service_of(context)
        if service not in around.callers:
            raise DomainError(
                Reason.PERMISSION_DENIED,
                f"The part {service[:40] or 'without a name'} may not call this room.",
                metadata={"method": method.full_name},
            )
    authorization = tuple(value if isinstance(value, str) else "" for key, value in metadata if key == "authorization")
    if method.access == _ACCESS_PUBLIC and (verifier is None or not authorization):
        return None
    if verifier is None:
        raise DomainError(
            Reason.TOKEN_MISSING,
            f"{method.name} needs a signed-in caller, and this room is not set up to verify one.",
            metadata={"method": method.full_name},
        )
    return verifier.verify(method.access, method.full_name, Credentials(authorization=authorization, service=service))


def _service_of(context: Any) -> str:
    """Return the service that the connection's certificate names, or the empty text."""
    names = context.auth_context().get("x509_common_name", ())
    return names[0].decode("ascii", "replace") if len(names) == 1 else ""


def _read(request_type: type[M], raw: bytes) -> M:
    try:
        request = request_type.FromString(raw)
    except DecodeError:
        raise DomainError(
            Reason.REQUEST_UNREADABLE,
            f"The bytes sent are not a {request_type.DESCRIPTOR.full_name}: send what the contract describes.",
        ) from None
    validation.check(request)
    return request


def _unary(
    method: Method, handler: Handler, around: Surroundings, deadline_s: float
) -> Callable[[bytes, Any], Awaitable[Any]]:
    request_type, measures = method.request, Measures(around.metrics, method)
    monotonic, log, verifier, name = around.clock.monotonic, around.log, around.verifier, method.full_name
    guarded = method.access != _ACCESS_PUBLIC or verifier is not None or around.callers is not None
    note_order = _order_of(request_type)

    async def serve(raw: bytes, context: Any) -> Any:
        start = monotonic()
        request_id, metadata = _identify(context)
        call = Call(request_id=request_id, method=name)
        CURRENT.set(call)
        code, alarm = "OK", None
        span = TRACING.serve(name, metadata)
        measures.in_flight += 1
        try:
            if guarded:
                call.principal = _admit(method, metadata, context, around)
            request = _read(request_type, raw)
            call.order_id = note_order(request)
            remaining = context.time_remaining()
            if remaining is None or remaining > deadline_s:
                call.deadline = start + deadline_s
                alarm = _Alarm(deadline_s)
            else:
                call.deadline = start + remaining  # the transport itself ends the call then
            result = await handler(request, context)
            call.order_id = call.order_id or _order_in(result)
            context.set_trailing_metadata(((errors.REQUEST_ID_KEY, request_id),))
            return result
        except BaseException as error:
            if alarm is not None and alarm.rang_for(error):
                error = _too_late(method, deadline_s)
            code, last = await _fail(error, context, call, log)
            raise last from None
        finally:
            if alarm is not None:
                alarm.off()
            measures.in_flight -= 1
            seconds = monotonic() - start
            measures.ended(code, seconds)
            facts = call.facts()
            if span is not None:
                span.end(code, request_id=request_id, **facts)
            log.event("rpc.unary", level=Level.INFO, method=name, code=code, ms=round(seconds * 1e3, 3), **facts)

    return serve


class _Alarm:
    """Cancels the task it is made in after a time: `asyncio.timeout` at a third of its cost."""

    __slots__ = ("_handle", "_rang", "_task")

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._rang = False
        self._handle = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._rang = True
        self._task.cancel()

    def off(self) -> None:
        """Cancel no more."""
        self._handle.cancel()

    def rang_for(self, error: BaseException) -> bool:
        """Say whether `error` is the cancellation made here, and take it back if so."""
        if not (self._rang and isinstance(error, asyncio.CancelledError)):
            return False
        return self._task.uncancel() == 0


class _Tether:
    """Ties a stream to the token it was opened with: when that ends or is revoked, the stream ends with the reason."""

    __slots__ = ("_cut", "_task", "_why")

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._why: DomainError | None = None
        self._cut: Callable[[], None] | None = None

    def tie(self, verifier: Verifier, principal: Principal) -> None:
        """Begin to follow the principal's token."""
        self._cut = verifier.follow(principal, self._end)

    def _end(self, why: DomainError) -> None:
        self._why = why
        if self._task is not None:
            self._task.cancel()

    def cut(self) -> None:
        """Follow no more."""
        if self._cut is not None:
            self._cut()

    def cause_of(self, error: BaseException) -> BaseException:
        """Return why the token ended where `error` is the cancellation made here, and `error` otherwise."""
        if self._why is None or not isinstance(error, asyncio.CancelledError) or self._task is None:
            return error
        return self._why if self._task.uncancel() == 0 else error


def _stream(method: Method, handler: Handler, around: Surroundings) -> Callable[[bytes, Any], Awaitable[None]]:
    request_type, measures = method.request, Measures(around.metrics, method)
    monotonic, log, verifier, name = around.clock.monotonic, around.log, around.verifier, method.full_name
    generates = inspect.isasyncgenfunction(handler)

    async def answer(raw: bytes, context: Any, metadata: Any, call: Call, tether: _Tether) -> None:
        if around.draining.is_set():
            raise draining_error()
        call.principal = _admit(method, metadata, context, around)
        if call.principal is not None and verifier is not None and not call.principal.is_service:
            tether.tie(verifier, call.principal)
        request = _read(request_type, raw)
        remaining = context.time_remaining()
        if remaining is not None:
            call.deadline = monotonic() + remaining
        if not generates:  # the handler writes by itself
            await handler(request, context)
            return
        messages: AsyncIterator[Any] = handler(request, context)
        write = context.write
        try:
            # Headers wait for the first message: an error before it then reaches REST as a whole answer.
            first = await anext(messages, _END)
            await context.send_initial_metadata(((errors.REQUEST_ID_KEY, call.request_id),))
            if first is _END:
                return
            await write(first)
            async for message in messages:
                await write(message)
        finally:
            await messages.aclose()  # type: ignore[attr-defined]

    async def serve(raw: bytes, context: Any) -> None:
        start = monotonic()
        request_id, metadata = _identify(context)
        call = Call(request_id=request_id, method=name)
        CURRENT.set(call)
        code = "OK"
        measures.in_flight += 1
        log.event("rpc.stream_begin", method=name)
        span = TRACING.serve(name, metadata)
        tether = _Tether()
        try:
            await answer(raw, context, metadata, call, tether)
            context.set_trailing_metadata(((errors.REQUEST_ID_KEY, request_id),))
        except BaseException as error:
            error = tether.cause_of(error)
            code, last = await _fail(error, context, call, log)
            raise last from None
        finally:
            tether.cut()
            measures.in_flight -= 1
            measures.ended(code, None)
            facts = call.facts()
            if span is not None:
                span.end(code, request_id=request_id, **facts)
            log.event(
                "rpc.stream_end",
                level=Level.INFO,
                method=name,
                code=code,
                seconds=round(monotonic() - start, 3),
                **facts,
            )

    return serve


def _order_of(request_type: type[Message]) -> Callable[[Any], str]:
    """Return what reads the order's id out of a request; of one that names none, the empty text."""
    if "order_id" in request_type.DESCRIPTOR.fields_by_name:
        return lambda request: str(request.order_id)
    return lambda _: ""


def _order_in(answer: Any) -> str:
    """Return the id of the order that an answer carries, or the empty text."""
    return str(getattr(getattr(answer, "order", None), "order_id", ""))


async def _fail(error: BaseException, context: Any, call: Call, log: Log) -> tuple[str, BaseException]:
    """Answer the call with what a handler raised; return the code's name and what to raise to grpc."""
    if isinstance(error, asyncio.CancelledError):
        return "CANCELLED", error
    if isinstance(error, grpc.aio.AbortError):
        return _code_name(context.code()), error
    if not isinstance(error, DomainError):
        if not isinstance(error, Exception):
            return "UNKNOWN", error
        log.event("rpc.fault", level=Level.ERROR, method=call.method, error=error)
        error = errors.internal(call.request_id)
    code = errors.code_of(error.reason).name
    try:
        await errors.abort(context, error, call.request_id)
    except grpc.aio.AbortError as aborted:
        return code, aborted
    except asyncio.CancelledError as gone:  # the caller left before it could be answered
        return code, gone


def _code_name(code: Any) -> str:
    if isinstance(code, grpc.StatusCode):
        return code.name
    return next((known.name for known in grpc.StatusCode if known.value[0] == code), "UNKNOWN")


def draining_error() -> DomainError:
    """Return the refusal of a room that is stopping."""
    return DomainError(
        Reason.DRAINING, "This room is stopping and takes no new streams: connect again.", retry_after_s=0.1
    )


def _too_late(method: Method, deadline_s: float) -> DomainError:
    return DomainError(
        Reason.DEADLINE_EXCEEDED,
        f"{method.name} took longer than the {deadline_s:g} s that this room gives a call.",
        metadata={"deadline_s": f"{deadline_s:g}"},
    )
