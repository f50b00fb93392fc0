"""What the fold loads and writes. A batch and its cursor are one transaction, so that a crash repeats nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from services.chassis.postgres import Connection, Database
from services.portfolio.model.account import Account, Changes, Known
from services.portfolio.model.values import Fill, LogEntry, Observation
from services.portfolio.store import rows

_EVENTS = rows.columns(rows.EVENT)


STAGED_MIN: Final = 24
"""From so many rows on they go through a temporary table by COPY, which is several times faster than one by one."""


@dataclass(frozen=True, slots=True)
class Upsert:
    """How rows of a table replace, or add to, what stands under their key."""

    table: str
    names: str
    key: str
    added: frozenset[str] = frozenset()
    """Columns whose amounts are added up."""
    order: str = ""
    """In what order rows are written, where one must make room for another."""

    @property
    def columns(self) -> list[str]:
        """Return the columns of a row, in order."""
        return rows.columns(self.names)

    @property
    def _conflict(self) -> str:
        keys = rows.columns(self.key)
        changed = ", ".join(
            f"{name} = {self.table}.{name} + EXCLUDED.{name}" if name in self.added else f"{name} = EXCLUDED.{name}"
            for name in self.columns
            if name not in keys
        )
        return f"ON CONFLICT ({self.key}) DO UPDATE SET {changed}"

    async def write(self, connection: Connection, records: Sequence[tuple[object, ...]]) -> None:
        """Write rows, no two of one key."""
        if not records:
            return
        into = f"INSERT INTO {self.table} ({self.names})"
        if len(records) < STAGED_MIN:
            places = ", ".join(f"${number}" for number in range(1, len(self.columns) + 1))
            await connection.executemany(f"{into} VALUES ({places}) {self._conflict}", records)
            return
        stage = f"staged_{self.table}"
        await connection.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {stage} (LIKE {self.table} INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
        )
        await connection.copy_records_to_table(stage, records=records, columns=self.columns, schema_name="pg_temp")
        await connection.execute(f"{into} SELECT {self.names} FROM pg_temp.{stage} {self.order} {self._conflict}")  # noqa: S608


_ACCOUNT = Upsert("accounts", rows.ACCOUNT, "account_id")
_BALANCE = Upsert("balances", rows.BALANCE + ", user_id, venue", "account_id, asset")
# Closed ones first: an account has one open life in a market.
_POSITION = Upsert("positions", rows.POSITION, "position_id", order="ORDER BY close_time IS NULL")
_REPORT = Upsert("position_reports", rows.REPORT, "account_id, market")
_LEG = Upsert("open_legs", rows.LEG, "leg_id")
_ORDER_REPORT = Upsert("order_reports", rows.ORDER_REPORT, "order_id")
_DAY = Upsert(
    "daily_flows",
    "user_id, day, account_id, market, side, venue, realized, funding, volume, fill_count, closed_count, win_count, "
    "loss_count, won, lost, held_us",
    "user_id, day, account_id, market, side",
    frozenset(
        "realized funding volume fill_count closed_count win_count loss_count won lost held_us".split()  # noqa: SIM905
    ),
)
_DAY_COST = Upsert(
    "daily_costs",
    "user_id, day, account_id, market, side, venue, kind, amount",
    "user_id, day, account_id, market, side, kind",
    frozenset({"amount"}),
)


async def load_accounts(connection: Connection, account_ids: Collection[UUID]) -> dict[UUID, Account]:
    """Return those of the accounts that exist, with their open lives, balances and reports."""
    wanted = list(account_ids)
    found = {
        row["account_id"]: rows.account_of(row)
        for row in await connection.fetch(
            f"SELECT {rows.ACCOUNT} FROM accounts WHERE account_id = ANY($1)", wanted  # noqa: S608
        )
    }  # fmt: skip
    if not found:
        return found
    for row in await connection.fetch(
        f"SELECT {rows.BALANCE} FROM balances WHERE account_id = ANY($1) ORDER BY account_id, asset", wanted  # noqa: S608
    ):  # fmt: skip
        found[row["account_id"]].balances[row["asset"]] = rows.balance_of(row)
    for row in await connection.fetch(
        f"SELECT {rows.POSITION} FROM positions WHERE account_id = ANY($1) AND close_time IS NULL "  # noqa: S608
        "ORDER BY market",
        wanted,
    ):
        found[row["account_id"]].lives[row["market"]] = rows.life_of(row)
    for row in await connection.fetch(
        f"SELECT {rows.REPORT} FROM position_reports WHERE account_id = ANY($1)", wanted  # noqa: S608
    ):  # fmt: skip
        found[row["account_id"]].reports[row["market"]] = rows.report_of(row)
    return found


class PostgresLedger:
    """The port `Ledger`, its part for the fold."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def cursor(self) -> int:
        """Return the number of the last log event applied."""
        async with self._database.acquire() as connection:
            return int(await connection.fetchval("SELECT sequence FROM log_cursor"))

    async def load(self, account_ids: Collection[UUID]) -> dict[UUID, Account]:
        """Return those of the accounts that exist, whole."""
        async with self._database.transaction() as connection:
            return await load_accounts(connection, account_ids)

    async def known(self, entries: Sequence[LogEntry]) -> Known:
        """Return which ids of `entries` have been counted, and the closed lives their payments may belong to."""
        what = [one for entry in entries for one in entry.what]
        fills = [one.fill_id for one in what if isinstance(one, Fill)]
        seen = [one for one in what if isinstance(one, Observation)]
        payments = [(one.account_id, payment) for one in seen for payment in one.payments]
        transfers = [transfer.transfer_id for one in seen for transfer in one.transfers]
        known = Known()
        async with self._database.acquire() as connection:
            if fills:
                known.fills = await _ids(
                    connection, "SELECT DISTINCT fill_id FROM position_events WHERE fill_id = ANY($1)", fills
                )
            if transfers:
                known.transfers = await _ids(
                    connection, "SELECT transfer_id FROM transfers WHERE transfer_id = ANY($1)", transfers
                )
            if payments:
                known.payments = await _ids(
                    connection,
                    "SELECT funding_payment_id FROM funding_payments WHERE funding_payment_id = ANY($1)",
                    [payment.payment_id for _, payment in payments],
                )
                fresh = [(owner, one) for owner, one in payments if one.payment_id not in known.payments]
                await _load_past(connection, known, fresh)
        return known

    async def write(self, changes: Changes, *, before: int, after: int) -> bool:
        """Write everything and move the cursor from `before` to `after`, at once; False when it stands elsewhere."""
        async with self._database.transaction() as connection:
            moved = await connection.execute(
                "UPDATE log_cursor SET sequence = $2, write_time = now() WHERE sequence = $1", before, after
            )
            if moved != "UPDATE 1":
                return False
            await _write(connection, changes, after)
        return True


async def _ids(connection: Connection, query: str, wanted: list[UUID]) -> set[UUID]:
    return {row[0] for row in await connection.fetch(query, wanted)}


async def _load_past(connection: Connection, known: Known, payments: list[tuple[UUID, Any]]) -> None:
    if not payments:
        return
    found = await connection.fetch(
        f"SELECT DISTINCT {', '.join('p.' + name for name in rows.columns(rows.POSITION))} "  # noqa: S608
        "FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS wanted (account_id, market, at) "
        "JOIN positions p ON p.account_id = wanted.account_id AND p.market = wanted.market "
        "AND p.open_time <= wanted.at AND p.close_time >= wanted.at",
        [owner for owner, _ in payments],
        [payment.market for _, payment in payments],
        [payment.time for _, payment in payments],
    )
    for row in found:
        known.past.setdefault((row["account_id"], row["market"]), []).append(rows.life_of(row))


async def _write(connection: Connection, changes: Changes, after: int) -> None:
    accounts = dict(changes.accounts)
    for account, _ in changes.lives.values():
        accounts.setdefault(account.account_id, account)
    await _ACCOUNT.write(connection, [rows.account_row(one) for one in accounts.values()])
    balances = [rows.balance_row(accounts[account_id], one) for (account_id, _), one in changes.balances.items()]
    await _BALANCE.write(connection, balances)
    lives = sorted(changes.lives.values(), key=lambda pair: pair[1].closed is None)
    await _POSITION.write(connection, [rows.position_row(account, life) for account, life in lives])
    if changes.events:
        await connection.copy_records_to_table(
            "position_events", records=[rows.event_row(*event) for event in changes.events], columns=_EVENTS
        )
    await _REPORT.write(connection, [rows.report_row(*report) for report in changes.reports.values()])
    await _write_flows(connection, changes)
    await _write_days(connection, changes)
    if changes.traded:
        await connection.execute(
            "INSERT INTO user_revisions (user_id, log_sequence) SELECT id, $2 FROM unnest($1::uuid[]) AS id "
            "ON CONFLICT (user_id) DO UPDATE SET log_sequence = EXCLUDED.log_sequence",
            list(changes.traded),
            after,
        )


async def _write_flows(connection: Connection, changes: Changes) -> None:
    if changes.payments:
        await connection.copy_records_to_table(
            "funding_payments",
            records=[
                (one.payment_id, position_id, account.account_id, account.user_id, account.venue, one.market,
                 one.amount, one.rate, one.position_size, one.time)
                for account, position_id, one in changes.payments
            ],
            columns=rows.columns(rows.PAYMENT),
        )  # fmt: skip
    if changes.transfers:
        await connection.copy_records_to_table(
            "transfers",
            records=[
                (one.transfer_id, account.account_id, account.user_id, account.venue, one.kind.value, one.asset,
                 one.amount, one.fee, one.counterparty, one.venue_transfer_id, one.time, received)
                for account, one, received in changes.transfers
            ],
            columns=rows.columns(rows.TRANSFER),
        )  # fmt: skip
    opened = [leg for leg in changes.legs.values() if leg is not None]
    ended = [leg_id for leg_id, leg in changes.legs.items() if leg is None]
    await _LEG.write(
        connection, [(one.leg_id, one.order_id, one.account_id, one.market, one.size, one.price) for one in opened]
    )
    if ended:
        await connection.execute("DELETE FROM open_legs WHERE leg_id = ANY($1)", ended)
    await _ORDER_REPORT.write(
        connection,
        [
            (
                one.order_id, user_id, one.account_id, one.venue, int(one.environment), one.market, one.side,
                one.size, one.filled_size, one.quoted_size, one.notional, one.arrival_notional, one.quoted_cost,
                one.achieved_cost, one.slippage, [venue for venue, _ in one.single_venue_costs],
                [cost for _, cost in one.single_venue_costs], one.placed, one.time_to_fill_us, one.routed,
            )
            for user_id, one in changes.order_reports
        ],
    )  # fmt: skip


async def _write_days(connection: Connection, changes: Changes) -> None:
    if not changes.daily:
        return
    await _DAY.write(
        connection,
        [
            (
                *key, one.venue, one.realized, one.funding, one.volume, one.fills, one.closed, one.wins, one.losses,
                one.won, one.lost, one.held_us,
            )
            for key, one in changes.daily.items()
            if not one.is_empty
        ],
    )  # fmt: skip
    await _DAY_COST.write(
        connection,
        [(*key, one.venue, kind, amount) for key, one in changes.daily.items() for kind, amount in one.costs.items()],
    )
