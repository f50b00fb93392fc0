"""Halts in PostgreSQL: at most one in force a scope, none ever deleted."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from services.chassis.postgres import Database
from services.execution.model.halt import Halt, HaltKind, Scope

_COLUMNS: Final = "halt_id, kind, name, reason, operator, cancels_orders, create_time"
_BEGIN: Final = f"""
    INSERT INTO halts ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (kind, name) WHERE end_time IS NULL
    DO UPDATE SET cancels_orders = halts.cancels_orders OR excluded.cancels_orders RETURNING {_COLUMNS}"""  # noqa: S608
_END: Final = "UPDATE halts SET end_time = $3, end_operator = $4 WHERE kind = $1 AND name = $2 AND end_time IS NULL"
_IN_FORCE: Final = f"SELECT {_COLUMNS} FROM halts WHERE end_time IS NULL ORDER BY create_time, halt_id"  # noqa: S608
_OPEN: Final = """
    SELECT order_id, user_id FROM orders WHERE finish_time IS NULL AND cancel_time IS NULL AND ({}) LIMIT $1"""
_WITHIN: Final = {
    HaltKind.EVERYTHING: "$2 = ''",
    HaltKind.VENUE: "EXISTS (SELECT 1 FROM legs WHERE legs.order_id = orders.order_id AND legs.venue = $2)",
    HaltKind.USER: "user_id = $2::text::uuid",
}


class PostgresHalts:
    """The port `HaltStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, halt: Halt) -> Halt:
        """Begin a halt; one that is in force for the scope is returned as it is."""
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(
                _BEGIN, halt.halt_id, halt.scope.kind.value, halt.scope.name, halt.reason, halt.operator,
                halt.cancels_orders, halt.create_time,
            )  # fmt: skip
        return _halt(row)

    async def end(self, scope: Scope, operator: str, now: datetime) -> None:
        """End the halt of a scope, if there is one."""
        async with self._database.acquire() as connection:
            await connection.execute(_END, scope.kind.value, scope.name, now, operator)

    async def in_force(self) -> tuple[Halt, ...]:
        """Return every halt in force, the oldest first."""
        async with self._database.acquire() as connection:
            return tuple(_halt(row) for row in await connection.fetch(_IN_FORCE))

    async def open_orders(self, scope: Scope, count: int) -> list[tuple[UUID, UUID]]:
        """Return (user, order) of orders in a scope that have not ended and are not being canceled."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(_OPEN.format(_WITHIN[scope.kind]), count, scope.name)
        return [(row["user_id"], row["order_id"]) for row in rows]


def _halt(row: Any) -> Halt:
    return Halt(
        halt_id=row["halt_id"],
        scope=Scope(HaltKind(row["kind"]), row["name"]),
        reason=row["reason"],
        operator=row["operator"],
        cancels_orders=row["cancels_orders"],
        create_time=row["create_time"],
    )
