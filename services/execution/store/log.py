"""The log: what transactions left in the outbox gets its number here, densely, in the order of commit, by one writer.

The writer holds an advisory lock, so that of several processes one numbers. Of one order the outbox is in the order of
its changes, since each holds the order's row. The tail goes to Valkey's stream `log:execution`, which may lose all of
it: readers see the hole in the numbers and ask `ReadLog`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from services.chassis.bus import BusConfig
from services.chassis.clock import Clock
from services.chassis.metrics import METRICS, Metrics
from services.chassis.postgres import Connection, Database
from services.chassis.telemetry import log
from services.chassis.valkey import Away, Connector, Line
from services.domain.errors import DomainError
from services.execution.ports import Scribe

STREAM: Final = "log:execution"
TAIL_MAX: Final = 100_000
"""Events that Valkey keeps, roughly."""
BATCH_MAX: Final = 500
LOCK: Final = 0x70657270_6C6F6721
PAUSE_S: Final = 1.0
GATHER_S: Final = 0.005
"""How long a batch waits for company after the one before it: what comes within it is one write."""
_WAITING: Final = """
    SELECT outbox_id, user_id, kind, event, (SELECT last FROM log_head) AS last
    FROM outbox ORDER BY outbox_id LIMIT $1"""
_NUMBER: Final = """
WITH head AS (
    UPDATE log_head SET last = last + $2 WHERE last = $1 RETURNING last
), gone AS (
    DELETE FROM outbox USING head WHERE outbox_id = ANY ($3::bigint[])
), written AS (
    INSERT INTO log (sequence, user_id, kind, event, write_time)
    SELECT x.sequence, x.user_id, x.kind, x.event, $8
    FROM head, unnest($4::bigint[], $5::uuid[], $6::text[], $7::bytea[]) AS x(sequence, user_id, kind, event)
)
SELECT count(*) FROM head"""


class Relay:
    """Numbers what waits in the outbox, and tells who listens."""

    def __init__(
        self, database: Database, bus: BusConfig, scribe: Scribe, clock: Clock, *, metrics: Metrics = METRICS
    ) -> None:
        self._database = database
        self._line = Line(Connector(bus.url, timeout_s=bus.timeout_s), timeout_s=bus.timeout_s)
        self._scribe = scribe
        self._clock = clock
        self._due = asyncio.Event()
        self._listeners: set[asyncio.Event] = set()
        self._written = metrics.counter("perpmesh_execution_log_events_total", "Events written to the log.")
        self._away = metrics.counter("perpmesh_execution_log_tail_lost_total", "Events that Valkey was not told.")

    def wake(self) -> None:
        """Look at once."""
        self._due.set()

    def listen(self) -> asyncio.Event:
        """Return an event that is set whenever the log has grown; give it back with `forget`."""
        event = asyncio.Event()
        self._listeners.add(event)
        return event

    def ring(self) -> None:
        """Have everyone who listens look, though nothing was written."""
        for listener in self._listeners:
            listener.set()

    def forget(self, event: asyncio.Event) -> None:
        """Stop telling."""
        self._listeners.discard(event)

    async def run(self) -> None:
        """Number what comes until canceled; while another process numbers, wait for its turn."""
        try:
            while True:
                try:
                    async with self._database.acquire() as connection:
                        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                            try:
                                await self._number(connection)
                            finally:
                                await connection.execute("SELECT pg_advisory_unlock($1)", LOCK)
                except (DomainError, OSError) as error:
                    log.warning("log.waiting", error=error)
                await self._clock.sleep(PAUSE_S)
        finally:
            await self._line.close()

    async def _number(self, connection: Connection) -> None:
        while True:
            events = await self._batch(connection)
            if events:
                self._written.inc(len(events))
                self.ring()
                await self._tell(events)
                if len(events) < BATCH_MAX:
                    await self._clock.sleep(GATHER_S)
                continue
            self._due.clear()
            try:
                async with asyncio.timeout(PAUSE_S):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def _batch(self, connection: Connection) -> Sequence[tuple[int, bytes]]:
        """Number what waits, in one statement that names the number it goes on from; nobody else numbers meanwhile."""
        now = self._clock.now()
        rows = await connection.fetch(_WAITING, BATCH_MAX)
        if not rows:
            return ()
        last = rows[0]["last"]
        events = [(last + at, self._scribe.numbered(row["event"], last + at, now)) for at, row in enumerate(rows, 1)]
        written = await connection.fetchval(
            _NUMBER,
            last,
            len(rows),
            [row["outbox_id"] for row in rows],
            [sequence for sequence, _ in events],
            [row["user_id"] for row in rows],
            [row["kind"] for row in rows],
            [event for _, event in events],
            now,
        )
        return events if written else ()

    async def _tell(self, events: Sequence[tuple[int, bytes]]) -> None:
        commands = [
            ("XADD", STREAM, "MAXLEN", "~", TAIL_MAX, f"{sequence}-0", "event", event) for sequence, event in events
        ]
        try:
            await self._line.exchange(commands)
        except Away:
            self._away.inc(len(events))


class LogReader:
    """Reads the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, first: int, count: int) -> tuple[list[bytes], int]:
        """Return events from a number on, without a hole, and the number of the last one written."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                "SELECT event FROM log WHERE sequence >= $1 ORDER BY sequence LIMIT $2", first, count
            )
            last = await connection.fetchval("SELECT last FROM log_head")
        return [row["event"] for row in rows], int(last)

    async def last(self) -> int:
        """Return the number of the last event written."""
        async with self._database.acquire() as connection:
            return int(await connection.fetchval("SELECT last FROM log_head"))

    async def of_user(self, user_id: UUID, kind: str, after: int, count: int) -> list[tuple[int, bytes]]:
        """Return a user's events of a kind after a number."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                "SELECT sequence, event FROM log WHERE user_id = $1 AND kind = $2 AND sequence > $3 "
                "ORDER BY sequence LIMIT $4",
                user_id,
                kind,
                after,
                count,
            )
        return [(row["sequence"], row["event"]) for row in rows]
