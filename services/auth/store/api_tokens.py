"""API tokens in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from services.auth.model import api_token as model
from services.auth.model.api_token import ApiToken
from services.auth.store.rows import TOKEN_COLUMNS, token_of
from services.chassis.postgres import Database


class PostgresApiTokens:
    """The port `ApiTokens`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, token: ApiToken, secret_hash: bytes, *, live_max: int) -> tuple[ApiToken, bool]:
        """Add a token, or return the one that its request_id made before; the second part says whether it is new."""
        async with self._database.transaction() as connection:
            # The user's row is the turnstile: twins wait for each other here, and the bound holds.
            await connection.execute("SELECT 1 FROM users WHERE user_id = $1 FOR UPDATE", token.user_id)
            row = await connection.fetchrow(
                f"SELECT {TOKEN_COLUMNS} FROM api_tokens WHERE user_id = $1 AND request_id = $2",  # noqa: S608
                token.user_id,
                token.request_id,
            )
            if row is not None:
                return token_of(row), False
            live = await connection.fetchval(
                "SELECT count(*) FROM api_tokens WHERE user_id = $1 AND revoke_time IS NULL AND expire_time > $2",
                token.user_id,
                token.create_time,
            )
            if live >= live_max:
                raise model.too_many()
            await connection.execute(
                "INSERT INTO api_tokens (api_token_id, user_id, request_id, name, scopes, prefix, address, "
                "secret_hash, create_time, expire_time) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                token.api_token_id,
                token.user_id,
                token.request_id,
                token.name,
                list(token.scopes),
                token.prefix,
                token.address,
                secret_hash,
                token.create_time,
                token.expire_time,
            )
        return token, True

    async def page(
        self,
        user_id: UUID,
        *,
        now: datetime,
        ended_since: datetime | None,
        after: tuple[datetime, UUID] | None,
        limit: int,
    ) -> Sequence[ApiToken]:
        """Return tokens, the newest first; ended ones only when `ended_since` is given."""
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                f"SELECT {TOKEN_COLUMNS} FROM api_tokens WHERE user_id = $1 "  # noqa: S608
                "AND ((revoke_time IS NULL AND expire_time > $2) "
                "OR ($3::timestamptz IS NOT NULL AND least(coalesce(revoke_time, expire_time), expire_time) > $3)) "
                "AND ($4::timestamptz IS NULL OR create_time < $4 OR (create_time = $4 AND api_token_id > $5)) "
                "ORDER BY create_time DESC, api_token_id LIMIT $6",
                user_id,
                now,
                ended_since,
                after[0] if after else None,
                after[1] if after else None,
                limit,
            )
        return [token_of(row) for row in rows]

    async def revoke(self, user_id: UUID, api_token_id: UUID, now: datetime) -> bool | None:
        """Revoke a token; say whether it lived, None when the user has none of that id."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                "SELECT revoke_time, expire_time FROM api_tokens WHERE user_id = $1 AND api_token_id = $2 FOR UPDATE",
                user_id,
                api_token_id,
            )
            if row is None:
                return None
            if row["revoke_time"] is not None or row["expire_time"] <= now:
                return False
            await connection.execute(
                "UPDATE api_tokens SET revoke_time = $3 WHERE user_id = $1 AND api_token_id = $2",
                user_id,
                api_token_id,
                now,
            )
        return True

    async def use(self, secret_hash: bytes, now: datetime) -> ApiToken | None:
        """Return the living token behind a secret and note its use, to the minute."""
        async with self._database.acquire() as connection:
            row = await connection.fetchrow(
                f"SELECT {TOKEN_COLUMNS} FROM api_tokens WHERE secret_hash = $1 "  # noqa: S608
                "AND revoke_time IS NULL AND expire_time > $2",
                secret_hash,
                now,
            )
            if row is None:
                return None
            minute = now.replace(second=0, microsecond=0)
            await connection.execute(
                "UPDATE api_tokens SET last_use_time = $2 WHERE api_token_id = $1 "
                "AND (last_use_time IS NULL OR last_use_time < $2)",
                row["api_token_id"],
                minute,
            )
        return token_of(row)
