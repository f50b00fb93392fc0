"""Work that failed, in PostgreSQL: what is stuck stays until it is settled, and is kept after."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from services.chassis.postgres import Database
from services.execution.model.retry import Trouble
from services.execution.model.trouble import Failing, WorkKind

_COLUMNS: Final = (
    "work_id, kind, trouble, user_id, account_id, venue, order_id, leg_id, attempts, last_error, first_time, "
    "last_time, stuck_time"
)
_KEEP: Final = f"""
    INSERT INTO troubles ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    ON CONFLICT (work_id) DO UPDATE SET kind = excluded.kind, trouble = excluded.trouble, attempts = excluded.attempts,
        last_error = excluded.last_error, first_time = excluded.first_time, last_time = excluded.last_time,
        stuck_time = excluded.stuck_time, settle_time = NULL"""  # noqa: S608
_STUCK: Final = "stuck_time IS NOT NULL AND settle_time IS NULL"


class PostgresTroubles:
    """The port `Troubles`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, failing: Failing) -> None:
        """Keep how work stands that fails."""
        async with self._database.acquire() as connection:
            await connection.execute(
                _KEEP, failing.work_id, failing.kind.value, failing.trouble.value, failing.user_id, failing.account_id,
                failing.venue, failing.order_id, failing.leg_id, failing.attempts, failing.last_error,
                failing.first_time, failing.last_time, failing.stuck_time,
            )  # fmt: skip

    async def settle(self, work_id: UUID, now: datetime) -> None:
        """Note that work went well."""
        async with self._database.acquire() as connection:
            await connection.execute(
                "UPDATE troubles SET settle_time = $2 WHERE work_id = $1 AND settle_time IS NULL", work_id, now
            )

    async def settle_ended(self, now: datetime) -> Sequence[UUID]:
        """Settle what failed for legs and deeds that have ended and wait for nothing; return the works."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                "UPDATE troubles SET settle_time = $1 WHERE settle_time IS NULL AND (EXISTS (SELECT 1 FROM legs "
                "WHERE legs.leg_id = work_id AND legs.due_time IS NULL) OR EXISTS (SELECT 1 FROM deeds "
                "WHERE deeds.deed_id = work_id AND deeds.due_time IS NULL)) RETURNING work_id",
                now,
            )
        return [row["work_id"] for row in rows]

    async def failing(self) -> Sequence[Failing]:
        """Return all work that fails now."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(f"SELECT {_COLUMNS} FROM troubles WHERE settle_time IS NULL")  # noqa: S608
        return [_failing(row) for row in rows]

    async def stuck(
        self, *, kind: str, venue: str, after: tuple[datetime, UUID] | None, count: int
    ) -> Sequence[Failing]:
        """Return work that is stuck, the oldest first; empty texts are any."""
        first, work_id = after or (None, None)
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM troubles WHERE {_STUCK} AND ($1 = '' OR kind = $1) "  # noqa: S608
                "AND ($2 = '' OR venue = $2) AND ($3::timestamptz IS NULL OR (first_time, work_id) > ($3, $4::uuid)) "
                "ORDER BY first_time, work_id LIMIT $5",
                kind, venue, first, work_id, count,
            )  # fmt: skip
        return [_failing(row) for row in rows]


def _failing(row: Any) -> Failing:
    return Failing(**{**row, "kind": WorkKind(row["kind"]), "trouble": Trouble(row["trouble"])})
