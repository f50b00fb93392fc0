"""grpc.health.v1 with readiness asked at the moment of the question, and watchers that end when the room drains.

Names: the empty one and every served service answer readiness; `live` answers liveness and stays SERVING while the
process turns, draining included. The servicer that grpcio ships is not used because its watchers never end, which
would hold every stop for the whole grace time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from services.chassis.clock import Clock

SERVICE = "grpc.health.v1.Health"
LIVE = "live"
POLL_S = 1.0
WATCHERS_MAX = 64

_Status = health_pb2.HealthCheckResponse


class Health:
    """Answers Check and Watch."""

    def __init__(
        self, names: Iterable[str], ready: Callable[[], str | None], draining: asyncio.Event, clock: Clock
    ) -> None:
        self._names = frozenset(names) | {""}
        self._ready = ready
        self._draining = draining
        self._clock = clock
        self._watchers = 0

    def status(self, name: str) -> int | None:
        """Return the status of a service now, or None when it is not served here."""
        if name == LIVE:
            return _Status.SERVING
        if name not in self._names:
            return None
        if self._draining.is_set() or self._ready() is not None:
            return _Status.NOT_SERVING
        return _Status.SERVING

    def handlers(self) -> dict[str, Any]:
        """Return what grpc serves, by path."""
        read = health_pb2.HealthCheckRequest.FromString
        write = _Status.SerializeToString
        return {
            f"/{SERVICE}/Check": grpc.unary_unary_rpc_method_handler(self._check, read, write),
            f"/{SERVICE}/Watch": grpc.unary_stream_rpc_method_handler(self._watch, read, write),
        }

    async def _check(self, request: Any, context: Any) -> Any:
        status = self.status(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{request.service} is not served here.")
        return _Status(status=status)

    async def _watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        if self._watchers >= WATCHERS_MAX:
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"At most {WATCHERS_MAX} health watchers are served: use Check."
            )
        self._watchers += 1
        try:
            last: int | None = -1
            while True:
                ending = self._draining.is_set()
                status = self.status(request.service)
                if status != last:
                    yield _Status(status=_Status.SERVICE_UNKNOWN if status is None else status)
                    last = status
                if ending:
                    return
                await self._pause()
        finally:
            self._watchers -= 1

    async def _pause(self) -> None:
        """Wait for the next look: a second, or at once when the room drains."""
        tick = asyncio.ensure_future(self._clock.sleep(POLL_S))
        drain = asyncio.ensure_future(self._draining.wait())
        try:
            await asyncio.wait((tick, drain), return_when=asyncio.FIRST_COMPLETED)
        finally:
            tick.cancel()
            drain.cancel()
