"""The fold's properties over random histories: nothing is lost to the last digit, and twice is once."""

from __future__ import annotations

import copy
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.portfolio.model.account import Account, Changes, Known
from services.portfolio.model.fold import fold
from services.portfolio.model.life import Life, apply_fill
from services.portfolio.model.values import (
    Environment,
    EventKind,
    Fill,
    LogEntry,
    MarginMode,
    Observation,
    Payment,
    ReportedBalance,
    ReportedPosition,
    Transfer,
    TransferKind,
)

D = Decimal
START = datetime(2026, 9, 1, tzinfo=UTC)
ACCOUNT, USER = uuid.UUID(int=1), uuid.UUID(int=2)
MARKETS = ("BTC-PERP", "ETH-PERP", "SOL-PERP")


def new_id(rng: Random) -> uuid.UUID:
    return uuid.UUID(int=rng.getrandbits(128))


def a_fill(rng: Random, number: int, market: str = "BTC-PERP", size: str = "", price: str = "") -> Fill:
    return Fill(
        fill_id=new_id(rng),
        order_id="",
        account_id=ACCOUNT,
        venue="hyperliquid",
        market=market,
        size=D(size) if size else D(rng.randint(-(10**6), 10**6) or 1).scaleb(-5),
        price=D(price) if price else D(rng.randint(1, 10**7)).scaleb(-2),
        costs=((2, D(rng.randint(-1_000, 9_000)).scaleb(-6)), (3, D(rng.randint(0, 9)).scaleb(-6))),
        time=START + timedelta(seconds=number),
    )


def entry(number: int, *what: object) -> LogEntry:
    return LogEntry(
        sequence=number,
        user_id=USER,
        written=START,
        what=what,  # type: ignore[arg-type]
    )


def history(rng: Random, count: int) -> list[LogEntry]:
    """Return a history that begins with what the venue has, and holds fills, funding and transfers."""
    first = Observation(
        account_id=ACCOUNT, venue="hyperliquid", environment=Environment.SIMULATED, received=START,
        complete=True, balances=(ReportedBalance(asset="USDC", total=D("100000.5")),),
    )  # fmt: skip
    entries = [entry(1, first)]
    for number in range(2, count + 2):
        time = START + timedelta(seconds=number)
        kind = rng.random()
        if kind < 0.93:
            entries.append(entry(number, a_fill(rng, number, rng.choice(MARKETS))))
            continue
        payment = Payment(
            payment_id=new_id(rng), market=rng.choice(MARKETS), amount=D(rng.randint(-10**6, 10**6)).scaleb(-6),
            rate=D("0.0001"), position_size=D(1), time=time,
        )  # fmt: skip
        moved = Transfer(
            transfer_id=new_id(rng), venue_transfer_id=str(number), kind=TransferKind.DEPOSIT, asset="USDC",
            amount=D(rng.randint(-10**9, 10**9)).scaleb(-6), fee=D(0), counterparty="", time=time,
        )  # fmt: skip
        seen = Observation(
            account_id=ACCOUNT, venue="hyperliquid", environment=Environment.SIMULATED, received=time,
            payments=(payment,) if kind < 0.97 else (), transfers=(moved,) if kind >= 0.97 else (),
        )  # fmt: skip
        entries.append(entry(number, seen))
    return entries


def run(entries: list[LogEntry], batch: int) -> tuple[Account, list[Changes]]:
    accounts: dict[uuid.UUID, Account] = {}
    known, every = Known(), []
    for start in range(0, len(entries), batch):
        changes = Changes()
        for one in entries[start : start + batch]:
            fold(one, accounts, known, changes)
        for account, life in changes.lives.values():
            if life.closed is not None:
                known.past.setdefault((account.account_id, life.market), []).append(life)
        every.append(changes)
    return accounts[ACCOUNT], every


@pytest.mark.parametrize("seed", range(3))
def test_profit_fees_and_funding_are_the_change_of_equity_to_the_last_unit(seed: int) -> None:
    rng = Random(seed)
    entries = history(rng, 10_000)
    account, every = run(entries, 500)
    marks = {market: D(rng.randint(1, 10**7)).scaleb(-2) for market in MARKETS}
    # By cash alone, as a venue would count it: what was bought went out, what was sold came in.
    cash, sizes = D("100000.5"), dict.fromkeys(MARKETS, D(0))
    moved = D(0)
    for one in entries[1:]:
        for what in one.what:
            if isinstance(what, Fill):
                cash -= what.size * what.price + what.total_cost
                sizes[what.market] += what.size
            elif isinstance(what, Observation):
                cash += sum((payment.amount for payment in what.payments), D(0))
                moved += sum((transfer.amount for transfer in what.transfers), D(0))
    equity = cash + moved + sum((sizes[market] * marks[market] for market in MARKETS), D(0))
    lives = {life.position_id: life for changes in every for _, life in changes.lives.values()}
    realized = sum((life.realized for life in lives.values()), D(0))
    fees = sum((life.fees for life in lives.values()), D(0))
    funding = -sum((payment.amount for changes in every for _, _, payment in changes.payments), D(0))
    unrealized = sum((life.unrealized(marks[market]) for market, life in account.lives.items()), D(0))
    assert D("100000.5") + realized + unrealized - fees - funding + moved == equity
    balance = account.balances["USDC"].computed
    assert balance is not None
    assert balance + unrealized == equity
    days = [flow for changes in every for flow in changes.daily.values()]
    assert sum((flow.realized for flow in days), D(0)) == realized
    assert sum((flow.funding for flow in days), D(0)) == funding
    assert sum((sum(flow.costs.values(), D(0)) for flow in days), D(0)) == fees
    ended = [life.net_pnl for life in lives.values() if life.closed is not None]
    assert sum(flow.closed for flow in days) == len(ended)
    assert sum(flow.wins for flow in days) == sum(net > 0 for net in ended)
    assert sum((flow.won + flow.lost for flow in days), D(0)) == sum(ended, D(0))
    assert {market: account.lives[market].signed_size for market in account.lives} == {
        market: size for market, size in sizes.items() if size
    }


@pytest.mark.parametrize("seed", range(3))
def test_average_and_fifo_agree_at_the_end_of_every_life_and_in_total(seed: int) -> None:
    rng = Random(100 + seed)
    life: Life | None = None
    lives: dict[uuid.UUID, Life] = {}
    for number in range(10_000):
        back = str(-life.signed_size) if life is not None and rng.random() < 0.3 else ""
        touched, _ = apply_fill(life, a_fill(rng, number, size=back))
        lives.update((one.position_id, one) for one in touched)
        life = touched[-1] if touched[-1].size else None
    closed = [one for one in lives.values() if one.closed is not None]
    assert len(closed) > 1_000
    for one in closed:
        assert one.realized == one.fifo_realized
        assert (one.size, one.cost, one.fifo_cost, len(one.lots)) == (0, 0, 0, 0)
    for one in lives.values():  # open or closed: what differs in profit is in the cost of what is open
        assert one.realized + one.side * -one.cost == one.fifo_realized + one.side * -one.fifo_cost
        assert one.fifo_cost == sum((lot.cost for lot in one.lots), D(0))
        assert one.size == sum((lot.size for lot in one.lots), D(0))


def test_the_batches_do_not_matter_and_neither_does_hearing_it_twice() -> None:
    entries = history(Random(7), 3_000)
    one, _ = run(copy.deepcopy(entries), 1)
    many, _ = run(copy.deepcopy(entries), 700)
    twice, _ = run([part for each in copy.deepcopy(entries) for part in (each, each)], 500)
    assert one == many == twice


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(-50, 50).filter(bool), st.integers(1, 1_000)), min_size=1, max_size=40))
def test_a_life_is_of_one_side_and_a_turn_ends_it(trades: list[tuple[int, int]]) -> None:
    life: Life | None = None
    size, numbers = D(0), 0
    for number, (amount, price) in enumerate(trades):
        fill = a_fill(Random(number), number, size=str(amount), price=str(price))
        touched, events = apply_fill(life, fill)
        size += amount
        last = touched[-1]
        assert last.signed_size == size
        assert (last.closed is not None) == (size == 0)
        assert len(events) == len(touched)
        assert sum((event.size_change for event in events), D(0)) == amount
        assert sum((event.fees for event in events), D(0)) == fill.total_cost
        numbers += len(events)
        life = last if last.size else None
    assert numbers >= len(trades)


def observation(at: int, size: str | None, *, complete: bool = True, **more: object) -> Observation:
    now = START + timedelta(seconds=at)
    said = ReportedPosition(market="BTC-PERP", size=D(size), received=now, **more) if size is not None else None  # type: ignore[arg-type]
    return Observation(
        account_id=ACCOUNT, venue="hyperliquid", environment=Environment.SIMULATED, received=now, complete=complete,
        positions=(said,) if said is not None else (),
    )  # fmt: skip


def kinds(every: list[Changes]) -> list[EventKind]:
    return [event.kind for changes in every for _, _, event in changes.events]


def test_a_position_of_the_venue_alone_has_a_life_until_it_is_gone() -> None:
    account, every = run(
        [
            entry(1, observation(1, "2", entry_price=D(90))),
            entry(2, observation(2, "2")),
            entry(3, observation(3, None)),
        ],
        1,
    )
    assert not account.lives
    assert kinds(every) == [EventKind.RECONCILIATION, EventKind.RECONCILIATION]
    (_, life) = next(iter(every[0].lives.values()))
    assert (life.size, life.closed) == (0, START + timedelta(seconds=3))


def test_a_stream_ahead_of_its_fill_is_no_difference_and_a_late_word_no_news() -> None:
    fill = a_fill(Random(1), 10, size="1", price="100")
    account, every = run(
        [
            entry(1, observation(9, "1", complete=False)),
            entry(2, fill),
            entry(3, observation(5, None)),
            entry(4, observation(11, "1")),
        ],
        1,
    )
    assert kinds(every) == [EventKind.FILL]
    assert account.reports["BTC-PERP"].since == {}


def test_leverage_and_collateral_that_change_are_events_of_the_life() -> None:
    fill = a_fill(Random(1), 0, size="1", price="100")
    isolated = {"margin_mode": MarginMode.ISOLATED, "entry_price": D(100)}
    _, every = run(
        [
            entry(1, fill),
            entry(2, observation(1, "1", leverage=10, isolated_collateral=D(10), **isolated)),
            entry(3, observation(2, "1", leverage=20, isolated_collateral=D(10), **isolated)),
            entry(4, observation(3, "1", leverage=20, isolated_collateral=D(15), **isolated)),
            entry(5, observation(4, "1", leverage=20, isolated_collateral=D(14), funding_paid=D(1), **isolated)),
        ],
        1,
    )
    assert kinds(every) == [EventKind.FILL, EventKind.LEVERAGE, EventKind.COLLATERAL]
    assert every[3].events[0][2].explanation == "Isolated collateral of 5 USD was added."
