"""What can be asked of a venue for an account: the values behind `perpmesh.vault.v1.Action`, one type a kind.

An action says what is wanted in the house's words and in final numbers: on the venue's price grid and lots (`rounding`
puts them there), in the venue's own numbering. Each adapter's `wire` turns one into the bytes that are signed; nothing
else can be signed, and there is no action for a withdrawal, a transfer or a key.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from services.domain.decimals import Price, Rate, Size


class Side(Enum):
    """Buys or sells."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """1 for a buy, -1 for a sell."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        """The other side."""
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(Enum):
    """How an order finds its price; the contract's names."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP_MARKET = "STOP_MARKET"
    STOP_LIMIT = "STOP_LIMIT"
    TAKE_PROFIT_MARKET = "TAKE_PROFIT_MARKET"
    TAKE_PROFIT_LIMIT = "TAKE_PROFIT_LIMIT"

    @property
    def has_trigger(self) -> bool:
        """Whether it waits for the mark price."""
        return self not in (OrderType.MARKET, OrderType.LIMIT)

    @property
    def is_stop(self) -> bool:
        """Whether its trigger is against the position."""
        return self in (OrderType.STOP_MARKET, OrderType.STOP_LIMIT)

    @property
    def is_market(self) -> bool:
        """Whether it takes what it finds, once it is live."""
        return self in (OrderType.MARKET, OrderType.STOP_MARKET, OrderType.TAKE_PROFIT_MARKET)


class TimeInForce(Enum):
    """How long an order may wait for its price; the contract's names."""

    GOOD_TILL_CANCELED = "GOOD_TILL_CANCELED"
    IMMEDIATE_OR_CANCEL = "IMMEDIATE_OR_CANCEL"
    POST_ONLY = "POST_ONLY"


class MarginMode(Enum):
    """What stands behind a position; the contract's names."""

    CROSS = "CROSS"
    ISOLATED = "ISOLATED"


class Grouping(Enum):
    """How the orders of one action hang together."""

    NONE = "NONE"
    ENTRY_WITH_EXITS = "ENTRY_WITH_EXITS"
    """The first is the entry; the others are its exits, of which one cancels the other."""
    EXITS = "EXITS"
    """All are exits of a position; one cancels the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderTerms:
    """The terms of one order as the venue gets them."""

    market: str
    venue_market_id: int
    side: Side
    size: Size
    """Zero for an exit that takes the size of its entry, where the venue has that."""
    limit_price: Price
    """The limit; for a market order the worst price."""
    type: OrderType
    time_in_force: TimeInForce
    client_id: str
    """Hyperliquid's cloid in hex with 0x, Lighter's client order index in decimal; empty for none."""
    reduce_only: bool = False
    trigger_price: Price | None = None
    expire_time_ms: int | None = None
    """When the venue ends it; Lighter has that, Hyperliquid has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderReference:
    """Names one order: by our id, or by the venue's."""

    market: str
    venue_market_id: int
    client_id: str = ""
    order_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Places an order, with its exits where it has some."""

    orders: tuple[OrderTerms, ...]
    grouping: Grouping = Grouping.NONE
    priority_fee_bps: int = 0
    interface_fee_rate: Rate | None = None
    """The builder or integrator fee as a fraction of the notional; it must be approved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modify:
    """Changes an order that rests. Lighter counts the new size with what is filled, Hyperliquid without."""

    order: OrderReference
    terms: OrderTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Cancels orders."""

    orders: tuple[OrderReference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelAll:
    """Cancels every open order of the account, those placed elsewhere included; of one market where it is named."""

    market: str = ""
    venue_market_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLeverage:
    """Sets leverage and margin mode of one market."""

    market: str
    venue_market_id: int
    leverage: int
    margin_mode: MarginMode


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleCancel:
    """Arms the venue's own dead man's switch, or disarms it when `cancel_time_ms` is None."""

    cancel_time_ms: int | None = None


Action = Place | Modify | Cancel | CancelAll | SetLeverage | ScheduleCancel


class ActionError(ValueError):
    """An action that a venue cannot be asked for. `field` is what is wrong; the message says what would pass."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem
