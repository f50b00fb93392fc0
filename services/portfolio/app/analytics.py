"""What trading came to, computed from days and cached until a new fill makes it old."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.portfolio.app.desk import Desk
from services.portfolio.model.account import Account
from services.portfolio.model.performance import Grouping, Performance, Trading, Unrealized, perform
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import SETTLEMENT_ASSET, Environment
from services.portfolio.model.view import Marks
from services.portfolio.ports import Clock, Ended, FlowFilter, History, Ledger

FRESH_S: Final = 300.0
"""How long an answer is given again, unless something new was traded."""
ANSWERS_MAX: Final = 2_000
"""Answers kept; beyond it the one not asked for the longest is dropped."""
POINTS_MAX: Final = 2_000
"""Points of an equity curve at most."""
REPORTS_MAX: Final = 100_000
"""Orders that one question about quality looks at, the first by time."""
SAMPLE_S: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A serialized answer, the log event it agrees with, and until when it stands."""

    data: bytes
    sequence: int
    until: float


class Cache:
    """Answers by user and question: each stands for five minutes, while nothing newer was traded than it has seen."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._answers: OrderedDict[tuple[UUID, bytes], Answer] = OrderedDict()
        self.hits = 0

    async def get(self, user_id: UUID, question: bytes, make: Callable[[], Awaitable[tuple[bytes, int]]]) -> bytes:
        """Return the answer to a question, made where there is none that stands."""
        key = (user_id, question)
        found = self._answers.get(key)
        now = self._clock.monotonic()
        if found is not None and now < found.until and await self._ledger.revision(user_id) <= found.sequence:
            self._answers.move_to_end(key)
            self.hits += 1
            return found.data
        data, sequence = await make()
        self._answers[key] = Answer(data=data, sequence=sequence, until=now + FRESH_S)
        self._answers.move_to_end(key)
        while len(self._answers) > ANSWERS_MAX:
            self._answers.popitem(last=False)
        return data


class AnalyticsDesk:
    """Answers GetPerformance and GetExecutionQuality."""

    def __init__(self, desk: Desk, history: History, clock: Clock) -> None:
        self._desk = desk
        self._history = history
        self._clock = clock

    async def performance(
        self, user_id: UUID, wanted: FlowFilter, environment: Environment, groupings: Sequence[Grouping]
    ) -> tuple[Performance, int, float, datetime]:
        """Return a performance, the log event it agrees with, the age of its data in seconds, and when it was made."""
        views = await self._desk.one_environment(user_id, wanted.account_ids, environment)
        account_ids = [view.account.account_id for view in views]
        now = self._clock.now()
        past = await self._history.trading(user_id, account_ids, wanted, now=now, points_max=POINTS_MAX)
        trading = past.trading
        if trading.end >= now and len(trading.moments) > 1:
            marks, _ = await self._desk.now({market for one in past.accounts for market in one.lives})
            trading = replace(
                trading,
                unrealized=[
                    *(one for one in trading.unrealized if one.moment != trading.end),
                    *unrealized_now(past.accounts, marks, trading.end, wanted),
                ],
            )
        trading = replace(trading, equity=_equity(past.accounts, trading, past.cash_flow_after, wanted))
        return perform(trading, groupings), past.sequence, past.age_s, now

    async def reports(self, user_id: UUID, wanted: FlowFilter, environment: Environment) -> tuple[Ended, datetime]:
        """Return the reports of ended orders, and the time."""
        return await self._history.order_reports(user_id, wanted, environment, limit=REPORTS_MAX), self._clock.now()


class Sampler:
    """Remembers the mark prices of markets that somebody holds."""

    def __init__(self, desk: Desk, history: History, held: Callable[[], Awaitable[set[str]]], clock: Clock) -> None:
        self._desk = desk
        self._history = history
        self._held = held
        self._clock = clock

    async def run(self) -> None:
        """Sample again and again."""
        while True:
            markets = await self._held()
            marks, _ = await self._desk.now(markets)
            await self._history.sample(marks, self._clock.now())
            await self._clock.sleep(SAMPLE_S if markets else SAMPLE_S / 60)


def unrealized_now(accounts: Sequence[Account], marks: Marks, moment: datetime, wanted: FlowFilter) -> list[Unrealized]:
    """Return the unrealized profit of open positions at the marks of now."""
    found = []
    for account in accounts:
        if wanted.venue and account.venue != wanted.venue:
            continue
        for market, life in account.lives.items():
            mark = marks.of(account.venue, market)
            if mark is None or not life.size or (wanted.market and market != wanted.market):
                continue
            found.append(
                Unrealized(
                    moment=moment, venue=account.venue, market=market, side=life.side,
                    amount=life.unrealized(mark.price),
                )
            )  # fmt: skip
    return found


def _equity(accounts: Sequence[Account], trading: Trading, flow_after: Decimal, wanted: FlowFilter) -> Decimal:
    """Return the equity at the beginning: what is there now, less what came since, plus unrealized profit of then."""
    cash = ZERO
    for account in accounts:
        balance = account.balances.get(SETTLEMENT_ASSET)
        if balance is not None and balance.computed is not None and wanted.venue in ("", account.venue):
            cash += balance.computed
    for flow in trading.flows:
        cash -= flow.realized - flow.funding - sum((amount for _, amount in flow.costs), ZERO)
    cash -= flow_after + sum((amount for _, _, amount in trading.transfers), ZERO)
    return cash + sum((one.amount for one in trading.unrealized if one.moment == trading.start), ZERO)
