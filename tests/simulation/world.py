"""A seed's world: both venues, the vault, the record, rooms that die and come back, and those who disturb them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.market import HYPERLIQUID, LIGHTER
from services.execution.app.worker import Worker
from services.execution.model.halt import HaltKind, Scope
from services.execution.model.order import Order
from services.execution.ports import TradingAccount
from services.simulator.exchange.values import Wanted
from services.venues.trading import AccountRef
from tests.simulation.chaos import Chaos
from tests.simulation.record import Record
from tests.simulation.room import Room
from tests.simulation.store import Line
from tests.simulation.vaults import KEY, Vault, VaultLine
from tests.simulation.venues import ADDRESS, DOLLAR, INDEX, Far, FarHyperliquid, FarLighter
from tests.simulation.virtual import Process, Trace, VirtualLoop, WallClock, adopt

T = TypeVar("T")
USER = UUID(int=0xA11CE, version=4)
HYPER_ID, LIGHTER_ID = UUID(int=1, version=4), UUID(int=2, version=4)
AGAIN = (
    Reason.PEER_UNAVAILABLE, Reason.VENUE_UNAVAILABLE, Reason.LIMIT_REACHED, Reason.DRAINING, Reason.DEADLINE_EXCEEDED,
)  # fmt: skip
ROOMS_MAX = 3
MID = 10_000
"""The first price, in tenths of a dollar."""


class ViolationError(AssertionError):
    """An invariant does not hold."""


@dataclass(slots=True, kw_only=True)
class Variant:
    """What of the application is replaced, to prove that mistakes are found."""

    worker: type[Worker] = Worker
    room: Callable[[Room], None] = lambda room: None
    stories: tuple[str, ...] = ()
    """Those that are played; none for what the seed says."""


@dataclass(slots=True)
class Seen:
    """What a client was told of its orders."""

    order_ids: dict[UUID, UUID] = field(default_factory=dict)
    versions: dict[UUID, tuple[int, Decimal]] = field(default_factory=dict)

    def note(self, order: Order) -> Order:
        """Hold an answer against those before it."""
        known = self.order_ids.setdefault(order.request_id, order.order_id)
        if known != order.order_id:
            raise ViolationError(
                f"I1: request {order.request_id} was answered with two orders, {known} and {order.order_id}"
            )
        return order


class World:
    """Everything around execution, of one seed."""

    def __init__(self, loop: VirtualLoop, seed: int, variant: Variant) -> None:
        self.loop, self.seed, self.variant = loop, seed, variant
        adopt(loop)
        self.rng = Random(f"{seed} world")
        self.trace = Trace(loop)
        self.clock = WallClock(loop)
        self.chaos = Chaos(seed)
        self.record = Record()
        given = (loop, self.clock, self.chaos, self.trace, seed)
        self.hyper, self.lighter = FarHyperliquid(*given), FarLighter(*given)
        self.fars: dict[str, Far] = {HYPERLIQUID: self.hyper, LIGHTER: self.lighter}
        self.vault = Vault(
            loop, self.clock, self.chaos, self.trace, seed,
            lambda: None if self.lighter.is_down() else self.lighter.next_nonce(),
        )  # fmt: skip
        self.mid = MID
        self.rooms: list[Room] = []
        self.processes: list[Process] = []
        self.needs: set[str] = set()
        self.seen = Seen()
        self.halted: list[tuple[Scope, float, float]] = []
        """What was halted, from when it was answered until before it was resumed."""
        self.starts = 0
        self.commits = Random(f"{seed} commits")
        self._disturbing: list[asyncio.Task[Any]] = []

    # --- the beginning --------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open accounts, bring money, make the market."""
        money = 300 if self.chaos.has("little_money") else 1_000_000
        for far, number in ((self.hyper, ADDRESS), (self.lighter, INDEX)):
            far.exchange.deposit(number, money * DOLLAR, far.now_us())
        if self.chaos.has("little_money"):
            self.chaos.met["little_money"] += 1
        if self.chaos.has("vault_refuses"):
            self.vault.limit = Decimal("0.2")
        for account_id, venue in ((HYPER_ID, HYPERLIQUID), (LIGHTER_ID, LIGHTER)):
            ref = AccountRef(
                account_id=str(account_id), address=f"0x{ADDRESS:040x}", index=INDEX if venue == LIGHTER else 0,
            )  # fmt: skip
            self.vault.open(
                TradingAccount(
                    account_id=account_id, user_id=USER, venue=venue, environment="TESTNET", is_default=True,
                    can_trade=True, why_not="", ref=ref,
                )
            )  # fmt: skip
        self.move(MID)

    def move(self, mid: int) -> None:
        """Put both markets around a price."""
        self.mid = mid
        for far in self.fars.values():
            far.move(mid - mid % 10, 300_000, 10)

    def begin(self) -> None:
        """Start a room, and whoever disturbs it."""
        self._start_room()
        if self.chaos.has("replica"):
            self.chaos.met["replica"] += 1
            self._start_room()
        for work in (
            self._time_passes, self._crashes, self._freezes, self._clock_jumps, self._maintenance, self._market,
            self._foreign_hand, self._foreign_nonces, self._halts,
        ):  # fmt: skip
            self._disturbing.append(self.loop.create_task(work()))

    # --- rooms ----------------------------------------------------------------------------------------------------

    def _start_room(self) -> None:
        self.loop.create_task(self._keep_room())

    async def _keep_room(self) -> None:
        """Have a room, and another when it has died."""
        while True:
            self.starts += 1
            process = Process(self.loop, f"room{self.starts}")
            self.processes.append(process)
            rng = Random(f"{self.seed} line {self.starts}")
            line = Line(self.record, process, self.clock, self.chaos, self.trace, rng, process.kill)
            room = Room(
                process, line=line, vault=VaultLine(self.vault, process), fars=self.fars, clock=self.clock,
                chaos=self.chaos, trace=self.trace, seed=f"{self.seed} room {self.starts}",
                needs=frozenset(self.needs), worker=self.variant.worker,
            )  # fmt: skip
            self.variant.room(room)
            self.trace.note("world", "room.start", process.name)
            started = process.start(room.start())
            await asyncio.wait((started,))
            if started.cancelled() or started.exception() is not None:
                process.kill()
            else:
                self.rooms.append(room)
            while process.is_alive:  # noqa: ASYNC110  (time is virtual)
                await asyncio.sleep(0.2)
            if room in self.rooms:
                self.rooms.remove(room)
            await asyncio.sleep(0.1 + self.rng.random() * (3 if self.chaos.is_on else 0.2))

    async def room(self) -> Room:
        """Return a room that answers."""
        while True:
            awake = [one for one in self.rooms if one.process.is_alive and not self._sleeps(one)]
            if awake:
                return self.rng.choice(awake)
            await asyncio.sleep(0.1)

    def _sleeps(self, room: Room) -> bool:
        return room.process.frozen_until > self.loop.time()

    # --- who calls ------------------------------------------------------------------------------------------------

    async def ask(self, what: str, call: Callable[[Room], Coroutine[Any, Any, T]]) -> T:
        """Make a call as a client does whose server may die: the same request again, until it is answered."""
        while True:
            room = await self.room()
            tasks = [room.process.start(call(room))]
            if self.chaos.strikes("client_repeats", 2):
                twin = await self.room()
                tasks.append(twin.process.start(call(twin)))
            if self.chaos.strikes("client_leaves"):
                self.loop.call_later(self.rng.random() * 0.1, tasks[0].cancel)
            await asyncio.wait(tasks)
            answers = []
            for task in tasks:
                if task.cancelled():
                    self.trace.note("client", f"{what}.gone")
                    continue
                error = task.exception()
                if error is None:
                    answers.append(task.result())
                elif not _may_pass(error):
                    raise error
            if answers:
                for one in answers:
                    if isinstance(one, Order):
                        self.seen.note(one)
                self.trace.note("client", what, len(answers))
                return answers[0]
            await asyncio.sleep(0.2 + self.rng.random())

    # --- who disturbs ---------------------------------------------------------------------------------------------

    async def _time_passes(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            for far in self.fars.values():
                far.tick()

    async def _crashes(self) -> None:
        while self.chaos.is_on:
            await asyncio.sleep(self.rng.expovariate(1.0))
            if self.rooms and self.chaos.strikes("crash", 2):
                room = self.rng.choice(self.rooms)
                self.trace.note("world", "crash", room.process.name)
                room.process.kill()

    async def _freezes(self) -> None:
        while self.chaos.is_on:
            await asyncio.sleep(self.rng.expovariate(0.5))
            if self.rooms and self.chaos.strikes("freeze", 2):
                room = self.rng.choice(self.rooms)
                room.process.frozen_until = self.loop.time() + self.rng.choice((2, 12, 33, 40))
                self.trace.note("world", "freeze", room.process.name)
                if len(self.rooms) < ROOMS_MAX and self.rng.random() < 0.7:  # another takes over meanwhile
                    self._start_room()

    async def _clock_jumps(self) -> None:
        while self.chaos.is_on:
            await asyncio.sleep(self.rng.expovariate(0.3))
            if self.chaos.strikes("clock_jump", 3):
                self.clock.offset_ns = round((self.rng.random() * 6 - 3) * 1e9)
                self.trace.note("world", "clock.jump", self.clock.offset_ns)

    async def _maintenance(self) -> None:
        while self.chaos.is_on:
            await asyncio.sleep(self.rng.expovariate(0.3))
            if self.chaos.strikes("maintenance", 2):
                far = self.rng.choice((self.hyper, self.lighter))
                far.down_until = self.loop.time() + self.rng.choice((1, 4, 15))
                self.trace.note(far.name, "maintenance", far.down_until)

    async def _market(self) -> None:
        while self.chaos.is_on:
            await asyncio.sleep(self.rng.expovariate(0.7))
            if self.chaos.strikes("market_moves", 4):
                self.move(max(MID * 7 // 10, min(MID * 13 // 10, self.mid + self.rng.randrange(-600, 601))))
            elif self.rng.random() < 0.3:
                self.move(self.mid)

    async def _foreign_hand(self) -> None:
        while self.chaos.is_on:
            await asyncio.sleep(self.rng.expovariate(0.5))
            if not self.chaos.strikes("foreign_hand", 3):
                continue
            far = self.rng.choice((self.hyper, self.lighter))
            account = far.exchange.account(far.account)
            assert account is not None
            if account.orders and self.rng.random() < 0.5:
                oid = self.rng.choice(sorted(account.orders))
                far.exchange.cancel(far.account, oid, far.now_us())
            else:
                buy = self.rng.random() < 0.5
                away = self.rng.choice((-500, 300))
                price = self.mid - away if buy else self.mid + away
                wanted = Wanted(
                    market=far.terms.market, buy=buy, price=price - price % 10, size=20_000, tif="gtc",
                    expiry_ms=0 if far is self.hyper else far.now_us() // 1_000 + 3_600_000,
                )  # fmt: skip
                far.exchange.place(far.account, wanted, far.now_us())
            self.trace.note(far.name, "foreign")
            far.flush()

    async def _foreign_nonces(self) -> None:
        while self.chaos.is_on:
            await asyncio.sleep(self.rng.expovariate(0.3))
            if self.chaos.met["foreign_nonce"] < 2 and self.chaos.strikes("foreign_nonce", 3):
                self.trace.note("lighter", "foreign.nonce")
                self.lighter.holders.advance(INDEX, KEY, self.lighter.next_nonce() + 1)

    async def _halts(self) -> None:
        if not self.chaos.has("halt"):
            return
        await asyncio.sleep(self.rng.random() * 6)
        self.chaos.met["halt"] += 1
        kind = self.rng.choice((HaltKind.EVERYTHING, HaltKind.VENUE, HaltKind.USER))
        name = {
            HaltKind.EVERYTHING: "",
            HaltKind.VENUE: self.rng.choice((HYPERLIQUID, LIGHTER)),
            HaltKind.USER: str(USER),
        }
        scope, cancels = Scope(kind, name[kind]), self.rng.random() < 0.4
        await self.ask(
            "halt",
            lambda room: room.halts.begin(scope, reason="a drill", operator="seed", cancels_orders=cancels),
        )
        began_s = self.loop.time()
        await asyncio.sleep(2 + self.rng.random() * 5)
        self.halted.append((scope, began_s, self.loop.time()))
        await self.ask("resume", lambda room: room.halts.end(scope, operator="seed"))

    def heal(self) -> None:
        """End all faults: whoever disturbs goes, frozen rooms wake, venues are up."""
        self.trace.note("world", "heal")
        self.chaos.heal()
        for far in self.fars.values():
            far.down_until = 0.0
        for room in self.rooms:
            room.process.frozen_until = min(room.process.frozen_until, self.loop.time() + 1)

    async def disturbed(self) -> None:
        """Wait until whoever disturbs has gone, but for the passing of time."""
        await asyncio.gather(*self._disturbing[1:])


def _may_pass(error: BaseException) -> bool:
    """Whether a client makes its call again for this."""
    return isinstance(error, ConnectionError) or (isinstance(error, DomainError) and error.reason in AGAIN)


Story = Callable[["Player"], Awaitable[None]]


@dataclass(slots=True)
class Player:
    """Who plays a story."""

    world: World
    rng: Random
    name: str
    orders: list[UUID] = field(default_factory=list)

    def uuid(self) -> UUID:
        """Return a new request id."""
        return UUID(int=self.rng.getrandbits(128), version=4)
