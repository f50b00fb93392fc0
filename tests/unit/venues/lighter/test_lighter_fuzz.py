"""Every decoder of Lighter's takes any bytes and raises `WireError` or nothing."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from decimal import FloatOperation, Inexact, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.book import Book
from services.domain.feed import BookDelta, BookSnapshot
from services.venues.lighter.wire import payloads
from services.venues.lighter.wire.frames import Decoder, wire_market
from services.venues.lighter.wire.messages import Contexts, Ticker, Trades
from services.venues.lighter.wire.numbers import REMEMBERED_MAX, Units, WireError, price_units
from tests.unit.venues.lighter.samples import (
    BTC,
    ETH,
    FRAMES,
    LISTINGS,
    captured,
    captured_lines,
    dump,
    stats,
    stats_row,
    trade_row,
)

DECODERS = (Decoder(LISTINGS), Decoder(LISTINGS, chain="offset"))
ETH_WIRE, BTC_WIRE = wire_market(ETH), wire_market(BTC)

LISTING_ROW = {
    "symbol": "BTC",
    "market_id": 1,
    "market_type": "perp",
    "status": "active",
    "taker_fee": "0.0000",
    "maker_fee": "0.0000",
    "min_base_amount": "0.00020",
    "min_quote_amount": "10.000000",
    "supported_size_decimals": 5,
    "supported_price_decimals": 1,
    "min_initial_margin_fraction": 200,
    "maintenance_margin_fraction": 120,
    "quote_multiplier": 1,
}
ORDER = {"price": "100.5", "remaining_base_amount": "0.50000", "order_index": 7}
ANSWERS: list[tuple[Callable[[bytes], object], bytes]] = [
    (payloads.listings, dump({"code": 200, "order_book_details": [LISTING_ROW], "spot_order_book_details": []})),
    (
        lambda data: payloads.book_orders(data, BTC_WIRE, limit=250),
        dump({"code": 200, "bids": [{**ORDER, "price": "100.0"}], "asks": [ORDER, ORDER]}),
    ),
    (
        lambda data: payloads.depth(data, BTC_WIRE),
        dump({"code": 200, "bids": [{"price": "1.0", "size": "2.00000"}], "asks": [], "nonce": 5}),
    ),
    (lambda data: payloads.trades(data, BTC_WIRE, 0), dump({"code": 200, "trades": [trade_row(1)]})),
    (payloads.candles, dump({"code": 200, "r": "1m", "c": [{"t": 1, "o": 1.0, "h": 2.0, "l": 0.5, "c": 1.5}]})),
    (
        payloads.fundings,
        dump({"code": 200, "fundings": [{"timestamp": 1, "rate": "0.0012", "direction": "long", "value": "1"}]}),
    ),
]

NASTY: list[object] = [
    None, True, False, 0, -1, 2**63, 2**64, 10**400, 1.5, -0.0, 1e308, "", " ", "0", "-0", "-1", "1e5", "NaN",
    "Infinity", "-Infinity", "1.", ".5", "0x1F", "1_000", "\u0661\u0662", "\uff19", "1" * 50, "1." + "0" *
    300, "9" * 400, "\ud800", "\x00", [], {}, [[]], {"price": "1"}, "order_book:999", "order_book:", ":",
    "BTC", "update/order_book", [None] * 3,
]  # fmt: skip


def safely(decode: Callable[[bytes], object], data: bytes) -> object:
    try:
        return decode(data)
    except WireError as error:
        return None if error.field and error.problem else pytest.fail("an error that says nothing")


def check(message: object) -> None:
    """What was accepted is possible: integers in range, times in reason, no float, chains only where said."""
    if isinstance(message, BookSnapshot | BookDelta):
        for price, size in [*message.bids, *message.asks]:
            assert type(price) is type(size) is int
            assert 0 < price < 2**32
            assert 0 <= size <= 2**60
        assert message.version >= 0
        if isinstance(message, BookSnapshot):
            Book().replace(message.bids, message.asks)
    elif isinstance(message, Ticker):
        top = message.top
        assert top.bid is None or top.ask is None or 0 < top.bid[0] < top.ask[0]
    elif isinstance(message, Trades):
        assert all(trade.size > 0 and trade.price > 0 for trade in message.trades)
    elif isinstance(message, Contexts):
        for context in message.contexts:
            for value in (context.mark_price, context.index_price, context.last_price, context.volume_24h_usd):
                assert value is None or (value.is_finite() and value >= 0)


def decode_all(data: bytes) -> None:
    for decoder in DECODERS:
        check(safely(lambda raw, of=decoder: of.decode(raw, 1), data))  # type: ignore[misc]


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    decode_all(data)
    for decode, _ in ANSWERS:
        safely(decode, data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(NASTY),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def spots(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [path]
    if isinstance(value, dict):
        for key, inner in value.items():
            found += spots(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found += spots(inner, (*path, index))
    return found


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """`value` with the place at `path` replaced; deleted where `new` is `...`."""
    if not path:
        return None if new is ... else new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and new is ...:
        del copy[path[0]]
    else:
        copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


def encode(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode("utf-8", "surrogatepass")


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_any_value_in_any_place_of_any_frame_and_answer(data: st.DataObject) -> None:
    n = data.draw(st.integers(0, len(FRAMES) + len(ANSWERS) - 1))
    raw = FRAMES[n] if n < len(FRAMES) else ANSWERS[n - len(FRAMES)][1]
    value = json.loads(raw)
    path = data.draw(st.sampled_from(spots(value)))
    changed = encode(put(value, path, data.draw(json_values | st.just(...))))
    decode_all(changed)
    for decode, _ in ANSWERS:
        safely(decode, changed)


@pytest.mark.parametrize("number", range(len(FRAMES) + len(ANSWERS)))
def test_every_nasty_value_in_every_place(number: int) -> None:
    raw = FRAMES[number] if number < len(FRAMES) else ANSWERS[number - len(FRAMES)][1]
    value = json.loads(raw)
    for path in spots(value):
        for nasty in [*NASTY, ...]:
            changed = encode(put(value, path, nasty))
            if number < len(FRAMES):
                decode_all(changed)
            else:
                safely(ANSWERS[number - len(FRAMES)][0], changed)


def corpus() -> list[bytes]:
    frames = list(FRAMES) + [raw for _, raw in ANSWERS]
    if os.environ.get("PERPMESH_FIXTURES"):
        frames += captured_lines("hftbacktest/eth_mainnet_20260728_frames.jsonl")
        frames += [
            captured(f"nautilus/{name}.json")
            for name in ("ws_trade_update", "ws_ticker_update", "ws_market_stats_update_all", "http_recent_trades")
        ]
    return frames


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip, drop, insert, double, cut or swap some bytes."""
    raw = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at = rng.randrange(len(raw)) if raw else 0
        match rng.randrange(7):
            case 0 if raw:
                raw[at] ^= 1 << rng.randrange(8)
            case 1 if raw:
                del raw[at : at + rng.choice((1, 2, 10))]
            case 2:
                raw[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 3))))
            case 3:
                raw[at:at] = raw[at : at + 30]
            case 4:
                del raw[at:]
            case 5 if raw:
                raw[at] = rng.choice(b'0123456789.-eE"{}[]:,')
            case _:
                raw = raw[at:] + raw[:at]
    return bytes(raw)


def test_thirty_thousand_seeded_byte_mutations() -> None:
    seed = 1_117
    print(f"seed {seed}")
    rng = random.Random(seed)
    frames = corpus()
    for _ in range(30_000):
        data = mutate(rng.choice(frames), rng)
        check(safely(lambda raw: DECODERS[0].decode(raw, 1), data))
        safely(rng.choice(ANSWERS)[0], data)


def test_depth_length_and_count_are_bounded() -> None:
    decode_all(b'{"channel":' + b"[" * 200_000)
    decode_all(b'{"type":"update/order_book","order_book":' + b'{"a":' * 100_000)
    many = ",".join('{"price":"1.0","size":"1.00000"}' for _ in range(50_001))
    body = f'{{"asks":[],"bids":[{many}],"nonce":1}}'
    frame = f'{{"channel":"order_book:1","order_book":{body},"type":"update/order_book"}}'
    with pytest.raises(WireError, match="more than 50000 levels"):
        DECODERS[0].decode(frame.encode(), 1)
    rows = ",".join(encode(trade_row(n)).decode() for n in range(1_001))
    frame = f'{{"channel":"trade:1","trades":[{rows}],"type":"update/trade"}}'
    with pytest.raises(WireError, match="more than 1000 trades"):
        DECODERS[0].decode(frame.encode(), 1)


@pytest.mark.parametrize(
    "number", ["1e-999999999", "1e999999999", "1" * 200, "0." + "1" * 200, "1e25", '"NaN"', '"sNaN"']
)
def test_numbers_that_would_fill_the_memory_or_round_are_refused(number: str) -> None:
    row = stats_row(1, "BTC", daily_quote_token_volume=7_777)
    frame = stats(row).replace(b"7777", number.encode())
    with localcontext() as context:
        context.prec = 80
        context.traps[Inexact] = context.traps[FloatOperation] = True
        message = DECODERS[0].decode(frame, 1)
    assert isinstance(message, Contexts)
    assert [error.field for error in message.errors] == ["market_stats.1.daily_quote_token_volume"]
    assert message.contexts == []


def test_decoding_is_exact_where_rounding_is_trapped() -> None:
    with localcontext() as context:
        context.prec = 80
        context.traps[Inexact] = context.traps[FloatOperation] = True
        for frame in FRAMES:
            check(DECODERS[0].decode(frame, 1))


def test_what_a_scale_remembers_is_bounded_and_changes_nothing() -> None:
    scale = Units(1, smallest=1, largest=2**32 - 1)
    for n in range(1, REMEMBERED_MAX * 2):
        assert scale[f"{n / 10:.1f}"] == n
        assert len(scale) <= REMEMBERED_MAX
    assert price_units(3) is price_units(3)


@pytest.mark.parametrize(
    ("frame", "field"),
    [
        ('{"channel":"order_book:1","order_book":{"asks":[{"price":"1.0"}],"bids":[],"nonce":1},', "asks[0]"),
        ('{"channel":"order_book:1","order_book":{"asks":[],"bids":[{"price":1.0,"size":"1"}]},', "bids[0].price"),
        ('{"channel":"order_book:1","order_book":{"asks":[],"bids":[],"nonce":-1},', "order_book.nonce"),
        ('{"channel":"order_book:1","order_book":{"asks":[],"bids":[]},', "order_book.nonce"),
        ('{"channel":"order_book:7","order_book":{"asks":[],"bids":[],"nonce":1},', "channel"),
        ('{"channel":"ticker:1","order_book":{"asks":[],"bids":[],"nonce":1},', "channel"),
        ('{"channel":"order_book:1",', "order_book"),
    ],
)
def test_what_is_wrong_is_named(frame: str, field: str) -> None:
    with pytest.raises(WireError) as caught:
        DECODERS[0].decode(f'{frame}"type":"update/order_book"}}'.encode(), 1)
    assert field in f"{caught.value.field} {caught.value.problem}"
    assert caught.value.channel in ("order_book:1", "order_book:7", "ticker:1")
