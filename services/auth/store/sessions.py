"""Sessions and refresh tokens in PostgreSQL, with `sessions:{userId}` in Valkey as a cache of the living ones.

The cached list carries the user's `sessions_revision`, which every change counts up in its own transaction; a list of
another revision is not used. So a stale cache costs a read and never shows a session that was ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from services.auth.model.session import Client, RefreshRecord, Session, Verdict, WalletKind
from services.auth.store.rows import SESSION_COLUMNS, session_of
from services.chassis.bus import tagged
from services.chassis.postgres import Connection, Database

CACHE_TTL_MS = 24 * 3_600 * 1_000
CACHED_SESSIONS_MAX = 200
"""A user with more is read from the record."""
_TIMES = ("create_time", "last_use_time", "expire_time", "latest_end_time")


class Cache(Protocol):
    """What the store needs of the bus."""

    async def get(self, key: str) -> bytes | None:
        """Return a value, or None for a miss."""
        ...

    async def put_many(self, values: Mapping[str, bytes], *, ttl_ms: int) -> bool:
        """Set every key, each to lapse after `ttl_ms`."""
        ...


class PostgresSessions:
    """The port `Sessions`."""

    def __init__(self, database: Database, cache: Cache) -> None:
        self._database = database
        self._cache = cache

    async def page(
        self, user_id: UUID, now: datetime, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Session]:
        """Return living sessions, the last used first."""
        listed = await self._cached(user_id)
        if listed is None:
            return await self._read(user_id, now, after=after, limit=limit)
        living = [one for one in listed if one.lives(now)]
        if after is not None:
            living = [one for one in living if (after[0], str(one.session_id)) > (one.last_use_time, str(after[1]))]
        return living[:limit]

    async def _cached(self, user_id: UUID) -> list[Session] | None:
        """Return all living sessions, from the cache where that is of the right revision; None when there are many."""
        key = tagged("sessions", str(user_id))
        async with self._database.acquire() as connection:
            revision = await connection.fetchval("SELECT sessions_revision FROM users WHERE user_id = $1", user_id)
            kept = await self._cache.get(key)
            if kept is not None:
                known = json.loads(kept)
                if known["revision"] == revision:
                    return [_from_json(user_id, one) for one in known["sessions"]]
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                revision = await connection.fetchval("SELECT sessions_revision FROM users WHERE user_id = $1", user_id)
                rows = await connection.fetch(
                    f"SELECT {SESSION_COLUMNS} FROM auth_sessions WHERE user_id = $1 AND end_time IS NULL "  # noqa: S608
                    "ORDER BY last_use_time DESC, session_id LIMIT $2",
                    user_id,
                    CACHED_SESSIONS_MAX + 1,
                )
        if len(rows) > CACHED_SESSIONS_MAX:
            return None
        listed = [session_of(row) for row in rows]
        kept = json.dumps({"revision": revision, "sessions": [_to_json(one) for one in listed]}).encode()
        await self._cache.put_many({key: kept}, ttl_ms=CACHE_TTL_MS)
        return listed

    async def _read(
        self, user_id: UUID, now: datetime, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> list[Session]:
        async with self._database.acquire() as connection:
            rows = await connection.fetch(
                f"SELECT {SESSION_COLUMNS} FROM auth_sessions WHERE user_id = $1 AND end_time IS NULL "  # noqa: S608
                "AND expire_time > $2 AND ($3::timestamptz IS NULL OR last_use_time < $3 "
                "OR (last_use_time = $3 AND session_id > $4)) ORDER BY last_use_time DESC, session_id LIMIT $5",
                user_id,
                now,
                after[0] if after else None,
                after[1] if after else None,
                limit,
            )
        return [session_of(row) for row in rows]

    async def end(
        self, user_id: UUID, now: datetime, *, only: UUID | None, keep: UUID | None, reason: str
    ) -> tuple[UUID, ...]:
        """End one session or all of a user; return those that lived."""
        async with self._database.transaction() as connection:
            return await end_where(
                connection,
                user_id,
                now,
                "($4::uuid IS NULL OR session_id = $4) AND ($5::uuid IS NULL OR session_id <> $5)",
                only,
                keep,
                reason=reason,
            )

    async def exists(self, user_id: UUID, session_id: UUID) -> bool:
        """Say whether the user has or had such a session."""
        async with self._database.acquire() as connection:
            found = await connection.fetchval(
                "SELECT EXISTS (SELECT 1 FROM auth_sessions WHERE user_id = $1 AND session_id = $2)",
                user_id,
                session_id,
            )
        return bool(found)

    async def refresh(
        self,
        token_hash: bytes,
        *,
        client: Client,
        now: datetime,
        judge: Callable[[RefreshRecord, Session], Verdict],
        successor_hash: bytes,
        masked_successor: bytes,
        renewed: Callable[[Session], Session],
    ) -> tuple[Verdict, Session, bytes | None] | None:
        """Judge a refresh token under a lock and carry the verdict out; None for a token that is not known."""
        async with self._database.transaction() as connection:
            session_id = await connection.fetchval(
                "SELECT session_id FROM refresh_tokens WHERE token_hash = $1", token_hash
            )
            if session_id is None:
                return None
            # The lock is the session's: tokens of one family are judged one after the other.
            row = await connection.fetchrow(
                f"SELECT {SESSION_COLUMNS} FROM auth_sessions WHERE session_id = $1 FOR UPDATE",  # noqa: S608
                session_id,
            )
            token = await connection.fetchrow(
                "SELECT use_time, device, masked_successor, EXISTS (SELECT 1 FROM refresh_tokens next "
                "WHERE next.token_hash = refresh_tokens.successor_hash AND next.use_time IS NOT NULL) "
                "AS successor_used FROM refresh_tokens WHERE token_hash = $1",
                token_hash,
            )
            if row is None or token is None:
                return None
            session = session_of(row)
            record = RefreshRecord(
                use_time=token["use_time"],
                device=token["device"],
                masked_successor=token["masked_successor"],
                successor_used=token["successor_used"],
            )
            verdict = judge(record, session)
            if verdict is Verdict.ROTATE:
                session = renewed(session)
                await _rotate(connection, token_hash, session, client, now, successor_hash, masked_successor)
            elif verdict is Verdict.END:
                await end_where(connection, session.user_id, now, "session_id = $4", session_id, reason="reused")
        return verdict, session, record.masked_successor


async def _rotate(
    connection: Connection,
    token_hash: bytes,
    session: Session,
    client: Client,
    now: datetime,
    successor_hash: bytes,
    masked_successor: bytes,
) -> None:
    # What earlier tokens hid is of no use after the next rotation: it is forgotten.
    await connection.execute(
        "UPDATE refresh_tokens SET masked_successor = NULL WHERE session_id = $1 AND masked_successor IS NOT NULL",
        session.session_id,
    )
    await connection.execute(
        "UPDATE refresh_tokens SET use_time = $2, device = $3, successor_hash = $4, masked_successor = $5 "
        "WHERE token_hash = $1",
        token_hash,
        now,
        client.device,
        successor_hash,
        masked_successor,
    )
    await connection.execute(
        "INSERT INTO refresh_tokens (token_hash, session_id, create_time) VALUES ($1, $2, $3)",
        successor_hash,
        session.session_id,
        now,
    )
    await connection.execute(
        "UPDATE auth_sessions SET last_use_time = $2, expire_time = $3, network_address = $4 WHERE session_id = $1",
        session.session_id,
        session.last_use_time,
        session.expire_time,
        session.network_address,
    )
    await bump(connection, session.user_id)


async def bump(connection: Connection, user_id: UUID) -> None:
    """Count a change of the user's sessions."""
    await connection.execute("UPDATE users SET sessions_revision = sessions_revision + 1 WHERE user_id = $1", user_id)


async def end_where(
    connection: Connection, user_id: UUID, now: datetime, condition: str, *values: object, reason: str
) -> tuple[UUID, ...]:
    """End living sessions of a user for which a condition of this module's own holds; its values begin at $4."""
    rows = await connection.fetch(
        "UPDATE auth_sessions SET end_time = $2, end_reason = $3 "  # noqa: S608 - the condition is a constant of ours
        f"WHERE user_id = $1 AND end_time IS NULL AND {condition} RETURNING session_id, expire_time",
        user_id,
        now,
        reason,
        *values,
    )
    if rows:
        await bump(connection, user_id)
    return tuple(row["session_id"] for row in rows if row["expire_time"] > now)


def _to_json(session: Session) -> dict[str, object]:
    times = {name: getattr(session, name).isoformat() for name in _TIMES}
    return {
        "session_id": str(session.session_id),
        "address": session.address,
        "chain_id": session.chain_id,
        "kind": session.kind.value,
        "scopes": list(session.scopes),
        "device": session.device,
        "network_address": session.network_address,
        **times,
    }


def _from_json(user_id: UUID, kept: dict[str, str]) -> Session:
    times = {name: datetime.fromisoformat(kept[name]) for name in _TIMES}
    return Session(
        session_id=UUID(kept["session_id"]),
        user_id=user_id,
        address=kept["address"],
        chain_id=int(kept["chain_id"]),
        kind=WalletKind(kept["kind"]),
        scopes=tuple(kept["scopes"]),
        device=kept["device"],
        network_address=kept["network_address"],
        **times,
    )
