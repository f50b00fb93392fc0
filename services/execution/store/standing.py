"""What stands of a user's orders, in one question: what intake looks at before it takes another."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from services.chassis.postgres import Database
from services.execution.model.order import NewOrder, OrderState
from services.execution.ports import Look

_OPEN: Final = "user_id = $1 AND finish_time IS NULL"
_COUNT: Final = f"SELECT count(*) FROM (SELECT 1 FROM orders WHERE {_OPEN} LIMIT $2) AS open"  # noqa: S608
_LOOK: Final = f"""
    SELECT ({_COUNT}) AS open_count,
        (SELECT order_id FROM orders WHERE {_OPEN} AND client_order_id = $3 AND $3 <> '' LIMIT 1) AS twin_id,
        (SELECT order_id FROM orders WHERE {_OPEN} AND state = '{OrderState.SUBMIT_UNKNOWN.value}' AND market = $4
            AND side = $5 AND size = $6 LIMIT 1) AS unknown_id,
        EXISTS (SELECT FROM orders WHERE user_id = $1 AND request_id = $7) AS known"""  # noqa: S608


class PostgresStanding:
    """The port `Standing`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self, user_id: UUID, wanted: NewOrder | None, open_max: int) -> Look:
        """Return what stands; at most `open_max` orders are counted."""
        async with self._database.acquire() as connection:
            if wanted is None:
                return Look(open_count=await connection.fetchval(_COUNT, user_id, open_max))
            row = await connection.fetchrow(
                _LOOK,
                user_id,
                open_max,
                wanted.client_order_id,
                wanted.market,
                wanted.side.value,
                wanted.size,
                wanted.request_id,
            )
        assert row is not None, "a question without a table has one row"
        return Look(
            open_count=row["open_count"], twin_id=row["twin_id"], unknown_id=row["unknown_id"], known=row["known"]
        )
