"""The record of what was signed, and the lanes: the port `Signing`.

What signing needs is read once, when a lane is taken; from then on this process alone gives out its nonces, so it knows
them without asking. Every write is one statement that names what it was decided on: the lane's fence, the account's
version and the head of its audit chain, the room's version. Where any of them has changed, nothing is written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import asyncpg

from services.chassis.postgres import Connection, Database
from services.domain.errors import DomainError, Reason
from services.domain.market import LIGHTER
from services.vault.model import signing as model
from services.vault.model.account import Account, unknown
from services.vault.model.audit import chained
from services.vault.model.key import signer_name
from services.vault.model.lane import Lane, Out
from services.vault.model.signing import CallerKey, Kept, Leg
from services.vault.ports import Batch, Clock, Desk
from services.vault.store.leases import Lease
from services.vault.store.recent import Recent
from services.vault.store.rows import ACCOUNT_COLUMNS, ACTION_COLUMNS, KEY_COLUMNS, account_of, kept_of, key_of
from services.vault.store.sealing import Sealer

_COLUMNS: Final = ", ".join(f"l.{name}" if name == "leg_id" else f"s.{name}" for name in ACTION_COLUMNS.split(", "))
_WRITE: Final = """
WITH held AS MATERIALIZED (
    SELECT FROM lanes WHERE lane_id = $4 AND fence = $5 FOR UPDATE
), gate AS MATERIALIZED (
    SELECT a.account_id FROM accounts a
    WHERE a.account_id = $1 AND a.version = $2 AND a.audit_seq = $3 AND a.delete_time IS NULL
        AND ($4::bigint IS NULL OR EXISTS (SELECT FROM held))
        AND ($6::bigint IS NULL OR EXISTS (SELECT FROM room WHERE version = $6))
        AND NOT EXISTS (SELECT FROM legs l JOIN unnest($13::uuid[], $14::bigint[]) AS x(leg_id, fence) USING (leg_id)
            WHERE l.leg_id = ANY ($15::uuid[]) AND (l.fence > x.fence OR l.account_id <> $1))
    FOR UPDATE
), moved AS (
    UPDATE lanes l SET nonce = $7, foreign_moves = $8 FROM gate WHERE l.lane_id = $4
), counted AS (
    UPDATE accounts a SET audit_seq = $9, audit_hash = $10, day = $11, day_notional = $12
    FROM gate g WHERE a.account_id = g.account_id
), fenced AS (
    INSERT INTO legs (leg_id, account_id, fence)
    SELECT x.leg_id, $1, x.fence FROM gate, unnest($13::uuid[], $14::bigint[]) AS x(leg_id, fence)
    ON CONFLICT (leg_id) DO UPDATE SET fence = greatest(legs.fence, excluded.fence)
), signed AS (
    INSERT INTO signed_actions (leg_id, action_number, account_id, key_id, lane_id, order_id, kind, action_digest,
        nonce, expire_time, sign_time, transaction_type, transaction_hash, day, notional, orders, sealed_body,
        is_prepared)
    SELECT x.leg_id, x.number, $1, x.key_id, $4, x.order_id, x.kind, x.digest, x.nonce, x.expire_time, x.sign_time,
        x.type, x.hash, (x.sign_time AT TIME ZONE 'UTC')::date, x.notional, x.orders, x.body, x.prepared
    FROM gate, unnest($15::uuid[], $16::bigint[], $17::uuid[], $18::uuid[], $19::text[], $20::bytea[], $21::bigint[],
        $22::timestamptz[], $23::timestamptz[], $24::int[], $25::text[], $26::numeric[], $27::int[], $28::bytea[],
        $29::boolean[])
        AS x(leg_id, number, key_id, order_id, kind, digest, nonce, expire_time, sign_time, type, hash, notional,
        orders, body, prepared)
), accepted AS (
    UPDATE signed_actions s SET sealed_body = x.body, is_prepared = false, transaction_type = x.type,
        transaction_hash = x.hash
    FROM gate, unnest($41::uuid[], $42::bigint[], $43::bytea[], $44::int[], $45::text[])
        AS x(leg_id, number, body, type, hash)
    WHERE s.leg_id = x.leg_id AND s.action_number = x.number AND s.is_prepared AND s.outcome IS NULL
), settled AS (
    UPDATE signed_actions s SET outcome = x.outcome, settle_time = now(), venue_code = x.code,
        venue_message = x.message, sealed_body = NULL
    FROM gate, unnest($30::uuid[], $31::bigint[], $32::text[], $33::text[], $34::text[])
        AS x(leg_id, number, outcome, code, message)
    WHERE s.leg_id = x.leg_id AND s.action_number = x.number AND (s.outcome IS NULL OR s.outcome = 'LAPSED')
), told AS (
    INSERT INTO audit (account_id, seq, kind, detail, hash)
    SELECT $1, x.seq, x.kind, x.detail, x.hash FROM gate,
        unnest($35::bigint[], $36::text[], $37::text[], $38::bytea[]) AS x(seq, kind, detail, hash)
), used AS (
    UPDATE keys k SET last_use_time = $40 FROM gate WHERE k.key_id = $39
        AND (k.last_use_time IS NULL OR k.last_use_time < $40)
)
SELECT count(*) FROM gate
"""


class PostgresSigning:
    """The port `Signing`."""

    def __init__(self, database: Database, sealer: Sealer, lease: Lease, clock: Clock) -> None:
        self._database = database
        self._sealer = sealer
        self._lease = lease
        self._clock = clock
        self._recent = Recent()

    @asynccontextmanager
    async def _reached(self, *, whole: bool = False) -> AsyncIterator[Connection]:
        """Take a connection, in a transaction where `whole`; what breaks it off is PEER_UNAVAILABLE.

        Whether a statement was carried out is not known then; who asks again finds out, by the same leg.
        """
        taking = self._database.transaction() if whole else self._database.acquire()
        try:
            async with taking as connection:
                yield connection
        except (TimeoutError, OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError) as error:
            raise DomainError(
                Reason.PEER_UNAVAILABLE,
                f"The database broke off ({type(error).__name__}): ask again, the same leg gets the same bytes.",
                metadata={"peer": "postgres"},
                retry_after_s=0.5,
            ) from None

    async def desk(self, account_id: UUID, caller: CallerKey | None = None) -> Desk:
        """Take the lane of an account's key, or of a caller's, and read what signing begins from."""
        async with self._reached(whole=True) as connection:
            row = await connection.fetchrow(
                f"SELECT {ACCOUNT_COLUMNS} FROM accounts a WHERE account_id = $1 AND delete_time IS NULL",  # noqa: S608
                account_id,
            )
            if row is None:
                raise unknown("account")
            account = account_of(row)
            found = await connection.fetchrow(
                f"SELECT {KEY_COLUMNS} FROM keys WHERE account_id = $1 AND state = 'ACTIVE'",  # noqa: S608
                account_id,
            )
            key = None if found is None else key_of(found)
            lane = None
            if caller is not None:
                lane = await self._lane(connection, account, caller.public_key, caller.api_key_index)
            elif key is not None and account.venue_account:
                lane = await self._lane(connection, account, key.public_key, key.api_key_index)
            room = await connection.fetchrow("SELECT version, freeze_time, freeze_reason FROM room")
            assert room is not None
            recent = await connection.fetch(
                "SELECT sign_time, orders FROM signed_actions WHERE account_id = $1 "
                "AND sign_time > now() - interval '1 minute' AND orders > 0 ORDER BY sign_time",
                account_id,
            )
        return Desk(
            account=account,
            key=key,
            lane=lane,
            room_version=room["version"],
            room_freeze=None if room["freeze_time"] is None else room["freeze_reason"],
            recent=tuple((one["sign_time"], one["orders"]) for one in recent),
        )

    async def _lane(self, connection: Connection, account: Account, public_key: str, api_key_index: int | None) -> Lane:
        signer = signer_name(account.venue, public_key, account.venue_account, api_key_index)
        place = (account.venue, account.environment, signer)
        await connection.execute(
            "INSERT INTO lanes (venue, environment, signer, account_id) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
            *place,
            account.account_id,
        )
        row = await connection.fetchrow(
            "SELECT lane_id, vault_id, account_id FROM lanes WHERE venue = $1 AND environment = $2 AND signer = $3 "
            "FOR UPDATE",
            *place,
        )
        assert row is not None
        if not await self._lease.may_take(connection, row["vault_id"]):
            raise model.held_elsewhere()
        if row["account_id"] != account.account_id:  # a removed account's; who has the key now was checked before
            await connection.execute(
                "UPDATE lanes SET nonce = NULL WHERE lane_id = $1 AND venue = 'lighter'", row["lane_id"]
            )
        taken = await connection.fetchrow(
            "UPDATE lanes SET vault_id = $2, account_id = $3, fence = fence + 1 WHERE lane_id = $1 "
            "RETURNING lane_id, fence, nonce, foreign_moves",
            row["lane_id"],
            self._lease.vault_id,
            account.account_id,
        )
        assert taken is not None
        out = await connection.fetch(
            "SELECT leg_id, action_number, nonce, expire_time, outcome IS NOT NULL AS settled FROM signed_actions "
            "WHERE lane_id = $1 AND (outcome IS NULL OR $2) AND nonce >= (SELECT min(nonce) FROM signed_actions "
            "WHERE lane_id = $1 AND outcome IS NULL AND ($2 IS FALSE OR expire_time > now() - interval '1 minute')) "
            "ORDER BY nonce",
            row["lane_id"],
            account.venue != LIGHTER,
        )
        return Lane(
            lane_id=taken["lane_id"],
            venue=account.venue,
            fence=taken["fence"],
            # The venue is asked where an ordered lane stands: a database that was put back may be behind it.
            nonce=taken["nonce"] if account.venue != LIGHTER or out else None,
            out=tuple(
                Out(one["nonce"], _ms(one["expire_time"]), (one["leg_id"], one["action_number"]), one["settled"])
                for one in out
            ),
            foreign_moves=taken["foreign_moves"],
        )

    def recent(self, legs: Sequence[Leg]) -> tuple[dict[tuple[UUID, int], Kept], dict[UUID, tuple[UUID, int]]]:
        """Return what was signed here of late."""
        return self._recent.known(legs)

    async def known(self, legs: Sequence[Leg]) -> tuple[dict[tuple[UUID, int], Kept], dict[UUID, tuple[UUID, int]]]:
        """Return those actions that are kept, and of each leg its account and newest fence."""
        kept: dict[tuple[UUID, int], Kept] = {}
        fences: dict[UUID, tuple[UUID, int]] = {}
        ids = [leg.leg_id for leg in legs]
        async with self._reached() as connection:
            rows = await connection.fetch(
                f"SELECT l.account_id AS leg_account, l.fence, {_COLUMNS}, la.signer FROM legs l "  # noqa: S608
                "LEFT JOIN unnest($1::uuid[], $2::bigint[]) AS x(leg_id, number) ON x.leg_id = l.leg_id "
                "LEFT JOIN signed_actions s ON s.leg_id = x.leg_id AND s.action_number = x.number "
                "LEFT JOIN lanes la ON la.lane_id = s.lane_id WHERE l.leg_id = ANY($1)",
                ids,
                [leg.number for leg in legs],
            )
        for row in rows:
            fences[row["leg_id"]] = (row["leg_account"], row["fence"])
            if row["action_number"] is not None:
                one = kept_of(row)
                kept[one.leg_id, one.number] = one
        return kept, fences

    async def note_fences(self, account_id: UUID, fences: Mapping[UUID, int]) -> None:
        """Remember newer fences."""
        self._recent.fence(fences)
        async with self._reached() as connection:
            await connection.execute(
                "INSERT INTO legs (leg_id, account_id, fence) SELECT x.leg_id, $1, x.fence "
                "FROM unnest($2::uuid[], $3::bigint[]) AS x(leg_id, fence) "
                "ON CONFLICT (leg_id) DO UPDATE SET fence = greatest(legs.fence, excluded.fence)",
                account_id,
                list(fences),
                list(fences.values()),
            )

    async def write(self, batch: Batch) -> Desk | None:
        """Keep all of it in one statement; None where the desk is not true any more."""
        desk, account, lane, now = batch.desk, batch.desk.account, batch.lane, self._clock.now()
        seq, head, rows = account.audit_seq, account.audit_hash, []
        chain_key = await self._sealer.audit_key(account)
        for kind, detail in batch.audit:
            row = chained(chain_key, seq, head, kind, {"time": now.isoformat(), **detail})
            seq, head = row.seq, row.hash
            rows.append(row)
        signed, settled = batch.signed, batch.settled
        values: list[Any] = [
            account.account_id, account.version, account.audit_seq,
            None if lane is None else lane.lane_id, None if lane is None else lane.fence,
            desk.room_version if signed else None,
            None if lane is None else lane.nonce, 0 if lane is None else lane.foreign_moves,
            seq, head, now.date(), batch.day_notional,
            list(batch.fences), list(batch.fences.values()),
            *_columns(signed),
            [one.leg.leg_id for one in settled], [one.leg.number for one in settled],
            [one.outcome.value for one in settled], [one.venue_code for one in settled],
            [one.venue_message for one in settled],
            [row.seq for row in rows], [row.kind for row in rows], [row.detail for row in rows],
            [row.hash for row in rows],
            None if desk.key is None or not signed else desk.key.key_id, now.replace(second=0, microsecond=0),
            [one.leg_id for one in batch.accepted], [one.number for one in batch.accepted],
            [one.sealed_body for one in batch.accepted], [one.transaction_type for one in batch.accepted],
            [one.transaction_hash for one in batch.accepted],
        ]  # fmt: skip
        try:
            async with self._reached() as connection:
                if not await connection.fetchval(_WRITE, *values):
                    self._recent.clear()
                    return None
        except asyncpg.UniqueViolationError:
            self._recent.clear()
            return None  # the same action was signed before, or meanwhile: it is read
        self._recent.note(batch)
        recent = (*desk.recent, *((one.sign_time, one.orders) for one in signed if one.orders))
        after = replace(account, audit_seq=seq, audit_hash=head, day=now.date(), day_notional=batch.day_notional)
        return replace(desk, account=after, lane=lane, recent=recent)

    async def day_equity(self, account_id: UUID, day: date, equity: Decimal) -> Decimal:
        """Return what the account was worth when a day began."""
        async with self._reached() as connection:
            await connection.execute(
                "UPDATE accounts SET day_equity = $3, equity_day = $2 WHERE account_id = $1 "
                "AND equity_day IS DISTINCT FROM $2",
                account_id,
                day,
                equity,
            )
            return Decimal(
                await connection.fetchval("SELECT day_equity FROM accounts WHERE account_id = $1", account_id)
            )

    async def is_current(self, desk: Desk) -> bool:
        """Say whether neither the account nor the room has changed since."""
        async with self._reached() as connection:
            return bool(
                await connection.fetchval(
                    "SELECT EXISTS (SELECT FROM accounts a, room r WHERE a.account_id = $1 AND a.version = $2 "
                    "AND a.delete_time IS NULL AND r.version = $3)",
                    desk.account.account_id,
                    desk.account.version,
                    desk.room_version,
                )
            )

    async def wipe(self, now: datetime) -> int:
        """Wipe bytes that have expired, long enough after that nobody asks for them again."""
        async with self._reached() as connection:
            done = await connection.execute(
                "UPDATE signed_actions SET sealed_body = NULL WHERE (leg_id, action_number) IN (SELECT leg_id, "
                "action_number FROM signed_actions WHERE sealed_body IS NOT NULL AND expire_time < "
                "$1::timestamptz - interval '5 minutes' LIMIT 1000)",
                now,
            )
        return int(done.split()[-1])


def _columns(signed: Sequence[Kept]) -> list[list[Any]]:
    return [
        [one.leg_id for one in signed], [one.number for one in signed], [one.key_id for one in signed],
        [one.order_id for one in signed], [one.kind for one in signed], [one.digest for one in signed],
        [one.nonce for one in signed], [one.expire_time for one in signed], [one.sign_time for one in signed],
        [one.transaction_type for one in signed], [one.transaction_hash for one in signed],
        [one.notional for one in signed], [one.orders for one in signed], [one.sealed_body for one in signed],
        [one.is_prepared for one in signed],
    ]  # fmt: skip


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
