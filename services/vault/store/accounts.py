"""Accounts in PostgreSQL. Every change is audited in its transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg

from services.chassis.postgres import Connection, Database
from services.domain.errors import DomainError, Reason
from services.vault.model.account import Account, Environment, Limits, forbids, unknown
from services.vault.model.audit import START
from services.vault.ports import Clock, NewAccount
from services.vault.store.chain import Chain
from services.vault.store.rows import ACCOUNT_COLUMNS, account_of, limits_text
from services.vault.store.sealing import Sealer

ACCOUNTS_MAX = 100
"""How many accounts a user may have."""


class PostgresAccounts:
    """The port `Accounts`."""

    def __init__(self, database: Database, sealer: Sealer, chain: Chain, clock: Clock) -> None:
        self._database = database
        self._sealer = sealer
        self._chain = chain
        self._clock = clock

    async def add(self, wanted: NewAccount) -> Account:
        """Add an account, or return the one that its request_id made before."""
        account = wanted.account
        wrapped = await self._sealer.new_data_key(account)
        try:
            async with self._database.transaction() as connection:
                # One user's additions wait for one another, so that there is one default and one count.
                await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 7))", str(account.user_id))
                before = await self._made_before(connection, wanted)
                if before is not None:
                    return before
                await self._insert(connection, wanted, wrapped)
                made = await self._chain.locked(connection, account.account_id)
                await self._chain.append(connection, made, "account.added", _words(made))
                return await self._chain.locked(connection, account.account_id)
        except asyncpg.UniqueViolationError:
            raise forbids(
                "The account is here already: see ListAccounts.", venue=account.venue, wallet=account.wallet_address
            ) from None

    async def _made_before(self, connection: Connection, wanted: NewAccount) -> Account | None:
        account = wanted.account
        row = await connection.fetchrow(
            f"SELECT {ACCOUNT_COLUMNS}, a.asked_venue_account, a.delete_time FROM accounts a "  # noqa: S608
            "WHERE a.user_id = $1 AND a.request_id = $2",
            account.user_id,
            wanted.request_id,
        )
        if row is None:
            return None
        found = account_of(row)
        same = (found.venue, found.environment, found.kind, found.wallet_address, found.custody) == (
            account.venue, account.environment, account.kind, account.wallet_address, account.custody
        )  # fmt: skip
        if not same or row["asked_venue_account"] != wanted.asked_venue_account:
            raise DomainError(
                Reason.REQUEST_ID_REUSED,
                "The request_id made another account before: use a new one.",
                metadata={"request_id": str(wanted.request_id), "account_id": str(found.account_id)},
            )
        if row["delete_time"] is not None:
            raise forbids("The account that this request_id made was removed.", account_id=str(found.account_id))
        return found

    async def _insert(self, connection: Connection, wanted: NewAccount, wrapped: tuple[str, bytes]) -> None:
        account = wanted.account
        count = await connection.fetchval(
            "SELECT count(*) FROM accounts WHERE user_id = $1 AND delete_time IS NULL", account.user_id
        )
        if count >= ACCOUNTS_MAX:
            raise DomainError(
                Reason.LIMIT_REACHED,
                f"You have {ACCOUNTS_MAX} accounts, which is the most: remove one first.",
                metadata={"limit": "accounts", "limit_max": str(ACCOUNTS_MAX)},
            )
        place = (account.user_id, account.venue, account.environment)
        is_default = account.is_default or not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM accounts WHERE user_id = $1 AND venue = $2 AND environment = $3 "
            "AND is_default AND delete_time IS NULL)",
            *place,
        )
        if is_default:
            await connection.execute(
                "UPDATE accounts SET is_default = false WHERE user_id = $1 AND venue = $2 AND environment = $3 "
                "AND is_default",
                *place,
            )
        values: dict[str, Any] = {
            "account_id": account.account_id, "user_id": account.user_id, "request_id": wanted.request_id,
            "venue": account.venue, "environment": account.environment, "kind": account.kind,
            "wallet_address": account.wallet_address, "venue_account": account.venue_account,
            "asked_venue_account": wanted.asked_venue_account, "label": account.label, "custody": account.custody,
            "is_default": is_default, "limits": limits_text(account.limits), "create_time": account.create_time,
            "update_time": account.update_time, "audit_hash": START, "master_key_id": wrapped[0],
            "wrapped_key": wrapped[1],
        }  # fmt: skip
        places = ", ".join(f"${n + 1}" for n in range(len(values)))
        await connection.execute(
            f"INSERT INTO accounts ({', '.join(values)}) VALUES ({places})",  # noqa: S608 - names of ours
            *values.values(),
        )

    async def get(self, user_id: UUID | None, account_id: UUID) -> Account:
        """Return an account; None for the user means anybody's."""
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(
                f"SELECT {ACCOUNT_COLUMNS} FROM accounts a WHERE a.account_id = $1 AND a.delete_time IS NULL "  # noqa: S608
                "AND ($2::uuid IS NULL OR a.user_id = $2)",
                account_id,
                user_id,
            )
        if row is None:
            raise unknown("account")
        return account_of(row)

    async def page(
        self, user_id: UUID, *, venue: str, environment: Environment | None, after: str, limit: int
    ) -> Sequence[Account]:
        """Return accounts by venue and then the oldest first, those after the id `after`."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                f"SELECT {ACCOUNT_COLUMNS} FROM accounts a "  # noqa: S608
                "LEFT JOIN accounts last ON last.account_id = $4::uuid AND last.user_id = $1 "
                "WHERE a.user_id = $1 AND a.delete_time IS NULL AND ($2 = '' OR a.venue = $2) "
                "AND ($3 = '' OR a.environment = $3) AND ($4::uuid IS NULL OR (a.venue, a.create_time, a.account_id) > "
                "(last.venue, last.create_time, last.account_id)) ORDER BY a.venue, a.create_time, a.account_id "
                "LIMIT $5",
                user_id,
                venue,
                environment or "",
                UUID(after) if after else None,
                limit,
            )
        return [account_of(row) for row in rows]

    async def every(
        self, ids: Collection[UUID], user_id: UUID | None, *, after: UUID | None, limit: int
    ) -> Sequence[Account]:
        """Return accounts of all users by id."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                f"SELECT {ACCOUNT_COLUMNS} FROM accounts a WHERE a.delete_time IS NULL "  # noqa: S608
                "AND (cardinality($1::uuid[]) = 0 OR a.account_id = ANY($1)) "
                "AND ($2::uuid IS NULL OR a.user_id = $2) AND ($3::uuid IS NULL OR a.account_id > $3) "
                "ORDER BY a.account_id LIMIT $4",
                list(ids),
                user_id,
                after,
                limit,
            )
        return [account_of(row) for row in rows]

    async def set_limits(self, user_id: UUID, account_id: UUID, change: Callable[[Account], Limits]) -> Account:
        """Set what the account may be used for."""
        async with self._database.transaction() as connection:
            account = await self._chain.locked(connection, account_id, user_id)
            text = limits_text(change(account))
            await connection.execute("UPDATE accounts SET limits = $2 WHERE account_id = $1", account_id, text)
            await self._chain.append(connection, account, "account.limited", {"limits": json.loads(text)})
            return await self._chain.locked(connection, account_id)

    async def freeze(self, user_id: UUID, account_id: UUID, reason: str) -> Account:
        """Stop all signing; one that is frozen stays as it is."""
        async with self._database.transaction() as connection:
            account = await self._chain.locked(connection, account_id, user_id)
            if account.freeze_time is None:
                await connection.execute(
                    "UPDATE accounts SET freeze_time = $2, freeze_reason = $3 WHERE account_id = $1",
                    account_id,
                    self._clock.now(),
                    reason,
                )
                await self._chain.append(connection, account, "account.frozen", {"reason": reason})
            return await self._chain.locked(connection, account_id)

    async def unfreeze(self, user_id: UUID, account_id: UUID) -> Account:
        """Let it sign again."""
        async with self._database.transaction() as connection:
            account = await self._chain.locked(connection, account_id, user_id)
            if account.freeze_time is not None:
                await connection.execute(
                    "UPDATE accounts SET freeze_time = NULL, freeze_reason = '' WHERE account_id = $1", account_id
                )
                await self._chain.append(connection, account, "account.unfrozen", {})
            return await self._chain.locked(connection, account_id)

    async def found_at_venue(self, account_id: UUID, venue_account: str) -> Account:
        """Keep the venue's own name of an account; it never changes once it is known."""
        async with self._database.transaction() as connection:
            account = await self._chain.locked(connection, account_id)
            if not account.venue_account:
                await connection.execute(
                    "UPDATE accounts SET venue_account = $2 WHERE account_id = $1", account_id, venue_account
                )
                await self._chain.append(connection, account, "account.found", {"venue_account": venue_account})
            return await self._chain.locked(connection, account_id)

    async def delete(self, user_id: UUID, account_id: UUID) -> bool:
        """Remove an account and destroy its secrets; say whether there was one."""
        async with self._database.transaction() as connection:
            if await connection.fetchval(
                "SELECT delete_time IS NOT NULL FROM accounts WHERE account_id = $1 AND user_id = $2",
                account_id,
                user_id,
            ):
                return False
            account = await self._chain.locked(connection, account_id, user_id)
            out = await connection.fetchval(
                "SELECT count(*) FROM signed_actions WHERE account_id = $1 AND outcome IS NULL AND expire_time > now()",
                account_id,
            )
            if out:
                raise forbids(
                    f"{out} signed actions of the account are out without an outcome: wait until they are settled.",
                    account_id=str(account_id),
                    actions_out=str(out),
                )
            now = self._clock.now()
            await self._chain.append(connection, account, "account.removed", {})
            await connection.execute(
                "UPDATE keys SET state = CASE WHEN state IN ('PENDING', 'ACTIVE') THEN 'REVOKED' ELSE state END, "
                "revoke_time = coalesce(revoke_time, $2), sealed_secret = NULL, wrapped_key = NULL, "
                "master_key_id = NULL WHERE account_id = $1 AND sealed_secret IS NOT NULL",
                account_id,
                now,
            )
            await connection.execute("UPDATE signed_actions SET sealed_body = NULL WHERE account_id = $1", account_id)
            await connection.execute(
                "UPDATE key_setup_steps s SET sealed_body = NULL FROM key_setups k "
                "WHERE k.key_setup_id = s.key_setup_id AND k.account_id = $1",
                account_id,
            )
            await connection.execute(
                "UPDATE accounts SET delete_time = $2, is_default = false WHERE account_id = $1", account_id, now
            )
        return True

    async def funded(self, account_id: UUID, request_id: UUID) -> tuple[Decimal, Decimal] | None:
        """Return (amount, balance) of test funds given under a request_id."""
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(
                "SELECT amount, balance FROM test_funds WHERE account_id = $1 AND request_id = $2",
                account_id,
                request_id,
            )
        return None if row is None else (row["amount"], row["balance"])

    async def fund(self, account_id: UUID, request_id: UUID, amount: Decimal, balance: Decimal) -> None:
        """Remember test funds for 30 days."""
        async with self._database.transaction() as connection:
            await connection.execute("DELETE FROM test_funds WHERE create_time < now() - interval '30 days'")
            await connection.execute(
                "INSERT INTO test_funds (account_id, request_id, amount, balance, create_time) "
                "VALUES ($1, $2, $3, $4, now()) ON CONFLICT DO NOTHING",
                account_id,
                request_id,
                amount,
                balance,
            )


def _words(account: Account) -> dict[str, object]:
    return {
        "venue": account.venue,
        "environment": account.environment,
        "kind": account.kind,
        "wallet": account.wallet_address,
        "custody": account.custody,
        "user": str(account.user_id),
    }
