"""The ports of the store over `Record`, as a process sees them: late, away, cut within or after a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.execution.model.canceling import EVERYWHERE, CancelScope
from services.execution.model.deed import Deed, DeedKind
from services.execution.model.halt import Halt, Scope
from services.execution.model.leg import Leg, Trade
from services.execution.model.order import NewOrder, Order
from services.execution.model.replacing import ReplaceAsked
from services.execution.model.switch import Switch
from services.execution.model.trouble import Failing
from services.execution.ports import Look, Observed, TradingAccount, Work
from tests.simulation.chaos import Chaos
from tests.simulation.record import Record
from tests.simulation.virtual import Process, Trace, WallClock

T = TypeVar("T")


class Line:
    """One process's connection to the database."""

    def __init__(
        self, record: Record, process: Process, clock: WallClock, chaos: Chaos, trace: Trace, rng: Random,
        at_commit: Callable[[], None],
    ) -> None:  # fmt: skip
        """Prepare; `at_commit` may kill the process between a commit and its answer."""
        self.record = record
        self.process = process
        self.clock = clock
        self._chaos = chaos
        self._trace = trace
        self._rng = rng
        self._at_commit = at_commit

    async def do(self, what: str, effect: Callable[[datetime], T], *, writes: bool = True, in_vain: bool = False) -> T:
        """Run one transaction; `effect` is given the time that the process reads.

        One that looks `in_vain`, as most polls do, takes no time, which halves the cost of a seed.
        """
        chaos, process = self._chaos, self.process
        await process.breathe()
        now = self.clock.now()
        if not in_vain:
            await asyncio.sleep(self._rng.random() * 0.002)
        if chaos.strikes("database_away", 0.5):
            self._trace.note(process.name, "store.away", what)
            raise DomainError(Reason.PEER_UNAVAILABLE, "The database does not answer: nothing was done.")
        if chaos.strikes("database_cut", 0.5):
            self._trace.note(process.name, "store.cut", what)
            raise ConnectionResetError("the connection was closed in the middle of a transaction")
        if chaos.strikes("database_slow", 0.3):
            await asyncio.sleep(self._rng.random() * 4)
        if not process.is_alive:
            raise asyncio.CancelledError
        result = effect(now)
        if writes:
            self._trace.note(process.name, what, "" if result is None else _short(result))
            if chaos.strikes("commit_unknown", 0.5):
                raise ConnectionResetError("the connection was closed after the commit")
            if chaos.strikes("crash_at_commit", 0.15):
                self._at_commit()
            await asyncio.sleep(self._rng.random() * 0.001)
        await process.breathe()
        return result


def _short(result: object) -> str:
    if isinstance(result, Work):
        return f"{result.leg.number} {result.leg.state} {result.leg.filled} f{result.fence}"
    if isinstance(result, Order):
        return f"{result.state} v{result.version}"
    if isinstance(result, list):
        return f"{len(result)}" if not result or not isinstance(result[0], Work) else _works(result)
    return str(result) if isinstance(result, bool | int) else type(result).__name__


def _works(works: list[Work]) -> str:
    return " ".join(f"{one.leg.number}/{one.leg.state}/f{one.fence}" for one in works)


class MemoryOrders:
    """The port `Orders`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._record = line.record

    async def by_request(self, user_id: UUID, request_id: UUID) -> Order | None:
        return await self._line.do("by_request", lambda _: self._record.by_request(user_id, request_id), writes=False)

    async def add(self, order: Order, *, lease_s: float | None = None) -> Order:
        return await self._line.do("add", lambda now: self._record.add(order, now, lease_s=lease_s))

    async def get(self, user_id: UUID, order_id: UUID) -> Order | None:
        return await self._line.do("get", lambda _: self._record.get(user_id, order_id), writes=False)

    async def claim(self, count: int, lease_s: float, *, urgent: bool = False) -> Sequence[Work]:
        def claim(now: datetime) -> list[Work]:
            return self._record.claim(count, lease_s, now, urgent=urgent)

        has_due = self._has_due()
        return await self._line.do("claim", claim, writes=has_due, in_vain=not has_due)

    async def waiting(self, most: int) -> tuple[int, int]:
        return await self._line.do("waiting", lambda now: self._record.waiting(most, now), writes=False)

    def _has_due(self) -> bool:
        now = self._line.clock.now()
        return any(row.due is not None and row.due <= now for row in self._record.legs.values())

    async def release(self) -> None:
        await self._line.do("release", self._record.release)

    async def change(self, work: Work, change: Callable[[Leg], Leg], *, due_s: float) -> Work | None:
        return await self._line.do("change", lambda now: self._record.change(work, change, now, due_s=due_s))

    async def told(
        self, account: TradingAccount, venue_order_id: str, client_id: str, change: Callable[[Leg], Leg],
        *, look_s: float | None = None,
    ) -> bool:  # fmt: skip
        return await self._line.do(
            "told",
            lambda now: self._record.told(account.account_id, venue_order_id, client_id, change, now, look_s=look_s),
        )

    async def doubt(self, account: TradingAccount, open_ids: Sequence[str], before: datetime) -> int:
        return await self._line.do("doubt", lambda now: self._record.doubt(account.account_id, open_ids, before, now))

    async def hasten(self, account: TradingAccount, within_s: float) -> None:
        await self._line.do("hasten", lambda now: self._record.hasten(account.account_id, within_s, now))

    async def record(self, account: TradingAccount, trades: Sequence[Trade]) -> int:
        new = 0
        for trade in trades:
            new += await self._line.do("record", lambda now, one=trade: self._record.count(account, one, now))  # type: ignore[misc]
        return new

    async def observe(self, observed: Observed) -> None:
        await self._line.do("observe", lambda _: self._record.observe(observed))

    async def want_cancel(self, user_id: UUID, order_id: UUID, scope: CancelScope = EVERYWHERE) -> Order | None:
        return await self._line.do("want_cancel", lambda now: self._record.want_cancel(user_id, order_id, now, scope))

    async def remedying(self, count: int) -> Sequence[Order]:
        return await self._line.do(
            "remedying", lambda now: self._record.remedying(count, now), writes=False, in_vain=True
        )

    async def was_replaced(self, order: Order, asked: ReplaceAsked) -> bool:
        return await self._line.do("was_replaced", lambda _: self._record.was_replaced(order, asked), writes=False)

    async def last_transfer_ms(self, account_id: UUID) -> int:
        return await self._line.do("last_transfer", lambda _: self._record.last_transfer_ms(account_id), writes=False)

    async def slicing(self, count: int) -> Sequence[Order]:
        return await self._line.do("slicing", lambda now: self._record.slicing(count, now), writes=False, in_vain=True)

    async def schedule(self, user_id: UUID, order_id: UUID, change: Callable[[Order], Order]) -> Order | None:
        return await self._line.do("schedule", lambda now: self._record.schedule(user_id, order_id, change, now))

    async def replace(self, order: Order, asked: ReplaceAsked, decide: Callable[[Order], Order]) -> Order:
        return await self._line.do("replace", lambda now: self._record.replace(order, asked, decide, now))

    async def succeed(self, work: Work, consumed: Decimal) -> None:
        await self._line.do("succeed", lambda now: self._record.succeed(work, consumed, now))

    async def last_fill_ms(self, account_id: UUID) -> int:
        return await self._line.do("last_fill", lambda _: self._record.last_fill_ms(account_id), writes=False)


class MemoryStanding:
    """The port `Standing`."""

    def __init__(self, line: Line) -> None:
        self._line = line

    async def look(self, user_id: UUID, wanted: NewOrder | None, open_max: int) -> Look:
        return await self._line.do("look", lambda _: self._line.record.look(user_id, wanted, open_max), writes=False)


class MemoryDeeds:
    """The port `DeedStore`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._record = line.record

    async def add(self, deed: Deed) -> bool:
        return await self._line.do("deed.add", lambda _: self._record.add_deed(deed))

    async def get(self, deed_id: UUID) -> Deed:
        return await self._line.do("deed.get", lambda _: self._record.deed(deed_id), writes=False)

    async def by_request(self, user_id: UUID, request_id: UUID) -> Deed | None:
        return await self._line.do(
            "deed.by_request", lambda _: self._record.deed_by_request(user_id, request_id), writes=False
        )

    async def under_way(self, account_id: UUID, kind: DeedKind, subject: str) -> Deed | None:
        return await self._line.do(
            "deed.under_way", lambda _: self._record.under_way(account_id, kind, subject), writes=False
        )

    async def claim(self, count: int, lease_s: float) -> Sequence[Deed]:
        return await self._line.do(
            "deed.claim", lambda now: self._record.claim_deeds(count, lease_s, now), writes=bool(self._record.deeds)
        )

    async def release(self) -> None:
        await self._line.do("deed.release", self._record.release_deeds)

    async def change(self, deed: Deed, *, due_s: float, holds: bool = False) -> bool:
        return await self._line.do(
            "deed.change", lambda now: self._record.change_deed(deed, now, due_s=due_s, holds=holds)
        )


class MemorySwitches:
    """The port `Switches`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._record = line.record

    async def get(self, account_id: UUID) -> Switch | None:
        return await self._line.do("switch.get", lambda _: self._record.switch(account_id), writes=False)

    async def keep(self, switch: Switch) -> Switch:
        return await self._line.do("switch.keep", lambda _: self._record.keep_switch(switch))

    async def due(self, now: datetime, count: int) -> Sequence[Switch]:
        return await self._line.do(
            "switch.due", lambda _: self._record.due_switches(now, count), writes=False, in_vain=True
        )

    async def fired(self, switch: Switch) -> None:
        await self._line.do("switch.fired", lambda _: self._record.fired(switch))

    async def open_orders(self, account_id: UUID) -> list[UUID]:
        return await self._line.do("switch.open", lambda _: self._record.open_orders_of(account_id), writes=False)


class MemoryHalts:
    """The port `HaltStore`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._record = line.record

    async def begin(self, halt: Halt) -> Halt:
        return await self._line.do("halt.begin", lambda _: self._record.begin_halt(halt))

    async def end(self, scope: Scope, operator: str, now: datetime) -> None:
        await self._line.do("halt.end", lambda _: self._record.end_halt(scope, now))

    async def in_force(self) -> tuple[Halt, ...]:
        return await self._line.do("halt.in_force", lambda _: self._record.in_force(), writes=False, in_vain=True)

    async def open_orders(self, scope: Scope, count: int) -> list[tuple[UUID, UUID]]:
        return await self._line.do("halt.open", lambda _: self._record.open_orders_in(scope, count), writes=False)


class MemoryTroubles:
    """The port `Troubles`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._record = line.record

    async def keep(self, failing: Failing) -> None:
        await self._line.do("trouble.keep", lambda _: self._record.keep_trouble(failing))

    async def settle(self, work_id: UUID, now: datetime) -> None:
        await self._line.do("trouble.settle", lambda _: self._record.settle_trouble(work_id, now))

    async def settle_ended(self, now: datetime) -> Sequence[UUID]:
        return await self._line.do("trouble.ended", lambda _: self._record.settle_ended(now))

    async def failing(self) -> Sequence[Failing]:
        return await self._line.do("trouble.failing", lambda _: self._record.failing(), writes=False)

    async def stuck(self, **_: Any) -> Sequence[Failing]:
        raise NotImplementedError("nobody asks in a simulation")
