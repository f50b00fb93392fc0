"""All that the portfolio room asks of the world."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from services.portfolio.model.account import Account, Changes, Known
from services.portfolio.model.life import Life, LifeEvent
from services.portfolio.model.margin import MarketRules
from services.portfolio.model.performance import Trading
from services.portfolio.model.values import Environment, LogEntry, OpenLeg, OrderReport, Payment, Transfer
from services.portfolio.model.view import Marks


class Clock(Protocol):
    """Time."""

    def now(self) -> datetime:
        """Return the wall time, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class LogTail(Protocol):
    """The log as it is written, fast and forgetful: what it brings may have holes, and may have been said before."""

    async def read(self) -> Sequence[LogEntry]:
        """Return what came since the last call, waiting a while for it; nothing when there is nothing or it is away."""
        ...


class LogSource(Protocol):
    """The log as it is kept: slow and complete."""

    async def read_from(self, sequence: int) -> tuple[Sequence[LogEntry], int]:
        """Return events from a number on, without a hole, and the number of the last one written."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An account's owner and one of its positions, with what the venue says of it: a line of ListPositions."""

    account: Account
    """With the reports of the positions in the answer, and no other lives."""
    life: Life


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeFilter:
    """Which lives are wanted; None or empty for any."""

    market: str = ""
    venue: str = ""
    side: int = 0
    open: bool | None = None
    account_ids: tuple[UUID, ...] = ()
    position_id: UUID | None = None
    start: datetime | None = None
    end: datetime | None = None
    environment: Environment = Environment.UNSPECIFIED


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFilter:
    """Which payments, transfers or trading are wanted; None or empty for any. `start` inclusive, `end` exclusive."""

    market: str = ""
    venue: str = ""
    account_ids: tuple[UUID, ...] = ()
    position_id: UUID | None = None
    kind: str = ""
    start: datetime | None = None
    end: datetime | None = None


class Ledger(Protocol):
    """What the fold has written. Every call that names a user sees that user's alone."""

    async def cursor(self) -> int:
        """Return the number of the last log event applied."""
        ...

    async def load(self, account_ids: Collection[UUID]) -> dict[UUID, Account]:
        """Return those of the accounts that exist, whole."""
        ...

    async def known(self, entries: Sequence[LogEntry]) -> Known:
        """Return which ids of `entries` have been counted, and the closed lives that their payments may belong to."""
        ...

    async def write(self, changes: Changes, *, before: int, after: int) -> bool:
        """Write everything and move the cursor from `before` to `after`, at once; False when it stands elsewhere."""
        ...

    async def positions(
        self, user_id: UUID, wanted: LifeFilter, *, after: tuple[str, str, UUID] | None, limit: int
    ) -> tuple[Sequence[Held], int]:
        """Return open positions by market, venue and account, and the cursor they agree with."""
        ...

    async def accounts(self, user_id: UUID, account_ids: Collection[UUID], environment: Environment) -> list[Account]:
        """Return the user's accounts whole, by venue and id; all of them when none is named."""
        ...

    async def lives(
        self, user_id: UUID, wanted: LifeFilter, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[Held]:
        """Return lives, the last opened first."""
        ...

    async def closed_since(self, user_id: UUID, sequence: int, *, limit: int) -> Sequence[Held]:
        """Return the lives that ended by log events after `sequence`, each with its account."""
        ...

    async def events(self, position_ids: Collection[UUID], *, each_max: int) -> Mapping[UUID, Sequence[LifeEvent]]:
        """Return the newest events of lives, the newest first."""
        ...

    async def payments(
        self, user_id: UUID, wanted: FlowFilter, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[tuple[Payment, UUID | None, UUID, str]]:
        """Return payments with position, account and venue, the newest first."""
        ...

    async def transfers(
        self, user_id: UUID, wanted: FlowFilter, *, after: tuple[datetime, UUID] | None, limit: int
    ) -> Sequence[tuple[Transfer, UUID, str, datetime]]:
        """Return transfers with account, venue and the time of receipt, the newest first."""
        ...

    async def open_legs(self, account_id: UUID, market: str) -> Sequence[OpenLeg]:
        """Return the orders of an account that rest in a market."""
        ...

    async def revision(self, user_id: UUID) -> int:
        """Return the log event of the user's last fill, payment, transfer or report; 0 for none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What analytics read, and how current it was."""

    trading: Trading
    """Without the unrealized profit of the last moment where that is now: see `accounts`."""
    accounts: Sequence[Account]
    """The accounts as they stood in the data that was read."""
    cash_flow_after: Decimal
    """What fills, payments and transfers came to after the window, in the settlement asset."""
    sequence: int
    """The log event that the data had applied."""
    age_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Orders that have ended, and how current that was."""

    reports: Sequence[OrderReport]
    """Of those that were routed, by time."""
    unrouted: int
    """How many more there are that were not routed."""
    sequence: int
    """The log event that the data had applied."""
    age_s: float


class History(Protocol):
    """What analytics read, from a replica where one is fresh enough."""

    async def trading(
        self, user_id: UUID, account_ids: Sequence[UUID], wanted: FlowFilter, *, now: datetime, points_max: int
    ) -> Past:
        """Return what a performance is computed from."""
        ...

    async def order_reports(self, user_id: UUID, wanted: FlowFilter, environment: Environment, *, limit: int) -> Ended:
        """Return reports of ended orders by time, at most `limit`."""
        ...

    async def sample(self, marks: Marks, now: datetime) -> None:
        """Remember mark prices."""
        ...


class Markets(Protocol):
    """What market_data knows: mark prices, and the venues' margin rules."""

    async def marks(self, markets: Collection[str]) -> Marks:
        """Return the marks of some markets, as fresh as half a second; those that are not known are left out."""
        ...

    async def rules(self) -> Mapping[tuple[str, str], MarketRules]:
        """Return how the venues count margin, by (venue, market); what is not known is missing."""
        ...

    async def environment(self, venue: str) -> Environment:
        """Return what network a venue's feed comes from: what an account lives in when its report does not say."""
        ...
