"""The store's referee: the simulation's record, and two rooms over PostgreSQL, given the same calls, are one.

Calls are drawn by a seed: orders with exits, in slices, replaced; claims, changes under old and new fences, what venues
tell, trades known and unknown, cancels, deeds, switches, halts, troubles. After each call both answers are compared;
every few calls all rows are, with their times, leases and fences, and what was said to others, in its order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from services.chassis.migrate import folder_of, migrate, read_migrations
from services.chassis.postgres import Database, PostgresConfig, connect
from services.domain.market import LIGHTER
from services.execution.app.worker import LEASE_S
from services.execution.model.clients import venue_client_id
from services.execution.model.deed import Deed, DeedKind, Heard, hear
from services.execution.model.halt import Halt, HaltKind, Scope
from services.execution.model.leg import ZERO, Evidence, Leg, LegState, Role, Told, Trade, tell
from services.execution.model.order import Exit, NewOrder, Order, Replacement
from services.execution.model.replacing import ReplaceAsked, to_replace
from services.execution.model.retry import Trouble
from services.execution.model.switch import Switch
from services.execution.model.trouble import Failing, WorkKind
from services.execution.model.twap import Terms, Twap
from services.execution.ports import Observed, Work
from services.venues.actions import OrderType, ScheduleCancel, Side, TimeInForce
from tests.support.postgres import postgres
from tests.support.store_pair import ACCOUNTS, OTHER, USER, StorePair

CALLS = int(os.environ.get("PERPMESH_STORE_CALLS", "700"))
SEED = int(os.environ.get("PERPMESH_TEST_SEED", "20261128"))
CALLS_MAX = 4 * CALLS
WANTED = {"add", "claim", "change", "told", "record", "want_cancel", "schedule", "replace", "succeed", "doubt"}
"""The calls that are made in any case, however rare a seed makes them."""
WHOLE_EVERY = 20
DUE = (0.5, 1.0, LEASE_S, 120.0)


class Both(StorePair):
    """Both stores, and the calls that are drawn."""

    def __init__(self, database: Database, seed: int) -> None:
        super().__init__(database, seed)
        self.works: list[Work] = []
        self.deeds: list[Deed] = []

    def uuid(self) -> UUID:
        return UUID(int=self.rng.getrandbits(128), version=4)

    # --- what is drawn --------------------------------------------------------------------------------------------

    def leg(self, order_id: UUID, number: int, **changes: Any) -> Leg:
        leg_id = self.uuid()
        of = self.rng.choice(ACCOUNTS[:2])
        now = self.clock.now()
        made = Leg(
            leg_id=leg_id, number=number, venue=of.venue, account_id=of.account_id, market="BTC-PERP",
            venue_market_id=1, side=Side.BUY, size=Decimal("0.4"), limit_price=Decimal(100), type=OrderType.LIMIT,
            time_in_force=TimeInForce.GOOD_TILL_CANCELED, reduce_only=False,
            client_id=venue_client_id(of.venue, leg_id), create_time=now, update_time=now,
        )  # fmt: skip
        return replace(made, **changes)

    def order(self) -> Order:
        rng, now, order_id = self.rng, self.clock.now(), self.uuid()
        kind = rng.choice(("plain", "plain", "two", "exits", "twap", "expiring"))
        legs: list[Leg] = [] if kind == "twap" else [self.leg(order_id, 1)]
        changes: dict[str, Any] = {}
        if kind == "two":
            legs.append(self.leg(order_id, 2))
        if kind == "expiring":
            legs[0] = replace(legs[0], expire_time=now + timedelta(seconds=30))
        if kind == "exits":
            same = {"venue": legs[0].venue, "account_id": legs[0].account_id, "size": ZERO, "state": LegState.HELD,
                    "entry": 1, "part": 1, "side": Side.SELL, "reduce_only": True}  # fmt: skip
            legs.append(self.leg(order_id, 2, role=Role.TAKE_PROFIT, trigger_price=Decimal(120), **same))
            legs.append(self.leg(order_id, 3, role=Role.STOP_LOSS, trigger_price=Decimal(80), **same))
            changes = {"take_profit": Exit(trigger_price=Decimal(120)), "stop_loss": Exit(trigger_price=Decimal(80))}
        if kind == "twap":
            terms = Terms(duration=timedelta(seconds=8), interval=timedelta(seconds=4))
            schedule = Twap(terms=terms, seed=7, account_ids=(ACCOUNTS[0].account_id,), start_time=now)
            changes = {"twap": schedule}
        size = sum((leg.size for leg in legs if leg.role.trades_the_order), ZERO) or Decimal(1)
        return Order(
            order_id=order_id, user_id=USER, request_id=self.uuid(), digest=bytes(32), market="BTC-PERP", side=Side.BUY,
            size=size, type=OrderType.LIMIT, limit_price=Decimal(100), time_in_force=TimeInForce.GOOD_TILL_CANCELED,
            reduce_only=False, client_order_id=rng.choice(("", "mine")), quote_id=None, max_slippage_bps=None,
            legs=tuple(legs), create_time=now, update_time=now, **changes,
        )  # fmt: skip

    def change(self) -> Any:
        """Return a change of a leg, as workers and venues bring them about."""
        rng, now = self.rng, self.clock.now()
        told = rng.choice(list(Told))
        named = rng.choice(("", "", f"V{rng.randrange(40)}"))
        number = rng.randrange(3)

        def changed(leg: Leg) -> Leg:
            if named and leg.send_count:
                leg = replace(leg, venue_order_id=named)
            if number and not leg.is_final and leg.send_count:
                leg = replace(leg, action_number=number, settled=number)
            if told in (Told.FILL, Told.FILL_ALL):  # trades tell of those
                return leg
            if leg.state is LegState.HELD and told is not Told.CANCEL:  # its entry's trades release it
                return leg
            return tell(leg, told, rng_evidence, now)

        rng_evidence = rng.choice((Evidence.RESPONSE, Evidence.STREAM, Evidence.LOOKUP))
        return changed

    def legs(self) -> list[tuple[Order, Leg]]:
        return [(order, leg) for order in self.record.orders.values() for leg in order.legs]

    async def step(self) -> None:
        """Let some time pass, and make a call."""
        self.clock._move_to(self.clock.monotonic_ns() + self.rng.choice((1_000, 7_000_000, 400_000_000, 9_000_000_000)))
        await self.rng.choice(
            (
                self.add, self.claim, self.claim, self.worker_changes, self.worker_changes, self.worker_changes,
                self.venue_tells, self.venue_tells, self.trades, self.trades, self.trades, self.cancels, self.slices,
                self.replaces, self.succeeds, self.asks, self.of_deeds, self.of_switches, self.of_halts,
                self.of_troubles, self.doubts,
            )
        )()  # fmt: skip

    async def add(self) -> None:
        order = self.order()
        known = list(self.record.orders.values())
        if known and self.rng.random() < 0.2:
            order = replace(order, request_id=self.rng.choice(known).request_id)
        await self.call("orders", "add", order, lease_s=self.rng.choice((None, 10.0)))
        await self.call("orders", "waiting", self.rng.choice((2, 1_000)))

    async def claim(self) -> None:
        if self.rng.random() < 0.05:
            await self.call("orders", "release")
        works = await self.call(
            "orders", "claim", 10_000, self.rng.choice((LEASE_S, 1.0)), urgent=self.rng.random() < 0.2
        )
        self.works = [*self.works[-30:], *sorted(works, key=lambda one: one.leg.leg_id)]

    async def worker_changes(self) -> None:
        if self.works:
            place = self.rng.randrange(len(self.works))  # the latest, or one that was taken over since
            kept = await self.call("orders", "change", self.works[place], self.change(), due_s=self.rng.choice(DUE))
            if isinstance(kept, Work):
                self.works[place] = kept

    async def venue_tells(self) -> None:
        known = self.legs()
        client = self.rng.choice(known)[1].client_id if known and self.rng.random() < 0.8 else ""
        await self.call(
            "orders", "told", self.rng.choice(ACCOUNTS), f"V{self.rng.randrange(40)}", client, self.change(),
            look_s=self.rng.choice((None, 3.5)),
        )  # fmt: skip

    async def trades(self) -> None:
        known = [leg for _, leg in self.legs() if leg.send_count and leg.size]
        number = self.rng.randrange(60)
        at = self.rng.choice(ACCOUNTS)
        client, size = "", Decimal("0.1")
        if known and self.rng.random() < 0.7:
            leg = self.rng.choice(known)
            at = next(one for one in ACCOUNTS if one.account_id == leg.account_id)
            client, size = leg.client_id, max(Decimal("0.01"), self.rng.choice((leg.size / 2, leg.size - leg.filled)))
        now = self.clock.now()
        trade = Trade(
            fill_id=UUID(int=number + at.account_id.int, version=4), trade_id=str(number), venue=at.venue,
            account_id=at.account_id, market="BTC-PERP", side=Side.BUY, price=Decimal(100), size=size,
            liquidity="TAKER", cause="ORDER", fee=Decimal("0.01"), interface_fee=ZERO, realized_pnl=None,
            venue_order_id=f"V{self.rng.randrange(40)}", client_id=client, fill_time=now - timedelta(seconds=1),
            receive_time=now,
        )  # fmt: skip
        await self.call("orders", "record", at, [trade])

    async def cancels(self) -> None:
        order = self._any()
        await self.call("orders", "want_cancel", self.rng.choice((USER, USER, OTHER)), order.order_id)

    def _any(self) -> Order:
        known = list(self.record.orders.values())
        return self.rng.choice(known) if known else self.order()

    async def slices(self) -> None:
        await self.call("orders", "slicing", 1_000)
        order = self._any()
        fresh = [self.leg(order.order_id, 0, role=Role.SLICE) for _ in range(self.rng.randrange(3))]
        stop, now = self.rng.random() < 0.2, self.clock.now()

        def sliced(current: Order) -> Order:
            if current.twap is None or not current.is_slicing:
                return current
            first = len(current.legs) + 1
            legs = tuple(replace(leg, number=first + at, part=first) for at, leg in enumerate(fresh))
            schedule = replace(
                current.twap, next_slice=current.twap.next_slice + 1, sent=current.twap.sent + bool(legs)
            )
            if stop:
                schedule = replace(current.twap, pause_time=None if current.twap.pause_time else now)
                legs = ()
            return replace(
                current, twap=schedule, legs=(*current.legs, *legs), version=current.version + 1, update_time=now
            )

        await self.call("orders", "schedule", USER, order.order_id, sliced)

    async def replaces(self) -> None:
        order = self._any()
        if order.order_id not in self.record.orders or not order.legs:
            return
        used = [request for of, request in self.record.replacements if of == order.order_id]
        request_id = self.rng.choice(used) if used and self.rng.random() < 0.3 else self.uuid()
        asked = ReplaceAsked(
            order_id=order.order_id, request_id=request_id, size=self.rng.choice((Decimal(1), Decimal("0.2"))),
            limit_price=Decimal(99), expected_version=0,
        )  # fmt: skip
        new_id = self.uuid()

        def decide(current: Order) -> Order:
            live = [leg for leg in current.legs if not leg.is_final]
            leg = live[-1] if live else current.legs[-1]
            terms = Replacement(
                request_id=asked.request_id, leg_id=leg.leg_id, new_leg_id=new_id, size=asked.size or ZERO,
                limit_price=Decimal(99),
            )  # fmt: skip
            return to_replace(current, asked, terms)

        await self.call("orders", "replace", order, asked, decide)

    async def succeeds(self) -> None:
        ready = [
            one for one in self.works
            if (leg := self.record.leg(one.leg.leg_id)).is_final
            and self.record.orders[one.order.order_id].is_replacing(leg)
        ]  # fmt: skip
        if ready:
            work = self.rng.choice(ready)
            await self.call("orders", "succeed", work, self.rng.choice((ZERO, Decimal("0.3"))))

    async def asks(self) -> None:
        order = self._any()
        await self.call("orders", "get", USER, order.order_id)
        await self.call("orders", "get", OTHER, order.order_id)
        await self.call("orders", "by_request", USER, order.request_id)
        await self.call("orders", "last_fill_ms", self.rng.choice(ACCOUNTS).account_id)
        await self.call("orders", "observe", Observed(account=ACCOUNTS[0], receive_time=self.clock.now()))
        look = await self.call("standing", "look", USER, None, 5)
        assert look.open_count <= 5
        wanted = NewOrder(
            request_id=self.uuid(), market=order.market, side=order.side, size=order.size, size_in_usd=False,
            type=OrderType.LIMIT, limit_price=Decimal(1), time_in_force=order.time_in_force, reduce_only=False,
            venue="", venues=(), excluded=(), account_ids=(), quote_id=None, max_slippage_bps=None, client_order_id="",
            allow_while_unknown=False,
        )  # fmt: skip
        await self._look(wanted)

    async def _look(self, wanted: NewOrder) -> None:
        """Any of several open orders may be named, so that the one that PostgreSQL names is looked at itself."""
        theirs, ours = [await one.look(USER, wanted, 1_000) for one in self.pairs["standing"]]
        assert theirs.open_count == ours.open_count
        assert (theirs.unknown_id is None) == (ours.unknown_id is None)
        if theirs.unknown_id is not None:
            found = self.record.orders[theirs.unknown_id]
            assert (found.market, found.side, found.size) == (wanted.market, wanted.side, wanted.size)
        self.counts["look"] = self.counts.get("look", 0) + 1

    async def doubts(self) -> None:
        known = [leg.client_id for _, leg in self.legs()]
        names = self.rng.sample(known, len(known) // 2)
        await self.call("orders", "hasten", self.rng.choice(ACCOUNTS), self.rng.choice((1.0, 10.0)))
        await self.call("orders", "doubt", self.rng.choice(ACCOUNTS), names, self.clock.now() - timedelta(seconds=5))

    async def of_deeds(self) -> None:
        rng, now = self.rng, self.clock.now()
        made = Deed(
            deed_id=self.uuid(), user_id=USER, account_id=rng.choice(ACCOUNTS).account_id, venue=LIGHTER,
            kind=DeedKind.SWITCH, subject="", request_id=self.uuid(), action=ScheduleCancel(cancel_time_ms=5),
            create_time=now, update_time=now,
        )  # fmt: skip
        if self.record.deeds and rng.random() < 0.3:
            made = replace(made, request_id=rng.choice(list(self.record.deeds.values())).deed.request_id)
        await self.call("deeds", "add", made)
        await self.call("deeds", "by_request", USER, made.request_id)
        await self.call("deeds", "under_way", made.account_id, DeedKind.SWITCH, "")
        if rng.random() < 0.1:
            await self.call("deeds", "release")
        self.deeds += sorted(await self.call("deeds", "claim", 1_000, 5.0), key=lambda one: one.deed_id)
        if self.deeds:
            held = rng.choice(self.deeds)
            heard = hear(held, rng.choice(list(Heard)), now)
            heard = replace(heard, is_settled=rng.random() < 0.5)
            if await self.call("deeds", "change", heard, due_s=1.0, holds=rng.random() < 0.3):
                self.deeds[self.deeds.index(held)] = heard
            await self.call("deeds", "get", held.deed_id)

    async def of_switches(self) -> None:
        rng, of = self.rng, self.rng.choice(ACCOUNTS)
        at = rng.choice((None, self.clock.now() + timedelta(seconds=rng.randrange(9))))
        switch = Switch(
            account_id=of.account_id, user_id=of.user_id, venue=of.venue, by_mesh=rng.random() < 0.5, cancel_time=at
        )
        await self.call("switches", "keep", switch)
        for due in await self.call("switches", "due", self.clock.now(), 100):
            await self.call(
                "switches", "fired", rng.choice((due, replace(due, cancel_time=datetime(2020, 1, 1, tzinfo=UTC))))
            )
        await self.call("switches", "get", of.account_id)
        await self.call("switches", "open_orders", of.account_id)

    async def of_halts(self) -> None:
        rng = self.rng
        kind = rng.choice(list(HaltKind))
        scope = Scope(kind, {HaltKind.EVERYTHING: "", HaltKind.VENUE: LIGHTER, HaltKind.USER: str(USER)}[kind])
        halt = Halt(
            halt_id=self.uuid(), scope=scope, reason="a drill", operator="me", cancels_orders=rng.random() < 0.5,
            create_time=self.clock.now(),
        )  # fmt: skip
        await self.call("halts", "begin", halt)
        await self.call("halts", "in_force")
        await self.call("halts", "open_orders", scope, 1_000)
        if rng.random() < 0.5:
            await self.call("halts", "end", scope, "me", self.clock.now())

    async def of_troubles(self) -> None:
        works = [leg.leg_id for _, leg in self.legs()] + [*self.record.deeds]
        if not works:
            return
        now, work_id = self.clock.now(), self.rng.choice(works)
        failing = Failing(
            work_id=work_id, kind=WorkKind.SIGN, trouble=Trouble.FAULT, user_id=USER,
            account_id=ACCOUNTS[0].account_id, venue=LIGHTER, last_error="no", first_time=now, last_time=now,
        )  # fmt: skip
        await self.call("troubles", "keep", failing)
        if self.rng.random() < 0.3:
            await self.call("troubles", "settle", work_id, now)
        await self.call("troubles", "settle_ended", now)
        await self.call("troubles", "failing")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres(Path("/tmp")) as server:
        yield server.url()


async def test_the_record_of_the_simulation_and_postgresql_are_one(address: str) -> None:
    connection = await connect(address)
    await connection.execute("CREATE SCHEMA execution")
    await connection.execute("SET search_path = execution")
    await migrate(connection, "execution", read_migrations(folder_of("execution")))  # type: ignore[arg-type]
    await connection.close()
    database = await Database.open("execution", PostgresConfig(url=address))
    try:
        both = Both(database, SEED)
        for count in range(CALLS_MAX):
            if count >= CALLS and both.counts.keys() >= WANTED:
                break
            await both.step()
            if count % WHOLE_EVERY == 0:
                await both.compare()
        await both.compare()
    finally:
        await database.close()
    print(
        f"{sum(both.counts.values())} calls of {len(both.counts)} kinds, {len(both.record.orders)} orders, seed {SEED}"
    )
    assert both.counts.keys() >= WANTED
