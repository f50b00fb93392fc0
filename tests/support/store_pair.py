"""Both stores of execution, PostgreSQL's and the simulation's record, given the same calls and compared."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from random import Random
from typing import Any
from uuid import UUID

from services.chassis.postgres import Database
from services.domain.errors import DomainError
from services.domain.market import HYPERLIQUID, LIGHTER
from services.execution.model.leg import Trade
from services.execution.model.order import Order
from services.execution.ports import Observed, TradingAccount, Work
from services.execution.store.deeds import PostgresDeeds
from services.execution.store.halts import PostgresHalts
from services.execution.store.orders import PostgresOrders
from services.execution.store.reports import Reporter
from services.execution.store.rows import order_of
from services.execution.store.standing import PostgresStanding
from services.execution.store.switches import PostgresSwitches
from services.execution.store.troubles import PostgresTroubles
from services.venues.trading import AccountRef
from tests.simulation.record import Record
from tests.simulation.room import NoBooks
from tests.simulation.store import (
    MemoryDeeds,
    MemoryHalts,
    MemoryOrders,
    MemoryStanding,
    MemorySwitches,
    MemoryTroubles,
)
from tests.support.clock import ManualClock

USER, OTHER = UUID(int=1, version=4), UUID(int=2, version=4)


class Plain:
    """A line to the record that never fails."""

    def __init__(self, record: Record, clock: ManualClock) -> None:
        self.record, self.clock = record, clock

    async def do(self, what: str, effect: Any, **_: bool) -> Any:
        return effect(self.clock.now())


class Words:
    """The port `Scribe`: what is compared of an event, as bytes."""

    def order(self, order: Order) -> bytes:
        return f"{order.order_id} {order.version} {order.state} {order.filled}".encode()

    def fill(self, user_id: UUID, order_id: UUID | None, leg_id: UUID | None, trade: Trade, number: int) -> bytes:
        return f"{trade.fill_id} {order_id} {leg_id}".encode()

    def observed(self, observed: Observed) -> bytes:
        return str(observed.account.account_id).encode()

    def report(self, report: object) -> bytes:
        return b"report"

    def numbered(self, event: bytes, sequence: int, write_time: datetime) -> bytes:
        return event


def account(venue: str, user_id: UUID = USER) -> TradingAccount:
    return TradingAccount(
        account_id=UUID(int=len(venue) + user_id.int, version=4), user_id=user_id, venue=venue, environment="TESTNET",
        is_default=True, can_trade=True, why_not="", ref=AccountRef(account_id=venue),
    )  # fmt: skip


ACCOUNTS = (account(HYPERLIQUID), account(LIGHTER), account(LIGHTER, OTHER))


class StorePair:
    """The ports of both stores, over one clock."""

    def __init__(self, database: Database, seed: int) -> None:
        self.rng = Random(seed)
        self.clock = ManualClock()
        self.database = database
        self.record = Record()
        clock: Any = self.clock
        scribe: Any = Words()
        line: Any = Plain(self.record, self.clock)
        books: Any = NoBooks()
        reporter = Reporter(books, scribe, clock)
        orders = [
            PostgresOrders(database, scribe, clock, wake=lambda: None, reporter=reporter, front=database)
            for _ in range(2)
        ]
        self.rooms = orders
        """Two rooms over one database, each with what it remembers: every call is one's or the other's."""
        self.pairs: dict[str, tuple[Any, Any]] = {
            "orders": (None, MemoryOrders(line)), "deeds": (PostgresDeeds(database, clock), MemoryDeeds(line)),
            "standing": (PostgresStanding(database), MemoryStanding(line)),
            "switches": (PostgresSwitches(database), MemorySwitches(line)),
            "halts": (PostgresHalts(database), MemoryHalts(line)),
            "troubles": (PostgresTroubles(database), MemoryTroubles(line)),
        }  # fmt: skip
        self.counts: dict[str, int] = {}

    async def call(self, port: str, method: str, *given: Any, **named: Any) -> Any:
        """Make one call at both; return the answer where they agree."""
        answers = []
        theirs, ours = self.pairs[port]
        for subject in (theirs or self.rng.choice(self.rooms), ours):
            try:
                answers.append(await getattr(subject, method)(*given, **named))
            except DomainError as error:
                answers.append(error.reason)
        theirs, ours = (_plain(one) for one in answers)
        assert theirs == ours, f"{port}.{method}, call {sum(self.counts.values())}"
        self.counts[method] = self.counts.get(method, 0) + 1
        return answers[0]

    async def compare(self) -> None:
        """Compare every row, and what was said."""
        async with self.database.acquire() as connection:
            legs = await connection.fetch("SELECT * FROM legs ORDER BY order_id, number")
            orders = await connection.fetch("SELECT * FROM orders")
            fills = await connection.fetch("SELECT fill_id, order_id, leg_id FROM fills")
            said = await connection.fetch("SELECT kind, event FROM outbox WHERE kind <> 'report' ORDER BY outbox_id")
        theirs = {
            row["order_id"]: order_of(row, [leg for leg in legs if leg["order_id"] == row["order_id"]])
            for row in orders
        }
        assert theirs == self.record.orders
        assert {row["leg_id"]: (row["due_time"], row["lease_time"], row["fence"]) for row in legs} == {
            leg_id: (row.due, row.lease, row.fence) for leg_id, row in self.record.legs.items()
        }
        assert {row["fill_id"]: (row["order_id"], row["leg_id"]) for row in fills} == {
            fill_id: (row.order_id, row.leg_id) for fill_id, row in self.record.fills.items()
        }
        words = Words()
        ours = []
        for kind, what in self.record.said:
            if isinstance(what, Order):
                ours.append((kind, words.order(what)))
            else:
                ours.append((kind, b""))
        assert [(row["kind"], row["event"] if row["kind"] == "order" else b"") for row in said] == ours


def _plain(answer: Any) -> Any:
    """Return what is compared of an answer: lists whose order says nothing are sorted."""
    if isinstance(answer, Order):
        return replace(answer, quoted=None)
    if isinstance(answer, list | tuple):
        return sorted(answer, key=_name)
    return answer


def _name(one: Any) -> str:
    if isinstance(one, Work):
        return str(one.leg.leg_id)
    names = ("work_id", "deed_id", "halt_id", "order_id", "account_id")
    return str(next((getattr(one, name) for name in names if hasattr(one, name)), one))
