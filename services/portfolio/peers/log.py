"""Execution's log: its tail in Valkey, and the whole of it through OperatorService.ReadLog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from google.protobuf.message import DecodeError
from perpmesh.execution.v1 import log_event_pb2
from perpmesh.execution.v1 import operator_service_pb2 as pb
from perpmesh.execution.v1.operator_service_pb2_grpc import OperatorServiceStub

from services.chassis.bus import BusConfig
from services.chassis.client import Peer
from services.chassis.clock import SYSTEM, Clock
from services.chassis.metrics import METRICS, Metrics
from services.chassis.telemetry import Log, log
from services.chassis.valkey import Away, Connector, Line
from services.portfolio.model.values import LogEntry
from services.portfolio.peers.decode import entry_of

STREAM: Final = "log:execution"
FIELD: Final = b"event"
BLOCK_MS: Final = 1_000
EVENTS_MAX: Final = 1_000
"""Events taken in one read."""
AWAY_PAUSE_S: Final = 0.5


class Unread:
    """Counts and tells events that could not be read."""

    def __init__(self, metrics: Metrics = METRICS, logger: Log = log) -> None:
        self._log = logger
        self._count = metrics.counter(
            "perpmesh_portfolio_log_unreadable_total", "Log events that could not be read, and were left out."
        )

    def tell(self, sequence: int, error: Exception) -> None:
        """Tell of one."""
        self._count.inc()
        self._log.error("log.unreadable", sequence=sequence, error=error)


class ValkeyTail:
    """The port `LogTail` over the stream of the relay."""

    def __init__(self, config: BusConfig, unread: Unread, *, after: int, clock: Clock = SYSTEM) -> None:
        self._line = Line(
            Connector(config.url, timeout_s=config.timeout_s), timeout_s=config.timeout_s + BLOCK_MS / 1_000 + 1.0
        )
        self._unread = unread
        self._last = f"{after}-0"
        self._clock = clock
        self.away = False

    async def read(self) -> Sequence[LogEntry]:
        """Return what came since the last call, waiting a second for it; nothing when Valkey is away."""
        try:
            (reply,) = await self._line.exchange(
                [("XREAD", "COUNT", EVENTS_MAX, "BLOCK", BLOCK_MS, "STREAMS", STREAM, self._last)]
            )
        except Away:
            self.away = True
            await self._clock.sleep(AWAY_PAUSE_S)
            return ()
        self.away = isinstance(reply, Exception)
        if self.away or not reply:
            if self.away:
                await self._clock.sleep(AWAY_PAUSE_S)
            return ()
        entries = []
        for entry_id, fields in reply[0][1]:
            self._last = entry_id.decode("ascii")
            event = _event(fields)
            if event is not None:
                entries.append(entry_of(event, self._unread.tell))
        return entries

    async def close(self) -> None:
        """Close the connection."""
        await self._line.close()


def _event(fields: list[bytes]) -> log_event_pb2.LogEvent | None:
    pairs = dict(zip(fields[::2], fields[1::2], strict=True))
    try:
        return log_event_pb2.LogEvent.FromString(pairs[FIELD])
    except (KeyError, DecodeError):
        return None  # the hole it leaves is filled from the log itself


class OperatorLog:
    """The port `LogSource` over execution."""

    def __init__(self, peer: Peer, unread: Unread) -> None:
        self._stub: Any = cast(Any, OperatorServiceStub)(peer)  # a peer has the channel's methods that stubs use
        self._unread = unread

    async def read_from(self, sequence: int) -> tuple[Sequence[LogEntry], int]:
        """Return events from a number on, without a hole, and the number of the last one written."""
        answer = await self._stub.ReadLog(pb.ReadLogRequest(from_sequence=sequence, event_count_max=EVENTS_MAX))
        return [entry_of(event, self._unread.tell) for event in answer.events], answer.last_sequence
