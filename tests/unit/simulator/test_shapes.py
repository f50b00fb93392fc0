"""What the simulator prints has the keys and types of what the venues printed when they were captured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services.simulator.dialects.lighter.rest import Query
from tests.unit.simulator.clients import START_MS, Stage
from tests.unit.simulator.shapes import differences

TRADE_OPTIONAL = frozenset(
    # Left out by the venue when zero or false, or added and dropped over the years.
    {"taker_fee", "maker_fee", "taker_position_sign_changed", "maker_position_sign_changed", "trade_id_str",
     "ask_id_str", "bid_id_str", "ask_client_id_str", "bid_client_id_str", "transaction_time",
     "taker_position_size_before", "taker_entry_quote_before", "taker_initial_margin_fraction_before",
     "maker_position_size_before", "maker_entry_quote_before", "maker_initial_margin_fraction_before",
     "taker_allocated_margin_usdc_before"}
)  # fmt: skip
STATS_OPTIONAL = frozenset({"mid_price", "best_ask_price", "best_bid_price", "base_interest_rate", "timestamp"})
BOOK_OPTIONAL = frozenset({"nonce", "begin_nonce", "last_updated_at", "timestamp"})
DETAILS_OPTIONAL = frozenset(
    # Of SDK 1.1.8, newer than the captures of 2025 and May 2026.
    {"funding_clamp_small", "funding_clamp_big", "base_interest_rate", "mark_price", "index_price", "market_flags",
     "funding_premium_multiplier", "created_at", "multiplier", "is_taker_fee_enabled", "is_maker_fee_enabled"}
)  # fmt: skip


@pytest.fixture(scope="module")
def stage() -> Stage:
    made = Stage(hyperliquid_weight_max=0)
    made.run(500)
    return made


def load(path: Path) -> Any:
    return json.loads(path.read_text())


def measured(fixtures: Path, *, what: str) -> Any:
    frames = load(fixtures / "hyperliquid/measured_ws_frames_2026-09-24.json")["frames"]
    return next(frame["msg"] for frame in frames if frame["what"].startswith(what))


@pytest.mark.parametrize(
    ("what", "subscription"),
    [
        ("l2Book default snapshot", {"type": "l2Book", "coin": "BTC"}),
        ("l2Book kPEPE", {"type": "l2Book", "coin": "kPEPE"}),
        ("l2Book HIP-3", {"type": "l2Book", "coin": "xyz:SP500"}),
        ("activeAssetCtx", {"type": "activeAssetCtx", "coin": "BTC"}),
        ("trades", {"type": "trades", "coin": "BTC"}),
        ("candle", {"type": "candle", "coin": "BTC", "interval": "1m"}),
    ],
)
def test_hyperliquid_first_frames(stage: Stage, fixtures: Path, what: str, subscription: dict[str, Any]) -> None:
    frames = stage.watch(stage.join("hyperliquid"), **subscription)
    assert differences(measured(fixtures, what=what), frames[1]) == []


def test_hyperliquid_bbo(stage: Stage, fixtures: Path) -> None:
    ear = stage.join("hyperliquid")
    stage.watch(ear, type="bbo", coin="BTC")
    stage.run(1000)
    frames = [frame for frame in ear.heard() if frame["channel"] == "bbo"]
    assert differences(measured(fixtures, what="bbo"), frames[0]) == []


def test_hyperliquid_acks_pongs_posts_and_errors_are_exactly_the_venues(stage: Stage, fixtures: Path) -> None:
    ear = stage.join("hyperliquid")
    assert stage.watch(ear, type="l2Book", coin="BTC", fast=True)[0] == measured(fixtures, what="ack l2Book fast")
    stage.watch(ear, type="l2Book", coin="BTC", nSigFigs=5)
    gone = stage.tell(
        "hyperliquid", ear, {"method": "unsubscribe", "subscription": {"type": "l2Book", "coin": "BTC", "nSigFigs": 5}}
    )
    assert gone[0] == measured(fixtures, what="ack unsubscribe aggregated")
    assert stage.tell("hyperliquid", ear, {"method": "ping"}) == [measured(fixtures, what="pong")]
    post = {"method": "post", "id": 7, "request": {"type": "info", "payload": {"type": "l2Book", "coin": "NOPE"}}}
    assert stage.tell("hyperliquid", ear, post) == [measured(fixtures, what="post reply for unknown coin")]
    stage.watch(ear, type="l2Book", coin="SOL")
    twice = stage.watch(ear, type="l2Book", coin="SOL")
    assert twice == [measured(fixtures, what="error: duplicate subscription")]
    wrong = stage.tell("hyperliquid", ear, '{"method":"subscribe","subscription":{"type":"bbo","coin":["BTC","ETH"]}}')
    assert wrong == [measured(fixtures, what="error: unparsable frame")]
    dead = stage.watch(ear, type="l2Book", coin="MATIC")
    assert dead[1]["data"]["levels"] == measured(fixtures, what="l2Book delisted")["data"]["levels"]


def test_hyperliquid_all_contexts(stage: Stage, fixtures: Path) -> None:
    captured = load(fixtures / "hyperliquid/nautilus_test_data/ws_all_dexs_asset_ctxs.json")
    ours = stage.watch(stage.join("hyperliquid"), type="allDexsAssetCtxs")[1]
    assert differences(captured["data"]["ctxs"][0][1], ours["data"]["ctxs"][0][1]) == []
    theirs_dead = next(c for c in captured["data"]["ctxs"][0][1] if c["premium"] is None)
    ours_dead = next(c for c in ours["data"]["ctxs"][0][1] if c["premium"] is None)
    assert {k for k, v in theirs_dead.items() if v is None} == {k for k, v in ours_dead.items() if v is None}
    assert [row[0] for row in ours["data"]["ctxs"]] == ["", "xyz", "flx"]


def cassettes(fixtures: Path) -> Iterator[tuple[str, Any, Any]]:
    for path in sorted((fixtures / "hyperliquid/sdk_cassettes").glob("*.json")):
        for turn in load(path)["interactions"]:
            yield path.stem, turn["request"]["body"], turn["response"]["body"]


def test_hyperliquid_http_answers_have_the_shapes_of_the_cassettes(stage: Stage, fixtures: Path) -> None:
    newer = frozenset({"marginTableId", "marginTables", "collateralToken", "onlyIsolated", "isDelisted", "marginMode"})
    compared = set()
    for name, request, captured in cassettes(fixtures):
        if request["type"] not in ("meta", "allMids", "l2Book", "candleSnapshot", "fundingHistory", "spotMeta"):
            continue
        request = dict(request)
        if "startTime" in request:
            request["startTime"] = START_MS - 86_400_000
            request.pop("endTime", None)
        if "req" in request:
            request["req"] = {**request["req"], "startTime": START_MS - 3_600_000, "endTime": START_MS}
        ours = stage.hyperliquid.info.answer(request)
        assert ours, name
        assert differences(captured, ours, optional=newer) == [], name
        compared.add(request["type"])
    assert compared >= {"meta", "allMids", "l2Book", "candleSnapshot", "fundingHistory"}


def test_hyperliquid_testnet_meta(stage: Stage, fixtures: Path) -> None:
    captured = load(fixtures / "hyperliquid/roq_testnet_meta.json")
    ours = stage.hyperliquid.info.answer({"type": "meta"})
    assert differences(captured, ours, optional=frozenset({"source", "real_capture", "note"})) == []
    assert differences(captured["marginTables"][0], ours["marginTables"][0]) == []


def lighter_frames(fixtures: Path) -> list[Any]:
    lines = (fixtures / "lighter/hftbacktest/eth_mainnet_20260728_frames.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    for path in sorted((fixtures / "lighter/nautilus").glob("ws_*.json")):
        found.append(load(path))
    lines = (fixtures / "lighter/nautilus_pr_dec2025/ws/mainnet_ob_trade_stats_btc_20251210.jsonl").read_text()
    found += [json.loads(json.loads(line)["msg"]) for line in lines.splitlines()[:60]]
    return found


def sort_of(frame: Any) -> tuple[str, bool, bool]:
    """Say what a frame is: its type, whether it is about all markets, whether its market is empty."""
    empty = frame.get("ticker", {}).get("a", {}).get("price") == "" or frame.get("order_book", {}).get("nonce") == 0
    return frame.get("type", ""), str(frame.get("channel", "")).endswith(":all"), empty


def test_lighter_frames_of_every_public_channel(stage: Stage, fixtures: Path) -> None:
    ear = stage.join("lighter")
    channels = ["order_book/0", "ticker/0", "trade/0", "market_stats/0", "market_stats/all", "candle/0/1m", "height",
                "spot_market_stats/2048", "spot_market_stats/all", "order_book/141", "ticker/141"]  # fmt: skip
    ours: dict[tuple[str, bool, bool], Any] = {}
    heard = ear.heard()
    for channel in channels:
        heard += stage.follow(ear, channel)
    stage.run(8000)
    heard += ear.heard()
    for frame in heard:
        ours.setdefault(sort_of(frame), frame)
    compared = set()
    for captured in lighter_frames(fixtures):
        kind = sort_of(captured)
        if kind not in ours or "channel" not in captured:
            continue
        optional = TRADE_OPTIONAL | STATS_OPTIONAL | BOOK_OPTIONAL | {"liquidation_trades"}
        assert differences(captured, ours[kind], optional=optional) == [], kind
        compared.add(kind)
    assert ("subscribed/ticker", False, True) in compared
    assert ("subscribed/order_book", False, True) in compared
    assert {kind[0] for kind in compared} >= {
        "subscribed/order_book", "update/order_book", "subscribed/ticker", "update/ticker", "subscribed/trade",
        "update/trade", "subscribed/market_stats", "update/market_stats", "subscribed/candle", "update/candle",
        "update/height", "subscribed/spot_market_stats",
    }  # fmt: skip


def test_lighter_book_frames_of_2026_have_exactly_the_keys_of_the_venue(stage: Stage, fixtures: Path) -> None:
    lines = (fixtures / "lighter/hftbacktest/eth_mainnet_20260728_frames.jsonl").read_text().splitlines()
    captured = [json.loads(line) for line in lines]
    ear = stage.join("lighter", 9)
    first = stage.follow(ear, "order_book/0")[0]
    assert list(first) == list(captured[0])
    assert list(first["order_book"]) == list(captured[0]["order_book"])
    stage.run(300)
    later = ear.heard()[0]
    assert list(later) == list(captured[1])
    assert differences(captured[1], later) == []


def test_lighter_error_and_unsubscribe_frames_are_exactly_the_venues(stage: Stage, fixtures: Path) -> None:
    lines = (fixtures / "lighter/hftbacktest/eth_mainnet_20260728_frames.jsonl").read_text().splitlines()
    ear = stage.join("lighter", 10)
    said = [stage.follow(ear, "order_book/x"), stage.follow(ear, "nothing"), stage.follow(ear, "account_all_orders/1")]
    stage.follow(ear, "order_book/0")
    said.append(stage.follow(ear, "order_book/0"))
    said.append(stage.tell("lighter", ear, {"type": "ping"}))
    errors = [json.loads(line) for line in lines if '"error"' in line or "pong" in line]
    for answer in said:
        assert answer[0] in errors
    ear.heard()
    stage.lighter.said(ear, '{"type":"unsubscribe","channel":"order_book/0"}')
    assert ear.frames[0].payload.decode() in lines


class Asked:
    """Stands in for an HTTP request."""

    def __init__(self, **query: str) -> None:
        self.query = query


def ask(stage: Stage, path: str, **query: str) -> Any:
    answers = {
        "orderBooks": stage.lighter.rest._order_books,
        "orderBookDetails": stage.lighter.rest._details,
        "orderBookOrders": stage.lighter.rest._orders,
        "recentTrades": stage.lighter.rest._recent_trades,
        "candles": stage.lighter.rest._candles,
        "fundings": stage.lighter.rest._fundings,
    }
    return {"code": 200} | answers[path](Query(Asked(**query)))


@pytest.mark.parametrize(
    ("file", "path", "query"),
    [
        ("nautilus/http_order_books.json", "orderBooks", {}),
        ("nautilus/http_order_book_details.json", "orderBookDetails", {"market_id": "0"}),
        ("nautilus/http_order_book_orders.json", "orderBookOrders", {"market_id": "0", "limit": "3"}),
        ("nautilus/http_recent_trades.json", "recentTrades", {"market_id": "0", "limit": "3"}),
        ("nautilus/http_candles.json", "candles", {"market_id": "0", "resolution": "1m", "start_timestamp": "0",
                                                   "end_timestamp": str(START_MS), "count_back": "5"}),
        ("nautilus/http_fundings.json", "fundings", {"market_id": "0", "resolution": "1h", "start_timestamp": "0",
                                                     "end_timestamp": str(START_MS), "count_back": "5"}),
        ("nautilus_pr_dec2025/http/orderbooks_mainnet.json", "orderBooks", {}),
    ],
)  # fmt: skip
def test_lighter_http_answers(stage: Stage, fixtures: Path, file: str, path: str, query: dict[str, str]) -> None:
    ours = ask(stage, path, **query)
    assert differences(load(fixtures / "lighter" / file), ours, optional=DETAILS_OPTIONAL | TRADE_OPTIONAL) == []


def test_lighter_order_books_of_july_2026_have_the_same_keys_in_the_same_order(stage: Stage, fixtures: Path) -> None:
    captured = load(fixtures / "lighter/hftbacktest/rest_bodies.json")["mainnet_orderBooks_5_of_228_rows_20260731"]
    ours = ask(stage, "orderBooks")
    assert list(captured["order_books"][0]) == list(ours["order_books"][0])
    by_id = {row["market_id"]: row for row in ours["order_books"]}
    facts = ("symbol", "supported_size_decimals", "supported_price_decimals", "min_base_amount", "status")
    for row in captured["order_books"]:
        if row["market_id"] in by_id:
            assert {name: row[name] for name in facts} == {name: by_id[row["market_id"]][name] for name in facts}
