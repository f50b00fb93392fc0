"""The record of what was ended: the sessions and API tokens themselves."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from services.chassis.postgres import Database

SESSIONS_KEPT = timedelta(days=30)
"""For how long an ended or expired session is kept, so that the reuse of its tokens is told apart from nonsense."""
PRUNE_ROWS_MAX = 5_000


class PostgresEnded:
    """The port `Ended`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def since(self, moment: datetime) -> Collection[UUID]:
        """Return the ids of sessions and API tokens that were ended since a moment."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                "SELECT session_id AS id FROM auth_sessions WHERE end_time > $1 "
                "UNION ALL SELECT api_token_id FROM api_tokens WHERE revoke_time > $1",
                moment,
            )
        return [row["id"] for row in rows]

    async def prune(self, now: datetime) -> None:
        """Forget spent nonces that no text could carry any more, and sessions that ended long ago."""
        async with self._database.acquire() as connection:
            await connection.execute("DELETE FROM spent_nonces WHERE expire_time < $1", now)
            await connection.execute(
                "DELETE FROM auth_sessions WHERE session_id IN (SELECT session_id FROM auth_sessions "
                "WHERE expire_time < $1 LIMIT $2)",
                now - SESSIONS_KEPT,
                PRUNE_ROWS_MAX,
            )
