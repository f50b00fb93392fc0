"""Which vault holds which lane.

A vault process has a row with a lease, which it prolongs, and a session of its own that holds a lock. A lane may be
taken from another vault once that one's lock is free (its process is gone) or its lease has run out (it hangs). Neither
is what makes it safe: every write names the fence that the lane had when it was taken, so whoever was replaced while it
slept writes nothing. The lease only keeps two living vaults from taking lanes from each other.
"""

from __future__ import annotations

import contextlib
from typing import Any
from uuid import UUID

import asyncpg

from services.chassis.postgres import Connection, Database, connect
from services.vault.ports import Clock

LOCK_SPACE = 0x7661756C  # "vaul": names our advisory locks among those of the database


class Lease:
    """This process among the vaults."""

    def __init__(self, database: Database, url: str, vault_id: UUID, clock: Clock, *, lease_s: float) -> None:
        self.vault_id = vault_id
        self._database = database
        self._url = url
        self._clock = clock
        self._lease_s = lease_s
        self._number = 0
        self._session: asyncpg.Connection[Any] | None = None

    async def begin(self) -> None:
        """Enter this vault, and forget those that are long gone."""
        async with self._database.acquire() as connection:
            self._number = await connection.fetchval(
                "INSERT INTO vaults (vault_id, lease_end_time) VALUES ($1, now() + make_interval(secs => $2)) "
                "RETURNING lock_number",
                self.vault_id,
                self._lease_s,
            )
            await connection.execute(
                "DELETE FROM vaults v WHERE lease_end_time < now() - interval '1 day' "
                "AND NOT EXISTS (SELECT FROM lanes l WHERE l.vault_id = v.vault_id)"
            )
        await self._hold()

    async def run(self) -> None:
        """Prolong the lease, and hold the lock again where its session broke."""
        while True:
            await self._clock.sleep(self._lease_s / 3)
            if self._session is None or self._session.is_closed():
                await self._hold()
            async with self._database.acquire() as connection:
                await connection.execute(
                    "UPDATE vaults SET lease_end_time = now() + make_interval(secs => $2) WHERE vault_id = $1",
                    self.vault_id,
                    self._lease_s,
                )

    async def end(self) -> None:
        """Give every lane back."""
        with contextlib.suppress(Exception):
            async with self._database.acquire() as connection:
                await connection.execute("UPDATE lanes SET vault_id = NULL WHERE vault_id = $1", self.vault_id)
                await connection.execute("DELETE FROM vaults WHERE vault_id = $1", self.vault_id)
        if self._session is not None:
            with contextlib.suppress(Exception):
                await self._session.close(timeout=1)

    async def _hold(self) -> None:
        if self._session is not None:
            self._session.terminate()
        session = await connect(self._url)
        await session.execute("SELECT pg_advisory_lock($1::bigint)", _lock(self._number))
        self._session = session

    async def may_take(self, connection: Connection, holder: UUID | None) -> bool:
        """Say whether a lane of `holder` may be taken, in a transaction that holds the lane's row."""
        if holder is None or holder == self.vault_id:
            return True
        row = await connection.fetchrow(
            "SELECT lock_number, lease_end_time > now() AS alive FROM vaults WHERE vault_id = $1", holder
        )
        if row is None or not row["alive"]:
            return True
        return bool(await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _lock(row["lock_number"])))


def _lock(number: int) -> int:
    return (LOCK_SPACE << 32) | (number & 0xFFFFFFFF)
