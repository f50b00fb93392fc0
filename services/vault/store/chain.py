"""Changing an account: under its lock, with an audit row in the same transaction, and a new version for the signer."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from services.chassis.postgres import Connection
from services.vault.model.account import Account, unknown
from services.vault.model.audit import chained
from services.vault.ports import Clock
from services.vault.store.rows import ACCOUNT_COLUMNS, account_of
from services.vault.store.sealing import Sealer


class Chain:
    """Locks accounts and writes their audit rows."""

    def __init__(self, sealer: Sealer, clock: Clock) -> None:
        self._sealer = sealer
        self._clock = clock

    async def locked(self, connection: Connection, account_id: UUID, user_id: UUID | None = None) -> Account:
        """Return an account under its lock. Raises RESOURCE_UNKNOWN for one that is not, or another user's."""
        row = await connection.fetchrow(
            f"SELECT {ACCOUNT_COLUMNS} FROM accounts a WHERE a.account_id = $1 AND a.delete_time IS NULL "  # noqa: S608
            "AND ($2::uuid IS NULL OR a.user_id = $2) FOR UPDATE OF a",
            account_id,
            user_id,
        )
        if row is None:
            raise unknown("account")
        return account_of(row)

    async def append(self, connection: Connection, account: Account, kind: str, detail: Mapping[str, object]) -> None:
        """Write one audit row of a locked account and count its version up."""
        key = await self._sealer.audit_key(account)
        now = self._clock.now()
        row = chained(key, account.audit_seq, account.audit_hash, kind, {"time": now.isoformat(), **detail})
        await connection.execute(
            "INSERT INTO audit (account_id, seq, kind, detail, hash) VALUES ($1, $2, $3, $4, $5)",
            account.account_id,
            row.seq,
            row.kind,
            row.detail,
            row.hash,
        )
        await connection.execute(
            "UPDATE accounts SET version = version + 1, audit_seq = $2, audit_hash = $3, update_time = $4 "
            "WHERE account_id = $1",
            account.account_id,
            row.seq,
            row.hash,
            now,
        )
