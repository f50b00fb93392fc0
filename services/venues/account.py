"""What a venue says of one account: orders, fills, positions, balances, margin. Values only; numbers are `Decimal`.

Times are milliseconds since the Unix epoch as the venue states them, 0 where it states none. A market is its canonical
name, or empty where the venue names one that is not listed here (spot, or delisted and forgotten); `symbol` is always
the venue's own word.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import Enum

from services.domain.decimals import Price, Rate, Size, Usd
from services.domain.refusal import RefusalReason
from services.venues.actions import MarginMode, OrderType, Side, TimeInForce


class OrderStatus(Enum):
    """Where an order stands at the venue."""

    OPEN = "OPEN"
    WAITING = "WAITING"
    """For its trigger, or for its parent to fill."""
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    """It was refused when it was matched, and never rested."""
    EXPIRED = "EXPIRED"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows any more."""
        return self not in (OrderStatus.OPEN, OrderStatus.WAITING)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderRecord:
    """An order as the venue knows it."""

    market: str
    symbol: str
    order_id: str
    client_id: str
    """Ours, or empty."""
    side: Side
    type: OrderType | None
    """None where the channel does not say."""
    time_in_force: TimeInForce | None
    limit_price: Price
    trigger_price: Price | None
    size: Size
    """As placed, or as shrunk by the venue where it says so."""
    remaining: Size
    filled: Size | None
    """None where the venue does not say; then only fills tell."""
    reduce_only: bool
    status: OrderStatus
    venue_status: str
    """The venue's own word."""
    reason: RefusalReason | None = None
    """Why it ended, where it was not filled nor canceled by its owner."""
    parent_id: str = ""
    triggered: bool = False
    """Whether its trigger was reached, as far as the channel says."""
    create_time_ms: int = 0
    update_time_ms: int = 0
    version: int = 0
    """Grows with each change of this order, as finely as the venue tells; two states of one version are the same."""


class Liquidity(Enum):
    """Which side of a trade the account was on."""

    MAKER = "MAKER"
    TAKER = "TAKER"


class FillCause(Enum):
    """Why a trade happened; the contract's names."""

    ORDER = "ORDER"
    LIQUIDATION = "LIQUIDATION"
    DELEVERAGING = "DELEVERAGING"
    SETTLEMENT = "SETTLEMENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One trade of the account. `fill_id` is unique at the venue for the account, and the same on every channel."""

    fill_id: str
    market: str
    symbol: str
    order_id: str
    client_id: str
    """Ours, empty where the venue does not repeat it."""
    side: Side
    price: Price
    size: Size
    liquidity: Liquidity
    cause: FillCause
    fee: Usd
    """The venue's own part, in `fee_asset`; negative for a rebate."""
    interface_fee: Usd
    """What a builder or integrator got, beside `fee`."""
    fee_asset: str
    realized_pnl: Usd | None
    """Before fees; None where the venue does not say."""
    position_before: Size | None
    """Signed; None where the venue does not say."""
    time_ms: int
    transaction: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """An open position. `size` is signed."""

    market: str
    symbol: str
    size: Size
    entry_price: Price
    notional: Usd
    mark_price: Price | None
    liquidation_price: Price | None
    unrealized_pnl: Usd
    realized_pnl: Usd | None
    funding_paid: Usd | None
    """Since it was opened; positive was paid."""
    margin_used: Usd | None
    margin_mode: MarginMode
    leverage: Decimal
    isolated_collateral: Usd | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Leverage and margin mode of a market, with a position or without."""

    market: str
    leverage: Decimal
    margin_mode: MarginMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """How much of one asset the account has."""

    asset: str
    total: Decimal
    held: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """The account's margin as the venue computes it."""

    equity: Usd
    initial: Usd
    maintenance: Usd | None
    available: Usd
    """For new positions."""
    withdrawable: Usd


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountState:
    """Everything a venue says of an account at one moment."""

    margin: Margin
    balances: tuple[Balance, ...]
    positions: tuple[Position, ...]
    settings: tuple[Setting, ...]
    mode: str
    """How collateral is held: the venue's word for it, such as `unifiedAccount`; `default` where there is one way."""
    cancel_all_time_ms: int = 0
    """When the dead man's switch fires; 0 while it is not armed, or where the venue does not say."""
    time_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fees:
    """What the account pays, as fractions of the notional."""

    maker: Rate
    taker: Rate
    tier: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Money that came into a wallet of the account (positive) or left it. Between two wallets of it there are two."""

    transfer_id: str
    """Unique at the venue for the account, and the same whenever it is asked for."""
    kind: str
    """The venue's word."""
    wallet: str
    """The venue's word, such as `spot`; empty for the one that perpetuals are traded from."""
    asset: str
    amount: Decimal
    """What the balance changed by, the fee included."""
    fee: Decimal
    counterparty: str
    """The other side, as the venue names it; empty where it does not say."""
    time_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FundingPaid:
    """One funding payment; positive was received."""

    market: str
    symbol: str
    amount: Usd
    rate: Rate
    position_size: Size
    time_ms: int
