"""Users and wallets in PostgreSQL. Every statement names the user, and every method is one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import asyncpg

from services.auth.model.session import Session, User, Wallet
from services.auth.store.rows import wallet_of
from services.auth.store.sessions import bump, end_where
from services.chassis.postgres import Connection, Database
from services.domain.errors import DomainError, Reason

WALLETS_MAX = 50
"""How many wallets one user may link."""

_INSERT_SESSION = """
INSERT INTO auth_sessions (session_id, user_id, address, chain_id, kind, scopes, device, network_address, nonce_hash,
    create_time, last_use_time, expire_time, latest_end_time)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (nonce_hash) DO NOTHING
RETURNING session_id
"""


class PostgresUsers:
    """The port `Users`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: UUID) -> User | None:
        """Return a user."""
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(
                "SELECT user_id, create_time, last_login_at, preferences FROM users WHERE user_id = $1", user_id
            )
            if row is None:
                return None
            wallets = await connection.fetch(
                "SELECT address, chain_id, kind, link_time, last_login_time FROM wallets WHERE user_id = $1 "
                "ORDER BY link_time, address",
                user_id,
            )
        return User(
            user_id=row["user_id"],
            wallets=tuple(wallet_of(one) for one in wallets),
            preferences=json.loads(row["preferences"]),
            create_time=row["create_time"],
            last_login_time=row["last_login_at"],
        )

    async def sign_in(
        self, session: Callable[[UUID], Session], *, wallet: Wallet, new_user: UUID, nonce_hash: bytes, refresh: bytes
    ) -> Session | None:
        """Find or make the wallet's user, open the session that `session` gives for it; None for a spent nonce."""
        try:
            return await self._sign_in(session, wallet, new_user, nonce_hash, refresh)
        except asyncpg.UniqueViolationError:  # a twin made the wallet's user a moment ago: find that one
            return await self._sign_in(session, wallet, new_user, nonce_hash, refresh)

    async def _sign_in(
        self, session: Callable[[UUID], Session], wallet: Wallet, new_user: UUID, nonce_hash: bytes, refresh: bytes
    ) -> Session | None:
        now = wallet.link_time
        async with self._database.transaction() as connection:
            if not await _is_unspent(connection, nonce_hash):
                return None
            user_id = await self._user_of(connection, wallet, new_user)
            opened = session(user_id)
            done = await connection.fetchval(
                _INSERT_SESSION,
                opened.session_id,
                user_id,
                opened.address,
                opened.chain_id,
                opened.kind.value,
                list(opened.scopes),
                opened.device,
                opened.network_address,
                nonce_hash,
                opened.create_time,
                opened.last_use_time,
                opened.expire_time,
                opened.latest_end_time,
            )
            if done is None:
                raise _SpentError
            await connection.execute(
                "INSERT INTO refresh_tokens (token_hash, session_id, create_time) VALUES ($1, $2, $3)",
                refresh,
                opened.session_id,
                now,
            )
            await bump(connection, user_id)
        return opened

    async def _user_of(self, connection: Connection, wallet: Wallet, new_user: UUID) -> UUID:
        """Return the user of a wallet, who signs in now, and make one for a wallet that is new."""
        found: UUID | None = await connection.fetchval(
            "UPDATE wallets SET last_login_time = $2, chain_id = $3, kind = $4 WHERE address = $1 RETURNING user_id",
            wallet.address,
            wallet.link_time,
            wallet.chain_id,
            wallet.kind.value,
        )
        if found is not None:
            await connection.execute("UPDATE users SET last_login_at = $2 WHERE user_id = $1", found, wallet.link_time)
            return found
        await connection.execute(
            "INSERT INTO users (user_id, create_time, last_login_at) VALUES ($1, $2, $2)", new_user, wallet.link_time
        )
        await _insert_wallet(connection, new_user, wallet)
        return new_user

    async def set_preferences(
        self, user_id: UUID, change: Callable[[dict[str, object]], dict[str, object]]
    ) -> dict[str, object]:
        """Change the preferences under a lock and return them."""
        async with self._database.transaction() as connection:
            text = await connection.fetchval("SELECT preferences FROM users WHERE user_id = $1 FOR UPDATE", user_id)
            if text is None:
                raise DomainError(Reason.RESOURCE_UNKNOWN, "There is no such user.", metadata={"kind": "user"})
            changed = change(json.loads(text))
            await connection.execute(
                "UPDATE users SET preferences = $2 WHERE user_id = $1", user_id, json.dumps(changed)
            )
        return changed

    async def link(self, user_id: UUID, wallet: Wallet, *, nonce_hash: bytes, until: datetime) -> bool:
        """Link a wallet; False for a spent nonce. Raises WALLET_TAKEN. One linked to this user already is no error."""
        async with self._database.transaction() as connection:
            if not await _spend(connection, nonce_hash, until):
                return False
            await connection.execute("SELECT 1 FROM users WHERE user_id = $1 FOR UPDATE", user_id)
            owner = await connection.fetchval("SELECT user_id FROM wallets WHERE address = $1", wallet.address)
            if owner == user_id:
                return True
            if owner is not None:
                raise _taken()
            count = await connection.fetchval("SELECT count(*) FROM wallets WHERE user_id = $1", user_id)
            if count >= WALLETS_MAX:
                raise DomainError(
                    Reason.LIMIT_REACHED,
                    f"You have {WALLETS_MAX} wallets, which is the most: unlink one first.",
                    metadata={"limit": "wallets", "limit_max": str(WALLETS_MAX)},
                )
            try:
                await _insert_wallet(connection, user_id, wallet)
            except asyncpg.UniqueViolationError:
                raise _taken() from None
        return True

    async def unlink(
        self, user_id: UUID, address: str, proof: str, *, nonce_hash: bytes, until: datetime, now: datetime
    ) -> tuple[UUID, ...] | None:
        """Unlink a wallet and end its sessions; return those, None for a spent nonce. `proof` must be linked too."""
        async with self._database.transaction() as connection:
            if not await _spend(connection, nonce_hash, until):
                return None
            await connection.execute("SELECT 1 FROM users WHERE user_id = $1 FOR UPDATE", user_id)
            rows = await connection.fetch("SELECT address FROM wallets WHERE user_id = $1", user_id)
            linked = {row["address"] for row in rows}
            if address not in linked:
                raise DomainError(
                    Reason.RESOURCE_UNKNOWN, "There is no such wallet.", metadata={"kind": "wallet", "id": address}
                )
            if proof not in linked:
                raise DomainError(
                    Reason.SIGN_IN_REFUSED,
                    "The text was signed by a wallet that is not yours: sign with one that is linked.",
                    metadata={"check": "wallet"},
                )
            if len(linked) == 1:
                raise DomainError(Reason.WALLET_LAST, "This is your last wallet: link another before you unlink it.")
            await connection.execute("DELETE FROM wallets WHERE user_id = $1 AND address = $2", user_id, address)
            return await end_where(connection, user_id, now, "address = $4", address, reason="unlinked")


class _SpentError(DomainError):
    """Rolls back the sign-in of a nonce that another one spent at the same moment."""

    def __init__(self) -> None:
        super().__init__(
            Reason.SIGN_IN_REFUSED, "The sign-in was refused: the nonce was used before.", metadata={"check": "nonce"}
        )


async def _is_unspent(connection: Connection, nonce_hash: bytes) -> bool:
    return not await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM spent_nonces WHERE nonce_hash = $1) "
        "OR EXISTS (SELECT 1 FROM auth_sessions WHERE nonce_hash = $1)",
        nonce_hash,
    )


async def _spend(connection: Connection, nonce_hash: bytes, until: datetime) -> bool:
    """Note a nonce as used; False when it was."""
    done = await connection.fetchval(
        "INSERT INTO spent_nonces (nonce_hash, expire_time) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
        nonce_hash,
        until,
    )
    return bool(done)


async def _insert_wallet(connection: Connection, user_id: UUID, wallet: Wallet) -> None:
    await connection.execute(
        "INSERT INTO wallets (address, user_id, chain_id, kind, link_time, last_login_time) "
        "VALUES ($1, $2, $3, $4, $5, $6)",
        wallet.address,
        user_id,
        wallet.chain_id,
        wallet.kind.value,
        wallet.link_time,
        wallet.last_login_time,
    )


def _taken() -> DomainError:
    return DomainError(Reason.WALLET_TAKEN, "This wallet belongs to another user: sign in with it, or unlink it there.")
