"""Listings and frames for the tests of Lighter's adapter, and where captured payloads are.

The captures are not part of the tree: `PERPMESH_FIXTURES` names the folder that holds them. The frames here were
written for these tests in the shapes of the captured ones.
"""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.domain.decimals import Rate, Size, Usd
from services.domain.market import LIGHTER, Listing, Status, canonical_name

needs_captures = pytest.mark.skipif(
    not os.environ.get("PERPMESH_FIXTURES"), reason="PERPMESH_FIXTURES does not name the folder of captured payloads"
)
RECORDING = "nautilus_pr_dec2025/ws/mainnet_ob_trade_stats_btc_20251210.jsonl"


def captured(name: str) -> bytes:
    return (Path(os.environ["PERPMESH_FIXTURES"]) / "lighter" / name).read_bytes()


def captured_json(name: str) -> Any:
    return json.loads(captured(name))


def captured_lines(name: str) -> list[bytes]:
    return captured(name).splitlines()


def recorded_frames() -> list[bytes]:
    """The 18 s recording of December 2025, frame by frame as received."""
    return [json.loads(line)["msg"].encode() for line in captured_lines(RECORDING)]


def listing(symbol: str, number: int, price_decimals: int, size_decimals: int) -> Listing:
    return Listing(
        market=canonical_name(LIGHTER, symbol),
        venue=LIGHTER,
        symbol=symbol,
        venue_market_id=number,
        quote="USDC",
        price_decimals=price_decimals,
        price_significant_figures=0,
        size_decimals=size_decimals,
        min_size=Size(Decimal("0.001")),
        min_notional=Usd(Decimal(10)),
        max_leverage=50,
        leverage_tiers=(),
        maker_fee=Rate(Decimal(0)),
        taker_fee=Rate(Decimal(0)),
        funding_interval_s=3600,
        status=Status.ACTIVE,
    )


ETH = listing("ETH", 0, 2, 4)
BTC = listing("BTC", 1, 1, 5)
SOL = listing("SOL", 2, 3, 3)
ADA = listing("ADA", 39, 5, 1)
GOOGL = listing("GOOGL", 116, 2, 4)
LISTINGS = (ETH, BTC, SOL, ADA, GOOGL)

Levels = list[tuple[str, str]]


def dump(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def book_frame(
    kind: str, bids: Levels, asks: Levels, *, nonce: int, begin: int | None, market: int = 1, **extra: object
) -> bytes:
    """A frame of `order_book` in the form of 2026; without `begin_nonce` where `begin` is None."""
    body: dict[str, object] = {
        "code": 0,
        "asks": [{"price": price, "size": size} for price, size in asks],
        "bids": [{"price": price, "size": size} for price, size in bids],
        "offset": nonce % 1_000_000,
        "nonce": nonce,
        "last_updated_at": 1785252530170379,
    }
    if begin is not None:
        body["begin_nonce"] = begin
    frame = {
        "channel": f"order_book:{market}",
        "last_updated_at": 1785252530170379,
        "offset": nonce % 1_000_000,
        "order_book": body,
        "timestamp": 1785252530174,
        **extra,
        "type": f"{kind}/order_book",
    }
    return dump(frame)


def snapshot(nonce: int, *, market: int = 1, bids: Levels | None = None, asks: Levels | None = None) -> bytes:
    return book_frame(
        "subscribed",
        bids if bids is not None else [("100.0", "1.00000"), ("99.5", "2.00000")],
        asks if asks is not None else [("100.5", "1.00000"), ("101.0", "2.00000")],
        nonce=nonce,
        begin=0,
        market=market,
    )


def update(nonce: int, begin: int | None, *, market: int = 1, bids: Levels | None = None) -> bytes:
    return book_frame("update", bids or [("99.5", "3.00000")], [], nonce=nonce, begin=begin, market=market)


def ticker(nonce: int, *, kind: str = "update", market: int = 1, symbol: str = "BTC", bid: str = "100.0") -> bytes:
    return dump(
        {
            "channel": f"ticker:{market}",
            "last_updated_at": 1785252530834835,
            "nonce": nonce,
            "ticker": {
                "s": symbol,
                "a": {"price": "100.5", "size": "1.00000"},
                "b": {"price": bid, "size": "1.00000"},
                "last_updated_at": 1785252530834835,
            },
            "timestamp": 1785252530836,
            "type": f"{kind}/ticker",
        }
    )


def trade_row(number: int, *, market: int = 1, kind: str = "trade") -> dict[str, object]:
    return {
        "trade_id": number,
        "trade_id_str": str(number),
        "tx_hash": "00",
        "type": kind,
        "market_id": market,
        "size": "0.00010",
        "price": "100.5",
        "usd_amount": "0.010050",
        "ask_id": 1,
        "bid_id": 2,
        "is_maker_ask": True,
        "block_height": 1,
        "timestamp": 1785252546746,
        "transaction_time": 1785252546746546,
    }


def trades(nonce: int, *numbers: int, kind: str = "update", market: int = 1) -> bytes:
    rows = [trade_row(number, market=market) for number in sorted(numbers, reverse=True)]
    return dump(
        {
            "channel": f"trade:{market}",
            "liquidation_trades": [],
            "nonce": nonce,
            "trades": rows,
            "type": f"{kind}/trade",
        }
    )


def stats_row(market: int, symbol: str, **change: object) -> dict[str, object]:
    return {
        "symbol": symbol,
        "market_id": market,
        "index_price": "100.2",
        "mark_price": "100.0",
        "open_interest": "2500.000000",
        "last_trade_price": "100.5",
        "current_funding_rate": "-0.0012",
        "funding_rate": "-0.0011",
        "funding_timestamp": 1785250800001,
        "daily_base_token_volume": 10.5,
        "daily_quote_token_volume": 1050.25,
        **change,
    }


def stats(*rows: dict[str, object], kind: str = "update") -> bytes:
    return dump(
        {
            "channel": "market_stats:all",
            "market_stats": {str(row["market_id"]): row for row in rows},
            "timestamp": 1785252530620,
            "type": f"{kind}/market_stats",
        }
    )


PULSE = stats(stats_row(1, "BTC"))
"""Data that says nothing of books: what every socket brings each second."""

CANDLE = dump(
    {
        "candles": [{"t": 1778821440000, "o": 2264.2, "h": 2264.34, "l": 2263.36, "c": 2263.97, "v": 13.2, "V": 299.5}],
        "channel": "candle:0:1m",
        "timestamp": 1778821471842,
        "type": "update/candle",
    }
)

FRAMES = (
    snapshot(10),
    update(11, 10),
    ticker(11),
    trades(11, 1, 2),
    stats(stats_row(0, "ETH"), stats_row(1, "BTC")),
    CANDLE,
    b'{"channel":"height","height":301813997,"timestamp":1785252531621,"type":"update/height"}',
    b'{"session_id":"x","type":"connected"}',
    b'{"type":"ping"}',
    b'{"type":"pong"}',
    b'{"type": "unsubscribed", "channel": "order_book:0"}',
    b'{"error":{"code":30003,"message":"Already Subscribed to : order_book:0"}}',
    b'{"type":"shutdown","close_in_ms":5000}',
)
