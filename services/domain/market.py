"""Markets: canonical names, and what each venue allows in its listing of one.

A market is one contract over all venues. Two venues' listings are one market only by the table in `market_table.py`:
the same ticker on two venues is no proof of the same contract, and a wrong join would show a false arbitrage. The
rules, in order:

1. Hyperliquid's first dex owns the plain names: `BTC` is `BTC-PERP`; a leading `k` means a thousand, so `kPEPE` is
   `1000PEPE-PERP`.
2. A HIP-3 market carries its dex: `xyz:TSLA` is `XYZ-TSLA-PERP`.
3. A Lighter symbol in the table is the plain market; any other carries its venue: `LIGHTER-TSLA-PERP`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_UP, Decimal
from enum import Enum
from typing import Final

from services.domain.decimals import Price, Rate, Size, Usd, rounding
from services.domain.market_table import LIGHTER_SHARED

HYPERLIQUID: Final = "hyperliquid"
LIGHTER: Final = "lighter"

_NAME_PART: Final = re.compile(r"[A-Z0-9]{1,20}", re.ASCII)


class Status(Enum):
    """Whether a venue trades a market."""

    ACTIVE = "active"
    HALTED = "halted"
    DELISTED = "delisted"


class Source(Enum):
    """Where a venue's values come from; what is not the market's must say so wherever it is shown."""

    MAINNET = "mainnet"
    TESTNET = "testnet"
    SIMULATED = "simulated"


class MarketNameError(ValueError):
    """A venue's symbol that has no canonical name."""


@dataclass(frozen=True, slots=True)
class LeverageTier:
    """One step of a venue's margin table."""

    lower_notional: Usd
    max_leverage: int
    maintenance_margin: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A market's contract at one venue, with the rules an order there must keep.

    Prices of this listing are integers of 10^-`price_decimals`, sizes of 10^-`size_decimals`, everywhere inside.
    """

    market: str
    venue: str
    symbol: str
    venue_market_id: int
    quote: str
    price_decimals: int
    price_significant_figures: int
    """How many significant figures a price may have; 0 where the venue sets no such rule."""
    size_decimals: int
    min_size: Size | None
    min_notional: Usd | None
    max_leverage: int
    leverage_tiers: tuple[LeverageTier, ...]
    maker_fee: Rate
    taker_fee: Rate
    funding_interval_s: int
    status: Status
    isolated_only: bool = False
    max_order_notional: Usd | None = None
    """The largest notional of an order that trades at once; None where the venue sets none."""
    max_resting_notional: Usd | None = None
    """The largest notional of an order that waits for its price; None where the venue sets none."""

    @property
    def base(self) -> str:
        """The base asset with its multiplier, such as `BTC` or `1000PEPE`."""
        return self.market.removesuffix("-PERP")

    @property
    def lot(self) -> Size:
        """The smallest size step."""
        return Size(Decimal(1).scaleb(-self.size_decimals))


def canonical_name(venue: str, symbol: str) -> str:
    """Return the canonical market name of a venue's own `symbol`, by the rules of this module.

    Raises `MarketNameError` for a symbol that yields no name of the contract's shape.
    """
    if venue == HYPERLIQUID:
        dex, colon, coin = symbol.rpartition(":")
        base = _thousands(coin)
        parts = [dex.upper(), base] if colon else [base]
    elif venue == LIGHTER:
        parts = [symbol] if symbol in LIGHTER_SHARED else [LIGHTER.upper(), symbol]
    else:
        parts = [venue.upper(), symbol]
    if not all(_NAME_PART.fullmatch(part) for part in parts):
        raise MarketNameError(f"{venue} symbol {symbol!r:.60} has no canonical name: letters and digits only")
    return "-".join([*parts, "PERP"])


def _thousands(coin: str) -> str:
    """Return Hyperliquid's `kX` as `1000X`, any other coin in upper case."""
    if len(coin) > 1 and coin[0] == "k" and coin[1:].isupper():
        return "1000" + coin[1:]
    return coin.upper()


def tick_at(listing: Listing, price: Decimal) -> Decimal:
    """Return the smallest legal price step of `listing` at `price`, in the quote asset.

    Hyperliquid: at most 5 significant figures and at most 6 - szDecimals decimals, and an integer is always legal
    (source: its tick and lot rules); Lighter: a fixed step.
    """
    finest = Decimal(1).scaleb(-listing.price_decimals)
    if listing.price_significant_figures == 0 or price <= 0:
        return finest
    significant = Decimal(1).scaleb(price.adjusted() - listing.price_significant_figures + 1)
    return min(max(finest, significant), max(finest, Decimal(1)))


def round_price_down(listing: Listing, price: Decimal) -> Price:
    """Return the highest legal price at or below `price`."""
    return _round_price(listing, price, ROUND_DOWN)


def round_price_up(listing: Listing, price: Decimal) -> Price:
    """Return the lowest legal price at or above `price`."""
    return _round_price(listing, price, ROUND_UP)


def round_size_down(listing: Listing, size: Decimal) -> Size:
    """Return the largest legal size at or below `size`."""
    with rounding():
        return Size(size.quantize(listing.lot, rounding=ROUND_DOWN))


def _round_price(listing: Listing, price: Decimal, mode: str) -> Price:
    tick = tick_at(listing, price)
    with rounding():
        return Price((price / tick).to_integral_value(rounding=mode) * tick)
