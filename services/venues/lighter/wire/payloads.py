"""What Lighter's REST answers say, from bytes to values.

Every answer carries `code`, 200 when it went well. A list may be null when empty, and left out save in a book. A
listing that cannot be read does not take the others along: it is reported beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct

from services.domain.book import Level
from services.domain.decimals import DecimalError, Rate, Size, Usd
from services.domain.feed import Trade
from services.domain.market import LIGHTER, LeverageTier, Listing, MarketNameError, Status, canonical_name
from services.venues.lighter.wire.frames import check_candle, explain, to_trade
from services.venues.lighter.wire.messages import WireMarket
from services.venues.lighter.wire.numbers import DECIMALS_MAX, Units, WireError, amount, percent
from services.venues.lighter.wire.shapes import Count, WireCandle, WireLevel, WireTrade

FUNDING_INTERVAL_S: Final = 3_600
"""Funding is settled every hour on the hour."""
MARGIN_UNIT: Final = 10_000
"""Margin fractions are integers of 1/10,000."""

Decimals = Annotated[int, Meta(ge=0, le=DECIMALS_MAX)]
Fraction = Annotated[int, Meta(ge=1, le=MARGIN_UNIT)]

_T = TypeVar("_T")


class _Answer(Struct):
    code: int
    message: str | None = None


class _Books(_Answer):
    order_books: list[Raw] | None = None
    order_book_details: list[Raw] | None = None
    spot_order_book_details: list[Raw] | None = None


class _Row(Struct):
    symbol: str
    market_id: Count
    market_type: str
    status: Literal["active", "inactive"]
    min_base_amount: str
    min_quote_amount: str
    supported_size_decimals: Decimals
    supported_price_decimals: Decimals
    taker_fee: str = "0"
    maker_fee: str = "0"
    order_quote_limit: str = ""
    min_initial_margin_fraction: Fraction | None = None
    maintenance_margin_fraction: Fraction | None = None
    quote_multiplier: int = 1


class _Marked(Struct):
    mark_price: str = ""
    last_trade_price: Decimal = Decimal(0)


class _MarkedRow(_Marked, kw_only=True):
    market_id: Count


class _Order(Struct):
    price: str
    remaining_base_amount: str


class _Orders(_Answer, kw_only=True):
    asks: list[_Order] | None
    bids: list[_Order] | None


class _Depth(_Answer, kw_only=True):
    asks: list[WireLevel] | None
    bids: list[WireLevel] | None
    nonce: Count = 0


class _Trades(_Answer):
    trades: list[WireTrade] | None = None


class _Candles(_Answer):
    r: str = ""
    c: list[WireCandle] | None = None


class WireFunding(Struct):
    """One settled funding payment: percent per hour, and the side that pays."""

    timestamp: Annotated[int, Meta(ge=0, le=10**11)]
    rate: str
    direction: Literal["long", "short"]
    value: str = ""


class _Fundings(_Answer):
    fundings: list[WireFunding] | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """A settled funding rate: a fraction per hour, positive where longs pay; the time in seconds since the epoch."""

    time_s: int
    rate: Decimal


@dataclass(frozen=True, slots=True)
class Listed:
    """The perpetual markets; ids of books that are none of this house; and rows that could not be read."""

    listings: tuple[Listing, ...]
    ignored_ids: frozenset[int]
    errors: list[WireError] = field(default_factory=list)


def listings(data: bytes) -> Listed:
    """Return the listings of an answer of `orderBookDetails`, or of `orderBooks`, which lacks the margins."""
    answer = _decode(data, _Books)
    rows = answer.order_book_details if answer.order_book_details is not None else answer.order_books
    found: dict[str, Listing] = {}
    ignored: set[int] = set()
    errors: list[WireError] = []
    for index, raw in enumerate(rows or ()):
        path = f"order_books[{index}]"
        try:
            row = _decode_row(raw, path)
            if row.market_type != "perp":
                ignored.add(row.market_id)
                continue
            listing = _listing(row, path)
            if listing.market in found:
                raise WireError(f"{path}.symbol", f"{row.symbol!r:.40} is listed twice as {listing.market}")
            found[listing.market] = listing
        except WireError as error:
            errors.append(error)
    for raw in answer.spot_order_book_details or ():
        try:
            ignored.add(_decode_row(raw, "spot_order_book_details").market_id)
        except WireError as error:
            errors.append(error)
    return Listed(tuple(found.values()), frozenset(ignored), errors)


def book_orders(data: bytes, market: WireMarket, *, limit: int) -> tuple[list[Level], list[Level], int]:
    """Return (bids, asks, depth) of an answer of `orderBookOrders`, single orders summed to levels, best first.

    `limit` is how many orders per side were asked for. A side that came with so many is cut within its last level,
    which is dropped; both sides are then cut to the same `depth`, which is 0 where neither side was cut.
    """
    answer = _decode(data, _Orders)
    sides: list[list[Level]] = []
    cut_depths: list[int] = []
    for name, orders, sign in (("bids", answer.bids or [], -1), ("asks", answer.asks or [], 1)):
        levels: dict[int, int] = {}
        for index, order in enumerate(orders):
            price = _units(market.prices, order.price, f"{name}[{index}].price")
            size = _units(market.sizes, order.remaining_base_amount, f"{name}[{index}].remaining_base_amount")
            levels[price] = levels.get(price, 0) + size
        side = sorted(((p, s) for p, s in levels.items() if s), key=lambda level: level[0] * sign)
        if len(orders) >= limit:
            side = side[:-1]
            cut_depths.append(len(side))
        sides.append(side)
    bids, asks = sides
    depth = min(cut_depths, default=0)
    if cut_depths:
        if depth == 0:
            raise WireError("bids", f"{limit} orders on one level leave no whole level to compare")
        bids, asks = bids[:depth], asks[:depth]
    if bids and asks and bids[0][0] >= asks[0][0]:
        raise WireError("bids[0].price", "the best bid is not below the best ask")
    return bids, asks, depth


def best_prices(data: bytes) -> tuple[Decimal | None, Decimal | None]:
    """Return (best bid, best ask) of an answer of `orderBookOrders`, None for an empty side."""
    answer = _decode(data, _Orders)
    bid = amount(answer.bids[0].price, "bids[0].price") if answer.bids else None
    return bid, amount(answer.asks[0].price, "asks[0].price") if answer.asks else None


def mark_price(data: bytes) -> Decimal | None:
    """Return the mark price of the one market of an answer of `orderBookDetails`; its last price where it has none."""
    rows = _decode(data, _Books).order_book_details
    if not rows:
        return None
    try:
        row = msgspec.json.decode(rows[0], type=_Marked)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        name, problem = explain(error)
        raise WireError(f"order_book_details[0].{name}", problem) from error
    return amount(row.mark_price, "mark_price") or row.last_trade_price or None


def mark_prices(data: bytes) -> dict[int, Decimal]:
    """Return the mark prices of an answer of `orderBookDetails` by market id, without rows that cannot be read."""
    found: dict[int, Decimal] = {}
    for raw in _decode(data, _Books).order_book_details or ():
        try:
            row = msgspec.json.decode(raw, type=_MarkedRow)
            price = amount(row.mark_price, "mark_price") or row.last_trade_price
        except (msgspec.DecodeError, RecursionError, UnicodeError, WireError):
            continue
        if price:
            found[row.market_id] = price
    return found


def depth(data: bytes, market: WireMarket) -> tuple[list[Level], list[Level], int]:
    """Return (bids, asks, nonce) of an answer that carries whole levels."""
    answer = _decode(data, _Depth)
    sides = [
        [
            (
                _units(market.prices, level.price, f"{name}[{n}].price"),
                _units(market.sizes, level.size, f"{name}[{n}].size"),
            )
            for n, level in enumerate(levels or ())
        ]
        for name, levels in (("bids", answer.bids), ("asks", answer.asks))
    ]
    return sides[0], sides[1], answer.nonce


def trades(data: bytes, market: WireMarket, receive_time_ns: int) -> list[Trade]:
    """Return the prints of an answer of `recentTrades` or `trades`, oldest first."""
    rows = _decode(data, _Trades).trades or []
    found = [(row.trade_id, to_trade(row, market, f"trades[{n}]", receive_time_ns)) for n, row in enumerate(rows)]
    found.sort(key=lambda pair: pair[0])
    return [trade for _, trade in found]


def candles(data: bytes) -> tuple[str, list[WireCandle]]:
    """Return (resolution, candles) of an answer of `candles`."""
    answer = _decode(data, _Candles)
    for index, candle in enumerate(answer.c or ()):
        check_candle(candle, f"c[{index}]")
    return answer.r, answer.c or []


def fundings(data: bytes) -> list[Settled]:
    """Return the settled rates of an answer of `fundings`."""
    settled = []
    for index, row in enumerate(_decode(data, _Fundings).fundings or ()):
        rate = amount(row.rate, f"fundings[{index}].rate", signed=True)
        if rate is None:
            raise WireError(f"fundings[{index}].rate", "empty")
        settled.append(Settled(row.timestamp, percent(rate if row.direction == "long" else -rate)))
    return settled


def _listing(row: _Row, path: str) -> Listing:
    try:
        market = canonical_name(LIGHTER, row.symbol)
    except MarketNameError as error:
        raise WireError(f"{path}.symbol", str(error)) from None
    initial, maintenance = row.min_initial_margin_fraction, row.maintenance_margin_fraction
    leverage = MARGIN_UNIT // initial if initial else 1
    tiers: tuple[LeverageTier, ...] = ()
    if initial and maintenance:
        tiers = (LeverageTier(Usd(Decimal(0)), leverage, Rate(Decimal(maintenance).scaleb(-4))),)
    least_size = amount(row.min_base_amount, f"{path}.min_base_amount")
    least_notional = amount(row.min_quote_amount, f"{path}.min_quote_amount")
    largest = amount(row.order_quote_limit, f"{path}.order_quote_limit")
    most = Usd(largest) if largest else None
    return Listing(
        market=market,
        venue=LIGHTER,
        symbol=row.symbol,
        venue_market_id=row.market_id,
        quote="USDC",
        price_decimals=row.supported_price_decimals,
        price_significant_figures=0,
        size_decimals=row.supported_size_decimals,
        min_size=Size(least_size) if least_size is not None else None,
        min_notional=Usd(least_notional) if least_notional is not None else None,
        max_leverage=leverage,
        leverage_tiers=tiers,
        maker_fee=_fee(row.maker_fee, f"{path}.maker_fee"),
        taker_fee=_fee(row.taker_fee, f"{path}.taker_fee"),
        funding_interval_s=FUNDING_INTERVAL_S,
        status=Status.ACTIVE if row.status == "active" else Status.HALTED,
        max_order_notional=most,
        max_resting_notional=most,
    )


def _fee(text: str, path: str) -> Rate:
    """Return a fee, which the venue writes in percent. The listed fees are those of the standard tier: zero."""
    value = amount(text, path)
    return Rate(percent(value)) if value is not None else Rate(Decimal(0))


def _decode_row(raw: Raw, path: str) -> _Row:
    try:
        return msgspec.json.decode(raw, type=_Row)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        name, problem = explain(error)
        raise WireError(f"{path}.{name}", problem) from error


def _decode(data: bytes, kind: type[_T]) -> _T:
    try:
        answer = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        name, problem = explain(error)
        raise WireError(name, problem) from error
    if isinstance(answer, _Answer) and answer.code != 200:
        raise WireError("code", f"the venue answered {answer.code}: {(answer.message or '')[:200]}")
    return answer


def _units(scale: Units, text: str, path: str) -> int:
    try:
        return scale[text]
    except DecimalError as error:
        raise WireError(path, str(error)) from None
