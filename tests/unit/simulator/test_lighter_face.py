"""Lighter's face behaves as captured on the venue."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from services.simulator.dialects.lighter.rest import Query, RefusedError
from tests.unit.simulator.clients import START_MS, Ear, Stage


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(lighter_messages_max=0)


def error(frames: list[Any]) -> tuple[int, str]:
    return frames[0]["error"]["code"], frames[0]["error"]["message"]


def test_the_first_frame_greets_with_a_session(stage: Stage) -> None:
    hello = stage.join("lighter").heard()[0]
    assert hello["type"] == "connected"
    assert len(hello["session_id"]) == 36


def test_snapshot_and_updates_chain_and_lead_to_the_true_book() -> None:
    stage = Stage()
    ear = stage.join("lighter")
    snapshot = stage.follow(ear, "order_book/1")[0]
    assert snapshot["order_book"]["begin_nonce"] == 0
    book = {side: {row["price"]: row["size"] for row in snapshot["order_book"][side]} for side in ("bids", "asks")}
    nonce, offset = snapshot["order_book"]["nonce"], snapshot["offset"]
    stage.run(3000)
    frames = ear.heard()
    assert len(frames) > 40
    for frame in frames:
        body = frame["order_book"]
        assert body["begin_nonce"] == nonce
        assert body["offset"] > offset
        nonce, offset = body["nonce"], body["offset"]
        for side in ("bids", "asks"):
            for row in body[side]:
                if float(row["size"]) == 0:
                    assert row["size"] == "0.00000"
                    book[side].pop(row["price"], None)
                else:
                    book[side][row["price"]] = row["size"]
    again = stage.follow(stage.join("lighter", 2), "order_book/1")[0]["order_book"]
    assert book == {side: {row["price"]: row["size"] for row in again[side]} for side in ("bids", "asks")}
    assert nonce == again["nonce"]


def test_nonces_are_one_sequence_for_the_whole_venue() -> None:
    stage = Stage()
    ear = stage.join("lighter")
    for market in (0, 1, 2, 24):
        stage.follow(ear, f"order_book/{market}")
    stage.run(2000)
    seen = [frame["order_book"]["nonce"] for frame in ear.heard() if frame["type"] == "update/order_book"]
    assert len(seen) > 80
    assert seen == sorted(set(seen))


def test_trades_share_the_nonce_of_a_book_frame_and_are_newest_first() -> None:
    stage = Stage()
    ear = stage.join("lighter")
    stage.follow(ear, "order_book/1")
    assert len(stage.follow(ear, "trade/1")[0]["trades"]) == 50
    stage.run(3000)
    frames = ear.heard()
    books = {frame["order_book"]["nonce"] for frame in frames if "order_book" in frame}
    trades = [frame for frame in frames if frame["type"] == "update/trade"]
    assert len(trades) > 10
    for frame in trades:
        assert frame["nonce"] in books
        ids = [row["trade_id"] for row in frame["trades"]]
        assert ids == sorted(ids, reverse=True)
        for row in frame["trades"]:
            whole = round(float(row["price"]) * 10) * round(float(row["size"]) * 10**5)
            assert row["usd_amount"] == f"{whole // 10**6}.{whole % 10**6:06d}"


def test_numbers_have_exactly_the_markets_digits(stage: Stage) -> None:
    for market, price_digits, size_digits in ((0, 2, 4), (1, 1, 5), (4, 6, 0), (2, 3, 3)):
        body = stage.follow(stage.join("lighter", 20 + market), f"order_book/{market}")[0]["order_book"]
        for row in body["bids"] + body["asks"]:
            assert len(row["price"].partition(".")[2]) == price_digits
            assert len(row["size"].partition(".")[2]) == size_digits


@pytest.mark.parametrize(
    ("channel", "expected"),
    [
        ("order_book/999", (30005, "Invalid Channel:  (marketId)")),
        ("market_stats/x", (30005, "Invalid Channel:  (marketId)")),
        ("candle/1/7m", (30005, "Invalid Channel:  (marketId)")),
        ("account_all/x", (30005, "Invalid Channel:  (account)")),
        ("gossip", (30005, "Invalid Channel")),
        ("order_book:1", (30005, "Invalid Channel")),
        ("account_all_orders/7", (20001, "invalid param : auth field is required: account_all_orders:7")),
    ],
)
def test_wrong_channels_are_refused_and_the_socket_lives(stage: Stage, channel: str, expected: tuple[int, str]) -> None:
    ear = stage.join("lighter")
    assert error(stage.follow(ear, channel)) == expected
    assert ear.cut_reason is None


def test_subscribing_twice_gives_no_new_snapshot_and_unsubscribing_twice_is_refused() -> None:
    stage = Stage()
    ear = stage.join("lighter")
    stage.follow(ear, "order_book/1")
    assert error(stage.follow(ear, "order_book/1")) == (30003, "Already Subscribed to : order_book:1")
    off = {"type": "unsubscribe", "channel": "order_book/1"}
    assert stage.tell("lighter", ear, off) == [{"type": "unsubscribed", "channel": "order_book:1"}]
    assert error(stage.tell("lighter", ear, off)) == (30002, "Not Subscribed to : order_book:1")
    stage.run(500)
    assert ear.heard() == []


@pytest.mark.parametrize("text", ["nonsense", "[" * 5000])
def test_text_that_is_no_json_is_refused(stage: Stage, text: str) -> None:
    assert error(stage.tell("lighter", stage.join("lighter"), text)) == (30000, "Invalid Json")


def test_two_hundred_messages_a_minute_and_no_more() -> None:
    stage = Stage()
    ear = stage.join("lighter")
    answers = [stage.tell("lighter", ear, {"type": "ping"})[0] for _ in range(203)]
    assert answers[199] == {"type": "pong"}
    assert error([answers[200]]) == (30009, "Too Many Websocket Messages!")
    stage.clock.seconds += 60
    assert stage.tell("lighter", ear, {"type": "ping"}) == [{"type": "pong"}]


def test_a_connection_may_hold_only_so_many_subscriptions() -> None:
    stage = Stage(lighter_subscriptions_max=1)
    ear = stage.join("lighter")
    stage.follow(ear, "order_book/1")
    assert error(stage.follow(ear, "order_book/0"))[0] == 23001


def test_the_server_pings_and_cuts_a_client_that_says_nothing_for_two_minutes() -> None:
    stage = Stage()
    quiet, awake = stage.join("lighter", 1), stage.join("lighter", 2)
    quiet.heard()
    for _ in range(13):
        stage.clock.seconds += 10
        stage.lighter.said(awake, '{"type":"pong"}')
        stage.lighter.tick(stage.clock.seconds)
    assert awake.cut_reason is None
    assert quiet.cut_reason is not None
    assert [frame.kind for frame in awake.frames if frame.channel == "ping"] == ["data", "ping"] * 2


def test_all_stats_repeat_only_the_markets_that_changed() -> None:
    stage = Stage()
    ear = stage.join("lighter")
    full = stage.follow(ear, "market_stats/all")[0]
    assert len(full["market_stats"]) == 50
    stage.run(3000)
    updates = [frame["market_stats"] for frame in ear.heard()]
    assert len(updates) >= 4
    assert all("141" not in update for update in updates[1:])
    assert all("1" in update for update in updates)


def test_an_unknown_account_gets_an_empty_snapshot(stage: Stage) -> None:
    frame = stage.follow(stage.join("lighter"), "account_all/1234")[0]
    assert frame["type"] == "subscribed/account_all"
    assert frame["account"] == 1234
    assert frame["positions"] == {}


class Asked:
    """Stands in for an HTTP request."""

    def __init__(self, **query: str) -> None:
        self.query = query


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, 20001),
        ({"market_id": "1"}, 20001),
        ({"market_id": "999", "limit": "1"}, 21602),
        ({"market_id": "1", "limit": "251"}, 20001),
        ({"market_id": "one", "limit": "1"}, 20001),
    ],
)
def test_wrong_parameters_are_refused_with_the_venues_codes(stage: Stage, query: dict[str, str], code: int) -> None:
    with pytest.raises(RefusedError) as caught:
        stage.lighter.rest._orders(Query(Asked(**query)))
    assert caught.value.code == code


def test_candles_honor_count_and_span(stage: Stage) -> None:
    query = {"market_id": "1", "resolution": "1m", "start_timestamp": "0", "end_timestamp": str(START_MS)}
    rows = stage.lighter.rest._candles(Query(Asked(**query, count_back="10")))["c"]
    assert len(rows) == 10
    assert [b["t"] - a["t"] for a, b in pairwise(rows)] == [60_000] * 9
    assert len(stage.lighter.rest._candles(Query(Asked(**query, count_back="0")))["c"]) == 500


def test_a_client_that_left_is_told_nothing_more() -> None:
    stage = Stage()
    ear: Ear = stage.join("lighter")
    stage.follow(ear, "order_book/1")
    stage.lighter.closed(ear)
    stage.run(500)
    assert ear.heard() == []
    assert not stage.lighter._topics
