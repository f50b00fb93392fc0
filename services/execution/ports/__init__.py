"""All that execution asks of the world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Protocol
from uuid import UUID

from services.domain.refusal import Refusal
from services.execution.model.canceling import EVERYWHERE, CancelScope
from services.execution.model.deed import Deed, DeedKind
from services.execution.model.fate import Fate
from services.execution.model.leg import Leg, Trade
from services.execution.model.order import NewOrder, Order
from services.execution.model.quoted import Quoted
from services.execution.model.replacing import ReplaceAsked
from services.execution.model.reported import Report
from services.execution.model.switch import Switch
from services.venues.account import AccountState, Fees, FundingPaid, Transfer
from services.venues.actions import Action
from services.venues.trading import AccountRef, SignedBytes, TradingVenue


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLimits:
    """What an account's owner allows of orders that open, as far as a plan counts with it. The vault judges by all."""

    max_order_notional: Decimal | None = None
    """In USD; None for no limit, as for the next."""
    max_position_notional: Decimal | None = None
    markets: frozenset[str] = frozenset()
    """The markets allowed; empty for all."""
    reduce_only: bool = False

    def allow(self, market: str) -> bool:
        """Return whether an order that opens may be of a market."""
        return not self.reduce_only and (not self.markets or market in self.markets)


NO_LIMITS: Final = OwnLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class TradingAccount:
    """An account that may trade, and whose it is."""

    account_id: UUID
    user_id: UUID
    venue: str
    environment: str
    is_default: bool
    can_trade: bool
    why_not: str
    ref: AccountRef
    has_our_key: bool = True
    """Whether a key of ours works there; where none does, its owner signs."""
    limits: OwnLimits = NO_LIMITS
    budget_spent: bool = False
    """Whether its venue lets it send nothing for too long, so that a plan gives it nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLeg:
    """What one venue is to carry."""

    venue: str
    size: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A plan; without legs it is infeasible, and `refusal` says why."""

    quote_id: UUID
    legs: tuple[PlannedLeg, ...]
    size: Decimal
    arrival_mid_price: Decimal
    refusal: Refusal | None = None
    quoted: Quoted | None = None
    """What it is expected to cost; None where it is infeasible."""
    refusals: tuple[Refusal, ...] = ()
    """Everything that stands in its way; `refusal` is the first."""
    max_size: Decimal | None = None
    """The largest size that the venues together would carry."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """A leg that a worker holds, with the order it belongs to and the fencing number of the lease."""

    order: Order
    leg: Leg
    fence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What a venue said of an account."""

    account: TradingAccount
    receive_time: datetime
    state: AccountState | None = None
    fees: Fees | None = None
    funding: tuple[FundingPaid, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    reconciled: bool = False
    """Whether all trades of before it were asked for, and recorded before it."""


class Accounts(Protocol):
    """The accounts of users, by the vault."""

    async def of_user(self, user_id: UUID) -> Sequence[TradingAccount]:
        """Return a user's accounts."""
        ...

    async def every(self) -> Sequence[TradingAccount]:
        """Return all accounts of all users."""
        ...


class Signer(Protocol):
    """The vault's signer."""

    async def sign(self, work: Work, account: TradingAccount, action: Action, number: int) -> SignedBytes | Refusal:
        """Return the bytes of an action; the same ones again for the same leg and number."""
        ...

    async def review(self, account_id: UUID, action: Action) -> Refusal | None:
        """Say why an action would not be signed now; None where it would be."""
        ...

    async def settle(self, work: Work, number: int, fate: Fate) -> None:
        """Say what became of an action. Raises OUTCOME_CONTRADICTED, RESOURCE_UNKNOWN, FENCED."""
        ...


class DeedSigner(Protocol):
    """The vault's signer, for what is done to an account."""

    async def sign_deed(self, deed: Deed, account: TradingAccount) -> SignedBytes | Refusal:
        """Return the bytes of a deed; the same ones again for the same deed."""
        ...

    async def settle_deed(self, deed: Deed, fate: Fate) -> None:
        """Say what became of a deed. Raises OUTCOME_CONTRADICTED, RESOURCE_UNKNOWN, FENCED."""
        ...


class Planner(Protocol):
    """routing's planner."""

    async def plan(
        self, wanted: NewOrder, accounts: Sequence[TradingAccount], order_id: UUID, *, preview: bool = False
    ) -> Route:
        """Return the cheapest route over the venues of `accounts`; a preview is kept nowhere."""
        ...


class Venues(Protocol):
    """The venues to trade at."""

    def at(self, venue: str, environment: str) -> TradingVenue:
        """Return one. Raises VENUE_UNKNOWN."""
        ...


class Scribe(Protocol):
    """Writes what others read of an order, a trade and an account."""

    def order(self, order: Order) -> bytes:
        """Return a log event of an order as it stands, without its number."""
        ...

    def fill(self, user_id: UUID, order_id: UUID | None, leg_id: UUID | None, trade: Trade, number: int) -> bytes:
        """Return a log event of a trade, without its number."""
        ...

    def observed(self, observed: Observed) -> bytes:
        """Return a log event of what a venue said, without its number."""
        ...

    def report(self, report: Report) -> bytes:
        """Return a log event of what an order came to, without its number."""
        ...

    def numbered(self, event: bytes, sequence: int, write_time: datetime) -> bytes:
        """Return a log event with its number and time."""
        ...


class Orders(Protocol):
    """The record of orders, legs and fills. Every change of a leg names its fence, or is told of by a venue."""

    async def by_request(self, user_id: UUID, request_id: UUID) -> Order | None:
        """Return the order a request made."""
        ...

    async def add(self, order: Order, *, lease_s: float | None = None) -> Order:
        """Make an order durable with its legs and events; of two twins the loser reads the winner's.

        With `lease_s` its legs that are due are held from the start, with the first fencing number.
        Raises REQUEST_ID_REUSED where another open order has its client_order_id by now.
        """
        ...

    async def get(self, user_id: UUID, order_id: UUID) -> Order | None:
        """Return an order of a user."""
        ...

    async def claim(self, count: int, lease_s: float, *, urgent: bool = False) -> Sequence[Work]:
        """Take legs that are due under a lease with a new fencing number, those that are urgent first, or alone.

        Urgent are cancels, and bytes whose outcome is not known.
        """
        ...

    async def waiting(self, most: int) -> tuple[int, int]:
        """Return how many new legs are due that nobody holds, at most `most`, and since when in Unix ns or 0."""
        ...

    async def release(self) -> None:
        """Have every leg that a worker holds looked at now; for the start, when whoever held it is gone."""
        ...

    async def change(self, work: Work, change: Callable[[Leg], Leg], *, due_s: float) -> Work | None:
        """Apply a change to a leg as it now stands; None where another worker holds it by now, and nothing was kept.

        `due_s` is when a worker is to look again; a leg that has ended is not looked at again.
        """
        ...

    async def told(
        self,
        account: TradingAccount,
        venue_order_id: str,
        client_id: str,
        change: Callable[[Leg], Leg],
        *,
        look_s: float | None = None,
    ) -> bool:
        """Apply to a leg what its venue told of it, whoever holds it. False where it is no leg of ours.

        One that has not ended by that is looked up in `look_s` seconds.
        """
        ...

    async def doubt(self, account: TradingAccount, open_ids: Sequence[str], before: datetime) -> int:
        """Have the open legs of an account looked up that stood before a time and are not among its open orders."""
        ...

    async def hasten(self, account: TradingAccount, within_s: float) -> None:
        """Have the open legs of an account looked up within some seconds: its stream tells nothing of them now."""
        ...

    async def record(self, account: TradingAccount, trades: Sequence[Trade]) -> int:
        """Count trades, each once by the venue's own id; return how many were new."""
        ...

    async def observe(self, observed: Observed) -> None:
        """Write to the log what a venue said of an account."""
        ...

    async def want_cancel(self, user_id: UUID, order_id: UUID, scope: CancelScope = EVERYWHERE) -> Order | None:
        """Note that what is open of an order in a scope is to be canceled, and have a worker look at once."""
        ...

    async def slicing(self, count: int) -> Sequence[Order]:
        """Return orders whose next slice is due."""
        ...

    async def remedying(self, count: int) -> Sequence[Order]:
        """Return orders on which something is due by their policy, or by the rule of their hedge."""
        ...

    async def schedule(self, user_id: UUID, order_id: UUID, change: Callable[[Order], Order]) -> Order | None:
        """Change the schedule of a user's order, with the legs of a slice and cancels of others; None for no order.

        `change` is applied to the order as it then stands; the same order back changes nothing.
        """
        ...

    async def replace(self, order: Order, asked: ReplaceAsked, decide: Callable[[Order], Order]) -> Order:
        """Have an order get new terms, as `decide` says of it as it then stands; the same request changes it once.

        Raises REQUEST_ID_REUSED.
        """
        ...

    async def was_replaced(self, order: Order, asked: ReplaceAsked) -> bool:
        """Whether this request has changed the order before. Raises REQUEST_ID_REUSED for other terms under its id."""
        ...

    async def succeed(self, work: Work, consumed: Decimal) -> None:
        """Have a leg that was to be replaced and has ended followed by the next; `consumed` is what it traded."""
        ...

    async def last_transfer_ms(self, account_id: UUID) -> int:
        """Return when the last transfer of an account that was written happened; 0 where there is none."""
        ...

    async def last_fill_ms(self, account_id: UUID) -> int:
        """Return when the last counted trade of an account happened; 0 where there is none."""
        ...


class DeedStore(Protocol):
    """The record of deeds."""

    async def add(self, deed: Deed) -> bool:
        """Make a deed durable; False where its request made one, or another of its subject is under way."""
        ...

    async def get(self, deed_id: UUID) -> Deed:
        """Return a deed."""
        ...

    async def by_request(self, user_id: UUID, request_id: UUID) -> Deed | None:
        """Return the deed a request made."""
        ...

    async def under_way(self, account_id: UUID, kind: DeedKind, subject: str) -> Deed | None:
        """Return the deed of a subject that is under way."""
        ...

    async def claim(self, count: int, lease_s: float) -> Sequence[Deed]:
        """Take deeds that are due under a lease with a new fencing number."""
        ...

    async def release(self) -> None:
        """Have every deed that is held looked at now; for the start, when whoever held it is gone."""
        ...

    async def change(self, deed: Deed, *, due_s: float, holds: bool = False) -> bool:
        """Keep a deed as it now stands; False where another holds it by now. `holds` keeps the lease."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What stands of a user's orders beside one that is wanted."""

    open_count: int
    twin_id: UUID | None = None
    """The open order with the same client_order_id."""
    unknown_id: UUID | None = None
    """The order of the same market, side and size whose outcome is not known."""
    known: bool = False
    """Whether the same request has made an order."""


class Standing(Protocol):
    """The record of orders, as intake looks at it."""

    async def look(self, user_id: UUID, wanted: NewOrder | None, open_max: int) -> Look:
        """Return what stands; at most `open_max` orders are counted."""
        ...


class Switches(Protocol):
    """The record of dead man's switches."""

    async def get(self, account_id: UUID) -> Switch | None:
        """Return the switch of an account, if it ever had one."""
        ...

    async def keep(self, switch: Switch) -> Switch:
        """Keep a switch as it was accepted; its count of fires stays."""
        ...

    async def due(self, now: datetime, count: int) -> Sequence[Switch]:
        """Return switches whose time has come."""
        ...

    async def fired(self, switch: Switch) -> None:
        """Note that a switch has fired, unless it was armed anew meanwhile."""
        ...

    async def open_orders(self, account_id: UUID) -> list[UUID]:
        """Return our orders of an account that have not ended and are not being canceled."""
        ...


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        ...

    def time_ns(self) -> int:
        """Nanoseconds since 1970."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Chance(Protocol):
    """New ids."""

    def uuid(self) -> UUID:
        """Return a new id."""
        ...


class Workers(Protocol):
    """Those who send."""

    def reserve(self, count: int) -> bool:
        """Keep places for new legs; False where there are not so many."""
        ...

    def give_back(self, count: int) -> None:
        """Give places back that were kept."""
        ...

    def take(self, works: Sequence[Work]) -> None:
        """Do works for which places were kept."""
        ...


Wake = Callable[[], None]
"""Tells the workers that something is due."""
Spawn = Callable[[str, Callable[[], Awaitable[None]]], None]
"""Starts a supervised task."""
