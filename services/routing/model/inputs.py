"""What a quote is made from: books, rules, fees and the wish, at one moment. Values only.

Prices and sizes of levels are integers of the market's finest scales (`price_decimals`, `size_decimals`), everything
else is `Decimal`. Rates are fractions of the notional, times are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

ZERO = Decimal(0)


class Side(StrEnum):
    """The side of the trade; the contract's names."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """1 for a buy, -1 for a sale."""
        return 1 if self is Side.BUY else -1


class CapKind(StrEnum):
    """Where a limit above a venue's size comes from; the contract's names."""

    DEPTH = "DEPTH"
    SLIPPAGE = "SLIPPAGE"
    MARGIN = "MARGIN"
    POSITION_LIMIT = "POSITION_LIMIT"
    REDUCE_ONLY = "REDUCE_ONLY"
    BUDGET = "BUDGET"
    ORDER_LIMIT = "ORDER_LIMIT"
    TRADING_LIMIT = "TRADING_LIMIT"


@dataclass(frozen=True, slots=True)
class Cap:
    """A limit above what one venue may carry, in units of the base asset."""

    kind: CapKind
    size: Decimal


class VenueInputs(NamedTuple):
    """What is known of one venue. A named tuple, since each quote makes its own of those of the books."""

    venue: str
    book_version: int
    levels: tuple[tuple[int, int], ...]
    """(price, size) of the side that is taken, best first."""
    lot: int
    """The size step in units of `size_decimals`."""
    tick: Decimal
    price_significant_figures: int
    price_decimals: int
    min_size: Decimal
    """The smallest size. Prepared inputs have it on the lot, and the smallest notional in it."""
    min_notional: Decimal
    """The venue's smallest notional in USD; zero where it has none, where it is waived, or, once prepared, where
    `min_size` does not come from it."""
    taker_fee_rate: Decimal
    maker_fee_rate: Decimal
    own_levels: tuple[tuple[int, int], ...] = ()
    """The other side, where a resting order would queue; needed for resting plans alone."""
    caps: tuple[Cap, ...] = ()
    """Limits above the size. Prepared inputs have depth and slippage among them."""
    interface_fee_rate: Decimal = ZERO
    platform_fee_rate: Decimal = ZERO
    priority_fee_rate: Decimal = ZERO
    funding_rate_hourly: Decimal = ZERO
    mark_price: Decimal = ZERO
    latency_s: Decimal = ZERO
    book_age_s: Decimal = ZERO
    book_time_ns: int = 0
    """The venue's own time of the book; 0 where it gives none."""
    fee_decimals: int = 6
    closing_cost_rate: Decimal = ZERO
    fee_table_version: str = ""
    position_size: Decimal = ZERO
    """Signed; zero on the public basis."""
    account_id: str = ""
    max_leverage: int = 0
    """For the margin a leg takes; 0 where it is not known."""
    sells_priority: bool = False

    def seen(self, levels: tuple[tuple[int, int], ...], book_age_s: Decimal) -> VenueInputs:
        """Return the same with other levels and another age: `_replace` takes four times as long, for every quote."""
        return VenueInputs._make((*self[:_LEVELS], levels, *self[_LEVELS + 1 : _AGE], book_age_s, *self[_AGE + 1 :]))


_LEVELS: Final = VenueInputs._fields.index("levels")
_AGE: Final = VenueInputs._fields.index("book_age_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """A wish, and all that answers it. `venues` are ordered by name and are LIVE."""

    market: str
    side: Side
    size: Decimal
    size_in_usd: bool = False
    """Whether `size` is a notional in USD."""
    limit_price: Decimal | None = None
    max_slippage_bps: int | None = None
    reduce_only: bool = False
    resting: bool = False
    """Whether what does not trade at once waits at the limit price."""
    post_only: bool = False
    """Whether nothing of it may trade at once."""
    split_resting: bool = False
    holding_s: Decimal = ZERO
    arrival_mid_price: Decimal
    volatility: Decimal = ZERO
    """A fraction per square root of a year; zero switches the latency and staleness charges off."""
    risk_factor: Decimal = ZERO
    time_ns: int
    price_decimals: int
    size_decimals: int
    venues: tuple[VenueInputs, ...] = field(default=())
