"""An account's stream: trades told once, orders only when they change, and everything missed is told after."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from services.domain.decimals import Price, Size, Usd
from services.domain.feed import FeedState
from services.venues.account import (
    AccountState,
    Fill,
    FillCause,
    FundingPaid,
    Liquidity,
    Margin,
    OrderRecord,
    OrderStatus,
)
from services.venues.actions import OrderReference, OrderType, Side
from services.venues.port import VenueError
from services.venues.subscriptions import Subscription
from services.venues.trading import AccountEvent, FillsSeen, FundingSeen, OrdersSeen, StateSeen, StreamChanged
from services.venues.watching import AccountWatch, Told
from tests.support.clock import ManualClock

ZERO = Decimal(0)


def order(number: int = 1, *, status: OrderStatus = OrderStatus.OPEN, version: int = 1, **more: object) -> OrderRecord:
    plain = OrderRecord(
        market="BTC-PERP",
        symbol="BTC",
        order_id=str(number),
        client_id=f"c{number}",
        side=Side.BUY,
        type=OrderType.LIMIT,
        time_in_force=None,
        limit_price=Price(Decimal(10)),
        trigger_price=None,
        size=Size(Decimal(5)),
        remaining=Size(Decimal(5)),
        filled=None,
        reduce_only=False,
        status=status,
        venue_status=status.value,
        version=version,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def fill(number: int, time_ms: int = 0) -> Fill:
    return Fill(
        fill_id=str(number),
        market="BTC-PERP",
        symbol="BTC",
        order_id="1",
        client_id="c1",
        side=Side.BUY,
        price=Price(Decimal(10)),
        size=Size(Decimal(1)),
        liquidity=Liquidity.TAKER,
        cause=FillCause.ORDER,
        fee=Usd(ZERO),
        interface_fee=Usd(ZERO),
        fee_asset="USDC",
        realized_pnl=None,
        position_before=None,
        time_ms=time_ms or number,
    )


def test_a_trade_is_told_once_however_often_and_in_whatever_order_it_comes() -> None:
    rng = random.Random(3)
    told, seen = Told(), []
    rows = [fill(n) for n in range(1, 200)] * 3
    rng.shuffle(rows)
    for start in range(0, len(rows), 7):
        seen += [f.fill_id for f in told.fills(rows[start : start + 7])]
    assert sorted(seen, key=int) == [str(n) for n in range(1, 200)]
    assert told.watermark_ms == 199


def test_an_order_is_told_when_it_changes_and_never_after_its_end() -> None:
    told = Told()
    assert told.orders([order()]) == (order(),)
    assert told.orders([order()]) == ()
    part = order(version=2, remaining=Size(Decimal(3)))
    assert told.orders([part]) == (part,)
    assert told.orders([order(version=1)]) == ()  # an older state comes late
    lesser = order(version=3, type=None, client_id="", remaining=Size(Decimal(2)))
    (completed,) = told.orders([lesser])
    assert (completed.type, completed.client_id) == (OrderType.LIMIT, "c1")
    end = order(status=OrderStatus.FILLED, version=4)
    assert told.orders([end]) == (end,)
    assert told.orders([order(version=9)]) == ()
    assert told.open_orders == ()


def test_an_order_that_fills_at_once_is_told_with_its_end_though_the_times_are_equal() -> None:
    told = Told()
    rows = [order(version=10), order(status=OrderStatus.FILLED, version=12, remaining=Size(ZERO))]
    assert [o.status for o in told.orders(rows)] == [OrderStatus.OPEN, OrderStatus.FILLED]


def test_funding_is_told_once() -> None:
    told = Told()
    paid = FundingPaid(
        market="BTC-PERP", symbol="BTC", amount=Usd(ZERO), rate=ZERO, position_size=Size(ZERO), time_ms=5  # type: ignore[arg-type]
    )  # fmt: skip
    assert told.funding(FundingSeen(payments=(paid,))) is not None
    assert told.funding(FundingSeen(payments=(paid,))) is None


STATE = AccountState(
    margin=Margin(equity=Usd(ZERO), initial=Usd(ZERO), maintenance=None, available=Usd(ZERO), withdrawable=Usd(ZERO)),
    balances=(),
    positions=(),
    settings=(),
    mode="default",
)


class Truth:
    """What the venue would answer."""

    def __init__(self) -> None:
        self.open: dict[str, OrderRecord] = {}
        self.all: dict[str, OrderRecord] = {}
        self.trades: list[Fill] = []
        self.failures = 0

    async def open_orders(self) -> tuple[OrderRecord, ...]:
        return tuple(self.open.values())

    async def order(self, reference: OrderReference) -> OrderRecord | None:
        return self.all.get(reference.order_id)

    async def fills(self, since_ms: int) -> tuple[Fill, ...]:
        if self.failures:
            self.failures -= 1
            raise VenueError("away")
        return tuple(f for f in self.trades if f.time_ms >= since_ms)

    async def ended_orders(self, since_ms: int) -> tuple[OrderRecord, ...]:
        return tuple(o for o in self.all.values() if o.status.is_final and o.update_time_ms >= since_ms)

    async def state(self) -> AccountState:
        return STATE


class Script:
    """A dialect whose frames are the events themselves, by number."""

    def __init__(self) -> None:
        self.events: dict[bytes, Sequence[AccountEvent]] = {}

    async def subscriptions(self) -> tuple[tuple[Subscription, ...], int | None]:
        return (), None

    def heard(self, link: object, data: bytes, receive_time_ns: int) -> Sequence[AccountEvent]:
        if data == b"bad":
            raise ValueError("cannot be read")
        return self.events[data]


class Line:
    """A link that is subscribed while `acked`."""

    def __init__(self) -> None:
        self.session = self
        self.acked_count = 0
        self.recycled = 0

    def recycle(self, reason: str) -> None:
        self.recycled += 1


async def run_randomly(seed: int) -> None:
    """A venue trades on while its stream is cut, delayed and repeated at random; in the end all is told, once."""
    rng, truth, script, line = random.Random(seed), Truth(), Script(), Line()
    told: list[AccountEvent] = []

    async def emit(event: AccountEvent) -> None:
        told.append(event)
        if rng.random() < 0.3:
            await asyncio.sleep(0)

    clock = ManualClock()
    watch = AccountWatch(name="t", dialect=script, sources=truth, emit=emit, clock=clock, since_ms=0)  # type: ignore[arg-type]
    watch._wanted = 1
    driving = asyncio.create_task(watch._drive())
    now, backlog = 1_000_000, []
    for step in range(120):
        now += rng.randrange(1, 5_000)
        number = step + 1
        if rng.random() < 0.5 or not truth.open:
            made = order(number, version=now)
            truth.open[made.order_id] = truth.all[made.order_id] = made
            event: AccountEvent = OrdersSeen(orders=(made,))
        else:
            known = rng.choice(list(truth.open.values()))
            at_ms = clock.time_ns() // 1_000_000
            ended = replace(known, status=OrderStatus.FILLED, version=now, remaining=Size(ZERO), update_time_ms=at_ms)
            del truth.open[known.order_id]
            truth.all[known.order_id] = ended
            trade = replace(fill(number, now), order_id=known.order_id)
            truth.trades.append(trade)
            backlog.append(FillsSeen(fills=(trade,)))
            event = OrdersSeen(orders=(ended,))
        backlog.append(event)
        if rng.random() < 0.15:  # the line is cut: what is on it is lost
            backlog.clear()
            line.acked_count = 0
            watch.lost(line, ("x",), "cut", 0)  # type: ignore[arg-type]
        elif line.acked_count == 0 and rng.random() < 0.5:
            line.acked_count = 1
            truth.failures = rng.randrange(3)
            backlog.clear()
            script.events[b"ack"] = ()
            watch.frame(line, b"ack", 0)  # type: ignore[arg-type]
        elif line.acked_count:
            rng.shuffle(backlog)
            for item in backlog + backlog[:1]:
                script.events[b"e"] = (item,)
                watch.frame(line, b"e", 0)  # type: ignore[arg-type]
            backlog.clear()
            if rng.random() < 0.1:
                watch.frame(line, b"bad", 0)  # type: ignore[arg-type]
        await clock.advance(rng.random() * 3)
    line.acked_count = 1
    watch.lost(line, ("x",), "cut", 0)  # type: ignore[arg-type]
    truth.failures = 0
    script.events[b"ack"] = ()
    watch.frame(line, b"ack", 0)  # type: ignore[arg-type]
    for _ in range(60):
        await clock.advance(10)
        await asyncio.sleep(0)
    driving.cancel()
    await asyncio.wait((driving,))
    fills = [f.fill_id for e in told if isinstance(e, FillsSeen) for f in e.fills]
    assert sorted(fills) == sorted(f.fill_id for f in truth.trades), f"seed {seed}"
    last: dict[str, OrderRecord] = {}
    for seen in told:
        if isinstance(seen, OrdersSeen):
            for record in seen.orders:
                known_before = last.get(record.order_id)
                assert known_before is None or not known_before.status.is_final or record.status.is_final, (
                    f"seed {seed}"
                )
                last[record.order_id] = record
    told_open = {number for number, record in last.items() if not record.status.is_final}
    assert told_open == set(truth.open), f"seed {seed}"
    assert last.keys() == truth.all.keys(), f"seed {seed}: an order came and ended untold"
    ends = [o.order_id for e in told if isinstance(e, OrdersSeen) for o in e.orders if o.status.is_final]
    assert len(ends) == len(set(ends)), f"seed {seed}"
    states = [e.state for e in told if isinstance(e, StreamChanged)]
    assert states[-1] is FeedState.LIVE
    assert any(isinstance(e, StateSeen) for e in told)


async def test_nothing_is_missed_and_nothing_told_twice_over_random_cuts() -> None:
    for seed in range(60):
        await run_randomly(seed)


async def test_an_order_the_venue_forgot_counts_as_ended() -> None:
    truth, script, line, told = Truth(), Script(), Line(), []

    async def emit(event: AccountEvent) -> None:
        told.append(event)

    watch = AccountWatch(name="t", dialect=script, sources=truth, emit=emit, clock=ManualClock(), since_ms=0)  # type: ignore[arg-type]
    watch.told.orders([order(7)])
    watch._wanted, line.acked_count = 1, 1
    driving = asyncio.create_task(watch._drive())
    script.events[b"a"] = ()
    watch.frame(line, b"a", 0)  # type: ignore[arg-type]
    for _ in range(20):
        await asyncio.sleep(0)
    driving.cancel()
    await asyncio.wait((driving,))
    ended = [o for e in told if isinstance(e, OrdersSeen) and not e.whole for o in e.orders]
    assert [(o.order_id, o.status) for o in ended] == [("7", OrderStatus.CANCELED)]
