"""One start of execution: its application's own classes, wired as `services/execution/__main__.py` wires them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.market import HYPERLIQUID, LIGHTER
from services.domain.refusal import RefusalReason
from services.execution.app.attempts import Attempts
from services.execution.app.closing import Closer
from services.execution.app.deeds import Deeds
from services.execution.app.door import Bounds, Door
from services.execution.app.gate import Gate
from services.execution.app.halting import Halts
from services.execution.app.hedging import Hedger
from services.execution.app.intake import Intake
from services.execution.app.leverage import Leverages
from services.execution.app.lines import Lines
from services.execution.app.pacing import Pacer
from services.execution.app.remedies import Remedies
from services.execution.app.replacing import Replacer
from services.execution.app.standing import LastSeen
from services.execution.app.switching import Switching
from services.execution.app.watcher import Watcher
from services.execution.app.worker import Worker
from services.execution.model.order import NewOrder, mesh_says_no
from services.execution.model.retry import TABLE
from services.execution.ports import PlannedLeg, Route, TradingAccount
from tests.simulation.chaos import Chaos
from tests.simulation.near import Near
from tests.simulation.store import (
    Line,
    MemoryDeeds,
    MemoryHalts,
    MemoryOrders,
    MemoryStanding,
    MemorySwitches,
    MemoryTroubles,
)
from tests.simulation.vaults import VaultLine
from tests.simulation.venues import Far
from tests.simulation.virtual import Process, Trace, WallClock


class SeededChance:
    """The port `Chance`."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng

    def uuid(self) -> UUID:
        return UUID(int=self._rng.getrandbits(128), version=4)


class NoBooks:
    """The ports `Books` and `Standings` where nobody knows anything: reports are another test's."""

    async def ready(self, market: str) -> None:
        """Follow nothing."""

    def now(self, *_: object) -> None:
        return None

    mid = listing = fees = state = now

    def since(self, *_: object) -> tuple[tuple[()], bool]:
        return (), False


class Routing:
    """The port `Planner`: the crowd's books at both venues, cheapest first; what may rest goes where it is told."""

    def __init__(self, fars: Mapping[str, Far], process: Process, chaos: Chaos, rng: Random) -> None:
        self._fars, self._process, self._chaos, self._rng = fars, process, chaos, rng

    async def plan(
        self, wanted: NewOrder, accounts: Sequence[TradingAccount], order_id: UUID, *, preview: bool = False
    ) -> Route:
        await self._process.breathe()
        await asyncio.sleep(self._rng.random() * 0.01)
        if self._chaos.strikes("routing_away"):
            raise DomainError(Reason.PEER_UNAVAILABLE, "Routing does not answer.")
        venues = [one.venue for one in accounts]
        mid = Decimal(self._fars[venues[0]].street.marks[self._fars[venues[0]].terms.market]).scaleb(-1)
        quote_id = UUID(int=self._rng.getrandbits(128), version=4)
        if wanted.size.as_tuple().exponent < -5 or wanted.size <= 0:  # type: ignore[operator]
            refusal = mesh_says_no(RefusalReason.SIZE_TOO_SMALL, "too small")
            return Route(quote_id=quote_id, legs=(), size=wanted.size, arrival_mid_price=mid, refusal=refusal)
        share = wanted.size
        if len(venues) > 1 and self._rng.random() < 0.8:
            share = (wanted.size * self._rng.choice((3, 5, 7)) / 10).quantize(Decimal("0.00001"))
        legs = [PlannedLeg(venue=venues[0], size=share)]
        if share < wanted.size:
            legs.append(PlannedLeg(venue=venues[1], size=wanted.size - share))
        await self._process.breathe()
        return Route(quote_id=quote_id, legs=tuple(legs), size=wanted.size, arrival_mid_price=mid)


class Room:
    """What a client of execution calls, and what goes on by itself."""

    def __init__(
        self, process: Process, *, line: Line, vault: VaultLine, fars: Mapping[str, Far], clock: WallClock,
        chaos: Chaos, trace: Trace, seed: str, needs: frozenset[str], worker: type[Worker] = Worker,
    ) -> None:  # fmt: skip
        """Wire it; `needs` are the parts that the seed's stories use, so that nobody else looks for work in vain."""
        self.process, self.needs, self.trace = process, needs, trace
        self.rng = Random(seed)
        chance = SeededChance(Random(f"{seed} ids"))
        orders, books, seen = MemoryOrders(line), NoBooks(), LastSeen()
        venues = Near(fars, process, clock, vault.token, self.rng)
        planner = Routing(fars, process, chaos, self.rng)
        self.due = asyncio.Event()
        live: set[UUID] = set()
        parallel = self.rng.choice((1, 3, 128))
        lines = Lines()
        self.door = Door(Bounds(calls=64, legs=200, age_s=5.0), orders, clock)

        def wake() -> None:
            if not chaos.strikes("wake_lost"):
                self.due.set()

        def told(*given: Any) -> None:
            trace.note(process.name, "again", f"{type(given[-1]).__name__} {str(given[-1])[:120]}")

        self.attempts = Attempts(
            troubles=MemoryTroubles(line), clock=clock, chance=self.rng.random, table=TABLE,
            show_stuck=lambda count: None, tell_fault=told,
        )  # fmt: skip
        self.halts = Halts(
            store=MemoryHalts(line), orders=orders, clock=clock, chance=chance, wake=wake, tell_fault=told
        )
        self.deeds = Deeds(
            store=MemoryDeeds(line), signer=vault, accounts=vault, venues=venues, clock=clock, chance=chance,
            attempts=self.attempts, lines=lines, tell_fault=told,
        )  # fmt: skip
        self.worker = worker(
            orders=orders, accounts=vault, signer=vault, venues=venues, clock=clock, tell_fault=told,
            hears=live.__contains__, attempts=self.attempts, stops=self.halts.stops, lines=lines, due=self.due,
            door=self.door, parallel=parallel,
        )  # fmt: skip
        self.watcher = Watcher(
            orders=orders, accounts=vault, venues=venues, clock=clock, live=live, seen=seen, wake=wake,
            tell_fault=told, attempts=self.attempts,
        )  # fmt: skip
        switches = MemorySwitches(line)
        self.switching = Switching(
            deeds=self.deeds, switches=switches, accounts=vault, orders=orders, clock=clock, wake=wake, tell_fault=told
        )
        gate = Gate(
            stops=self.halts.stops, standing=MemoryStanding(line), venues=venues, clock=clock,
            monotonic_ns=clock.monotonic_ns, orders_per_minute=100_000, open_orders_max=1_000,
        )  # fmt: skip
        self.intake = Intake(
            orders=orders, accounts=vault, planner=planner, venues=venues, clock=clock, chance=chance, wake=wake,
            gate=gate, books=books, standings=books, door=self.door, workers=self.worker,
        )  # fmt: skip
        self.pacer = Pacer(
            intake=self.intake, orders=orders, accounts=vault, planner=planner, gate=gate, clock=clock, wake=wake,
            tell_fault=told,
        )  # fmt: skip
        self.remedies = Remedies(
            intake=self.intake, orders=orders, accounts=vault, venues=venues, gate=gate, books=books, clock=clock,
            wake=wake, tell_fault=told,
        )  # fmt: skip
        self.hedger = Hedger(
            intake=self.intake, orders=orders, signer=vault, venues=venues, books=books, standings=books, clock=clock
        )
        self.closer = Closer(intake=self.intake, orders=orders, accounts=vault, venues=venues)
        self.leverages = Leverages(deeds=self.deeds, accounts=vault, venues=venues, clock=clock)
        self.replacer = Replacer(
            orders=orders, accounts=vault, venues=venues, chance=chance, wake=wake, stops=self.halts.stops, signer=vault
        )

    async def start(self) -> None:
        """Begin: what is halted and what failed before is read first, then everything goes on by itself."""
        await self.halts.look()
        await self.attempts.begin()
        works: dict[str, Callable[[], Awaitable[None]]] = {
            "attempts": self.attempts.run,
            "door": self.door.run,
            "worker": self.worker.run,
            "watcher": self.watcher.run,
            "halts": self.halts.run,
            "pacer": self.pacer.run,
            "remedies": self.remedies.run,
            "switches": self.switching.run,
            "deeds": self.deeds.run,
        }
        for name, work in works.items():
            if name in ("attempts", "worker", "watcher", "door") or name in self.needs:
                self.process.start(self._supervised(name, work))

    async def _supervised(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Start a task again whenever it fails, as `chassis.tasks.Supervisor` does."""
        delay_s = 0.1
        while True:
            began = self.process.loop.time()
            try:
                await work()
            except Exception as error:
                self.trace.note(self.process.name, f"failed.{name}", repr(error)[:120])
            if self.process.loop.time() - began > 60:
                delay_s = 0.1
            await asyncio.sleep(delay_s * (1 - self.rng.random() / 2))
            await self.process.breathe()
            delay_s = min(30.0, delay_s * 2)


VENUES = (HYPERLIQUID, LIGHTER)
