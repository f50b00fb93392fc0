"""Hyperliquid's payloads, printed from the market: every number a string with a decimal point, times in ms."""

from __future__ import annotations

from services.simulator.catalog import HyperliquidListing
from services.simulator.exchange.values import Trade as UserTrade
from services.simulator.history import INTERVALS_MS, Bar
from services.simulator.instrument import Instrument, Settlement, Trade
from services.simulator.rules import plain

BOOK_LEVELS = 20
FAST_LEVELS = 5
_HASH = (1 << 256) - 1
_MIX = 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95

Json = object
"""Anything that JSON can say."""


def listing_of(instrument: Instrument) -> HyperliquidListing:
    """Return the static facts of a Hyperliquid contract."""
    listing = instrument.listing
    if not isinstance(listing, HyperliquidListing):
        raise TypeError(f"{instrument.name} is no Hyperliquid contract")
    return listing


def level(instrument: Instrument, price: int, size: int) -> dict[str, Json]:
    """Print a level; the number of orders is made up from price and size."""
    return {
        "px": plain(price, instrument.price_decimals),
        "sz": plain(size, instrument.size_decimals),
        "n": 1 + (price * 31 + size) % 9,
    }


def bbo(instrument: Instrument, time_ms: int) -> dict[str, Json]:
    """Print the touch; an empty side is null."""
    sides = [
        None if best is None else level(instrument, *best)
        for best in (instrument.book.best_bid(), instrument.book.best_ask())
    ]
    return {"coin": instrument.key, "time": time_ms, "bbo": sides}


def book(
    instrument: Instrument, time_ms: int, *, figures: int | None = None, mantissa: int | None = None,
    depth: int = BOOK_LEVELS,
) -> dict[str, Json]:  # fmt: skip
    """Print the best levels, aggregated to `figures` significant figures when asked."""
    body: dict[str, Json] = {"coin": instrument.key, "time": time_ms}
    if figures is None:
        bids, asks = instrument.book.bid_levels(depth), instrument.book.ask_levels(depth)
        body["levels"] = [[level(instrument, *x) for x in bids], [level(instrument, *x) for x in asks]]
        return body
    grouped = [
        _grouped(instrument, instrument.book.bid_levels(), figures, mantissa or 1, depth, up=False),
        _grouped(instrument, instrument.book.ask_levels(), figures, mantissa or 1, depth, up=True),
    ]
    body["levels"] = [[row[1] for row in side] for side in grouped]
    if grouped[0] and grouped[1]:
        body["spread"] = plain(grouped[1][0][0] - grouped[0][0][0], instrument.price_decimals)
    return body


def _grouped(
    instrument: Instrument,
    levels: list[tuple[int, int]],
    figures: int,
    mantissa: int,
    depth: int,
    *,
    up: bool,
) -> list[tuple[int, dict[str, Json]]]:
    """Sum levels into steps of `mantissa` at the given significant figure; bids round down, asks up."""
    sums: dict[int, tuple[int, int]] = {}
    for price, size in levels:
        step = max(1, 10 ** (len(str(price)) - figures)) * mantissa if len(str(price)) >= figures else mantissa
        rounded = -(-price // step) * step if up else price // step * step
        if rounded not in sums and len(sums) >= depth:
            break
        total, orders = sums.get(rounded, (0, 0))
        sums[rounded] = (total + size, orders + 1 + (price * 31 + size) % 9)
    return [
        (
            price,
            {
                "px": plain(price, instrument.price_decimals),
                "sz": plain(total, instrument.size_decimals),
                "n": orders,
            },
        )
        for price, (total, orders) in sums.items()
    ]


def hash_of(number: int) -> str:
    """Return a transaction hash made up from a number."""
    return f"0x{(number * _MIX) & _HASH:064x}"


def address_of(number: int) -> str:
    """Return an address made up from a number."""
    return f"0x{(number * _MIX >> 64) & ((1 << 160) - 1):040x}"


def trade(instrument: Instrument, item: Trade) -> dict[str, Json]:
    """Print a public trade; `side` is the aggressor's, the crowd's addresses are made up."""
    users = [address_of(item.id % 997), address_of(item.id % 991 + 1000)]
    if isinstance(item.tag, UserTrade):
        for party in item.tag.parties():
            users[0 if party.buy else 1] = f"0x{party.account:040x}"
    return {
        "coin": instrument.key,
        "side": "B" if item.buy else "A",
        "px": plain(item.price, instrument.price_decimals),
        "sz": plain(item.size, instrument.size_decimals),
        "time": item.time_us // 1000,
        "hash": hash_of(item.time_us),
        "tid": item.id,
        "users": users,
    }


def candle(instrument: Instrument, interval: str, bar: Bar) -> dict[str, Json]:
    """Print a bar."""
    prices = instrument.price_decimals
    return {
        "t": bar.start_ms,
        "T": bar.start_ms + INTERVALS_MS[interval] - 1,
        "s": instrument.key,
        "i": interval,
        "o": plain(bar.open, prices),
        "c": plain(bar.close, prices),
        "h": plain(bar.high, prices),
        "l": plain(bar.low, prices),
        "v": plain(bar.base, instrument.size_decimals),
        "n": bar.trades,
    }


def half(mid2: int | None, decimals: int) -> str | None:
    """Print a middle price that is given doubled; null when there is none."""
    return None if mid2 is None else plain(mid2 * 5, decimals + 1)


def context(instrument: Instrument) -> dict[str, Json]:
    """Print a perpetual's context; a delisted one is frozen, without premium, mid or impact prices."""
    prices = instrument.price_decimals
    impact = instrument.impact(20_000 if instrument.key in ("BTC", "ETH") else 6_000) if instrument.live else None
    return {
        "funding": plain(instrument.rate, 10),
        "openInterest": plain(instrument.open_interest, instrument.size_decimals),
        "prevDayPx": plain(instrument.day_open, prices),
        "dayNtlVlm": plain(instrument.day.quote, prices + instrument.size_decimals),
        "premium": plain(instrument.premium, 10) if impact else None,
        "oraclePx": plain(instrument.index, prices),
        "markPx": plain(instrument.mark, prices),
        "midPx": half(instrument.mid(), prices),
        "impactPxs": [plain(impact[0], prices), plain(impact[1], prices)] if impact else None,
        "dayBaseVlm": plain(instrument.day.base, instrument.size_decimals),
    }


def spot_context(instrument: Instrument) -> dict[str, Json]:
    """Print a spot pair's context."""
    prices = instrument.price_decimals
    return {
        "prevDayPx": plain(instrument.day_open, prices),
        "dayNtlVlm": plain(instrument.day.quote, prices + instrument.size_decimals),
        "markPx": plain(instrument.mark, prices),
        "midPx": half(instrument.mid(), prices),
        "circulatingSupply": "333928180.0",
        "coin": instrument.key,
        "totalSupply": "1000000000.0",
        "dayBaseVlm": plain(instrument.day.base, instrument.size_decimals),
    }


def funding(instrument: Instrument, row: Settlement) -> dict[str, Json]:
    """Print an hour's settlement."""
    return {
        "coin": instrument.key,
        "fundingRate": plain(row.rate, 10),
        "premium": plain(row.premium, 10),
        "time": row.time_ms,
    }


def asset(listing: HyperliquidListing) -> dict[str, Json]:
    """Print a contract's entry in the universe; flags appear only when true."""
    row: dict[str, Json] = {
        "szDecimals": listing.size_decimals,
        "name": listing.coin,
        "maxLeverage": listing.max_leverage,
        "marginTableId": listing.margin_table,
    }
    if listing.delisted:
        row["isDelisted"] = True
    if listing.margin_mode is not None:
        row["onlyIsolated"] = True
        row["marginMode"] = listing.margin_mode
    return row
