"""Every captured public payload of Lighter is read to its meaning; the few that must be refused are listed with why."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from services.domain.book import Book
from services.domain.feed import BookDelta, BookSnapshot, Context
from services.domain.market import Status
from services.venues.lighter.track import Step, Track
from services.venues.lighter.wire import payloads
from services.venues.lighter.wire.frames import NO_CHAIN, Decoder, wire_market
from services.venues.lighter.wire.messages import (
    Candles,
    Contexts,
    Greeting,
    Height,
    Message,
    Pong,
    Refusal,
    Ticker,
    Trades,
    Unsubscribed,
    Unused,
)
from services.venues.lighter.wire.numbers import WireError
from services.venues.port import FeedLevel
from tests.unit.venues.lighter.samples import (
    BTC,
    ETH,
    LISTINGS,
    captured,
    captured_json,
    captured_lines,
    needs_captures,
)

pytestmark = needs_captures

NOW = 1_785_252_530_000_000_000
ETH_WIRE = wire_market(ETH)

REFUSED = {
    "nautilus_pr_dec2025/http/mainnet_orderbook_details_btc.json": (
        "not a capture but rebuilt by hand: its integers are texts and its margins in other units",
        "order_books[0].quote_multiplier",
    ),
}
"""Public payloads that must be refused: why, and the field that is named."""

NOT_PUBLIC = (
    "nautilus/ws_account_all_assets_update.json",
    "nautilus/ws_account_all_assets_with_position.json",
    "nautilus/ws_account_all_positions_update.json",
    "nautilus/ws_account_all_trades_update.json",
    "nautilus/ws_account_orders_update.json",
    "nautilus/ws_user_stats_update.json",
    "nautilus/ws_user_stats_with_position.json",
)
"""Frames of accounts: recognized, and not what market data asks for."""


def decode(data: bytes, *, chain: str = "nonce") -> Message:
    return Decoder(LISTINGS, chain=chain).decode(data, NOW)


def one_context(message: Message) -> Context:
    assert isinstance(message, Contexts)
    assert (message.errors, message.unknown_ids) == ([], [])
    (context,) = message.contexts
    return context


def check_open_interest(context: Context, notional: str, decimals: int) -> None:
    """The base units told, at the mark price, are the stated USD to within half a lot."""
    assert context.open_interest is not None
    assert context.mark_price is not None
    off = abs(context.open_interest * context.mark_price - Decimal(notional))
    assert off <= context.mark_price * Decimal(1).scaleb(-decimals) / 2
    assert context.open_interest.as_tuple().exponent == -decimals


def frames_of(name: str) -> list[Message]:
    """A captured session that was kept as one JSON array."""
    return [decode(json.dumps(frame, separators=(",", ":")).encode()) for frame in captured_json(name)]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_must_be_refused_is_refused_by_the_named_field(name: str) -> None:
    body = json.dumps(captured_json(name)["response"]["body"]).encode()
    listed = payloads.listings(body)
    assert listed.listings == ()
    assert [error.field for error in listed.errors] == [REFUSED[name][1]]


@pytest.mark.parametrize("name", NOT_PUBLIC)
def test_frames_of_accounts_are_recognized_and_not_used(name: str) -> None:
    assert isinstance(decode(captured(name)), Unused)


@pytest.mark.parametrize("name", ["subscribed_single", "update_all", "update_single"])
def test_statistics_of_spot_markets_are_recognized_and_not_used(name: str) -> None:
    assert isinstance(decode(captured(f"nautilus/ws_spot_market_stats_{name}.json")), Unused)


def test_books_of_2026() -> None:
    first = decode(captured("nautilus/ws_order_book_subscribed.json"))
    assert isinstance(first, BookSnapshot)
    assert (first.market, first.bids, first.version, first.depth) == ("ETH-PERP", [(200000, 200)], 904845, 0)
    assert first.asks == [(232500, 990000), (234125, 3401028)]
    assert first.venue_time_ns == 1778138582602 * 10**6
    empty = decode(captured("nautilus/ws_order_book_subscribed_empty.json"))
    assert isinstance(empty, BookSnapshot)
    assert (empty.market, empty.bids, empty.asks, empty.version) == ("ADA-PERP", [], [], 0)
    change = decode(captured("nautilus/ws_order_book_update.json"))
    assert isinstance(change, BookDelta)
    assert (change.bids, change.asks) == ([], [(206454, 3285)])
    assert (change.previous_version, change.version) == (9182389998, 9182390020)
    assert change.venue_time_ns == 1774884082309144 * 1000


def test_tickers() -> None:
    first = decode(captured("nautilus/ws_ticker_subscribed.json"))
    assert isinstance(first, Ticker)
    assert (first.top.bid, first.top.ask, first.nonce) == ((200000, 200), (232500, 990000), 904895)
    assert first.snapshot
    empty = decode(captured("nautilus/ws_ticker_subscribed_empty.json"))
    assert isinstance(empty, Ticker)
    assert (empty.top.market, empty.top.bid, empty.top.ask) == ("ADA-PERP", None, None)
    later = decode(captured("nautilus/ws_ticker_update.json"))
    assert isinstance(later, Ticker)
    assert (later.top.bid, later.top.ask, later.snapshot) == ((206430, 10392), (206448, 4950), False)
    assert later.top.venue_time_ns == 1774883844921166 * 1000


@pytest.mark.parametrize("name", ["subscribed", "update"])
def test_trades_of_2026(name: str) -> None:
    message = decode(captured(f"nautilus/ws_trade_{name}.json"))
    assert isinstance(message, Trades)
    assert message.snapshot == (name == "subscribed")
    (trade,) = message.trades
    assert (trade.trade_id, trade.price, trade.size, trade.buy) == ("16164557907", 218183, 1336, False)
    assert (trade.liquidation, trade.venue_time_ns) == (False, 1773854156686065 * 1000)


def test_statistics_of_markets() -> None:
    btc = one_context(decode(captured("nautilus/ws_market_stats_subscribed_single.json")))
    assert (btc.market, btc.mark_price, btc.index_price) == ("BTC-PERP", Decimal("64356.3"), Decimal("64400.1"))
    assert btc.last_price == Decimal("64351.5")
    assert btc.funding_rate == Decimal("-0.000028")  # -0.0028 percent an hour
    assert btc.next_funding_time_ns == 1780549200 * 10**9  # the hour after 1780545600.001
    assert btc.volume_24h_usd == Decimal("1531624159.687143")
    check_open_interest(btc, "102123609.308856", 5)
    for name in ("all", "single"):
        eth = one_context(decode(captured(f"nautilus/ws_market_stats_update_{name}.json")))
        assert (eth.market, eth.mark_price, eth.funding_rate) == ("ETH-PERP", Decimal("2064.47"), Decimal("1E-8"))


def test_candles_and_height() -> None:
    for name, close in (("subscribed", "2263.97"), ("update", "2263.89")):
        message = decode(captured(f"nautilus/ws_candle_{name}.json"))
        assert isinstance(message, Candles)
        assert (message.market, message.resolution) == ("ETH-PERP", "1m")
        (candle,) = message.candles
        assert (candle.t, candle.o, candle.c) == (1778821440000, Decimal("2264.2"), Decimal(close))
    assert decode(captured("nautilus/ws_height_update.json")) == Height(227535532)


def test_the_session_of_july_2026() -> None:
    lines = captured_lines("hftbacktest/eth_mainnet_20260728_frames.jsonl")
    said = [decode(line) for line in lines]
    first, *changes = said[:5]
    assert isinstance(first, BookSnapshot)
    assert first.bids == [(191422, 1900), (191418, 85318)]
    assert all(isinstance(change, BookDelta) for change in changes)
    chain = [(change.previous_version, change.version) for change in changes if isinstance(change, BookDelta)]
    assert chain[0][0] == first.version
    assert [chain[n + 1][0] == chain[n][1] for n in range(3)] == [True, True, False]  # the last is the gap
    assert changes[0].bids[:3] == [(191424, 1900), (191423, 37732), (191422, 0)]  # type: ignore[union-attr]
    btc = said[5]
    assert isinstance(btc, Ticker)
    assert (btc.top.bid, btc.top.ask) == ((637772, 249220), (637773, 20))
    prints = said[6]
    assert isinstance(prints, Trades)
    assert (prints.trades[0].trade_id, prints.trades[0].buy) == ("26280867773", True)
    eth, google = one_context(said[7]), one_context(said[8])
    check_open_interest(eth, "86574362.972120", 4)
    assert (google.market, google.index_price) == ("LIGHTER-GOOGL-PERP", Decimal("332.58"))
    assert said[9:11] == [Height(301813997), Pong()]
    assert [(one.code, one.channel) for one in said[11:16] if isinstance(one, Refusal)] == [
        (30005, ""),
        (30005, ""),
        (30003, "order_book:0"),
        (30009, ""),
        (20001, "account_all_orders:1"),
    ]
    assert said[16] == Unsubscribed("order_book:0")
    assert len(said) == 17


def test_the_books_of_december_2025_have_no_chain_unless_it_is_declared() -> None:
    for name in ("public_order_book_1.json", "ws/public_mainnet.json"):
        frames = [json.dumps(frame).encode() for frame in captured_json(f"nautilus_pr_dec2025/{name}")]
        books = [m for m in map(decode, frames) if isinstance(m, BookDelta)]
        assert books
        assert {change.previous_version for change in books} == {NO_CHAIN}
        chained = [decode(frame, chain="offset") for frame in frames]
        first, *changes = [m for m in chained if isinstance(m, BookSnapshot | BookDelta)]
        assert isinstance(first, BookSnapshot)
        track = Track("BTC-PERP", 1, 0, FeedLevel.BOOK)
        track.start(first)
        steps = [track.step(change) for change in changes if isinstance(change, BookDelta)]
        repeats = 1 if name == "ws/public_mainnet.json" else 0  # there, the first update is in the snapshot already
        assert steps == [Step.AGAIN] * repeats + [Step.NEXT] * (len(changes) - repeats)


def test_an_update_that_the_snapshot_has_in_it_changes_nothing() -> None:
    session = captured_json("nautilus_pr_dec2025/ws/public_mainnet.json")
    first, repeat = [decode(json.dumps(f).encode(), chain="offset") for f in session if "order_book" in f][:2]
    assert isinstance(first, BookSnapshot)
    assert isinstance(repeat, BookDelta)
    assert repeat.version == first.version
    book = Book()
    book.replace(first.bids, first.asks)
    book.apply(repeat.bids, repeat.asks)
    assert (sorted(book.bids.levels()), sorted(book.asks.levels())) == (sorted(first.bids), sorted(first.asks))


def test_the_trades_of_december_2025() -> None:
    greeting, replay, news = frames_of("nautilus_pr_dec2025/public_trade_1.json")
    assert greeting == Greeting()
    assert isinstance(replay, Trades)
    raw = captured_json("nautilus_pr_dec2025/public_trade_1.json")[1]
    expected = {str(row["trade_id"]): False for row in raw["trades"]}
    expected |= {str(row["trade_id"]): True for row in raw["liquidation_trades"]}
    assert {trade.trade_id: trade.liquidation for trade in replay.trades} == expected
    assert [int(t.trade_id) for t in replay.trades] == sorted(int(t.trade_id) for t in replay.trades)
    assert isinstance(news, Trades)
    assert not news.snapshot
    by_id = {str(row["trade_id"]): row for row in captured_json("nautilus_pr_dec2025/public_trade_1.json")[2]["trades"]}
    for trade in news.trades:
        row = by_id[trade.trade_id]
        assert Decimal(trade.price).scaleb(-1) * Decimal(trade.size).scaleb(-5) == Decimal(row["usd_amount"])
        assert trade.buy == row["is_maker_ask"]


def test_the_statistics_of_december_2025() -> None:
    _, first, second = frames_of("nautilus_pr_dec2025/public_market_stats_1.json")
    assert one_context(first).mark_price == Decimal("90528.9")
    assert one_context(second).mark_price == Decimal("90526.2")
    check_open_interest(one_context(first), "254682552.638283", 5)
    session = frames_of("nautilus_pr_dec2025/ws/public_mainnet.json")
    kinds = [type(message).__name__ for message in session]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {
        "Greeting": 1,
        "Contexts": 2,
        "Trades": 2,
        "BookSnapshot": 1,
        "BookDelta": 14,
    }


@pytest.mark.parametrize("name", ["account_all_orders", "account_positions", "account_transfers"])
def test_sessions_that_were_refused(name: str) -> None:
    greeting, refusal = frames_of(f"nautilus_pr_dec2025/private_{name}.json")
    assert greeting == Greeting()
    assert isinstance(refusal, Refusal)
    assert refusal.code == 30005


def test_frames_of_private_sessions_are_recognized_or_refused_by_name() -> None:
    kinds: dict[str, int] = {}
    for line in captured_lines("hftbacktest/testnet_acct516_private_sessions_20260730.jsonl"):
        record = json.loads(line)
        if record["kind"] == "ws" and isinstance(record["data"], dict):
            message = decode(json.dumps(record["data"]).encode())
            kinds[type(message).__name__] = kinds.get(type(message).__name__, 0) + 1
    assert kinds["Unused"] > 10
    assert set(kinds) <= {"Unused", "Greeting", "Refusal", "Pong", "Ping"}


def test_the_list_of_markets_of_december_2025() -> None:
    listed = payloads.listings(captured("nautilus_pr_dec2025/http/orderbooks_mainnet.json"))
    assert (len(listed.listings), listed.ignored_ids, listed.errors) == (118, frozenset({2048}), [])
    by_name = {listing.market: listing for listing in listed.listings}
    sol = by_name["SOL-PERP"]
    assert (sol.venue_market_id, sol.price_decimals, sol.size_decimals) == (2, 3, 3)
    assert (sol.min_size, sol.min_notional) == (Decimal("0.050"), Decimal("10.000000"))
    raw: list[dict[str, Any]] = captured_json("nautilus_pr_dec2025/http/orderbooks_mainnet.json")["order_books"]
    perps = {row["market_id"]: row for row in raw if row["market_type"] == "perp"}
    for listing in listed.listings:
        row = perps[listing.venue_market_id]
        assert (listing.symbol, listing.price_decimals) == (row["symbol"], row["supported_price_decimals"])
        assert (listing.status is Status.ACTIVE) == (row["status"] == "active")
        assert listing.size_decimals == row["supported_size_decimals"]
        assert listing.min_size == Decimal(row["min_base_amount"])


def test_the_lists_of_markets_of_2026() -> None:
    details = payloads.listings(captured("nautilus/http_order_book_details.json"))
    (eth,) = details.listings
    assert (eth.market, eth.venue_market_id, eth.status) == ("ETH-PERP", 0, Status.ACTIVE)
    assert (eth.max_leverage, eth.leverage_tiers[0].maintenance_margin) == (50, Decimal("0.0120"))
    assert (eth.maker_fee, eth.taker_fee, eth.funding_interval_s) == (0, 0, 3600)
    (plain,) = payloads.listings(captured("nautilus/http_order_books.json")).listings
    assert (plain.market, plain.leverage_tiers, plain.max_leverage) == ("ETH-PERP", (), 1)
    bodies = captured_json("hftbacktest/rest_bodies.json")
    mainnet = payloads.listings(json.dumps(bodies["mainnet_orderBooks_5_of_228_rows_20260731"]).encode())
    assert mainnet.errors == []
    names = {listing.symbol: listing for listing in mainnet.listings}
    assert names["ETH"].market == "ETH-PERP"
    assert names["HYUNDAI"].status is Status.HALTED
    assert names["HYUNDAI"].price_decimals == 0
    testnet = payloads.listings(json.dumps(bodies["testnet_orderBooks_all_5_202607"]).encode())
    assert {listing.symbol for listing in testnet.listings} == {"ETH", "BTC", "SOL"}
    assert testnet.ignored_ids == {2048, 2049}


def test_books_over_rest() -> None:
    orders = payloads.book_orders(captured("nautilus/http_order_book_orders.json"), ETH_WIRE, limit=250)
    assert orders == ([(236117, 34125)], [(236132, 317)], 0)
    depth = payloads.depth(captured("nautilus/http_order_book_depth.json"), ETH_WIRE)
    assert depth == ([(235271, 2125)], [(235274, 50)], 9182390020)
    assert payloads.depth(captured("nautilus/http_order_book_depth_null.json"), ETH_WIRE) == ([], [], 0)


def test_trades_over_rest() -> None:
    (trade,) = payloads.trades(captured("nautilus/http_recent_trades.json"), ETH_WIRE, NOW)
    assert (trade.trade_id, trade.price, trade.size, trade.buy) == ("19211490282", 236131, 5, False)
    unordered = payloads.trades(captured("nautilus/http_recent_trades_unordered.json"), ETH_WIRE, NOW)
    numbers = [int(trade.trade_id) for trade in unordered]
    assert numbers == sorted(numbers)
    assert len(numbers) == 3
    for name in ("null", "missing"):
        assert payloads.trades(captured(f"nautilus/http_recent_trades_{name}.json"), ETH_WIRE, NOW) == []


def test_candles_and_fundings_over_rest() -> None:
    resolution, candles = payloads.candles(captured("nautilus/http_candles.json"))
    assert (resolution, [candle.c for candle in candles]) == ("1m", [Decimal("2361.31"), Decimal("2362.50")])
    assert Decimal("1181.905") == candles[1].V
    assert payloads.candles(captured("nautilus/http_candles_null.json")) == ("1m", [])
    settled = payloads.fundings(captured("nautilus/http_fundings.json"))
    assert [(one.time_s, one.rate) for one in settled] == [
        (1778702400, Decimal("0.000012")),  # longs pay 0.0012 percent
        (1778706000, Decimal("-0.000002")),  # shorts pay 0.0002 percent
    ]


def test_errors_over_rest_are_sentences() -> None:
    with pytest.raises(WireError, match="the venue answered 20001: invalid param"):
        payloads.listings(b'{"code":20001,"message":"invalid param"}')
    with pytest.raises(WireError, match="bids"):
        payloads.book_orders(b'{"code":200,"asks":[]}', wire_market(BTC), limit=250)
