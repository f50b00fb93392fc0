"""No client, however odd, brings a face down, and none changes what the others see."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any

from services.simulator.dialects.hyperliquid.info import ServerNullError, UnprocessableError
from services.simulator.dialects.lighter.rest import Query, RefusedError
from tests.unit.simulator.clients import Stage

ODD: list[Any] = [
    None, True, False, 0, -1, 5, 2**70, 1.5, "", "BTC", "btc", "1m", "order_book/1", "order_book/²", "account_all/٣",
    "order_book/0001", "x" * 300, [], ["BTC"], {}, {"type": "bbo"}, "0x" + "a" * 40, "all", "l2Book", "subscribe",
]  # fmt: skip
KEYS = ["method", "subscription", "type", "coin", "interval", "user", "dex", "nSigFigs", "mantissa", "fast", "id",
        "request", "payload", "channel", "auth", "req", "startTime", "endTime"]  # fmt: skip
KINDS = [
    "l2Book", "trades", "bbo", "candle", "allMids", "activeAssetCtx", "assetCtxs", "userFills", "meta",
    "candleSnapshot", "fundingHistory", "recentTrades", "marginTable", "metaAndAssetCtxs", "orderStatus",
]  # fmt: skip


def odd_body(rng: Random, depth: int = 0) -> Any:
    body: dict[str, Any] = {}
    for key in rng.sample(KEYS, rng.randrange(1, 6)):
        body[key] = odd_body(rng, depth + 1) if depth < 2 and rng.random() < 0.3 else rng.choice(ODD)
    if rng.random() < 0.7:
        body["type"] = rng.choice(KINDS)
    if rng.random() < 0.5:
        body["method"] = rng.choice(["subscribe", "unsubscribe", "post", "ping"])
    return body


def spoiled(rng: Random, text: str) -> str:
    if rng.random() < 0.3:
        at = rng.randrange(len(text))
        return text[:at] + chr(rng.randrange(1, 1000)) + text[at + rng.randrange(3) :]
    return text


def test_five_thousand_odd_frames_leave_both_faces_standing() -> None:
    seed = 20261122
    print("seed", seed)
    rng, stage = Random(seed), Stage(hyperliquid_messages_max=0, lighter_messages_max=0)
    for number in range(5000):
        ear = stage.join("hyperliquid", number)
        other = stage.join("lighter", number)
        body = odd_body(rng)
        stage.hyperliquid.said(ear, spoiled(rng, json.dumps(body)))
        if rng.random() < 0.5:
            body = {"type": rng.choice(["subscribe", "unsubscribe"]), "channel": rng.choice(ODD)}
        stage.lighter.said(other, spoiled(rng, json.dumps(body)))
        if number % 500 == 0:
            stage.run(100)
        stage.hyperliquid.closed(ear)
        stage.lighter.closed(other)
    assert not stage.hyperliquid._clients
    assert not stage.hyperliquid._topics
    assert not stage.lighter._topics


def test_odd_questions_are_answered_or_refused_in_the_venues_ways() -> None:
    seed = 7
    print("seed", seed)
    rng, stage = Random(seed), Stage()
    answered = 0
    for _ in range(3000):
        try:
            json.dumps(stage.hyperliquid.info.answer(odd_body(rng)))
            answered += 1
        except (UnprocessableError, ServerNullError):
            pass
    assert answered > 100


class Asked:
    """Stands in for an HTTP request."""

    def __init__(self, query: dict[str, str]) -> None:
        self.query = query


def test_odd_query_parameters_are_answered_or_refused_with_a_code() -> None:
    seed = 8
    print("seed", seed)
    rng, rest = Random(seed), Stage().lighter.rest
    values = ["", "0", "1", "255", "-1", "--1", "²", "1e3", "99999999999999999999", "1m", "x", "all", "100"]
    names = ["market_id", "limit", "resolution", "start_timestamp", "end_timestamp", "count_back", "filter", "sort_by"]
    codes: Counter[int] = Counter()
    asks = [
        rest._order_books,
        rest._details,
        rest._orders,
        rest._recent_trades,
        rest._trades,
        rest._candles,
        rest._fundings,
    ]
    for _ in range(3000):
        query = {name: rng.choice(values) for name in rng.sample(names, rng.randrange(0, len(names) + 1))}
        try:
            json.dumps(rng.choice(asks)(Query(Asked(query))))
            codes[200] += 1
        except RefusedError as refusal:
            codes[refusal.code] += 1
    assert set(codes) == {200, 20001, 21602}
    assert codes[200] > 100


def test_who_listens_changes_nothing_in_the_market() -> None:
    alone, crowded = Stage(seed=12), Stage(seed=12)
    for number in range(5):
        ear, other = crowded.join("hyperliquid", number), crowded.join("lighter", number)
        for coin in ("BTC", "ETH", "kPEPE"):
            crowded.watch(ear, type="bbo", coin=coin)
            crowded.watch(ear, type="l2Book", coin=coin)
            crowded.watch(ear, type="candle", coin=coin, interval="1h")
        for channel in ("order_book/1", "trade/1", "market_stats/all", "candle/1/1d"):
            crowded.follow(other, channel)
    alone.run(3000)
    crowded.run(3000)
    assert alone.market.digest() == crowded.market.digest()
