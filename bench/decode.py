"""From a venue's frame to an aggregated price, per frame, beside ccxt's handler and bare untyped decoding.

Lighter: every book frame of the recording under PERPMESH_FIXTURES. Hyperliquid: no continuous recording exists, so a
captured 20-level book is put in the socket's envelope and its time moved on. `ours` is decode, book and the best over
venues in one round of the engine; `to bytes` adds the serialized price that goes to every stream. ccxt decodes with
orjson, its fastest. Figures are microseconds per frame, the median of several interleaved passes.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ccxt.pro
import msgspec
import orjson

from bench.quiet import engine_of
from services.domain.market import Source
from services.market_data.rpc.encode import PriceEncoder
from services.venues.hyperliquid.wire import events, frames, universe
from services.venues.hyperliquid.wire.info import decode_meta
from services.venues.lighter.wire import numbers
from services.venues.lighter.wire.frames import Decoder
from tests.support.feed import LIGHTER_BTC

RECORDING = "lighter/nautilus_pr_dec2025/ws/mainnet_ob_trade_stats_btc_20251210.jsonl"
CASSETTE = "hyperliquid/sdk_cassettes/test_get_l2_snapshot.json"
PASSES = 5
HYPERLIQUID_FRAMES = 2_000

Pass = Callable[[list[bytes]], None]


def lighter_frames(fixtures: Path) -> list[bytes]:
    """Return the book frames of the recording, the snapshot first."""
    texts = [json.loads(line)["msg"] for line in (fixtures / RECORDING).read_text().splitlines()]
    return [text.encode() for text in texts if '"channel":"order_book' in text]


def hyperliquid_frames(fixtures: Path) -> list[bytes]:
    """Return a captured book again and again, its time moved on by a millisecond."""
    book = json.loads((fixtures / CASSETTE).read_text())["interactions"][-1]["response"]["body"]
    return [
        json.dumps({"channel": "l2Book", "data": {**book, "time": book["time"] + n}}, separators=(",", ":")).encode()
        for n in range(HYPERLIQUID_FRAMES)
    ]


def ours_lighter(*, to_bytes: bool) -> Pass:
    """Return our whole path for Lighter."""
    listing = replace(LIGHTER_BTC, market="BTC-PERP")

    def run(raw: list[bytes]) -> None:
        numbers.forget()  # every pass meets the recording for the first time
        decoder, engine = Decoder((listing,), chain="offset"), engine_of([listing])
        encoder = PriceEncoder({"lighter": Source.MAINNET})
        decode, emit, round_, now = decoder.decode, engine.intake.emit, engine.round, time.time_ns
        market = engine.markets["BTC-PERP"]
        for data in raw:
            emit(decode(data, now()))  # type: ignore[arg-type]
            round_()
            if to_bytes:
                encoder.message(market, now()).SerializeToString()
        assert market.best_bid is not None

    return run


def ours_hyperliquid(fixtures: Path, *, to_bytes: bool) -> Pass:
    """Return our whole path for Hyperliquid."""
    body = json.loads((fixtures / CASSETTE).read_text())["interactions"][0]["response"]["body"]
    known = universe.build([decode_meta(json.dumps(body).encode())], [None], [])
    coin = json.loads(hyperliquid_frames(fixtures)[0])["data"]["coin"]
    listing = known.coin(coin).listing

    def run(raw: list[bytes]) -> None:
        engine = engine_of([listing])
        encoder = PriceEncoder({"hyperliquid": Source.MAINNET})
        emit, round_, now, decode, book = engine.intake.emit, engine.round, time.time_ns, frames.decode, events.book
        market = engine.markets[listing.market]
        for data in raw:
            frame = decode(data)
            assert isinstance(frame, frames.BookFrame)
            emit(book(frame.data, known, depth=20, receive_time_ns=now()))
            round_()
            if to_bytes:
                encoder.message(market, now()).SerializeToString()
        assert market.best_bid is not None

    return run


class _Client:
    """What ccxt's handlers need of a connection."""

    def __init__(self) -> None:
        self.subscriptions: dict[str, Any] = {}
        self.futures: dict[str, Any] = {}

    def resolve(self, *_: object) -> None:
        """Nobody waits."""


def ccxt_pass(exchange: Any) -> Pass:
    """Return ccxt's path: its decoder and its message handler, as its own client calls them."""

    def run(raw: list[bytes]) -> None:
        exchange.orderbooks = {}
        client, handle = _Client(), exchange.handle_message
        for data in raw:
            handle(client, orjson.loads(data))
        assert exchange.orderbooks

    return run


def ccxt_market(market_id: str, symbol: str, base: str) -> dict[str, Any]:
    """Return a market as ccxt wants it."""
    return {
        "id": market_id, "symbol": symbol, "base": base, "quote": "USDC", "settle": "USDC", "baseId": base,
        "quoteId": "USDC", "type": "swap", "spot": False, "swap": True, "contract": True, "linear": True,
        "precision": {"price": 0.1, "amount": 0.00001}, "limits": {}, "info": {}, "active": True,
    }  # fmt: skip


def bare(raw: list[bytes]) -> None:
    """Decode without types and without doing anything: the limit."""
    decode = msgspec.json.decode
    for data in raw:
        decode(data)


def compare(title: str, raw: list[bytes], rows: dict[str, Pass]) -> None:
    """Print the median microseconds per frame of each row, interleaved."""
    spent: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(PASSES):
        for name, run in rows.items():
            start = time.perf_counter()
            run(raw)
            spent[name].append((time.perf_counter() - start) / len(raw) * 1e6)
    medians = {name: statistics.median(values) for name, values in spent.items()}
    size = statistics.mean(len(data) for data in raw[1:])
    print(f"\n{title}: {len(raw)} frames, {size:.0f} bytes on average")
    print(f"{'':<24} {'us/frame':>9} {'x bare':>7} {'ccxt / this':>12}")
    for name, median in medians.items():
        print(f"{name:<24} {median:>9.2f} {median / medians['bare decode']:>7.2f} {medians['ccxt'] / median:>12.2f}")


async def _exchanges(coin: str) -> tuple[Any, Any]:
    lighter, hyperliquid = ccxt.pro.lighter(), ccxt.pro.hyperliquid()
    lighter.set_markets([ccxt_market("1", "BTC/USDC:USDC", "BTC")])
    hyperliquid.set_markets([ccxt_market(coin, f"{coin}/USDC:USDC", coin)])
    await lighter.close()
    await hyperliquid.close()
    return lighter, hyperliquid


def main() -> int:
    """Print both tables."""
    folder = os.environ.get("PERPMESH_FIXTURES")
    if not folder:
        print("set PERPMESH_FIXTURES to the folder of captured payloads: this figure is measured on the recording")
        return 2
    fixtures = Path(folder)
    raw = hyperliquid_frames(fixtures)
    lighter, hyperliquid = asyncio.run(_exchanges(json.loads(raw[0])["data"]["coin"]))
    compare(
        "Lighter, the recording of 2025-12-10",
        lighter_frames(fixtures),
        {
            "bare decode": bare,
            "ours": ours_lighter(to_bytes=False),
            "ours, to bytes": ours_lighter(to_bytes=True),
            "ccxt": ccxt_pass(lighter),
        },
    )
    compare(
        "Hyperliquid, a captured 20-level book",
        raw,
        {
            "bare decode": bare,
            "ours": ours_hyperliquid(fixtures, to_bytes=False),
            "ours, to bytes": ours_hyperliquid(fixtures, to_bytes=True),
            "ccxt": ccxt_pass(hyperliquid),
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
