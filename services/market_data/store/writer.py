"""Rows on their way into PostgreSQL: a bounded buffer for each table, emptied by COPY.

`add` never waits and never fails, so the feed does not know whether the database is there. While it is slow or away
the buffers fill, each to `buffer_rows_max`; beyond that the newest rows are refused, so that what is kept has one end
and not many holes. Refused rows are counted, logged, and noted in the table `losses` once the database is back.

A COPY whose outcome is not known (the line broke) is sent again through a temporary table that leaves out rows that
are there already, as are rows that may repeat: candles and funding from backfills, trades that a venue repeats.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

import asyncpg

from services.chassis.clock import Clock
from services.chassis.ids import seeded_random
from services.chassis.metrics import METRICS, Metrics
from services.chassis.postgres import Connection, Database
from services.chassis.tasks import Backoff
from services.chassis.telemetry import log
from services.domain.errors import DomainError
from services.market_data.model.candle import Candle
from services.market_data.model.history import FundingPoint, PriceSample, RecordedTrade
from services.market_data.store.partitions import Partitions
from services.market_data.store.tables import CANDLES, FUNDINGS, PRICES, TABLES, TRADES, Row, Table

BATCH_ROWS_MAX: Final = 10_000
"""How many rows one COPY carries."""
ROWS_PER_TURN: Final = 1_024
"""After so many rows of a COPY the event loop has a turn: under 1 ms."""
COPY_TIMEOUT_S: Final = 15.0
TEND_S: Final = 600.0
"""How often partitions are made ahead and old ones dropped."""

_GONE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
)
"""The connection is of no more use; what became of the last statement is not known."""
_POISON = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, TypeError, ValueError)
"""The rows can never be written: keeping them would stop all that come after."""


class Buffer:
    """The rows of one table that wait, and what was lost of it."""

    def __init__(self, table: Table, rows_max: int, *, repeats: bool) -> None:
        self.table = table
        self.rows: deque[Row] = deque()
        self.rows_max = rows_max
        self.repeats = repeats
        """Whether rows may be there already as a matter of course."""
        self.doubtful = False
        """Whether the next batch may be there already."""
        self.written = 0
        self.lost = 0
        self.loss: tuple[datetime, datetime, int] | None = None
        """(first time, last time, rows) of what was lost and not yet noted in the database."""

    def add(self, row: Row) -> bool:
        """Keep a row, or count its loss; False when it was lost."""
        if len(self.rows) < self.rows_max:
            self.rows.append(row)
            return True
        self._lose((row,))
        return False

    def refuse(self, count: int) -> None:
        """Drop the oldest `count` rows, which can never be written."""
        self._lose([self.rows.popleft() for _ in range(min(count, len(self.rows)))])

    def _lose(self, rows: Sequence[Row]) -> None:
        self.lost += len(rows)
        for row in rows:
            known = self.loss or (row[0], row[0], 0)
            self.loss = (min(known[0], row[0]), max(known[1], row[0]), known[2] + 1)


class HistoryWriter:
    """Everything that is recorded goes through here (`services.market_data.ports.HistorySink`)."""

    def __init__(
        self,
        partitions: Partitions,
        clock: Clock,
        *,
        buffer_rows_max: int,
        flush_s: float,
        metrics: Metrics = METRICS,
    ) -> None:
        self._partitions = partitions
        self._clock = clock
        self._flush_s = flush_s
        self._tended_s = -TEND_S
        self._flushes = 0
        self._losing: set[str] = set()
        self.connected = False
        self.buffers = {
            table.name: Buffer(table, buffer_rows_max, repeats=table in (CANDLES, FUNDINGS)) for table in TABLES
        }
        self._measure(metrics)

    def prices(self, samples: Iterable[PriceSample]) -> None:
        """Record samples of prices."""
        self._add(PRICES, samples)

    def trades(self, trades: Iterable[RecordedTrade]) -> None:
        """Record prints."""
        self._add(TRADES, trades)

    def candles(self, candles: Iterable[Candle]) -> None:
        """Record closed candles."""
        self._add(CANDLES, candles)

    def fundings(self, points: Iterable[FundingPoint]) -> None:
        """Record settled funding."""
        self._add(FUNDINGS, points)

    def _add(self, table: Table, values: Iterable[Any]) -> None:
        buffer, row = self.buffers[table.name], table.row
        for value in values:
            if not buffer.add(row(value)) and table.name not in self._losing:
                self._losing.add(table.name)
                log.error("history.losing", table=table.name, buffered=len(buffer.rows), connected=self.connected)

    async def run(self, database: Database) -> None:
        """Write what gathers, until canceled."""
        backoff = Backoff(base_s=0.1, max_s=2.0, rng=seeded_random())
        while True:
            try:
                async with database.acquire() as connection:
                    self._partitions.forget()
                    self.connected = True
                    log.event("history.connected", buffered=self.buffered)
                    while True:
                        await self.flush(connection)
                        self._flushes += 1
                        backoff.reset()
                        await self._clock.sleep(self._flush_s)
            except (DomainError, asyncpg.PostgresError, *_GONE) as error:
                if self.connected:
                    log.warning("history.waiting", error=_line(error), buffered=self.buffered)
            finally:
                self.connected = False
            await self._clock.sleep(backoff.next())

    @property
    def buffered(self) -> int:
        """How many rows wait."""
        return sum(len(buffer.rows) for buffer in self.buffers.values())

    async def drain(self, timeout_rounds: int = 50) -> None:
        """Wait until what waits now is written, for five flushes at most: the last thing before a stop.

        The first flush that ends may have passed a table before its last row came; the second has them all. What is
        recorded meanwhile is not waited for: in a busy market there is always more.
        """
        enough = self._flushes + 2
        for _ in range(timeout_rounds):
            if not self.buffered or not self.connected or self._flushes >= enough:
                return
            await self._clock.sleep(self._flush_s / 10)

    async def flush(self, connection: Connection) -> None:
        """Write everything that waits. Raises what the database raises; rows that are not written are kept."""
        if connection.is_closed():
            raise ConnectionResetError("the database closed the connection")
        now = self._clock.now()
        if self._clock.monotonic() - self._tended_s >= TEND_S:
            dropped = await self._partitions.tend(connection, now)
            self._tended_s = self._clock.monotonic()
            if dropped:
                log.event("history.dropped", partitions=dropped)
        for buffer in self.buffers.values():
            while buffer.rows:
                await self._write_batch(connection, buffer, now)
            await self._note_loss(connection, buffer)

    async def _write_batch(self, connection: Connection, buffer: Buffer, now: datetime) -> None:
        batch = list(islice(buffer.rows, BATCH_ROWS_MAX))
        times = {time for time, _ in batch}
        oldest = self._partitions.oldest(buffer.table, now)
        rows = batch if min(times) >= oldest else [row for row in batch if row[0] >= oldest]
        try:
            if rows:
                await self._partitions.cover(connection, buffer.table, {_day(time) for time in times if time >= oldest})
                if buffer.repeats or buffer.doubtful:
                    await _merge(connection, buffer.table, rows)
                else:
                    await _copy(connection, buffer.table.name, buffer.table, rows)
        except asyncpg.UniqueViolationError:
            buffer.doubtful = True
            return
        except _POISON as error:
            log.error("history.refused", table=buffer.table.name, rows=len(batch), error=_line(error))
            buffer.refuse(len(batch))
            return
        except BaseException:
            buffer.doubtful = True
            raise
        buffer.doubtful = False
        buffer.written += len(rows)
        for _ in batch:
            buffer.rows.popleft()

    async def _note_loss(self, connection: Connection, buffer: Buffer) -> None:
        if buffer.loss is None:
            return
        first, last, count = buffer.loss
        await connection.execute(
            "INSERT INTO losses (lost_table, from_time, to_time, row_count) VALUES ($1, $2, $3, $4)",
            *(buffer.table.name, first, last, count),
        )
        buffer.loss = None
        self._losing.discard(buffer.table.name)
        log.error("history.lost", table=buffer.table.name, rows=count, from_time=str(first), to_time=str(last))

    def _measure(self, metrics: Metrics) -> None:
        rows = metrics.gauge("perpmesh_history_rows", "Rows of history since the start, by fate.", ("table", "fate"))
        for name, buffer in self.buffers.items():
            rows.labels(name, "waiting").set_function(lambda buffer=buffer: float(len(buffer.rows)))  # type: ignore[misc]
            rows.labels(name, "written").set_function(lambda buffer=buffer: float(buffer.written))  # type: ignore[misc]
            rows.labels(name, "lost").set_function(lambda buffer=buffer: float(buffer.lost))  # type: ignore[misc]
        connected = metrics.gauge("perpmesh_history_connected", "Whether history reaches its database.")
        connected.set_function(lambda: float(self.connected))


async def _copy(connection: Connection, name: str, table: Table, rows: Sequence[Row]) -> None:
    await connection.copy_to_table(
        name, source=_in_turns(rows), columns=table.columns, format="text", timeout=COPY_TIMEOUT_S
    )


async def _in_turns(rows: Sequence[Row]) -> AsyncIterator[bytes]:
    """Yield rows in pieces, and let other tasks run between them."""
    for start in range(0, len(rows), ROWS_PER_TURN):
        yield "".join([line for _, line in rows[start : start + ROWS_PER_TURN]]).encode()
        await asyncio.sleep(0)  # noqa: TID251 - gives way, waits for nothing


async def _merge(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Write rows that may be there already."""
    columns = ", ".join(table.columns)
    async with connection.transaction():
        await connection.execute(f"CREATE TEMP TABLE incoming (LIKE {table.name}) ON COMMIT DROP")
        await _copy(connection, "incoming", table, rows)
        await connection.execute(
            f"INSERT INTO {table.name} ({columns}) SELECT {columns} FROM incoming ON CONFLICT DO NOTHING"  # noqa: S608
        )


def _day(time: datetime) -> datetime:
    return time.replace(hour=0, minute=0, second=0, microsecond=0)


def _line(error: BaseException) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:200]
