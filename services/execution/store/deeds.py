"""Deeds in PostgreSQL, under leases with fencing numbers as legs are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.chassis.postgres import Database
from services.execution.model.deed import Deed, DeedAction, DeedKind, DeedState
from services.execution.ports import Clock
from services.execution.store.plans import refusal_json, refusal_of
from services.execution.store.rows import marks
from services.venues.actions import MarginMode, ScheduleCancel, SetLeverage

_COLUMNS: Final = (
    "deed_id", "user_id", "account_id", "venue", "kind", "subject", "request_id", "action", "state", "refusal",
    "is_acknowledged", "is_settled", "nonce", "key_index", "expire_ms", "transaction_hash", "send_count", "create_time",
    "update_time", "fence",
)  # fmt: skip
_CHANGES: Final = (*_COLUMNS[8:17], "update_time")
_NAMES: Final = ", ".join(_COLUMNS)
_ADD: Final = f"INSERT INTO deeds ({_NAMES}, due_time) VALUES ({marks(len(_COLUMNS) + 1)})"  # noqa: S608
_CHANGE: Final = f"""
    UPDATE deeds SET ({", ".join(_CHANGES)}, due_time, lease_time) = ROW({marks(len(_CHANGES) + 2, 3)})
    WHERE deed_id = $1 AND fence = $2 RETURNING deed_id"""  # noqa: S608
_CLAIM: Final = f"""
    UPDATE deeds SET fence = fence + 1, lease_time = $1
    WHERE deed_id IN (
        SELECT deed_id FROM deeds WHERE due_time <= $2 AND (lease_time IS NULL OR lease_time < $2)
        ORDER BY due_time LIMIT $3 FOR UPDATE SKIP LOCKED
    )
    RETURNING {_NAMES}"""  # noqa: S608


class PostgresDeeds:
    """The port `DeedStore`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def add(self, deed: Deed) -> bool:
        """Make a deed durable; False where its request made one, or another of its subject is under way."""
        async with self._database.acquire() as connection:
            try:
                await connection.execute(_ADD, *_row(deed, _COLUMNS), deed.create_time)
            except asyncpg.UniqueViolationError:
                return False
        return True

    async def get(self, deed_id: UUID) -> Deed:
        """Return a deed."""
        return await self._one("deed_id = $1", deed_id)  # type: ignore[return-value]  # deeds are never deleted

    async def by_request(self, user_id: UUID, request_id: UUID) -> Deed | None:
        """Return the deed a request made."""
        return await self._one("user_id = $1 AND request_id = $2", user_id, request_id)

    async def under_way(self, account_id: UUID, kind: DeedKind, subject: str) -> Deed | None:
        """Return the deed of a subject that is under way."""
        return await self._one(
            "account_id = $1 AND kind = $2 AND subject = $3 AND due_time IS NOT NULL", account_id, kind.value, subject
        )

    async def last(self, account_id: UUID, kind: DeedKind) -> Deed | None:
        """Return the newest deed of a kind that was done."""
        return await self._one(
            "account_id = $1 AND kind = $2 AND state = 'DONE' ORDER BY create_time DESC LIMIT 1", account_id, kind.value
        )

    async def claim(self, count: int, lease_s: float) -> Sequence[Deed]:
        """Take deeds that are due under a lease with a new fencing number."""
        now = self._clock.now()
        async with self._database.acquire() as connection:
            rows = await connection.fetch(_CLAIM, now + timedelta(seconds=lease_s), now, count)
        return [_deed(row) for row in rows]

    async def release(self) -> None:
        """Have every deed that is held looked at now; for the start, when whoever held it is gone."""
        async with self._database.acquire() as connection:
            await connection.execute(
                "UPDATE deeds SET lease_time = NULL, due_time = $1 "
                "WHERE lease_time IS NOT NULL AND due_time IS NOT NULL",
                self._clock.now(),
            )

    async def change(self, deed: Deed, *, due_s: float, holds: bool = False) -> bool:
        """Keep a deed as it now stands; False where another holds it by now. `holds` keeps the lease."""
        due = None if deed.is_over else self._clock.now() + timedelta(seconds=due_s)
        async with self._database.acquire() as connection:
            kept = await connection.fetchval(
                _CHANGE, deed.deed_id, deed.fence, *_row(deed, _CHANGES), due, due if holds else None
            )
        return kept is not None

    async def _one(self, where: str, *arguments: object) -> Deed | None:
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(f"SELECT {_NAMES} FROM deeds WHERE {where}", *arguments)  # noqa: S608
        return None if row is None else _deed(row)


def _row(deed: Deed, names: Sequence[str]) -> list[object]:
    values: dict[str, object] = {name: getattr(deed, name) for name in _COLUMNS}
    values |= {
        "kind": deed.kind.value,
        "action": _words(deed.action),
        "state": deed.state.value,
        "refusal": refusal_json(deed.refusal),
    }
    return [values[name] for name in names]


def _deed(row: Any) -> Deed:
    kind = DeedKind(row["kind"])
    values = {name: row[name] for name in _COLUMNS}
    values |= {
        "kind": kind,
        "action": _action(kind, row["action"]),
        "state": DeedState(row["state"]),
        "refusal": refusal_of(row["refusal"]),
        "nonce": int(row["nonce"]),
    }
    return Deed(**values)


def _words(action: DeedAction) -> str:
    if isinstance(action, ScheduleCancel):
        return json.dumps({"cancel_time_ms": action.cancel_time_ms})
    return json.dumps(
        {
            "market": action.market,
            "venue_market_id": action.venue_market_id,
            "leverage": action.leverage,
            "margin_mode": action.margin_mode.value,
        }
    )


def _action(kind: DeedKind, text: str) -> DeedAction:
    values = json.loads(text)
    if kind is DeedKind.SWITCH:
        return ScheduleCancel(**values)
    return SetLeverage(**{**values, "margin_mode": MarginMode(values["margin_mode"])})
