"""What the venue alone knows is taken over by an event, and what holds of fills goes on holding to the last digit."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random

import pytest

from services.domain.decimals import rounding
from services.portfolio.model.account import Account, Changes, Known
from services.portfolio.model.fold import fold
from services.portfolio.model.life import Life, LifeEvent
from services.portfolio.model.performance import Cell, Flow, Trading, Unrealized, perform
from services.portfolio.model.rounding import UNIT
from services.portfolio.model.values import (
    Environment,
    EventKind,
    Fill,
    LogEntry,
    Observation,
    ReportedMargin,
    ReportedPosition,
)

D = Decimal
START = datetime(2026, 9, 1, tzinfo=UTC)
ACCOUNT, USER = uuid.UUID(int=1), uuid.UUID(int=2)
MARKET = "BTC-PERP"


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def a_fill(number: int, second: float, size: str, price: str, fee: str = "0") -> Fill:
    return Fill(
        fill_id=uuid.UUID(int=number), order_id="", account_id=ACCOUNT, venue="hyperliquid", market=MARKET,
        size=D(size), price=D(price), costs=((2, D(fee)),), time=at(second),
    )  # fmt: skip


def seen(
    second: float, size: Decimal | str, entry: Decimal | str | None = None, *, reconciled: bool = False,
    complete: bool = True, cash: Decimal | None = None, mark: Decimal | str = "100", funding: str | None = None,
) -> Observation:  # fmt: skip
    size = D(size)
    price = D(entry) if entry is not None else None
    profit = size * (D(mark) - price) if price is not None else D(0)
    position = ReportedPosition(
        market=MARKET, size=size, entry_price=price, unrealized_pnl=profit if price is not None else None,
        mark_price=D(mark), funding_paid=D(funding) if funding is not None else None, received=at(second),
    )  # fmt: skip
    margin = ReportedMargin(equity=cash + profit, received=at(second)) if cash is not None else None
    return Observation(
        account_id=ACCOUNT, venue="hyperliquid", environment=Environment.SIMULATED, received=at(second),
        complete=complete, reconciled=reconciled, positions=(position,) if size else (), margin=margin,
    )  # fmt: skip


def run(whats: Sequence[Fill | Observation], batch: int = 1) -> tuple[Account, list[LifeEvent], dict[uuid.UUID, Life]]:
    accounts: dict[uuid.UUID, Account] = {}
    known = Known()
    events: list[LifeEvent] = []
    lives: dict[uuid.UUID, Life] = {}
    entries = [LogEntry(sequence=n, user_id=USER, written=START, what=(one,)) for n, one in enumerate(whats, 1)]
    for start in range(0, len(entries), batch):
        changes = Changes()
        for one in entries[start : start + batch]:
            fold(one, accounts, known, changes)
        events += [event for _, _, event in changes.events]
        lives.update((life.position_id, life) for _, life in changes.lives.values())
    return accounts[ACCOUNT], events, lives


def kinds(events: Sequence[LifeEvent]) -> list[EventKind]:
    return [event.kind for event in events]


def test_a_position_of_before_the_log_is_adopted_at_the_venues_entry_price_once_all_trades_were_asked_for() -> None:
    story = [
        seen(0, "2", "90", cash=D(1000), mark="100", funding="3"),
        seen(10, "2", "90", cash=D(1000), mark="100", funding="3"),  # nobody asked for trades yet
        seen(11, "2", "90", reconciled=True, cash=D(1000), mark="101", funding="3"),
        seen(13, "2", "90", cash=D(1000), mark="102", funding="3"),  # one may still be on its way
    ]
    account, events, _ = run(story)
    assert kinds(events) == [EventKind.RECONCILIATION]
    assert account.lives[MARKET].size == 0
    account, events, _ = run([*story, seen(16, "2", "90", cash=D(1000), mark="105", funding="3")])
    assert kinds(events) == [EventKind.RECONCILIATION, EventKind.ADOPTION]
    life = account.lives[MARKET]
    assert (life.signed_size, life.entry_price, life.fifo_entry_price, life.realized, life.fees) == (2, 90, 90, 0, 0)
    assert (life.adopted_size, life.adopted_entry, life.adopted_unrealized, life.adopted_funding) == (2, 90, 30, 3)
    assert life.adopted_at == at(16)
    assert "at 90" in events[-1].explanation
    assert not account.reports[MARKET].since
    # The account's value as the venue has it: its balance and the unrealized profit, from the first mark on.
    balance = account.balances["USDC"].computed
    assert balance is not None
    assert balance + life.unrealized(D(105)) == 1000 + 30


def test_it_is_closed_like_any_other_and_only_what_was_earned_since_is_performance() -> None:
    account, events, lives = run(
        [
            seen(0, "2", "90", reconciled=True, cash=D(1000)),
            seen(6, "2", "90", cash=D(1000), mark="100"),
            a_fill(1, 20, "-2", "104", "0.5"),
            seen(30, "0", cash=D("1027.5")),
        ]
    )
    assert kinds(events) == [EventKind.RECONCILIATION, EventKind.ADOPTION, EventKind.FILL]
    (life,) = lives.values()
    assert life.closed == at(20)
    assert (life.realized, life.fifo_realized, life.net_pnl, life.earned) == (28, 28, D("27.5"), D("7.5"))
    assert (account.balances["USDC"].computed, account.balances["USDC"].difference) == (D("1027.5"), 0)
    day = at(0).date()
    found = perform(
        Trading(
            start=at(-1), end=at(60), equity=D(1000), moments=[at(-1), at(60)],
            flows=[Flow(cell=Cell("hyperliquid", MARKET, 1, day), realized=D(28), funding=D(0), volume=D(208), fills=1,
                        costs=((2, D("0.5")),))],
            adoptions=[Unrealized(moment=at(6), venue="hyperliquid", market=MARKET, side=1, amount=D(20))],
        ),
        (),
    )  # fmt: skip
    assert (found.total.net, found.total.came, found.total.unrealized_change) == (D("7.5"), 20, -20)
    assert (found.curve[-1].equity, found.curve[-1].net) == (D("1027.5"), D("7.5"))


def test_what_the_venue_explains_in_time_is_never_adopted() -> None:
    _, events, _ = run(
        [
            a_fill(1, 0, "1", "100"),
            seen(10, "3", "110", reconciled=True),
            a_fill(2, 9, "2", "115"),  # it was on its way
            seen(20, "3", "110"),
        ]
    )
    assert EventKind.ADOPTION not in kinds(events)
    # Neither is what changes meanwhile: the doubt begins anew.
    _, events, _ = run([seen(0, "1", "100", reconciled=True), seen(10, "2", "100"), seen(20, "2", "100")])
    assert EventKind.ADOPTION not in kinds(events)


def test_a_missed_trade_grows_shrinks_ends_or_turns_a_position_to_what_the_venue_has() -> None:
    for size, entry, after in (("5", "104", 5), ("1", "100", 1), ("-3", "120", -3)):
        account, events, lives = run(
            [
                a_fill(1, 0, "2", "100"),
                seen(10, size, entry, reconciled=True, mark="110"),
                seen(20, size, entry, mark="110"),
            ]
        )
        life = account.lives[MARKET]
        assert (life.signed_size, life.entry_price) == (after, D(entry))
        assert sum((event.size_change for event in events), D(0)) == after
        assert sum((one.realized for one in lives.values()), D(0)) == 0
    account, events, lives = run(
        [a_fill(1, 0, "2", "100"), seen(10, "0", reconciled=True), seen(20, "0"), seen(30, "0")]
    )
    (life,) = lives.values()
    assert (not account.lives, life.closed, life.realized, life.fifo_realized) == (True, at(20), 0, 0)
    assert kinds(events) == [EventKind.FILL, EventKind.RECONCILIATION, EventKind.ADOPTION]
    assert "given up at its cost" in events[-1].explanation


def test_a_trade_that_is_told_after_it_was_adopted_takes_its_place() -> None:
    late = a_fill(2, 5, "3", "106", "0.1")
    grown = [a_fill(1, 0, "2", "100"), seen(10, "5", "103.6", reconciled=True), seen(20, "5", "103.6")]
    account, events, _ = run([*grown, late, seen(30, "5", "103.6")])
    life = account.lives[MARKET]
    assert (life.signed_size, life.entry_price, life.adopted_size, life.adopted_unrealized) == (5, D("103.6"), 0, 0)
    assert kinds(events)[-2:] == [EventKind.ADOPTION, EventKind.FILL]
    ended = [a_fill(1, 0, "2", "100"), seen(10, "0", reconciled=True), seen(20, "0", mark="110")]
    account, events, lives = run([*ended, a_fill(3, 5, "-2", "107", "0.1"), seen(30, "0"), seen(40, "0")])
    assert not account.lives
    assert sum((life.realized for life in lives.values()), D(0)) == 14
    assert sum((event.came for event in events), D(0)) == 0  # what had been left out of profit is back in it
    assert sum((event.size_change for event in events), D(0)) == 0


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_missed_ours_comes_to_the_venues_and_nothing_is_lost(seed: int) -> None:
    """A venue of average cost with a position of before the log; a quarter of its trades are told late or never."""
    rng = Random(seed)
    size, cost, cash = D(rng.randint(-5, 5)), D(0), D(10_000)
    cost = size * D(rng.randint(90, 110))
    story: list[Fill | Observation] = []
    held_back: list[Fill] = []

    def entry() -> Decimal | None:
        with rounding():
            return (cost / size).quantize(UNIT) if size else None

    second = 0.0
    for number in range(1, 400):
        second += rng.uniform(0.5, 9)
        if rng.random() < 0.3:
            change, price = D(rng.choice((-3, -2, -1, 1, 2, 3))), D(rng.randint(90, 110))
            with rounding():
                if size and (size > 0) != (change > 0):
                    part = min(abs(change), abs(size)) * (1 if size > 0 else -1)
                    cash += part * price - cost * part / size
                    cost -= cost * part / size
                    if abs(change) > abs(size):
                        cost = (size + change) * price
                else:
                    cost += change * price
            size += change
            fill = a_fill(number, second, str(change), str(price))
            if rng.random() < 0.75:
                story.append(fill)
            elif rng.random() < 0.5:
                held_back.append(fill)
        elif held_back and rng.random() < 0.1:
            story.append(held_back.pop(0))
        else:
            story.append(seen(second, size, entry(), reconciled=rng.random() < 0.5, mark=D(rng.randint(90, 110))))
    story += held_back
    story += [seen(second + at_, size, entry(), reconciled=True) for at_ in (1, 10, 20)]
    account, events, lives = run(copy.deepcopy(story))
    ours = account.lives[MARKET].signed_size if MARKET in account.lives else D(0)
    assert ours == size
    assert sum((event.size_change for event in events), D(0)) == size
    if size:
        assert not account.reports[MARKET].since.get("size")
    for life in lives.values():
        mine = [event for event in events if event.position_id == life.position_id]
        assert [event.number for event in mine] == list(range(1, len(mine) + 1))
        # Realized profit is that of fills, and the cost of what is open is a sum of what moved it.
        assert life.realized == sum((event.realized or D(0) for event in mine if event.fill_id), D(0))
        assert life.realized - life.side * life.cost == life.fifo_realized - life.side * life.fifo_cost
        assert life.fifo_cost == sum((lot.cost for lot in life.lots), D(0))
        assert life.size == sum((lot.size for lot in life.lots), D(0))
        assert life.adopted_unrealized == sum((event.came for event in mine), D(0))
        if life.closed is not None:
            assert (life.size, life.cost, life.realized) == (0, 0, life.fifo_realized)
    fills = [one for one in story if isinstance(one, Fill)]
    told = sum((fill.size for fill in fills), D(0))
    adopted = sum((event.size_change for event in events if event.kind is EventKind.ADOPTION), D(0))
    assert told + adopted == size
    assert kinds(events).count(EventKind.ADOPTION) >= 5
    assert any("give way" in event.explanation for event in events)
    again, events_again, lives_again = run(copy.deepcopy(story), 37)
    assert again == account
    assert events_again == events
    assert lives_again == lives
