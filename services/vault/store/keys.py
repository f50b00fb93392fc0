"""Keys and set-ups in PostgreSQL. A secret is destroyed in the same statement that ends its key."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.chassis.postgres import Connection, Database
from services.domain.decimals import plain_text
from services.vault.model.account import Account, forbids
from services.vault.model.key import NEXT, Key, KeyState
from services.vault.model.setup import Setup
from services.vault.ports import Clock
from services.vault.store.chain import Chain
from services.vault.store.rows import (
    KEY_COLUMNS,
    SETUP_COLUMNS,
    STEP_COLUMNS,
    key_of,
    refusal_text,
    setup_of,
)

_DESTROY: Final = "sealed_secret = NULL, wrapped_key = NULL, master_key_id = NULL"


class PostgresKeys:
    """The port `Keys`."""

    def __init__(self, database: Database, chain: Chain, clock: Clock) -> None:
        self._database = database
        self._chain = chain
        self._clock = clock

    async def of_account(
        self, account_id: UUID, *, ended: bool = True, after: tuple[datetime, UUID] | None = None, limit: int = 200
    ) -> Sequence[Key]:
        """Return keys, the newest first."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                f"SELECT {KEY_COLUMNS} FROM keys WHERE account_id = $1 "  # noqa: S608
                "AND ($2 OR state IN ('PENDING', 'ACTIVE')) "
                "AND ($3::timestamptz IS NULL OR create_time < $3 OR (create_time = $3 AND key_id > $4)) "
                "ORDER BY create_time DESC, key_id LIMIT $5",
                account_id,
                ended,
                after[0] if after else None,
                after[1] if after else None,
                limit,
            )
        return [key_of(row) for row in rows]

    async def trading(self, account_ids: Sequence[UUID]) -> Mapping[UUID, Sequence[str]]:
        """Return the public keys that sign for accounts, by account, in one question."""
        if not account_ids:
            return {}
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                "SELECT account_id, public_key FROM keys WHERE account_id = ANY($1) AND state = 'ACTIVE' "
                "ORDER BY create_time DESC, key_id",
                list(account_ids),
            )
        names: dict[UUID, list[str]] = {}
        for row in rows:
            names.setdefault(row["account_id"], []).append(row["public_key"])
        return names

    async def get(self, account_id: UUID, key_id: UUID) -> Key | None:
        """Return a key of an account."""
        return await self._one("key_id = $2", account_id, key_id)

    async def active(self, account_id: UUID) -> Key | None:
        """Return the key that signs for an account."""
        return await self._one("state = $2", account_id, KeyState.ACTIVE)

    async def imported(self, account_id: UUID, request_id: UUID) -> Key | None:
        """Return the key of a request_id."""
        return await self._one("request_id = $2", account_id, request_id)

    async def _one(self, condition: str, account_id: UUID, value: object) -> Key | None:
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(
                f"SELECT {KEY_COLUMNS} FROM keys WHERE account_id = $1 AND {condition}",  # noqa: S608 - ours
                account_id,
                value,
            )
        return None if row is None else key_of(row)

    async def begun(self, account_id: UUID, request_id: UUID) -> Setup | None:
        """Return the set-up of a request_id."""
        return await self._setup("account_id = $1 AND request_id = $2", account_id, request_id)

    async def setup(self, account_id: UUID, key_setup_id: UUID) -> Setup | None:
        """Return a set-up."""
        return await self._setup("account_id = $1 AND key_setup_id = $2", account_id, key_setup_id)

    async def latest_setup(self, key_id: UUID, purpose: str) -> Setup | None:
        """Return the newest set-up of a key for a purpose."""
        return await self._setup("key_id = $1 AND purpose = $2 ORDER BY create_time DESC LIMIT 1", key_id, purpose)

    async def _setup(self, condition: str, *values: object) -> Setup | None:
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(
                f"SELECT {SETUP_COLUMNS} FROM key_setups WHERE {condition}",  # noqa: S608 - ours
                *values,
            )
            if row is None:
                return None
            steps = await connection.fetch(
                f"SELECT {STEP_COLUMNS} FROM key_setup_steps WHERE key_setup_id = $1 ORDER BY position",  # noqa: S608
                row["key_setup_id"],
            )
        return setup_of(row, list(steps))

    async def add(self, account: Account, setup: Setup | None, key: Key | None, request_id: UUID) -> None:
        """Add a set-up, a key, or both."""
        try:
            async with self._database.transaction() as connection:
                locked = await self._chain.locked(connection, account.account_id)
                if key is not None:
                    await self._insert_key(connection, key, request_id)
                if setup is not None:
                    await _insert_setup(connection, setup, request_id)
                detail = {
                    "key": None if key is None else str(key.key_id),
                    "public_key": None if key is None else key.public_key,
                    "setup": None if setup is None else str(setup.key_setup_id),
                    "purpose": None if setup is None else setup.purpose,
                }
                await self._chain.append(connection, locked, "key.begun", detail)
        except asyncpg.UniqueViolationError as error:
            if error.constraint_name == "keys_once":
                raise forbids("This key trades for an account here already: each key trades for one.") from None
            raise forbids("The same was begun at the same moment: call again.", account=str(account.label)) from None

    async def _insert_key(self, connection: Connection, key: Key, request_id: UUID) -> None:
        sealed = key.sealed
        assert sealed is not None
        if key.state is KeyState.ACTIVE:
            await self._retire(connection, key)
        values: dict[str, Any] = {
            "key_id": key.key_id, "account_id": key.account_id, "user_id": key.user_id, "request_id": request_id,
            "venue": key.venue, "environment": key.environment, "kind": key.kind, "origin": key.origin,
            "state": key.state, "public_key": key.public_key, "api_key_index": key.api_key_index,
            "venue_name": key.venue_name, "create_time": key.create_time, "activate_time": key.activate_time,
            "expire_time": key.expire_time, "sealed_secret": sealed.secret, "master_key_id": sealed.master_key_id,
            "wrapped_key": sealed.wrapped_key,
        }  # fmt: skip
        places = ", ".join(f"${n + 1}" for n in range(len(values)))
        await connection.execute(
            f"INSERT INTO keys ({', '.join(values)}) VALUES ({places})",  # noqa: S608 - names of ours
            *values.values(),
        )

    async def _retire(self, connection: Connection, successor: Key) -> None:
        """End the key that signed before: an account has one."""
        await connection.execute(
            f"UPDATE keys SET state = 'REVOKED', revoke_time = $3, {_DESTROY}, "  # noqa: S608
            "explanation = 'A newer key of the account took its place here; the venue may still accept it.' "
            "WHERE account_id = $1 AND key_id <> $2 AND state = 'ACTIVE'",
            successor.account_id,
            successor.key_id,
            self._clock.now(),
        )

    async def save(self, account: Account, setup: Setup) -> None:
        """Keep how far a set-up has come."""
        async with self._database.transaction() as connection:
            locked = await self._chain.locked(connection, account.account_id)
            for step in setup.steps:
                await connection.execute(
                    "UPDATE key_setup_steps SET state = $2, refusal = $3, sealed_body = $4 WHERE step_id = $1",
                    step.step_id,
                    step.state,
                    None if step.refusal is None else refusal_text(step.refusal),
                    step.sealed_body,
                )
            await connection.execute(
                "UPDATE key_setups SET state = $2 WHERE key_setup_id = $1", setup.key_setup_id, setup.state
            )
            steps = {step.plan.kind.value: step.state.value for step in setup.steps}
            detail = {"setup": str(setup.key_setup_id), "state": setup.state, "steps": steps}
            await self._chain.append(connection, locked, "setup.moved", detail)

    async def activate(self, account: Account, key: Key, *, expire_time: datetime | None) -> Key:
        """The venue accepts the key: it signs from now on, and the one before does not."""
        async with self._database.transaction() as connection:
            locked = await self._chain.locked(connection, account.account_id)
            await self._retire(connection, key)
            changed = await connection.fetchval(
                "UPDATE keys SET state = 'ACTIVE', activate_time = $2, expire_time = $3 "
                "WHERE key_id = $1 AND state = 'PENDING' RETURNING key_id",
                key.key_id,
                self._clock.now(),
                expire_time,
            )
            await _ask_nonces(connection, key.account_id)
            if changed is not None:
                await self._chain.append(connection, locked, "key.active", {"key": str(key.key_id)})
        found = await self.get(account.account_id, key.key_id)
        assert found is not None
        return found

    async def end(self, account: Account, key: Key, state: str, explanation: str, *, at_venue: bool = False) -> Key:
        """End a key and destroy its secret; `at_venue` says that the venue confirmed it."""
        async with self._database.transaction() as connection:
            locked = await self._chain.locked(connection, account.account_id)
            row = await connection.fetchrow(
                f"SELECT {KEY_COLUMNS} FROM keys WHERE key_id = $1 FOR UPDATE",  # noqa: S608
                key.key_id,
            )
            assert row is not None
            now = self._clock.now()
            if KeyState(state) in NEXT[KeyState(row["state"])]:
                await connection.execute(
                    f"UPDATE keys SET state = $2, explanation = $3, {_DESTROY}, "  # noqa: S608
                    "revoke_time = CASE WHEN $2 = 'REVOKED' THEN $4 ELSE revoke_time END WHERE key_id = $1",
                    key.key_id,
                    state,
                    explanation,
                    now,
                )
                await self._chain.append(
                    connection, locked, "key.ended", {"key": str(key.key_id), "state": state, "why": explanation}
                )
            if at_venue:
                await connection.execute(
                    "UPDATE keys SET venue_revoke_time = coalesce(venue_revoke_time, $2) WHERE key_id = $1",
                    key.key_id,
                    now,
                )
        found = await self.get(account.account_id, key.key_id)
        assert found is not None
        return found

    async def approve_fee(self, account: Account, rate: Decimal) -> None:
        """Keep the highest fee that the wallet approved."""
        async with self._database.transaction() as connection:
            locked = await self._chain.locked(connection, account.account_id)
            await connection.execute(
                "UPDATE accounts SET fee_rate = $2 WHERE account_id = $1", account.account_id, rate
            )
            await _ask_nonces(connection, account.account_id)
            await self._chain.append(connection, locked, "fee.approved", {"max_fee_rate": plain_text(rate)})

    async def expire(self, now: datetime) -> int:
        """End keys whose time ran out and set-ups that came to nothing; return how many."""
        async with self._database.acquire() as connection:
            due = await connection.fetch(
                f"SELECT {KEY_COLUMNS} FROM keys k WHERE (state = 'ACTIVE' AND expire_time <= $1) "  # noqa: S608
                "OR (state = 'PENDING' AND NOT EXISTS (SELECT FROM key_setups s WHERE s.key_id = k.key_id "
                "AND (s.expire_time > $1 OR s.state = 'SUBMITTED'))) LIMIT 100",
                now,
            )
            await connection.execute(
                "UPDATE key_setups SET state = 'EXPIRED' WHERE state = 'AWAITING_SIGNATURES' AND expire_time <= $1", now
            )
        for row in due:
            key = key_of(row)
            async with self._database.transaction() as connection:
                account = await self._chain.locked(connection, key.account_id)
            words = "" if key.state is KeyState.ACTIVE else "Its set-up was not completed in time: begin a new one."
            await self.end(account, key, KeyState.EXPIRED, words)
        return len(due)


async def _ask_nonces(connection: Connection, account_id: UUID) -> None:
    """Have ordered lanes ask the venue where they stand: a set-up used a nonce of the key."""
    await connection.execute(
        "UPDATE lanes SET nonce = NULL, fence = fence + 1 WHERE account_id = $1 AND venue = 'lighter'", account_id
    )


async def _insert_setup(connection: Connection, setup: Setup, request_id: UUID) -> None:
    await connection.execute(
        "INSERT INTO key_setups (key_setup_id, account_id, key_id, request_id, purpose, state, create_time, "
        "expire_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        setup.key_setup_id,
        setup.account_id,
        setup.key_id,
        request_id,
        setup.purpose,
        setup.state,
        setup.create_time,
        setup.expire_time,
    )
    for position, step in enumerate(setup.steps):
        plan = step.plan
        await connection.execute(
            "INSERT INTO key_setup_steps (step_id, key_setup_id, position, kind, required, explanation, method, "
            "payload, signer_address, max_fee_rate, state, venue_action, nonce, sealed_body) "
            "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
            step.step_id,
            setup.key_setup_id,
            position,
            plan.kind,
            plan.required,
            plan.explanation,
            plan.method,
            plan.payload,
            step.signer_address,
            plan.max_fee_rate,
            step.state,
            json.dumps(plan.venue_action),
            plan.nonce,
            step.sealed_body,
        )
