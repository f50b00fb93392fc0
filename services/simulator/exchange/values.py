"""What goes in and comes out: wanted orders, orders, trades, events. Prices, sizes and money are scaled integers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["limit", "market", "stop", "stop_limit", "take", "take_limit", "liquidation"]
Tif = Literal["gtc", "ioc", "alo"]
Status = Literal["open", "waiting", "pending", "triggered", "filled", "canceled", "rejected"]
"""`waiting` is a child whose parent has not filled; `pending` is a trigger that has not fired."""
Reason = Literal[
    "", "user", "scheduled", "self_trade", "reduce_only", "margin", "sibling", "parent", "liquidation", "expired",
    "no_match", "no_liquidity", "post_only", "tick", "min_notional", "bad_trigger", "slippage", "position",
    "duplicate_client", "too_many_orders", "position_limit", "oracle", "modified", "price", "size", "unknown_market",
]  # fmt: skip

TRIGGERS: frozenset[Kind] = frozenset({"stop", "stop_limit", "take", "take_limit"})
MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Surcharge:
    """A builder's or integrator's fee: who gets it, and its rates for taking and making in 1e-6 of the notional."""

    account: int
    taker: int
    maker: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An order as an account asks for it.

    `price` bounds execution also for a market order. `size` 0 means the whole position (position-tied orders only).
    `client` is the account's own id, empty for none. `self_trade` is what happens when the account meets itself.
    """

    market: str
    buy: bool
    price: int
    size: int
    kind: Kind = "limit"
    tif: Tif = "gtc"
    reduce_only: bool = False
    trigger: int = 0
    client: str = ""
    expiry_ms: int = 0
    tied: bool = False
    surcharge: Surcharge | None = None
    self_trade: Literal["maker", "taker", "both", "reduce"] = "maker"
    by_master: bool = False
    twap: int | None = None


@dataclass(slots=True, kw_only=True)
class Order:
    """An order the exchange has accepted; `left` is what may still fill, `filled` and `quote` what has."""

    oid: int
    account: int
    wanted: Wanted
    left: int
    price: int
    placed_us: int
    changed_us: int
    sequence: int
    status: Status = "open"
    reason: Reason = ""
    asked: int = 0
    filled: int = 0
    quote: int = 0
    version: int = 0
    parent: int = 0
    children: list[int] = field(default_factory=list)
    siblings: list[int] = field(default_factory=list)
    fired: bool = False

    @property
    def live(self) -> bool:
        """Say whether the order may still do something."""
        return self.status in ("open", "waiting", "pending", "triggered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One side of a trade, as it stood: what it paid and what it held before. Signed sizes, money in 1e-6."""

    account: int
    oid: int
    client: str
    buy: bool
    taker: bool
    fee: int
    rate: int
    surcharge: int
    surcharge_to: int
    closed_pnl: int
    start: int
    entry_before: int
    margin_before: int
    allocated_before: int
    allocated_after: int
    version: int
    twap: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A trade in which at least one user took part; None stands for the crowd."""

    id: int
    time_us: int
    market: str
    price: int
    size: int
    buy: bool
    taker: Party | None
    maker: Party | None
    liquidated: int | None = None
    method: Literal["market", "backstop", "deleverage"] = "market"
    mark: int = 0

    def parties(self) -> list[Party]:
        """Return the users in it, the taker first."""
        return [party for party in (self.taker, self.maker) if party is not None]


@dataclass(frozen=True, slots=True)
class OrderChanged:
    """An order reached a status; `order` is a copy as it was then."""

    order: Order
    at_us: int


@dataclass(frozen=True, slots=True)
class Traded:
    """A trade happened."""

    trade: Trade


@dataclass(frozen=True, slots=True, kw_only=True)
class Funded:
    """Funding was paid (negative) or received: `rate` in 1e-10 an hour, `size` signed."""

    account: int
    market: str
    amount: int
    size: int
    rate: int
    at_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """Money came, left or changed pools by other means than trading. `kind` names why, `pools` from where to where.

    The fee of a withdrawal is within its amount, that of a transfer beside it.
    """

    account: int
    kind: str
    pool: str
    amount: int
    at_us: int
    other: int | None = None
    fee: int = 0
    pools: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Liquidated:
    """An account fell below its maintenance margin and something was done about it."""

    id: int
    account: int
    pool: str
    isolated: str
    notional: int
    value: int
    positions: tuple[tuple[str, int], ...]
    at_us: int


@dataclass(frozen=True, slots=True)
class SettingChanged:
    """An account's leverage or isolated margin in a market changed."""

    account: int
    market: str
    at_us: int


@dataclass(slots=True, kw_only=True)
class Twap:
    """A time-weighted order: `size` over `minutes`, in slices; `next_us` is when the next is due."""

    id: int
    account: int
    market: str
    buy: bool
    size: int
    minutes: int
    reduce_only: bool
    randomize: bool
    began_us: int
    next_us: int
    slices_left: int
    client: str = ""
    executed: int = 0
    quote: int = 0
    status: Literal["activated", "finished", "terminated", "error"] = "activated"
    error: str = ""
    parent_oid: int = 0
    bound: int = 0


@dataclass(frozen=True, slots=True)
class TwapChanged:
    """A TWAP began, ended or was stopped; `twap` is a copy."""

    twap: Twap
    at_us: int


Event = OrderChanged | Traded | Funded | Moved | Liquidated | SettingChanged | TwapChanged


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one wanted order, cancel or setting: `reason` is empty when it was accepted.

    `detail` carries what the venue's words need, such as the touch a post-only order would have met.
    """

    order: Order | None = None
    reason: str = ""
    detail: tuple[object, ...] = ()
    filled: int = 0
    quote: int = 0


def copy_of(order: Order) -> Order:
    """Return an order as it is now, for an event."""
    return Order(
        oid=order.oid, account=order.account, wanted=order.wanted, left=order.left, price=order.price,
        placed_us=order.placed_us, changed_us=order.changed_us, sequence=order.sequence, status=order.status,
        reason=order.reason, asked=order.asked, filled=order.filled, quote=order.quote, version=order.version,
        parent=order.parent, children=list(order.children), siblings=list(order.siblings), fired=order.fired,
    )  # fmt: skip
