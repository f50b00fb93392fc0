"""Hyperliquid's face behaves as measured on the venue."""

from __future__ import annotations

import base64
import json
import zlib
from itertools import pairwise
from typing import Any

import pytest

from services.simulator.dialects.hyperliquid.info import ServerNullError, UnprocessableError
from tests.unit.simulator.clients import START_MS, Stage

USER = "0x" + "ab" * 20


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(hyperliquid_messages_max=0)


def channels(frames: list[Any]) -> list[str]:
    return [frame["channel"] for frame in frames]


def test_the_ack_comes_before_the_snapshot_and_fills_in_defaults(stage: Stage) -> None:
    frames = stage.watch(stage.join("hyperliquid"), coin="BTC", type="l2Book")
    assert channels(frames) == ["subscriptionResponse", "l2Book"]
    assert frames[0]["data"]["subscription"] == {
        "type": "l2Book", "coin": "BTC", "nSigFigs": None, "mantissa": None, "fast": False,
    }  # fmt: skip
    assert [len(side) for side in frames[1]["data"]["levels"]] == [20, 20]


def test_books_come_on_their_clocks_and_fast_ones_have_five_levels() -> None:
    stage = Stage()
    slow, fast = stage.join("hyperliquid", 1), stage.join("hyperliquid", 2)
    stage.watch(slow, type="l2Book", coin="BTC")
    stage.watch(slow, type="l2Book", coin="ETH")
    stage.watch(fast, type="l2Book", coin="BTC", fast=True)
    stage.run(11_000)
    books = [frame["data"] for frame in slow.heard() if frame["channel"] == "l2Book"]
    assert [book["coin"] for book in books] == ["BTC", "ETH"] * 2
    assert books[0]["time"] == books[1]["time"] != books[2]["time"]
    quick = [frame["data"] for frame in fast.heard() if frame["channel"] == "l2Book"]
    assert 18 <= len(quick) <= 21
    assert all(len(side) == 5 for book in quick for side in book["levels"])


def test_the_touch_is_sent_only_when_it_changed_and_equals_the_book() -> None:
    stage = Stage()
    ear = stage.join("hyperliquid")
    assert channels(stage.watch(ear, type="bbo", coin="ETH")) == ["subscriptionResponse"]
    stage.run(3000)
    touches = [frame["data"]["bbo"] for frame in ear.heard()]
    assert len(touches) > 10
    assert all(before != after for before, after in pairwise(touches))
    book = stage.hyperliquid.info.answer({"type": "l2Book", "coin": "ETH"})
    assert touches[-1] == [book["levels"][0][0], book["levels"][1][0]]


def test_contexts_come_once_a_second_per_coin_and_candles_only_while_trading() -> None:
    stage = Stage()
    ear = stage.join("hyperliquid")
    for coin in ("BTC", "ETH", "SOL", "TRX"):
        stage.watch(ear, type="activeAssetCtx", coin=coin)
    stage.watch(ear, type="candle", coin="BTC", interval="1m")
    stage.watch(ear, type="candle", coin="BTC", interval="5m")
    stage.watch(ear, type="candle", coin="MATIC", interval="1m")
    stage.run(5100)
    frames = ear.heard()
    for coin in ("BTC", "ETH", "SOL", "TRX"):
        assert 5 <= sum(f["channel"] == "activeAssetCtx" and f["data"]["coin"] == coin for f in frames) <= 6
    for interval in ("1m", "5m"):
        bars = [f["data"] for f in frames if f["channel"] == "candle" and f["data"]["i"] == interval]
        assert 7 <= len(bars) <= 11
        assert {bar["s"] for bar in bars} == {"BTC"}


def test_all_mids_and_all_contexts_come_on_their_clocks() -> None:
    stage = Stage()
    ear = stage.join("hyperliquid")
    stage.watch(ear, type="allMids")
    stage.watch(ear, type="allMids", dex="xyz")
    stage.watch(ear, type="allDexsAssetCtxs")
    stage.run(14_000)
    frames = ear.heard()
    mids = [frame["data"] for frame in frames if frame["channel"] == "allMids"]
    assert sorted({data.get("dex", "") for data in mids}) == ["", "xyz"]
    assert 4 <= len(mids) <= 6
    assert 1 <= sum(frame["channel"] == "allDexsAssetCtxs" for frame in frames) <= 2


def test_trades_begin_with_a_backfill_and_go_on_one_coin_a_frame() -> None:
    stage = Stage()
    ear = stage.join("hyperliquid")
    first = stage.watch(ear, type="trades", coin="BTC")[1]
    assert 20 <= len(first["data"]) <= 30
    stage.run(3000)
    for frame in ear.heard():
        assert frame["data"]
        assert {row["coin"] for row in frame["data"]} == {"BTC"}


@pytest.mark.parametrize(
    "subscription",
    [
        {"type": "bbo", "coin": "btc"},
        {"type": "trades", "coin": "NOPE"},
        {"type": "l2Book", "coin": "TSLA"},
        {"type": "l2Book", "coin": "XYZ:TSLA"},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": 6},
        {"type": "l2Book", "coin": "BTC", "mantissa": 2},
        {"type": "allMids", "dex": "nope"},
    ],
)
def test_what_the_venue_does_not_survive_ends_the_whole_socket_without_a_frame(
    subscription: dict[str, Any],
) -> None:
    stage = Stage()
    ear = stage.join("hyperliquid")
    assert stage.watch(ear, **subscription) == []
    assert ear.cut_reason is None
    stage.run(120)
    assert ear.cut_reason is not None


@pytest.mark.parametrize(
    "text",
    [
        "not json", "[]", "5", '"ping"', "{}", '{"method":"dance"}', '{"method":"subscribe"}',
        '{"method":"subscribe","subscription":{"type":"webData2","user":"' + USER + '"}}',
        '{"method":"subscribe","subscription":{"type":"bbo","coin":["BTC"]}}',
        '{"method":"subscribe","subscription":{"type":"candle","coin":"BTC","interval":["1m"]}}',
        '{"method":"subscribe","subscription":{"type":"userFills","user":"nobody"}}',
        '{"method":"post","request":{"type":"info","payload":{"type":"meta"}}}', "[" * 5000,
    ],
)  # fmt: skip
def test_an_unparsable_frame_is_answered_with_itself_and_the_socket_lives(stage: Stage, text: str) -> None:
    ear = stage.join("hyperliquid")
    frames = stage.tell("hyperliquid", ear, text)
    assert frames == [{"channel": "error", "data": f"Error parsing JSON into valid websocket request: {text}"}]
    assert ear.cut_reason is None


def test_unsubscribing_twice_is_an_error_and_stops_the_channel() -> None:
    stage = Stage()
    ear = stage.join("hyperliquid")
    stage.watch(ear, type="bbo", coin="BTC")
    off = {"method": "unsubscribe", "subscription": {"type": "bbo", "coin": "BTC"}}
    assert channels(stage.tell("hyperliquid", ear, off)) == ["subscriptionResponse"]
    assert stage.tell("hyperliquid", ear, off)[0]["data"].startswith("Already unsubscribed: ")
    stage.run(2000)
    assert ear.heard() == []


def test_a_socket_to_which_nothing_was_sent_for_a_minute_is_cut() -> None:
    stage = Stage()
    ear = stage.join("hyperliquid")
    ear.last_sent_at = stage.clock.seconds
    stage.clock.seconds += 59.9
    stage.run(50)
    assert ear.cut_reason is None
    stage.clock.seconds += 0.2
    stage.run(50)
    assert ear.cut_reason is not None


def test_an_address_may_hold_only_so_many_subscriptions() -> None:
    stage = Stage(hyperliquid_subscriptions_max=2)
    one, other = stage.join("hyperliquid", 1), stage.join("hyperliquid", 2)
    stage.watch(one, type="bbo", coin="BTC")
    stage.watch(other, type="bbo", coin="BTC")
    assert channels(stage.watch(other, type="bbo", coin="ETH")) == ["error"]


def test_unknown_users_get_an_ack_and_an_empty_snapshot_where_there_is_one(stage: Stage) -> None:
    ear = stage.join("hyperliquid")
    frames = stage.watch(ear, type="userFills", user=USER.upper().replace("0X", "0x"))
    assert frames[0]["data"]["subscription"] == {"type": "userFills", "user": USER, "aggregateByTime": False}
    assert frames[1] == {"channel": "userFills", "data": {"isSnapshot": True, "user": USER, "fills": []}}
    assert channels(stage.watch(ear, type="orderUpdates", user=USER)) == ["subscriptionResponse"]


def test_fast_contexts_are_packed_full_first_and_then_only_what_changed() -> None:
    stage = Stage()
    ear = stage.join("hyperliquid")
    first = stage.watch(ear, type="fastAssetCtxs")[1]
    unpack = lambda frame: json.loads(zlib.decompress(base64.b64decode(frame["data"]), -15))  # noqa: E731
    state = unpack(first)
    assert len(state) == 51
    for number in range(4):
        while not (frames := ear.heard()):
            stage.run(10)
        for coin, change in unpack(frames[0]).items():
            assert number == 0 or all(state[coin][key] != value for key, value in change.items())
            state[coin] |= change
        info = stage.hyperliquid.info
        mids = {coin: mid for dex in info.dex_names() for coin, mid in info.mids(dex).items()}
        assert {coin: row["midPx"] for coin, row in state.items() if row["midPx"]} == {
            coin: mid for coin, mid in mids.items() if coin != "MATIC"
        }


def test_aggregated_books_sum_the_levels_they_cover(stage: Stage) -> None:
    info = stage.hyperliquid.info
    book = info.answer({"type": "l2Book", "coin": "BTC", "nSigFigs": 4})
    assert all(int(float(row["px"])) % 10 == 0 for side in book["levels"] for row in side)
    bids, asks = ([float(row["px"]) for row in side] for side in book["levels"])
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0] < asks[0]
    assert float(book["spread"]) == asks[0] - bids[0]
    fine = info.answer({"type": "l2Book", "coin": "BTC", "nSigFigs": 5, "mantissa": 5})
    assert all(int(float(row["px"])) % 5 == 0 for side in fine["levels"] for row in side)


@pytest.mark.parametrize(
    "body",
    [
        5, [], {}, {"type": 5}, {"type": "nope"}, {"type": "l2Book"}, {"type": "l2Book", "coin": 5},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": "5"}, {"type": "candleSnapshot"},
        {"type": "candleSnapshot", "req": {"coin": "BTC", "interval": "7m", "startTime": 0}},
        {"type": "fundingHistory", "coin": "BTC"}, {"type": "fundingHistory", "coin": "BTC", "startTime": "0"},
        {"type": "clearinghouseState", "user": "0X" + "a" * 40}, {"type": "meta", "dex": 5},
    ],
)  # fmt: skip
def test_bodies_of_the_wrong_shape_are_unprocessable(stage: Stage, body: Any) -> None:
    with pytest.raises(UnprocessableError):
        stage.hyperliquid.info.answer(body)


@pytest.mark.parametrize(
    "body",
    [
        {"type": "metaAndAssetCtxs", "dex": "nope"},
        {"type": "fundingHistory", "coin": "NOPE", "startTime": 0},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": 7},
        {"type": "l2Book", "coin": "BTC", "nSigFigs": 5, "mantissa": 1},
    ],
)
def test_some_questions_break_the_server_as_on_the_venue(stage: Stage, body: Any) -> None:
    with pytest.raises(ServerNullError):
        stage.hyperliquid.info.answer(body)


def test_an_unknown_coin_has_a_null_book(stage: Stage) -> None:
    assert stage.hyperliquid.info.answer({"type": "l2Book", "coin": "NOPE"}) is None


def test_candles_are_contiguous_capped_and_within_the_span(stage: Stage) -> None:
    wanted = {"coin": "BTC", "interval": "1m", "startTime": START_MS - 86_400_000, "endTime": START_MS}
    rows = stage.hyperliquid.info.answer({"type": "candleSnapshot", "req": wanted})
    assert [row["T"] - row["t"] for row in rows] == [59_999] * len(rows)
    assert [b["t"] - a["t"] for a, b in pairwise(rows)] == [60_000] * (len(rows) - 1)
    assert 1438 <= len(rows) <= 1442
    everything = {"coin": "BTC", "interval": "1m", "startTime": 0}
    assert len(stage.hyperliquid.info.answer({"type": "candleSnapshot", "req": everything})) == 5000


def test_funding_history_is_hourly_oldest_first_and_at_most_five_hundred(stage: Stage) -> None:
    start = START_MS - 30 * 86_400_000
    rows = stage.hyperliquid.info.answer({"type": "fundingHistory", "coin": "BTC", "startTime": start})
    assert len(rows) == 500
    assert all(1 <= row["time"] % 3_600_000 <= 118 for row in rows)
    hours = [row["time"] // 3_600_000 for row in rows]
    assert hours == list(range(hours[0], hours[0] + 500))
    again = stage.hyperliquid.info.answer({"type": "fundingHistory", "coin": "BTC", "startTime": start})
    assert rows == again


def test_the_sdk_finds_every_token_that_a_spot_pair_names(stage: Stage) -> None:
    meta = stage.hyperliquid.info.answer({"type": "spotMeta"})
    known = {token["index"] for token in meta["tokens"]}
    assert all(set(pair["tokens"]) <= known for pair in meta["universe"])
