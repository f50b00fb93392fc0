"""Frames to the house's events, in the listing's integers; every rule a true book, trade or context keeps is checked.

The venue says no sequence numbers: a book's version is its time in milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NoReturn

from services.domain.book import Level
from services.domain.decimals import DecimalError
from services.domain.feed import BookSnapshot, Context, TopOfBook, Trade
from services.domain.market import HYPERLIQUID
from services.venues.hyperliquid.wire.frames import RawBook, RawContext, RawLevel, RawTop, RawTrade
from services.venues.hyperliquid.wire.universe import CoinInfo, Universe
from services.venues.hyperliquid.wire.values import Units, WireError, amount_of, decimal_of

FAST_DEPTH: Final = 5
FULL_DEPTH: Final = 20
"""Levels per side of the fast and of the default book."""
ACTIVE_CADENCE_S: Final = 1.0
ALL_CADENCE_S: Final = 13.6
"""How often the venue repeats one market's context, and all contexts."""
NS_PER_MS: Final = 1_000_000
_HOUR_NS: Final = 3_600_000_000_000


def book(raw: RawBook, universe: Universe, *, depth: int, receive_time_ns: int) -> BookSnapshot:
    """Return a whole book of at most `depth` levels per side, in the venue's order."""
    coin = universe.coin(raw.coin, "data.coin")
    if raw.spread is not None:
        raise WireError("data.spread", "an aggregated book, which was not asked for", coin=raw.coin)
    if raw.fast and depth != FAST_DEPTH:
        raise WireError("data.fast", "a fast book where the default one was asked for", coin=raw.coin)
    raw_bids, raw_asks = raw.levels
    if len(raw_bids) > depth or len(raw_asks) > depth:
        problem = f"{len(raw_bids)} bids and {len(raw_asks)} asks; at most {depth} each would pass"
        raise WireError("data.levels", problem, coin=raw.coin)
    prices, sizes = coin.prices, coin.sizes
    try:
        bids = [(prices[level.px], sizes[level.sz]) for level in raw_bids]
        asks = [(prices[level.px], sizes[level.sz]) for level in raw_asks]
    except DecimalError:
        _blame_level(raw, coin)
    if bids and asks and bids[0][0] >= asks[0][0]:
        problem = f"crossed: best bid {raw_bids[0].px} is not below best ask {raw_asks[0].px}"
        raise WireError("data.levels", problem, coin=raw.coin)
    last = 1 << 63
    for price, _ in bids:
        if price >= last:
            raise WireError("data.levels[0]", "bids must fall", coin=raw.coin)
        last = price
    last = 0
    for price, _ in asks:
        if price <= last:
            raise WireError("data.levels[1]", "asks must rise", coin=raw.coin)
        last = price
    return BookSnapshot(
        venue=HYPERLIQUID,
        market=coin.market,
        bids=bids,
        asks=asks,
        version=raw.time,
        depth=depth,
        venue_time_ns=raw.time * NS_PER_MS,
        receive_time_ns=receive_time_ns,
    )


def top(raw: RawTop, universe: Universe, *, receive_time_ns: int) -> TopOfBook:
    """Return the best level of each side."""
    coin = universe.coin(raw.coin, "data.coin")
    raw_bid, raw_ask = raw.bbo
    bid = _level(raw_bid, coin, "data.bbo[0]") if raw_bid is not None else None
    ask = _level(raw_ask, coin, "data.bbo[1]") if raw_ask is not None else None
    if bid is not None and ask is not None and bid[0] >= ask[0]:
        raise WireError("data.bbo", f"crossed: bid {bid[0]} is not below ask {ask[0]} units", coin=raw.coin)
    return TopOfBook(
        venue=HYPERLIQUID,
        market=coin.market,
        bid=bid,
        ask=ask,
        venue_time_ns=raw.time * NS_PER_MS,
        receive_time_ns=receive_time_ns,
    )


def trade_id(raw: RawTrade) -> str:
    """Return what tells one print of a coin from another: the venue's `tid` alone is a hash, not unique."""
    return f"{raw.time}-{raw.tid}"


def trade(raw: RawTrade, universe: Universe, *, receive_time_ns: int) -> Trade:
    """Return one print."""
    coin = universe.coin(raw.coin, "data.coin")
    if raw.side not in ("A", "B"):
        raise WireError("data.side", f"{raw.side!r:.20} is neither A nor B", coin=raw.coin)
    return Trade(
        venue=HYPERLIQUID,
        market=coin.market,
        trade_id=trade_id(raw),
        price=_units(coin.prints, raw.px, "data.px", raw.coin),
        size=_units(coin.sizes, raw.sz, "data.sz", raw.coin),
        buy=raw.side == "B",
        liquidation=False,
        venue_time_ns=raw.time * NS_PER_MS,
        receive_time_ns=receive_time_ns,
    )


def trades(raw: Sequence[RawTrade], universe: Universe, *, receive_time_ns: int) -> list[Trade]:
    """Return the prints of one frame, all of one coin, the oldest first."""
    found = [trade(item, universe, receive_time_ns=receive_time_ns) for item in raw]
    if found and any(item.market != found[0].market for item in found):
        raise WireError("data", "trades of more than one coin in a frame", coin=raw[0].coin)
    found.sort(key=lambda item: item.venue_time_ns)
    return found


def context(raw: RawContext, coin: CoinInfo, *, cadence_s: float, receive_time_ns: int) -> Context:
    """Return what the venue says of a market beside its book.

    Funding is the estimate for the running hour, paid at the next whole hour. The venue's contexts have no time and no
    last price. A mark or oracle price of zero is one that does not exist yet.
    """
    symbol = coin.listing.symbol
    return Context(
        venue=HYPERLIQUID,
        market=coin.market,
        mark_price=amount_of(raw.markPx, "ctx.markPx", coin=symbol) or None,
        index_price=amount_of(raw.oraclePx, "ctx.oraclePx", coin=symbol) or None,
        last_price=None,
        funding_rate=_rate(raw.funding, symbol),
        next_funding_time_ns=(receive_time_ns // _HOUR_NS + 1) * _HOUR_NS,
        volume_24h_usd=amount_of(raw.dayNtlVlm, "ctx.dayNtlVlm", coin=symbol),
        open_interest=amount_of(raw.openInterest, "ctx.openInterest", coin=symbol),
        receive_time_ns=receive_time_ns,
        cadence_s=cadence_s,
    )


def contexts(
    dex: str, raw: Sequence[RawContext], universe: Universe, *, cadence_s: float, receive_time_ns: int
) -> tuple[list[Context], list[WireError]]:
    """Return the contexts of a dex's trading markets, by position, and what was wrong with some of them.

    More contexts than markets are markets listed since: their surplus is reported, the others are good, for positions
    never change. Fewer would make every position doubtful, and raise.
    """
    coins = universe.dexes.get(dex)
    if coins is None:
        return [], [WireError("data.ctxs", f"dex {dex!r:.40} is not known")]
    if len(raw) < len(coins):
        raise WireError("data.ctxs", f"{len(raw)} contexts for the {len(coins)} markets of dex {dex!r:.40}")
    problems: list[WireError] = []
    if len(raw) > len(coins):
        problems.append(WireError("data.ctxs", f"{len(raw)} contexts, {len(coins)} known markets in dex {dex!r:.40}"))
    found: list[Context] = []
    for coin, item in zip(coins, raw, strict=False):
        if coin is None or not coin.live:
            continue
        try:
            found.append(context(item, coin, cadence_s=cadence_s, receive_time_ns=receive_time_ns))
        except WireError as error:
            problems.append(error)
    return found, problems


def _rate(text: str, symbol: str) -> Decimal:
    rate = decimal_of(text, "ctx.funding", coin=symbol)
    if abs(rate) > 1:
        raise WireError("ctx.funding", f"{text!r:.60} an hour; the venue caps it at 0.04", coin=symbol)
    return rate


def _level(raw: RawLevel, coin: CoinInfo, field: str) -> Level:
    symbol = coin.listing.symbol
    return _units(coin.prices, raw.px, f"{field}.px", symbol), _units(coin.sizes, raw.sz, f"{field}.sz", symbol)


def _units(scale: Units, text: str, field: str, symbol: str) -> int:
    try:
        return scale[text]
    except DecimalError as error:
        raise WireError(field, str(error), coin=symbol) from None


def _blame_level(raw: RawBook, coin: CoinInfo) -> NoReturn:
    """Name the first value of a book that does not convert."""
    for side, levels in enumerate(raw.levels):
        for index, level in enumerate(levels):
            _level(level, coin, f"data.levels[{side}][{index}]")
    raise AssertionError("called for a book whose every value converts")
