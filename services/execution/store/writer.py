"""Changes of many orders in one statement: what waits while one is on its way to disk goes with the next.

A change says what it was decided on: the version of its order and, for a worker's, the fencing number of its leg. Where
either has moved on, nothing of that change is written and its owner decides anew. Everything of one change (the order's
row, its legs, what the log is told, its fills and report) is in the one statement or not there at all. Rows are locked
as everywhere: the order first, its legs after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from services.chassis.postgres import Database, UndoneError
from services.domain.errors import DomainError, Reason
from services.execution.model.leg import Leg, Trade
from services.execution.model.order import Order
from services.execution.store.rows import LEG_CHANGES, leg_values

BATCH_MAX: Final = 64
"""Changes in one statement."""
WAITING_MAX: Final = 10_000
ORDER_CHANGES: Final = ("state", "version", "update_time", "cancel_time", "finish_time")
"""What the life of an order changes that has neither exits nor slices nor new terms."""
_FILL: Final = (
    "fill_id", "number", "user_id", "order_id", "leg_id", "account_id", "venue", "market", "side", "price", "size",
    "liquidity", "cause", "fee", "interface_fee", "realized_pnl", "trade_id", "venue_order_id", "fill_time",
    "receive_time",
)  # fmt: skip


def _columns(names: Sequence[str], row: str) -> str:
    return ", ".join(f"{row}.{name}" for name in names)


_WRITE: Final = f"""
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::uuid[], $4::bigint[], $5::uuid[], $6::text[])
        AS a(order_id, version, leg_id, fence, account_id, venue_order_id)
), traded AS MATERIALIZED (
    SELECT * FROM jsonb_populate_recordset(NULL::fills, $9::jsonb)
), turn AS MATERIALIZED (
    SELECT o.order_id, a.leg_id, a.fence FROM orders o JOIN asked a USING (order_id)
    WHERE o.version = a.version
        AND NOT EXISTS (SELECT FROM fills f JOIN traded x USING (fill_id) WHERE x.order_id = o.order_id)
        AND (a.venue_order_id IS NULL OR NOT EXISTS (SELECT FROM fills f WHERE f.account_id = a.account_id
            AND f.venue_order_id = a.venue_order_id AND f.leg_id IS NULL))
    ORDER BY o.order_id FOR UPDATE OF o
), lent AS MATERIALIZED (
    SELECT l.order_id FROM legs l JOIN turn t ON l.leg_id = t.leg_id WHERE l.fence = t.fence FOR UPDATE OF l
), held AS MATERIALIZED (
    SELECT order_id FROM turn WHERE leg_id IS NULL UNION ALL SELECT order_id FROM lent
), kept AS (
    UPDATE orders o SET ({", ".join(ORDER_CHANGES)}) = ROW({_columns(ORDER_CHANGES, "x")})
    FROM jsonb_populate_recordset(NULL::orders, $7::jsonb) x JOIN held USING (order_id) WHERE o.order_id = x.order_id
), times AS MATERIALIZED (
    SELECT * FROM unnest($10::uuid[], $11::text[], $12::timestamptz[], $13::timestamptz[])
        AS d(leg_id, kind, due, lease)
), changed AS (
    UPDATE legs l SET ({", ".join(LEG_CHANGES)}, due_time, lease_time) = ROW({_columns(LEG_CHANGES, "x")},
        CASE d.kind WHEN 'set' THEN d.due
            WHEN 'soon' THEN CASE WHEN l.lease_time IS NULL THEN least(l.due_time, d.due) ELSE l.due_time END
            ELSE l.due_time END,
        CASE d.kind WHEN 'set' THEN d.lease ELSE l.lease_time END)
    FROM jsonb_populate_recordset(NULL::legs, $8::jsonb) x JOIN held USING (order_id)
        LEFT JOIN times d ON d.leg_id = x.leg_id
    WHERE l.leg_id = x.leg_id
), timed AS (
    UPDATE legs l SET due_time = CASE d.kind WHEN 'set' THEN d.due
            ELSE CASE WHEN l.lease_time IS NULL THEN least(l.due_time, d.due) ELSE l.due_time END END,
        lease_time = CASE d.kind WHEN 'set' THEN d.lease ELSE l.lease_time END
    FROM times d, held h
    WHERE l.leg_id = d.leg_id AND h.order_id = l.order_id AND l.leg_id <> ALL ($14::uuid[])
), counted AS (
    INSERT INTO fills ({", ".join(_FILL)}) OVERRIDING SYSTEM VALUE SELECT {_columns(_FILL, "x")}
    FROM traded x JOIN held USING (order_id) ORDER BY x.number
), said AS (
    INSERT INTO outbox (user_id, kind, event) SELECT s.user_id, s.kind, s.event
    FROM unnest($15::uuid[], $16::uuid[], $17::text[], $18::bytea[])
        WITH ORDINALITY AS s(order_id, user_id, kind, event, place)
        LEFT JOIN held h ON h.order_id = s.order_id
    WHERE s.order_id IS NULL OR h.order_id IS NOT NULL ORDER BY s.place
), sent AS (
    INSERT INTO leg_books (leg_id, levels) SELECT b.leg_id, b.levels::jsonb
    FROM unnest($19::uuid[], $20::uuid[], $21::text[]) AS b(order_id, leg_id, levels) JOIN held USING (order_id)
    ON CONFLICT (leg_id) DO UPDATE SET levels = excluded.levels
), reported AS (
    INSERT INTO reports (order_id, filled, event) SELECT r.order_id, r.filled, r.event
    FROM unnest($22::uuid[], $23::numeric[], $24::bytea[]) AS r(order_id, filled, event) JOIN held USING (order_id)
    ON CONFLICT (order_id) DO UPDATE SET filled = excluded.filled, event = excluded.event
)
SELECT order_id FROM held
"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """When a leg is to be looked at: set, with its lease, or no later than that where nobody holds it (`soon`)."""

    leg_id: UUID
    due: datetime | None
    lease: datetime | None = None
    soon: bool = False


@dataclass(slots=True, kw_only=True)
class Write:
    """One change, and what it was decided on."""

    order: Order | None = None
    """As it is to stand, or as it stands where it does not change; None for what is of no order."""
    version: int = 0
    """The version it was decided on."""
    leg_id: UUID | None = None
    fence: int = 0
    """The leg whose lease must still be held, and its fencing number."""
    adopts: tuple[UUID, str] | None = None
    """The account and the venue's order id that is first known by this change: no trade may have come before it."""
    legs: list[Leg] = field(default_factory=list)
    """Those that change."""
    times: list[Timed] = field(default_factory=list)
    trades: list[tuple[UUID, Trade, int]] = field(default_factory=list)
    """Fills of the order: the leg, the trade, its number."""
    said: list[tuple[UUID, str, bytes]] = field(default_factory=list)
    """What the log is told: the user, the kind, the event."""
    books: list[tuple[UUID, str]] = field(default_factory=list)
    report: tuple[Decimal, bytes] | None = None

    @property
    def order_id(self) -> UUID | None:
        """The order's id."""
        return None if self.order is None else self.order.order_id


class Writer:
    """Writes changes, as many at a time as wait."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[tuple[Write, asyncio.Future[bool]]] = []
        self._task: asyncio.Task[None] | None = None

    async def write(self, write: Write) -> bool:
        """Return once a change is durable; False where what it was decided on is no longer true. Raises as asyncpg."""
        if len(self._waiting) >= WAITING_MAX:
            raise DomainError(
                Reason.LIMIT_REACHED,
                "Too many changes wait for the database: try again in a moment.",
                metadata={"limit": "writes", "writes_max": str(WAITING_MAX)},
                retry_after_s=1.0,
            )
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, answer))
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="execution-writer", context=Context())
        return await answer

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = self._next()
                await self._together(batch)
        finally:
            self._task = None
            for _, answer in self._waiting:
                answer.cancel()
            self._waiting.clear()

    def _next(self) -> list[tuple[Write, asyncio.Future[bool]]]:
        """Take what waits, of each order one change: a second one is decided on the first."""
        batch: list[tuple[Write, asyncio.Future[bool]]] = []
        later: list[tuple[Write, asyncio.Future[bool]]] = []
        seen: set[UUID | None] = set()
        for write, answer in self._waiting:
            if answer.done():
                continue
            is_full = len(batch) >= BATCH_MAX
            if is_full or (write.order_id is not None and write.order_id in seen):
                later.append((write, answer))
                continue
            seen.add(write.order_id)
            batch.append((write, answer))
        self._waiting = later
        return batch

    async def _together(self, batch: list[tuple[Write, asyncio.Future[bool]]]) -> None:
        try:
            held = await self._execute([write for write, _ in batch])
        except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError, UndoneError) as error:
            is_slow = isinstance(error, UndoneError) and not error.was_in_the_way
            if len(batch) == 1 or is_slow:
                _fail(batch, error)
                return
            for one in batch:  # one of them is at fault, and none was written: each by itself
                await self._together([one])
            return
        except asyncio.CancelledError:
            for _, answer in batch:
                answer.cancel()
            raise
        except Exception as error:
            _fail(batch, error)
            return
        for write, answer in batch:
            if not answer.done():
                answer.set_result(write.order is None or write.order_id in held)

    async def _execute(self, writes: Sequence[Write]) -> set[UUID]:
        async with self._database.acquire() as connection:
            rows = await connection.fetch(_WRITE, *_values(writes))
        return {row["order_id"] for row in rows}


def _fail(batch: Sequence[tuple[Write, asyncio.Future[bool]]], error: Exception) -> None:
    for _, answer in batch:
        if not answer.done():
            answer.set_exception(error)


def _values(writes: Sequence[Write]) -> list[Any]:
    gates = [one for one in writes if one.order is not None]
    changed = [one for one in gates if one.order is not None and one.order.version != one.version]
    times = [(one, timed) for one in gates for timed in one.times]
    said = [(one.order_id, *words) for one in writes for words in one.said]
    books = [(one.order_id, *book) for one in gates for book in one.books]
    reports = [(one.order_id, *one.report) for one in gates if one.report is not None]
    adopts = [one.adopts or (None, None) for one in gates]
    return [
        [one.order_id for one in gates], [one.version for one in gates],
        [one.leg_id for one in gates], [one.fence for one in gates],
        [account for account, _ in adopts], [venue_order_id for _, venue_order_id in adopts],
        _json([_order_row(one.order) for one in changed if one.order is not None]),
        _json([leg_values(leg, one.order_id, LEG_CHANGES) for one in gates for leg in one.legs]),
        _json([_fill_row(one, *trade) for one in gates for trade in one.trades]),
        [timed.leg_id for _, timed in times], ["soon" if timed.soon else "set" for _, timed in times],
        [timed.due for _, timed in times], [timed.lease for _, timed in times],
        [leg.leg_id for one in gates for leg in one.legs],
        *_split(said, 4), *_split(books, 3), *_split(reports, 3),
    ]  # fmt: skip


def _split(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[at] for row in rows] for at in range(width)]


def _json(rows: Sequence[dict[str, Any]]) -> str:
    return msgspec.json.encode(rows).decode()


def _order_row(order: Order) -> dict[str, Any]:
    return {"order_id": order.order_id, **{name: getattr(order, name) for name in ORDER_CHANGES}}


def _fill_row(write: Write, leg_id: UUID, trade: Trade, number: int) -> dict[str, Any]:
    assert write.order is not None, "a trade counted here is of an order"
    row = {name: getattr(trade, name) for name in _FILL if name not in ("number", "user_id", "order_id", "leg_id")}
    return row | {
        "number": number, "user_id": write.order.user_id, "order_id": write.order.order_id, "leg_id": leg_id,
        "side": trade.side.value,
    }  # fmt: skip
