"""Quotes in PostgreSQL: written in batches behind a bounded queue, so that no quote waits for the database.

What waits to be written is answered from memory. When the database is away the queue fills, then the oldest are lost,
counted and said once a minute; a quote that an order cites is written before its plan is answered (`keep_now`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, Final
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.metrics import METRICS, Metrics
from services.chassis.postgres import Connection, Database
from services.chassis.telemetry import log
from services.domain.errors import DomainError
from services.routing.ports import KeptQuote

WAITING_MAX: Final = 20_000
"""Quotes that may wait to be written; of some ten kilobytes each."""
BATCH_MAX: Final = 500
PAUSE_S: Final = 0.05
"""How long quotes gather before they are written together."""
RETRY_S: Final = 1.0
SWEEP_S: Final = 3_600.0
SWEEP_ROWS_MAX: Final = 10_000
"""Rows dropped in one statement, so that none takes long."""

_COLUMNS: Final = "quote_id, user_id, market, create_time, expire_time, inputs_digest, inputs, quote, order_id"
_INSERT: Final = (
    "INSERT INTO quotes (quote_id, user_id, market, create_time, expire_time, inputs_digest, inputs, quote, order_id) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
    "ON CONFLICT (quote_id) DO UPDATE SET order_id = coalesce(quotes.order_id, excluded.order_id)"
)


class PostgresQuotes:
    """The port `Quotes`."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        kept: timedelta,
        metrics: Metrics = METRICS,
        waiting_max: int = WAITING_MAX,
    ) -> None:
        self._database = database
        self._clock = clock
        self._kept = kept
        self._waiting_max = waiting_max
        self._waiting: OrderedDict[UUID, KeptQuote] = OrderedDict()
        self._arrived = asyncio.Event()
        self._lost = metrics.counter("perpmesh_quotes_lost_total", "Quotes that could not be kept for the audit.")
        waiting = metrics.gauge("perpmesh_quotes_waiting", "Quotes that wait to be written.")
        waiting.set_function(lambda: float(len(self._waiting)))

    def keep(self, quote: KeptQuote) -> None:
        """Queue a quote; the oldest gives way when the queue is full."""
        self._waiting[quote.quote_id] = quote
        if len(self._waiting) > self._waiting_max:
            self._waiting.popitem(last=False)
            self._lost.inc()
            log.warning("quotes.lost", waiting_max=self._waiting_max)
        self._arrived.set()

    async def keep_now(self, quote: KeptQuote) -> None:
        """Write a quote before returning."""
        async with self._database.acquire() as connection:
            await connection.execute(_INSERT, *_row(quote))
        self._waiting.pop(quote.quote_id, None)

    async def get(self, quote_id: UUID) -> KeptQuote | None:
        """Return a quote that waits or is written."""
        waiting = self._waiting.get(quote_id)
        if waiting is not None:
            return waiting
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(f"SELECT {_COLUMNS} FROM quotes WHERE quote_id = $1", quote_id)  # noqa: S608
        return None if row is None else _quote(row)

    async def run(self) -> None:
        """Write what gathers until canceled."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            await self._clock.sleep(PAUSE_S)  # what comes meanwhile goes along: a transaction costs as much as a quote
            while self._waiting:
                batch = list(islice(self._waiting.values(), BATCH_MAX))
                try:
                    async with self._database.transaction() as connection:
                        await connection.executemany(_INSERT, [_row(quote) for quote in batch])
                except (DomainError, OSError) as error:
                    log.warning("quotes.waiting", waiting=len(self._waiting), error=error)
                    await self._clock.sleep(RETRY_S)
                    continue
                for quote in batch:
                    self._waiting.pop(quote.quote_id, None)
                if len(self._waiting) < BATCH_MAX:
                    break  # what came while these were written has set the event again

    async def sweep(self) -> None:
        """Drop quotes that are older than what is kept, once an hour until canceled."""
        while True:
            await self._clock.sleep(SWEEP_S)
            end = self._clock.now() - self._kept
            async with self._database.acquire() as connection:
                while await _drop(connection, end) == SWEEP_ROWS_MAX:
                    await self._clock.sleep(0)


async def _drop(connection: Connection, end: datetime) -> int:
    done = await connection.execute(
        "DELETE FROM quotes WHERE quote_id IN "
        "(SELECT quote_id FROM quotes WHERE create_time < $1 ORDER BY create_time LIMIT $2)",
        end,
        SWEEP_ROWS_MAX,
    )
    return int(done.rpartition(" ")[2])


def _row(quote: KeptQuote) -> Sequence[object]:
    return (
        quote.quote_id,
        quote.user_id,
        quote.market,
        quote.create_time,
        quote.expire_time,
        bytes.fromhex(quote.digest),
        quote.inputs,
        quote.quote,
        quote.order_id,
    )


def _quote(row: Any) -> KeptQuote:
    return KeptQuote(
        quote_id=row["quote_id"],
        user_id=row["user_id"],
        market=row["market"],
        create_time=row["create_time"],
        expire_time=row["expire_time"],
        digest=row["inputs_digest"].hex(),
        inputs=row["inputs"],
        quote=row["quote"],
        order_id=row["order_id"],
    )
