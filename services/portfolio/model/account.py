"""An account as this room keeps it: open lives, balances, and what the venue last reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.portfolio.model.life import Life, LifeEvent
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import (
    Environment,
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


@dataclass(slots=True)
class Changes:
    """What a batch of the log came to, to be written in one transaction."""

    lives: dict[UUID, tuple[Account, Life]] = field(default_factory=dict)
    events: list[tuple[Account, Life, LifeEvent]] = field(default_factory=list)
    accounts: dict[UUID, Account] = field(default_factory=dict)
    balances: dict[tuple[UUID, str], Balance] = field(default_factory=dict)
    reports: dict[tuple[UUID, str], tuple[Account, Report]] = field(default_factory=dict)
    payments: list[tuple[Account, UUID | None, Payment]] = field(default_factory=list)
    transfers: list[tuple[Account, Transfer]] = field(default_factory=list)
    legs: dict[UUID, OpenLeg | None] = field(default_factory=dict)
    """Open legs by id; None for one that is open no more."""
    order_reports: list[tuple[UUID, OrderReport]] = field(default_factory=list)
    watched: Callable[[UUID], bool] = lambda _: False
    """Whether somebody watches a user's positions: then every change of one is kept as it then stood."""
    told: list[tuple[Account, Life]] = field(default_factory=list)
    """Every change that watchers are told of, in order; copies."""
    traded: set[UUID] = field(default_factory=set)
    """Users with new fills, payments or transfers, whose analytics are made anew."""

    def touch(self, account: Account, life: Life, events: list[LifeEvent], sequence: int) -> None:
        """Note that a life changed."""
        life.sequence = sequence
        self.lives[life.position_id] = (account, life)
        self.events.extend((account, life, event) for event in events if event.position_id == life.position_id)
        if self.watched(account.user_id):
            self.told.append((account, life.snapshot()))

    def touch_balance(self, account: Account, balance: Balance) -> None:
        """Note that a balance changed."""
        self.balances[account.account_id, balance.asset] = balance
        self.accounts[account.account_id] = account
