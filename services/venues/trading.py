"""What the house asks of an exchange for an account: the second port of a venue, beside its market data (`port.py`).

Two protocols and not one, because two rooms need them: market data listens to public sockets and knows no account;
execution trades and owns every private connection. They share listings, budgets and REST clients, not lifetimes.

The way of an order: `rounded` puts its numbers on the venue's grid, the vault signs exactly that, `submit` posts the
bytes it was given and says what came of them. Every submission has three outcomes, which are three types: `Accepted`,
`Refused`, `Unknown`. An error from a venue is not a refusal: whatever may have been acted on is `Unknown`, and
`trace` asks the venue until it is not. Identical bytes may be sent again; other bytes for the same wish never.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from services.domain.decimals import Price, Size
from services.domain.feed import FeedState
from services.domain.refusal import Refusal
from services.venues.account import AccountState, Balance, Fees, Fill, FundingPaid, OrderRecord, Position
from services.venues.actions import Action, OrderReference, OrderTerms, SetLeverage
from services.venues.budget import BudgetUse
from services.venues.port import LimitUse


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRef:
    """An account at a venue. Hyperliquid knows it by `address`, Lighter by `index`."""

    account_id: str
    """The house's own name of it."""
    address: str = ""
    """Hyperliquid: master, sub-account or vault, in lower case. Lighter: the L1 address, for its budgets."""
    index: int = 0
    api_key_index: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBytes:
    """What the vault signed: the bytes to post and what they say. Posted as they are, again and again if need be."""

    body: bytes
    action: Action
    nonce: int
    expire_time_ms: int
    """After this the venue refuses them."""
    transaction_type: int = 0
    transaction_hash: str = ""


class Standing(Enum):
    """What the venue did with what it accepted."""

    RESTING = "RESTING"
    FILLED = "FILLED"
    """All of it, or all that an immediate order could get."""
    WAITING = "WAITING"
    """For a trigger, or for its parent."""
    QUEUED = "QUEUED"
    """Taken in and not yet acted on: the sequencer may still refuse it. The stream or `trace` tells."""
    DONE = "DONE"
    """For what is no order: canceled, set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The venue took it."""

    standing: Standing
    order_id: str = ""
    client_id: str = ""
    filled: Size | None = None
    average_price: Price | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The venue said no, and means it: nothing of it exists there."""

    refusal: Refusal


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have been acted on. Never guess: send the identical bytes again, or `trace` them. `message` says why."""

    message: str
    retry_after_s: float | None = None


Outcome = Accepted | Refused | Unknown


class NonceFate(Enum):
    """What became of the nonce; what the vault's allocator must hear."""

    USED = "USED"
    FREE = "FREE"
    """The venue refused before it looked at the nonce."""
    REFUSED = "REFUSED"
    """The venue refused the nonce itself: ask where it stands."""
    KEY_UNKNOWN = "KEY_UNKNOWN"
    """The venue does not know who signed; the key is dead."""
    NOT_SENT = "NOT_SENT"
    """Nothing left this machine."""
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """What came of one post: an outcome for each order of the action, in its order; one for any other action."""

    outcomes: tuple[Outcome, ...]
    nonce: NonceFate
    transaction_hash: str = ""
    predicted_time_ms: int = 0
    """When the venue expects to act on it; 0 where it does not say."""


# --- the private stream ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamChanged:
    """How far the stream can be trusted. LIVE only after the account was reconciled."""

    state: FeedState
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrdersSeen:
    """Orders that changed; with `whole`, all that are open, so that any other known one has ended."""

    orders: tuple[OrderRecord, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FillsSeen:
    """Trades not told before, oldest first."""

    fills: tuple[Fill, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsSeen:
    """Positions that changed, flat ones with size zero; with `whole`, all that are open."""

    positions: tuple[Position, ...]
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancesSeen:
    """Balances that changed."""

    balances: tuple[Balance, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSeen:
    """The whole account, as the venue pushed or answered it."""

    state: AccountState


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingSeen:
    """Funding payments not told before, oldest first."""

    payments: tuple[FundingPaid, ...]


AccountEvent = StreamChanged | OrdersSeen | FillsSeen | PositionsSeen | BalancesSeen | StateSeen | FundingSeen
AccountEmit = Callable[[AccountEvent], Awaitable[None]]
"""Takes one event and keeps it; awaited, so that nothing is lost: while it waits, the stream waits."""


class TradingVenue(Protocol):
    """Trading at one exchange, in one environment. Methods that ask the venue raise `VenueError`; `submit` never."""

    @property
    def name(self) -> str:
        """The venue's name, such as `hyperliquid`."""
        ...

    @property
    def orders_nonces(self) -> bool:
        """Whether the nonces of a key must arrive in a row, so that its bytes are posted one after another."""
        ...

    async def load(self) -> None:
        """Learn what is listed; again at any time."""
        ...

    def rounded(self, terms: OrderTerms) -> OrderTerms:
        """Return `terms` with prices and size on the venue's grid, never worse for their owner than asked.

        Raises `ActionError` where nothing is left, or the market is not listed.
        """
        ...

    def split(self, action: Action) -> tuple[Action, ...]:
        """Return `action` as the fewest actions that the venue takes, each to be signed with a nonce of its own."""
        ...

    async def plan_cancel_all(self, account: AccountRef, market: str = "") -> tuple[Action, ...]:
        """Return what cancels every open order of the account, or of one market."""
        ...

    async def submit(self, account: AccountRef, signed: SignedBytes, *, again: bool = False) -> Submission:
        """Post the bytes; `again` says that they may have been posted before. Never raises for what a venue does."""
        ...

    async def trace(self, account: AccountRef, signed: SignedBytes) -> tuple[Outcome, ...]:
        """Ask the venue what became of these bytes. NEVER_LANDED is answered only where it is proven."""
        ...

    async def state(self, account: AccountRef) -> AccountState:
        """Return the account as it stands."""
        ...

    async def fees(self, account: AccountRef) -> Fees:
        """Return what the account pays."""
        ...

    async def setting(self, account: AccountRef, market: str) -> SetLeverage:
        """Return a market's leverage, 0 where the venue does not say, and margin mode, with a position or without.

        Raises `ActionError` where the market is not listed.
        """
        ...

    async def open_orders(self, account: AccountRef) -> tuple[OrderRecord, ...]:
        """Return all open orders, those waiting for a trigger included."""
        ...

    async def order(self, account: AccountRef, reference: OrderReference) -> OrderRecord | None:
        """Return one order by our id or the venue's; None where the venue knows of none."""
        ...

    async def fills(self, account: AccountRef, *, since_ms: int, until_ms: int | None = None) -> tuple[Fill, ...]:
        """Return all trades of a time, both ends included, oldest first, each once."""
        ...

    async def next_nonce(self, account: AccountRef) -> int | None:
        """Return the nonce the venue expects next; None where it has no order of nonces."""
        ...

    async def watch(self, account: AccountRef, emit: AccountEmit, *, since_ms: int = 0) -> None:
        """Tell everything that happens to the account until canceled, reconciled after every reconnect.

        Trades since `since_ms` are told first. Nothing is missed and nothing told twice: trades are told once by their
        id, orders only when they change.
        """
        ...

    def limits(self) -> tuple[LimitUse, ...]:
        """Return how much of each of the venue's limits is in use."""
        ...

    async def budgets_of(self, account: AccountRef) -> tuple[BudgetUse, ...]:
        """Return how much of each limit is left for an account, our network address's limits among them."""
        ...

    def order_wait_s(self, account: AccountRef) -> float:
        """Return how long until one more order of an account may go by what is counted; 0 for now."""
        ...

    async def close(self) -> None:
        """Give the sockets back."""
        ...
