"""An account as this room keeps it: open lives, balances, and what the venue last reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias
from uuid import UUID

from services.portfolio.model.adoption import Adopted, Doubt
from services.portfolio.model.life import Life, LifeEvent
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import (
    Costs,
    Environment,
    EventKind,
    OpenLeg,
    OrderReport,
    Payment,
    ReportedFees,
    ReportedMargin,
    ReportedPosition,
    Transfer,
)


@dataclass(slots=True, kw_only=True)
class Balance:
    """One asset: what the venue reports, and what our log comes to since the venue first reported it."""

    asset: str
    total: Decimal | None = None
    held: Decimal = ZERO
    received: datetime | None = None
    computed: Decimal | None = None
    """None until the venue has reported it once: a log that begins in the middle knows no beginning."""
    anchored: datetime | None = None
    """The moment of that first report; what happened before it is in it."""
    differs_since: datetime | None = None

    @property
    def difference(self) -> Decimal:
        """Return what the venue reports less what we compute; zero while one of them is not known."""
        return self.total - self.computed if self.total is not None and self.computed is not None else ZERO

    def add(self, amount: Decimal, time: datetime) -> None:
        """Count money that came (positive) or went at `time`."""
        if self.computed is not None and self.anchored is not None and time > self.anchored:
            self.computed += amount
            self.compare(time)

    def compare(self, now: datetime) -> None:
        """Note since when the two differ."""
        self.differs_since = (self.differs_since or now) if self.difference else None


@dataclass(slots=True, kw_only=True)
class Report:
    """The venue's last word on one position, and since when which of its values differ from ours."""

    position: ReportedPosition
    since: dict[str, datetime] = field(default_factory=dict)
    doubt: Doubt | None = None
    adopted: Adopted | None = None


@dataclass(slots=True, kw_only=True)
class Account:
    """An account of a user at a venue."""

    account_id: UUID
    user_id: UUID
    venue: str
    environment: Environment = Environment.UNSPECIFIED
    margin: ReportedMargin | None = None
    fees: ReportedFees | None = None
    updated: datetime
    balances: dict[str, Balance] = field(default_factory=dict)
    reports: dict[str, Report] = field(default_factory=dict)
    lives: dict[str, Life] = field(default_factory=dict)
    """The open ones, by market."""

    def balance(self, asset: str) -> Balance:
        """Return the balance of an asset, made on first use."""
        found = self.balances.get(asset)
        if found is None:
            found = self.balances[asset] = Balance(asset=asset)
        return found

    def snapshot(self) -> Account:
        """Return a copy that stands still, to be shown."""
        return replace(
            self,
            balances={asset: replace(balance) for asset, balance in self.balances.items()},
            reports=dict(self.reports),
            lives={market: life.snapshot() for market, life in self.lives.items()},
        )


@dataclass(slots=True)
class Known:
    """What has been counted already, so that nothing is counted twice."""

    fills: set[UUID] = field(default_factory=set)
    payments: set[UUID] = field(default_factory=set)
    transfers: set[UUID] = field(default_factory=set)
    past: dict[tuple[UUID, str], list[Life]] = field(default_factory=dict)
    """Closed lives that payments of the batch may belong to, by account and market."""


DayKey: TypeAlias = tuple[UUID, date, UUID, str, int]
"""User, UTC day, account, market, side of the position."""


@dataclass(slots=True, kw_only=True)
class DayFlow:
    """What one day came to in one market."""

    venue: str
    realized: Decimal = ZERO
    funding: Decimal = ZERO
    volume: Decimal = ZERO
    fills: int = 0
    costs: Costs = field(default_factory=dict)
    closed: int = 0
    wins: int = 0
    losses: int = 0
    won: Decimal = ZERO
    lost: Decimal = ZERO
    held_us: int = 0
    adopted: int = 0
    """Adoptions: they add nothing, and yet there was a position."""

    @property
    def is_empty(self) -> bool:
        """Say whether there is nothing to add."""
        return not (
            self.fills or self.funding or self.closed or self.wins or self.losses or self.won or self.lost
            or self.adopted
        )  # fmt: skip

    def count_end(self, net: Decimal, sign: int) -> None:
        """Count the end of a position with a net profit, or with a sign of -1 take it back."""
        self.closed += sign
        if net > 0:
            self.wins += sign
            self.won += sign * net
        elif net < 0:
            self.losses += sign
            self.lost += sign * net

    def count(self, event: LifeEvent) -> None:
        """Count an event of a life."""
        self.realized += event.realized or ZERO
        self.funding += event.funding
        if event.kind is EventKind.ADOPTION:
            self.adopted += 1
        elif event.price is not None:
            self.volume += event.price * abs(event.size_change)
            self.fills += 1
        for kind, amount in event.costs:
            self.costs[kind] = self.costs.get(kind, ZERO) + amount


@dataclass(slots=True)
class Changes:
    """What a batch of the log came to, to be written in one transaction."""

    lives: dict[UUID, tuple[Account, Life]] = field(default_factory=dict)
    events: list[tuple[Account, Life, LifeEvent]] = field(default_factory=list)
    accounts: dict[UUID, Account] = field(default_factory=dict)
    balances: dict[tuple[UUID, str], Balance] = field(default_factory=dict)
    reports: dict[tuple[UUID, str], tuple[Account, Report]] = field(default_factory=dict)
    payments: list[tuple[Account, UUID | None, Payment]] = field(default_factory=list)
    transfers: list[tuple[Account, Transfer, datetime]] = field(default_factory=list)
    legs: dict[UUID, OpenLeg | None] = field(default_factory=dict)
    """Open legs by id; None for one that is open no more."""
    order_reports: list[tuple[UUID, OrderReport]] = field(default_factory=list)
    watched: Callable[[UUID], bool] = lambda _: False
    """Whether somebody watches a user's positions: then every change of one is kept as it then stood."""
    told: list[tuple[Account, Life]] = field(default_factory=list)
    """Every change that watchers are told of, in order; copies."""
    daily: dict[DayKey, DayFlow] = field(default_factory=dict)
    """What the batch adds to each day."""
    traded: set[UUID] = field(default_factory=set)
    """Users with new fills, payments or transfers, whose analytics are made anew."""

    def touch(self, account: Account, life: Life, events: list[LifeEvent], sequence: int) -> None:
        """Note that a life changed."""
        life.sequence = sequence
        self.lives[life.position_id] = (account, life)
        for event in events:
            if event.position_id == life.position_id:
                self.events.append((account, life, event))
                self.day(account, life.market, event.side, event.time).count(event)
        if life.closed is not None and life.opened_size and life.counted != life.earned:
            self._count_end(account, life, life.closed)
        if self.watched(account.user_id):
            self.told.append((account, life.snapshot()))

    def _count_end(self, account: Account, life: Life, closed: datetime) -> None:
        """Count the end of a life for its day; a payment that comes later counts it anew."""
        day = self.day(account, life.market, life.side, closed)
        if life.counted is not None:
            day.count_end(life.counted, -1)
        else:
            day.held_us += (closed - life.opened) // timedelta(microseconds=1)
        life.counted = life.earned
        day.count_end(life.counted, 1)

    def day(self, account: Account, market: str, side: int, time: datetime) -> DayFlow:
        """Return what the batch adds to a UTC day, made on first use."""
        key = (account.user_id, time.date(), account.account_id, market, side)
        found = self.daily.get(key)
        if found is None:
            found = self.daily[key] = DayFlow(venue=account.venue)
        return found

    def touch_balance(self, account: Account, balance: Balance) -> None:
        """Note that a balance changed."""
        self.balances[account.account_id, balance.asset] = balance
        self.accounts[account.account_id] = account
