"""Lighter's payloads, printed from the market.

Prices and sizes have exactly the market's decimals. Fields in which the venue itself prints floats (daily volumes,
candles, rates of `funding-rates`) are floats here too. Funding is in per cent an hour, except where noted.
"""

from __future__ import annotations

from services.simulator.catalog import LighterListing
from services.simulator.dialects.lighter.trades import user_trade
from services.simulator.exchange.values import Trade as UserTrade
from services.simulator.history import Bar
from services.simulator.instrument import RATE_SCALE, Instrument, Settlement, Trade
from services.simulator.rules import fixed

Json = object
"""Anything that JSON can say."""

ORDER_SPACE = 1 << 48
INSURANCE_FUND = 281474976710655
_PERCENT = RATE_SCALE // 1_000_000


def listing_of(instrument: Instrument) -> LighterListing:
    """Return the static facts of a Lighter market."""
    listing = instrument.listing
    if not isinstance(listing, LighterListing):
        raise TypeError(f"{instrument.name} is no Lighter market")
    return listing


def price_of(instrument: Instrument, value: int) -> str:
    """Print a price."""
    return fixed(value, instrument.price_decimals)


def size_of(instrument: Instrument, value: int) -> str:
    """Print a size."""
    return fixed(value, instrument.size_decimals)


def real(value: int, decimals: int) -> float:
    """Return a scaled integer as the float that the venue prints."""
    return value / float(10**decimals)


def percent(rate: int) -> str:
    """Print a rate of 1e-10 in per cent with four decimals, cut toward zero."""
    return fixed(rate // _PERCENT if rate >= 0 else -(-rate // _PERCENT), 4)


def levels(instrument: Instrument, rows: list[tuple[int, int]]) -> list[dict[str, str]]:
    """Print book levels in the order given."""
    prices, sizes = instrument.price_decimals, instrument.size_decimals
    return [{"price": fixed(price, prices), "size": fixed(size, sizes)} for price, size in rows]


def book_snapshot(instrument: Instrument, now_ms: int) -> dict[str, Json]:
    """Print the full book; a market without orders prints an empty one with nonce 0 and no time."""
    book = instrument.book
    body = {
        "code": 0,
        "asks": levels(instrument, book.ask_levels()),
        "bids": levels(instrument, book.bid_levels()),
        "offset": instrument.offset,
        "nonce": instrument.nonce,
        "last_updated_at": instrument.updated_us,
        "begin_nonce": 0,
    }
    frame: dict[str, Json] = {"channel": f"order_book:{instrument.key}"}
    if instrument.updated_us:
        frame["last_updated_at"] = instrument.updated_us
    return frame | {
        "offset": instrument.offset, "order_book": body, "timestamp": now_ms, "type": "subscribed/order_book",
    }  # fmt: skip


def book_update(
    instrument: Instrument,
    bids: dict[int, int],
    asks: dict[int, int],
    *,
    begin: int,
    nonce: int,
    offset: int,
    time_us: int,
) -> dict[str, Json]:
    """Print changed levels: new absolute sizes, zero for a level that went."""
    return {
        "channel": f"order_book:{instrument.key}",
        "last_updated_at": time_us,
        "offset": offset,
        "order_book": {
            "code": 0,
            "asks": levels(instrument, sorted(asks.items())),
            "bids": levels(instrument, sorted(bids.items(), reverse=True)),
            "offset": offset,
            "nonce": nonce,
            "last_updated_at": time_us,
            "begin_nonce": begin,
        },
        "timestamp": time_us // 1000,
        "type": "update/order_book",
    }


def ticker(instrument: Instrument, now_ms: int, kind: str) -> dict[str, Json]:
    """Print the touch; an empty side prints empty texts."""
    sides = []
    for best in (instrument.book.best_ask(), instrument.book.best_bid()):
        row = ("", "") if best is None else (price_of(instrument, best[0]), size_of(instrument, best[1]))
        sides.append({"price": row[0], "size": row[1]})
    frame: dict[str, Json] = {"channel": f"ticker:{instrument.key}"}
    if instrument.updated_us:
        frame["last_updated_at"] = instrument.updated_us
    return frame | {
        "nonce": instrument.nonce,
        "ticker": {
            "s": instrument.name,
            "a": sides[0],
            "b": sides[1],
            "last_updated_at": instrument.updated_us,
        },
        "timestamp": now_ms,
        "type": f"{kind}/ticker",
    }


def trade(instrument: Instrument, item: Trade, height: int) -> dict[str, Json]:
    """Print a public trade; accounts and order ids of the crowd are made up from the trade's id."""
    if isinstance(item.tag, UserTrade):
        return user_trade(item.tag, height, (instrument.price_decimals, instrument.size_decimals))
    market = int(instrument.key)
    ask = (market + 1) * ORDER_SPACE + item.id % 10_000_000 + 1_000_000
    bid = (market + 2) * ORDER_SPACE - item.id % 10_000_000 - 1_000_000
    maker_fee = (0, 28, 38)[item.id % 3]
    row: dict[str, Json] = {
        "trade_id": item.id,
        "trade_id_str": str(item.id),
        "tx_hash": f"{item.id:016x}{item.time_us // 1000:016x}" + "0" * 48,
        "type": "trade",
        "market_id": market,
        "size": size_of(instrument, item.size),
        "price": price_of(instrument, item.price),
        "usd_amount": fixed(item.price * item.size, instrument.price_decimals + instrument.size_decimals),
        "ask_id": ask,
        "ask_id_str": str(ask),
        "bid_id": bid,
        "bid_id_str": str(bid),
        "ask_client_id": item.id % 99991,
        "ask_client_id_str": str(item.id % 99991),
        "bid_client_id": 0,
        "bid_client_id_str": "0",
        "ask_account_id": 700_000 + item.id % 977,
        "bid_account_id": 710_000 + item.id % 983,
        "is_maker_ask": item.buy,
        "block_height": height,
        "timestamp": item.time_us // 1000,
        "taker_position_size_before": size_of(instrument, item.size * (item.id % 7)),
        "taker_entry_quote_before": fixed(item.price * item.size * (item.id % 7), 6),
        "taker_initial_margin_fraction_before": 500,
    }
    if maker_fee:
        row["maker_fee"] = maker_fee
    return row | {
        "maker_position_size_before": size_of(instrument, -item.size * (item.id % 11)),
        "maker_entry_quote_before": fixed(item.price * item.size * (item.id % 11), 6),
        "maker_initial_margin_fraction_before": 500,
        "transaction_time": item.time_us,
    }


def _daily(instrument: Instrument) -> dict[str, Json]:
    day, prices, sizes = instrument.day, instrument.price_decimals, instrument.size_decimals
    change = (instrument.last - instrument.day_open) / instrument.day_open * 100 if instrument.live else 0
    return {
        "daily_base_token_volume": real(day.base, sizes),
        "daily_quote_token_volume": real(day.quote, prices + sizes),
        "daily_price_low": real(day.low(), prices) if instrument.live else 0,
        "daily_price_high": real(day.high(), prices) if instrument.live else 0,
        "daily_price_change": change,
    }


def market_stats(instrument: Instrument) -> dict[str, Json]:
    """Print a perpetual's figures; open interest is in dollars, funding in per cent an hour."""
    listing, mid = listing_of(instrument), instrument.mid()
    bid, ask = instrument.book.best_bid(), instrument.book.best_ask()
    interest = instrument.open_interest * instrument.mark
    return (
        {
            "symbol": instrument.name,
            "market_id": listing.market_id,
            "index_price": price_of(instrument, instrument.index),
            "mark_price": price_of(instrument, instrument.mark),
            "mid_price": "" if mid is None else price_of(instrument, mid // 2),
            "best_ask_price": "" if ask is None else price_of(instrument, ask[0]),
            "best_bid_price": "" if bid is None else price_of(instrument, bid[0]),
            "open_interest": fixed(interest, instrument.price_decimals + instrument.size_decimals),
            "open_interest_limit": "72057594037927936.000000",
            "funding_clamp_small": "0.0500",
            "funding_clamp_big": "4.0000",
            "last_trade_price": price_of(instrument, instrument.last),
            "current_funding_rate": percent(instrument.rate),
            "funding_rate": percent(instrument.settled.rate),
            "funding_timestamp": instrument.settled.time_ms,
        }
        | _daily(instrument)
        | {"base_interest_rate": listing.base_interest}
    )


def spot_stats(instrument: Instrument) -> dict[str, Json]:
    """Print a spot market's figures."""
    mid = instrument.mid()
    return {
        "symbol": instrument.name,
        "market_id": int(instrument.key),
        "index_price": price_of(instrument, instrument.index),
        "mid_price": "" if mid is None else price_of(instrument, mid // 2),
        "last_trade_price": price_of(instrument, instrument.last),
    } | _daily(instrument)


def candle(instrument: Instrument, bar: Bar) -> dict[str, Json]:
    """Print a bar: floats, base volume `v`, quote volume `V`, last trade id `i`."""
    prices, sizes = instrument.price_decimals, instrument.size_decimals
    return {
        "t": bar.start_ms,
        "o": real(bar.open, prices),
        "h": real(bar.high, prices),
        "l": real(bar.low, prices),
        "c": real(bar.close, prices),
        "v": real(bar.base, sizes),
        "V": real(bar.quote, prices + sizes),
        "i": bar.last_id,
    }


def funding(instrument: Instrument, row: Settlement) -> dict[str, Json]:
    """Print an hour's settlement: time in seconds, payment for one base unit, magnitude, and the side that pays."""
    value = abs(row.rate) * instrument.index // 10 ** (2 + instrument.price_decimals)
    return {
        "timestamp": row.time_ms // 3_600_000 * 3600,
        "value": fixed(value, 8),
        "rate": percent(abs(row.rate)),
        "direction": "long" if row.rate >= 0 else "short",
    }


def order_book(listing: LighterListing) -> dict[str, Json]:
    """Print a market's row of `orderBooks`."""
    return {
        "symbol": listing.symbol,
        "market_id": listing.market_id,
        "market_type": "spot" if listing.spot else "perp",
        "base_asset_id": 1 if listing.spot else 0,
        "quote_asset_id": 3 if listing.spot else 0,
        "status": "active" if listing.active else "inactive",
        "taker_fee": "0.0000",
        "is_taker_fee_enabled": True,
        "maker_fee": "0.0000",
        "is_maker_fee_enabled": True,
        "liquidation_fee": "0.0000" if listing.spot else "1.0000",
        "min_base_amount": listing.min_base,
        "min_quote_amount": "10.000000",
        "order_quote_limit": listing.quote_limit,
        "supported_size_decimals": listing.size_decimals,
        "supported_price_decimals": listing.price_decimals,
        "supported_quote_decimals": 6,
        "created_at": str(1_737_098_461_100 + listing.market_id * 86_400_000),
        "multiplier": "1.000000000000000000",
    }


def details(instrument: Instrument) -> dict[str, Json]:
    """Print a market's row of `orderBookDetails`; margin fractions are in 1e-4, open interest in base units."""
    listing = listing_of(instrument)
    row = order_book(listing) | {
        "size_decimals": listing.size_decimals,
        "price_decimals": listing.price_decimals,
        "last_trade_price": real(instrument.last, instrument.price_decimals),
        "daily_trades_count": instrument.day.trades,
    }
    if listing.spot:
        return row | _daily(instrument) | {"daily_chart": {}}
    initial, least, maintenance, close_out = listing.margin
    return row | {
        "quote_multiplier": 1,
        "default_initial_margin_fraction": initial,
        "min_initial_margin_fraction": least,
        "maintenance_margin_fraction": maintenance,
        "closeout_margin_fraction": close_out,
    } | _daily(instrument) | {
        "open_interest": real(instrument.open_interest, instrument.size_decimals),
        "daily_chart": {},
        "market_config": {
            "market_margin_mode": 0, "insurance_fund_account_index": INSURANCE_FUND, "liquidation_mode": 0,
            "force_reduce_only": False, "trading_hours": "", "funding_fee_discounts_enabled": False, "hidden": False,
            "rfq_enabled": True,
        },
        "strategy_index": 2,
        "funding_clamp_small": "0.0500",
        "funding_clamp_big": "4.0000",
        "base_interest_rate": listing.base_interest,
        "mark_price": price_of(instrument, instrument.mark),
        "index_price": price_of(instrument, instrument.index),
        "market_flags": 0,
        "funding_premium_multiplier": 1,
    }  # fmt: skip


def order(instrument: Instrument, price: int, size: int, *, ask: bool, now_ms: int) -> dict[str, Json]:
    """Print a level as one resting order; who owns it is made up."""
    market = int(instrument.key)
    index = (market + 1) * ORDER_SPACE + price if ask else (market + 2) * ORDER_SPACE - price
    return {
        "order_index": index,
        "order_id": str(index),
        "owner_account_index": 700_000 + price % 977,
        "initial_base_amount": size_of(instrument, size),
        "remaining_base_amount": size_of(instrument, size),
        "price": price_of(instrument, price),
        "order_expiry": now_ms + 28 * 86_400_000,
        "transaction_time": 0,
    }
