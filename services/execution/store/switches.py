"""Dead man's switches in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from services.chassis.postgres import Database
from services.execution.model.switch import Switch

_COLUMNS: Final = "account_id, user_id, venue, keeper, cancel_time, fire_day, fire_count"
_KEEP: Final = f"""
    INSERT INTO switches ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, NULL, 0)
    ON CONFLICT (account_id) DO UPDATE SET keeper = excluded.keeper, cancel_time = excluded.cancel_time
    RETURNING {_COLUMNS}"""  # noqa: S608
_FIRED: Final = """
    UPDATE switches SET cancel_time = NULL, fire_day = $3::date,
        fire_count = CASE WHEN fire_day = $3::date THEN fire_count + 1 ELSE 1 END
    WHERE account_id = $1 AND cancel_time = $2"""


class PostgresSwitches:
    """The port `Switches`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, account_id: UUID) -> Switch | None:
        """Return the switch of an account, if it ever had one."""
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(
                f"SELECT {_COLUMNS} FROM switches WHERE account_id = $1",  # noqa: S608
                account_id,
            )
        return None if row is None else _switch(row)

    async def keep(self, switch: Switch) -> Switch:
        """Keep a switch as it was accepted; its count of fires stays."""
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(
                _KEEP, switch.account_id, switch.user_id, switch.venue, "MESH" if switch.by_mesh else "VENUE",
                switch.cancel_time,
            )  # fmt: skip
        return _switch(row)

    async def due(self, now: datetime, count: int) -> Sequence[Switch]:
        """Return switches whose time has come."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                f"SELECT {_COLUMNS} FROM switches WHERE cancel_time <= $1 ORDER BY cancel_time LIMIT $2",  # noqa: S608
                now,
                count,
            )
        return [_switch(row) for row in rows]

    async def fired(self, switch: Switch) -> None:
        """Note that a switch has fired, unless it was armed anew meanwhile."""
        assert switch.cancel_time is not None, "it was armed"
        async with self._database.acquire() as connection:
            await connection.execute(_FIRED, switch.account_id, switch.cancel_time, switch.cancel_time.date())

    async def open_orders(self, account_id: UUID) -> list[UUID]:
        """Return our orders of an account that have not ended and are not being canceled."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                "SELECT order_id FROM orders WHERE finish_time IS NULL AND cancel_time IS NULL AND EXISTS "
                "(SELECT 1 FROM legs WHERE legs.order_id = orders.order_id AND legs.account_id = $1)",
                account_id,
            )
        return [row["order_id"] for row in rows]


def _switch(row: Any) -> Switch:
    values = dict(row)
    return Switch(by_mesh=values.pop("keeper") == "MESH", **values)
