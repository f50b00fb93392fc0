"""Whatever comes from the venue, the decoders either understand it or raise a `WireError` that names a field."""

from __future__ import annotations

import contextlib
import json
import os
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.venues.hyperliquid.wire import events, frames, info
from services.venues.hyperliquid.wire.universe import Universe, build
from services.venues.hyperliquid.wire.values import REMEMBERED_MAX, Units, WireError
from tests.unit.venues.hyperliquid.captured import dump, markets, small_universe, universe_of

NOW_NS = 1_790_232_237_500_000_000
UNIVERSE = small_universe()
MUTATIONS = int(os.environ.get("PERPMESH_MUTATIONS", "20000"))


def level(px: str, sz: str) -> dict[str, Any]:
    return {"px": px, "sz": sz, "n": 1}


def book_frame(bids: list[Any], asks: list[Any], **more: Any) -> bytes:
    data = {"coin": "BTC", "time": 1790232236546, "levels": [bids, asks], **more}
    return dump({"channel": "l2Book", "data": data})


GOOD_BIDS = [level("84143.0", "1.5"), level("84142.0", "0.00001")]
GOOD_ASKS = [level("84144.0", "2.0"), level("84150.0", "3.0")]
TOP = {"coin": "BTC", "time": 1790232236546, "bbo": [GOOD_BIDS[0], GOOD_ASKS[0]]}
TRADE = {"coin": "BTC", "side": "B", "px": "84143.0", "sz": "0.1", "time": 1790232236546, "tid": 7, "hash": "0x0"}
CONTEXT = {
    "funding": "0.0000125", "openInterest": "10.0", "prevDayPx": "1.0", "dayNtlVlm": "5.5", "premium": None,
    "oraclePx": "84143.0", "markPx": "84144.0", "midPx": None, "impactPxs": None, "dayBaseVlm": "1.0",
}  # fmt: skip


def understand(raw: bytes, universe: Universe = UNIVERSE, depth: int = events.FULL_DEPTH) -> object:
    """Read one frame as far as an event, as the listener does."""
    frame = frames.decode(raw)
    if isinstance(frame, frames.BookFrame):
        return events.book(frame.data, universe, depth=depth, receive_time_ns=NOW_NS)
    if isinstance(frame, frames.TopFrame):
        return events.top(frame.data, universe, receive_time_ns=NOW_NS)
    if isinstance(frame, frames.TradesFrame):
        return events.trades(frame.data, universe, receive_time_ns=NOW_NS)
    if isinstance(frame, frames.ActiveContextFrame):
        coin = universe.coin(frame.data.coin, "data.coin")
        return events.context(frame.data.ctx, coin, cadence_s=1.0, receive_time_ns=NOW_NS)
    if isinstance(frame, frames.AllContextsFrame):
        return [
            events.contexts(dex, raw_contexts, universe, cadence_s=13.6, receive_time_ns=NOW_NS)
            for dex, raw_contexts in frame.data.ctxs
        ]
    return frame


def top_frame(**more: Any) -> bytes:
    return dump({"channel": "bbo", "data": {**TOP, **more}})


def trade_frame(**more: Any) -> bytes:
    return dump({"channel": "trades", "data": [{**TRADE, **more}]})


def context_frame(**more: Any) -> bytes:
    return dump({"channel": "activeAssetCtx", "data": {"coin": "BTC", "ctx": {**CONTEXT, **more}}})


WRONG: dict[str, tuple[bytes, str]] = {
    "cut off": (book_frame(GOOD_BIDS, GOOD_ASKS)[:-20], "$"),
    "empty": (b"", "$"),
    "a web page": (b"<html><body>502 Bad Gateway</body></html>", "$"),
    "binary": (bytes(range(256)), "$"),
    "null": (b"null", "$"),
    "a list": (b"[]", "$"),
    "no channel": (b'{"data":{}}', "$"),
    "an unknown channel": (b'{"channel":"weather","data":{}}', "channel"),
    "nested without end": (b'{"channel":"error","x":' + b"[" * 100_000, "$"),
    "a price that is a number": (book_frame([{"px": 84143.0, "sz": "1.0"}], []), "data.levels[0][0].px"),
    "a size that is missing": (book_frame([{"px": "84143.0"}], []), "data.levels[0][0]"),
    "a price NaN": (book_frame([level("NaN", "1.0")], []), "data.levels[0][0].px"),
    "a size Infinity": (book_frame([level("84143.0", "Infinity")], []), "data.levels[0][0].sz"),
    "a negative price": (book_frame([level("-84143.0", "1.0")], []), "data.levels[0][0].px"),
    "a negative size": (book_frame([], [level("84143.0", "-1.0")]), "data.levels[1][0].sz"),
    "a price of zero": (book_frame([level("0.0", "1.0")], []), "data.levels[0][0].px"),
    "a size of zero": (book_frame([GOOD_BIDS[0], level("84142.0", "0.0")], []), "data.levels[0][1].sz"),
    "an exponent": (book_frame([level("8e4", "1.0")], []), "data.levels[0][0].px"),
    "an empty text": (book_frame([level("", "1.0")], []), "data.levels[0][0].px"),
    "digits that are not ASCII": (book_frame([level("٨٤", "1.0")], []), "data.levels[0][0].px"),
    "too many decimals": (book_frame([level("1.05", "1.0")], []), "data.levels[0][0].px"),
    "too many figures": (book_frame([level("84143.5", "1.0")], []), "data.levels[0][0].px"),
    "too fine a size": (book_frame([level("84143.0", "0.000001")], []), "data.levels[0][0].sz"),
    "a huge price": (book_frame([level("9" * 30, "1.0")], []), "data.levels[0][0].px"),
    "an endless price": (book_frame([level("9" * 5000, "1.0")], []), "data.levels[0][0].px"),
    "bids that rise": (book_frame(GOOD_BIDS[::-1], GOOD_ASKS), "data.levels[0]"),
    "asks that fall": (book_frame(GOOD_BIDS, GOOD_ASKS[::-1]), "data.levels[1]"),
    "a bid twice": (book_frame(GOOD_BIDS[:1] * 2, GOOD_ASKS), "data.levels[0]"),
    "an ask twice": (book_frame(GOOD_BIDS, GOOD_ASKS[:1] * 2), "data.levels[1]"),
    "crossed": (book_frame([level("84144.0", "1.0")], GOOD_ASKS), "data.levels"),
    "one side only": (dump({"channel": "l2Book", "data": {"coin": "BTC", "time": 1, "levels": [[]]}}), "data.levels"),
    "21 levels": (book_frame([level(f"{84143 - i}.0", "1.0") for i in range(21)], []), "data.levels"),
    "an aggregated book": (book_frame(GOOD_BIDS, GOOD_ASKS, spread="1.0"), "data.spread"),
    "a fast book on the wrong socket": (book_frame(GOOD_BIDS, GOOD_ASKS, fast=True), "data.fast"),
    "an unknown coin": (book_frame(GOOD_BIDS, GOOD_ASKS, coin="NOPE"), "data.coin"),
    "a coin in the wrong case": (book_frame(GOOD_BIDS, GOOD_ASKS, coin="btc"), "data.coin"),
    "a coin that is a list": (book_frame(GOOD_BIDS, GOOD_ASKS, coin=["BTC"]), "data.coin"),
    "a time before 1970": (book_frame(GOOD_BIDS, GOOD_ASKS, time=-1), "data.time"),
    "a time after 2100": (book_frame(GOOD_BIDS, GOOD_ASKS, time=10**15), "data.time"),
    "a time that is a text": (book_frame(GOOD_BIDS, GOOD_ASKS, time="now"), "data.time"),
    "a top of one side": (top_frame(bbo=[GOOD_BIDS[0]]), "data.bbo"),
    "a crossed top": (top_frame(bbo=[GOOD_ASKS[0], GOOD_BIDS[0]]), "data.bbo"),
    "a top without size": (top_frame(bbo=[GOOD_BIDS[0], level("84144.0", "0.0")]), "data.bbo[1].sz"),
    "a trade of no side": (trade_frame(side="X"), "data.side"),
    "a trade of nothing": (trade_frame(sz="0.0"), "data.sz"),
    "a trade for NaN": (trade_frame(px="NaN"), "data.px"),
    "a trade with a negative id": (trade_frame(tid=-1), "data[0].tid"),
    "trades of two coins": (dump({"channel": "trades", "data": [TRADE, {**TRADE, "coin": "ETH"}]}), "data"),
    "a negative mark": (context_frame(markPx="-1.0"), "ctx.markPx"),
    "a mark NaN": (context_frame(markPx="NaN"), "ctx.markPx"),
    "a funding rate beyond reason": (context_frame(funding="2.0"), "ctx.funding"),
    "a volume without end": (context_frame(dayNtlVlm="1" * 30), "ctx.dayNtlVlm"),
    "an open interest that is null": (context_frame(openInterest=None), "data.ctx.openInterest"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_with_its_field(name: str) -> None:
    raw, field = WRONG[name]
    with pytest.raises(WireError) as caught:
        understand(raw)
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["crossed", "a price NaN", "a price that is a number", "an aggregated book"])
def test_a_broken_frame_still_says_which_coin_it_was_about(name: str) -> None:
    with pytest.raises(WireError) as caught:
        understand(WRONG[name][0])
    assert caught.value.coin == "BTC"


def test_six_levels_are_too_many_for_a_fast_book() -> None:
    raw = book_frame([level(f"{84143 - i}.0", "1.0") for i in range(6)], [])
    with pytest.raises(WireError, match="at most 5 each would pass"):
        understand(raw, depth=events.FAST_DEPTH)
    understand(raw)


def test_sides_may_be_empty_and_a_top_may_lack_one() -> None:
    book = understand(book_frame([], GOOD_ASKS))
    assert isinstance(book, events.BookSnapshot)
    assert book.bids == []
    top = understand(top_frame(bbo=[None, GOOD_ASKS[0]]))
    assert isinstance(top, events.TopOfBook)
    assert (top.bid, top.ask) == (None, (841440, 200000))


def test_an_integer_price_may_have_more_than_five_figures() -> None:
    book = understand(book_frame([level("107575.0", "1.0")], []))
    assert isinstance(book, events.BookSnapshot)
    assert book.bids == [(1075750, 100000)]


def test_the_old_servers_greeting_is_a_sign_of_life() -> None:
    assert isinstance(frames.decode(frames.GREETING), frames.PongFrame)


def test_a_mark_of_zero_is_a_mark_that_does_not_exist() -> None:
    context = understand(context_frame(markPx="0.0"))
    assert isinstance(context, events.Context)
    assert (context.mark_price, context.index_price) == (None, Decimal("84143.0"))


def test_one_bad_context_does_not_take_the_others_with_it() -> None:
    universe = universe_of(markets([("BTC", 5), ("ETH", 4), ("OLD", 1)]))
    raw = [CONTEXT, {**CONTEXT, "markPx": "-1.0"}, CONTEXT]
    contexts = msgspec.convert(raw, list[frames.RawContext])
    found, problems = events.contexts("", contexts, universe, cadence_s=13.6, receive_time_ns=NOW_NS)
    assert [context.market for context in found] == ["BTC-PERP", "OLD-PERP"]
    assert [(problem.field, problem.coin) for problem in problems] == [("ctx.markPx", "ETH")]


def test_contexts_by_position_are_refused_when_positions_are_missing_and_reported_when_there_are_more() -> None:
    universe = universe_of(markets([("BTC", 5), ("ETH", 4)]))
    contexts = msgspec.convert([CONTEXT] * 3, list[frames.RawContext])
    found, problems = events.contexts("", contexts, universe, cadence_s=13.6, receive_time_ns=NOW_NS)
    assert (len(found), len(problems)) == (2, 1)
    with pytest.raises(WireError):
        events.contexts("", contexts[:1], universe, cadence_s=13.6, receive_time_ns=NOW_NS)
    assert events.contexts("nodex", contexts, universe, cadence_s=13.6, receive_time_ns=NOW_NS)[0] == []


def test_a_delisted_market_has_no_context_and_a_bad_market_leaves_the_others() -> None:
    first = [
        *markets([("BTC", 5)]),
        *markets([("GONE", 1)], isDelisted=True),
        *markets([("bad-name", 1), ("kPEPE", 0), ("1000PEPE", 0)]),
        *markets([("ETH", 4)], marginTableId=77),
    ]
    universe = universe_of(first, xyz=markets([("xyz:TSLA", 3), ("abc:TSLA", 3)]))
    assert sorted(universe.coins) == ["BTC", "GONE", "kPEPE", "xyz:TSLA"]
    assert len(universe.problems) == 4
    contexts = msgspec.convert([CONTEXT] * 6, list[frames.RawContext])
    found, problems = events.contexts("", contexts, universe, cadence_s=13.6, receive_time_ns=NOW_NS)
    assert [context.market for context in found] == ["BTC-PERP", "1000PEPE-PERP"]
    assert problems == []


def test_a_dex_whose_collateral_is_unknown_is_left_out_and_the_first_dex_must_be_first() -> None:
    metas = msgspec.convert(
        [{"universe": markets([("BTC", 5)])}, {"universe": markets([("km:X", 1)]), "collateralToken": 360}],
        list[info.RawMeta],
    )
    universe = build(metas, [None, info.RawDex("km")], [info.RawToken("USDC", 0)])
    assert sorted(universe.coins) == ["BTC"]
    assert universe.dexes["km"] == (None,)
    with pytest.raises(WireError):
        build(metas, [None], [])
    with pytest.raises(WireError):
        build(metas, [info.RawDex("km"), None], [])


def test_a_scale_forgets_rather_than_grows() -> None:
    units = Units(0)
    for number in range(1, REMEMBERED_MAX + 100):
        assert units[str(number)] == number
    assert len(units) <= REMEMBERED_MAX


@given(st.text(max_size=40) | st.from_regex(r"-?[0-9]{0,20}\.?[0-9]{0,8}", fullmatch=True))
@settings(max_examples=300, deadline=None)
def test_a_scale_gives_the_exact_number_or_refuses(text: str) -> None:
    units = Units(3)
    try:
        got = units[text]
    except ValueError:
        return
    assert Decimal(got).scaleb(-3) == Decimal(text)
    assert got > 0


SEEDS = (
    book_frame(GOOD_BIDS, GOOD_ASKS), top_frame(), trade_frame(), context_frame(),
    dump({"channel": "allDexsAssetCtxs", "data": {"ctxs": [["", [CONTEXT] * 10], ["xyz", [CONTEXT] * 2]]}}),
    dump({"channel": "assetCtxs", "data": {"dex": "", "ctxs": [CONTEXT]}}),
    dump({"channel": "allMids", "data": {"mids": {"BTC": "1.0"}}}),
    dump({"channel": "subscriptionResponse", "data": {"method": "subscribe", "subscription": {"type": "bbo", "coin": "BTC"}}}),  # noqa: E501
    dump({"channel": "error", "data": 'Already subscribed: {"type":"bbo","coin":"BTC"}'}),
    dump({"channel": "post", "data": {"id": 1, "response": {"type": "info", "payload": {"type": "l2Book", "data": None}}}}),  # noqa: E501
    dump({"channel": "candle", "data": {"t": 1, "T": 2, "s": "BTC", "i": "1m", "o": "1", "c": "1", "h": "1", "l": "1", "v": "1", "n": 1}}),  # noqa: E501
    b'{"channel":"pong"}',
)  # fmt: skip
BODIES: tuple[tuple[Callable[[bytes], object], bytes], ...] = (
    (info.decode_meta, dump({"universe": markets([("BTC", 5)]), "marginTables": [[50, {"marginTiers": [{"lowerBound": "0.0", "maxLeverage": 5}]}]]})),  # noqa: E501
    (info.decode_metas, dump([{"universe": markets([("BTC", 5)])}])),
    (info.decode_meta_and_contexts, dump([{"universe": markets([("BTC", 5)])}, [CONTEXT]])),
    (info.decode_dexes, dump([None, {"name": "xyz", "deployerFeeScale": "1.0"}])),
    (info.decode_spot_meta, dump({"tokens": [{"name": "USDC", "index": 0}]})),
    (info.decode_book, dump({"coin": "BTC", "time": 1, "levels": [GOOD_BIDS, GOOD_ASKS]})),
    (info.decode_mids, dump({"BTC": "1.0"})),
    (info.decode_trades, dump([TRADE])),
    (info.decode_funding, dump([{"coin": "BTC", "fundingRate": "0.1", "time": 1}])),
    (info.decode_candles, dump([{"t": 1, "T": 2, "s": "BTC", "i": "1m", "o": "1", "c": "1", "h": "1", "l": "1", "v": "1", "n": 1}])),  # noqa: E501
)  # fmt: skip


def mutate(rng: random.Random, raw: bytes) -> bytes:
    """Return `raw` with one to four bytes, or one stretch, changed."""
    data = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data)) if data else 0
        kind = rng.randrange(7)
        if kind == 0:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1:
            del data[at : at + rng.randint(1, 12)]
        elif kind == 2:
            data[at:at] = data[at : at + rng.randint(1, 30)]
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            data[at:at] = rng.choice((b"NaN", b"null", b"-", b"1e999", b"\xff", b"{", b'"', b"[", b"9" * 400))
        elif kind == 5:
            data[at : at + 1] = rng.choice((b"0", b"9", b".", b"-", b",", b"]"))
        else:
            data[at:at] = b"\\ud800"
    return bytes(data)


def test_no_mutation_of_any_message_raises_anything_but_a_wire_error() -> None:
    seed = int(os.environ.get("PERPMESH_SEED", "20260924"))
    print(f"seed {seed}, {MUTATIONS} mutations; PERPMESH_SEED and PERPMESH_MUTATIONS change them")
    rng = random.Random(seed)
    refused = 0
    for number in range(MUTATIONS):
        try:
            if number % 2:
                decoder, body = BODIES[number // 2 % len(BODIES)]
                decoder(mutate(rng, body))
            else:
                understand(mutate(rng, SEEDS[number // 2 % len(SEEDS)]))
        except WireError as error:
            refused += bool(error.field and error.problem)
    assert refused > MUTATIONS // 2


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
CHANNELS = ("l2Book", "bbo", "trades", "activeAssetCtx", "allDexsAssetCtxs", "subscriptionResponse", "error", "post")


@given(st.sampled_from(CHANNELS), json_values, st.sampled_from(("", "coin", "levels", "bbo", "time", "ctx", "ctxs")))
@settings(max_examples=400, deadline=None)
def test_no_value_anywhere_in_a_frame_raises_anything_but_a_wire_error(channel: str, value: Any, field: str) -> None:
    data: Any = {**TOP, "levels": [GOOD_BIDS, GOOD_ASKS], "ctx": CONTEXT, field: value} if field else value
    raw = json.dumps({"channel": channel, "data": data}).encode()
    with contextlib.suppress(WireError):
        understand(raw)


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_no_bytes_raise_anything_but_a_wire_error(raw: bytes) -> None:
    with contextlib.suppress(WireError):
        assert isinstance(
            understand(raw), frames.PongFrame
        )  # the old servers' greeting; nothing else is short and true


@given(st.text(max_size=200))
@settings(max_examples=200, deadline=None)
def test_no_error_sentence_of_the_venue_raises(text: str) -> None:
    frames.subscription_in(text)


def test_an_error_sentence_names_the_subscription_it_is_about() -> None:
    twice = 'Already subscribed: {"type":"l2Book","coin":"SOL","nSigFigs":null,"mantissa":null,"fast":false}'
    assert frames.subscription_in(twice) == frames.Subscription(type="l2Book", coin="SOL")
    wrong = 'Error parsing JSON into valid websocket request: {"method":"subscribe","subscription":{"type":"x"}}'
    assert frames.subscription_in(wrong) == frames.Subscription(type="x")
    assert frames.subscription_in("Cannot track more than 15 total users.") is None
