"""The Watch calls of execution and portfolio as the port `PrivateRooms`, each opened with the caller's own token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast

from perpmesh.execution.v1 import execution_service_pb2, fill_pb2, order_pb2
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.portfolio.v1 import portfolio_service_pb2, position_pb2
from perpmesh.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceStub
from perpmesh.type.v1 import stream_pb2

from services.chassis.client import Peer
from services.domain.errors import DomainError, Reason
from services.stream.model.private import FILLS_FIRST, Private, Told
from services.stream.peers.encode import shaper, to_json
from services.stream.peers.market_data import SILENCE_MAX_S

_SHAPES = {
    "order": shaper(order_pb2.Order.DESCRIPTOR),
    "fill": shaper(fill_pb2.Fill.DESCRIPTOR),
    "position": shaper(position_pb2.Position.DESCRIPTOR),
    "live": shaper(stream_pb2.Live.DESCRIPTOR),
    "gap": shaper(stream_pb2.Gap.DESCRIPTOR),
}


class PrivatePeers:
    """The rooms that own what belongs to callers; one that is not there is not served."""

    def __init__(self, execution: Peer | None, portfolio: Peer | None, *, silence_max_s: float = SILENCE_MAX_S) -> None:
        # A peer has the channel's methods that stubs use.
        self._execution: Any = cast(Any, ExecutionServiceStub)(execution) if execution is not None else None
        self._portfolio: Any = cast(Any, PortfolioServiceStub)(portfolio) if portfolio is not None else None
        self._silence_max_s = silence_max_s

    async def follow(
        self, topic: Private, *, token: str, cursor: str, hear: Callable[[Told], Awaitable[None]]
    ) -> Told | None:
        """Call `hear` with all that one stream says; see `services.stream.ports`."""
        metadata = (("authorization", f"Bearer {token}"),)
        loop = asyncio.get_running_loop()
        try:
            async with (
                asyncio.timeout(None) as silence,
                aclosing(self._open(topic, cursor, metadata)) as messages,
            ):
                silence.reschedule(loop.time() + self._silence_max_s)
                async for message in messages:
                    silence.reschedule(None)  # while a slow client is waited for, nobody is silent
                    said = told(message)
                    if said.event == "end":
                        return said
                    await hear(said)
                    silence.reschedule(loop.time() + self._silence_max_s)
        except TimeoutError:
            raise DomainError(
                Reason.PEER_UNAVAILABLE, f"The topic's source said nothing for {self._silence_max_s:g} s."
            ) from None
        return None

    def _open(self, topic: Private, cursor: str, metadata: tuple[tuple[str, str], ...]) -> Any:
        stub = self._portfolio if topic is Private.POSITIONS else self._execution
        if stub is None:
            raise DomainError(
                Reason.CALL_NOT_SERVED,
                f"topics: {topic.value} is not served by this mesh.",
                metadata={"field": "topics", "topic": topic.value},
            )
        if topic is Private.ORDERS:
            return stub.WatchOrders(execution_service_pb2.WatchOrdersRequest(cursor=cursor), metadata=metadata)
        if topic is Private.FILLS:
            request = execution_service_pb2.WatchFillsRequest(cursor=cursor, replay_count=FILLS_FIRST)
            return stub.WatchFills(request, metadata=metadata)
        return stub.WatchPositions(portfolio_service_pb2.WatchPositionsRequest(cursor=cursor), metadata=metadata)


def told(message: Any) -> Told:
    """Return what one message says. An event that is newer than we are is nothing said."""
    kind = message.WhichOneof("event")
    if kind == "end":
        return Told(cursor=message.cursor, event="end", reason=message.end.reason, message=message.end.message)
    shape = _SHAPES.get(kind)
    if shape is None:
        return Told(cursor=message.cursor, event="")
    return Told(cursor=message.cursor, event=kind, body=to_json(shape(getattr(message, kind))))
