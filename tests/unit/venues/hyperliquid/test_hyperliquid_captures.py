"""Every captured public payload of Hyperliquid means what it meant, and the few that must be refused are, for a reason.

No continuous recording of Hyperliquid exists in public; the dialect is tested on single captured frames. Captures of
accounts (fills, orders, balances, funding payments, roles) are not public market data and are not read here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.domain.market import Status
from services.venues.hyperliquid.wire import events, frames, info, universe
from services.venues.hyperliquid.wire.values import WireError
from tests.unit.venues.hyperliquid.captured import cassette, dump, load, needs_captures, small_universe, universe_of

pytestmark = needs_captures

NOW_NS = 1_790_232_237_500_000_000
MEASURED = "measured_ws_frames_2026-09-24.json"
TARDIS = "tardis_sample_messages.json"
NAUTILUS = "nautilus_test_data/"


def measured(what: str) -> bytes:
    found = [frame["msg"] for frame in load(MEASURED)["frames"] if frame["dir"] == "server" and what in frame["what"]]
    assert len(found) == 1, what
    return dump(found[0])


def tardis(channel: str) -> list[bytes]:
    return [dump(message) for message in load(TARDIS)["messages"] if message["channel"] == channel]


def book_of(raw: bytes, depth: int = events.FULL_DEPTH) -> Any:
    frame = frames.decode(raw)
    assert isinstance(frame, frames.BookFrame)
    return events.book(frame.data, small_universe(), depth=depth, receive_time_ns=NOW_NS)


def test_the_measured_default_book_of_bitcoin_is_read_in_units() -> None:
    book = book_of(measured("l2Book default snapshot"))
    assert (book.venue, book.market, book.depth) == ("hyperliquid", "BTC-PERP", 20)
    assert book.bids == [(841430, 1025923), (841420, 165875), (841410, 112923)]
    assert book.asks == [(841440, 5066449), (841500, 711), (841510, 1782)]
    assert book.version == 1790232236546
    assert book.venue_time_ns == 1790232236546_000_000
    assert book.receive_time_ns == NOW_NS


def test_the_measured_book_of_a_coin_in_thousands_keeps_its_six_decimals() -> None:
    book = book_of(measured("l2Book kPEPE"))
    assert book.market == "1000PEPE-PERP"
    assert book.bids == [(4411, 2058973), (4410, 7447326), (4409, 6589982)]
    assert book.asks == [(4413, 5803647), (4414, 7003446), (4415, 8257858)]


def test_the_measured_book_of_a_builders_dex_is_that_dexs_market() -> None:
    book = book_of(measured("l2Book HIP-3"), depth=events.FAST_DEPTH)
    assert book.market == "XYZ-SP500-PERP"
    assert (book.bids[0], book.asks[0], book.depth) == ((7673300, 8066), (7673400, 5324), 5)


def test_the_measured_book_of_a_delisted_coin_is_empty() -> None:
    book = book_of(measured("l2Book delisted"))
    assert (book.market, book.bids, book.asks) == ("MATIC-PERP", [], [])


def test_the_measured_top_of_book_is_read_in_units() -> None:
    frame = frames.decode(measured("bbo"))
    assert isinstance(frame, frames.TopFrame)
    top = events.top(frame.data, small_universe(), receive_time_ns=NOW_NS)
    assert (top.market, top.bid, top.ask) == ("BTC-PERP", (841430, 1025923), (841440, 5066422))
    assert top.venue_time_ns == 1790232237145_000_000


def test_the_measured_context_is_read_exactly_and_its_funding_is_paid_at_the_next_hour() -> None:
    frame = frames.decode(measured("activeAssetCtx"))
    assert isinstance(frame, frames.ActiveContextFrame)
    coin = small_universe().coin(frame.data.coin)
    context = events.context(frame.data.ctx, coin, cadence_s=events.ACTIVE_CADENCE_S, receive_time_ns=NOW_NS)
    assert context.market == "BTC-PERP"
    assert context.mark_price == Decimal("84148.0")
    assert context.index_price == Decimal("84198.0")
    assert context.funding_rate == Decimal("0.0000018952")
    assert context.volume_24h_usd == Decimal("4161029539.6949653625")
    assert context.open_interest == Decimal("36585.31848")
    assert context.last_price is None
    assert context.cadence_s == 1.0
    hour_ns = 3_600_000_000_000
    assert context.next_funding_time_ns % hour_ns == 0
    assert 0 < context.next_funding_time_ns - NOW_NS <= hour_ns


def test_the_measured_trade_tells_the_aggressor() -> None:
    frame = frames.decode(measured("trades"))
    assert isinstance(frame, frames.TradesFrame)
    (trade,) = events.trades(frame.data, small_universe(), receive_time_ns=NOW_NS)
    assert (trade.market, trade.price, trade.size, trade.buy) == ("BTC-PERP", 841430, 36, False)
    assert trade.trade_id == "1790232216193-1045359869404765"
    assert trade.venue_time_ns == 1790232216193_000_000


def test_the_measured_candle_pong_acknowledgments_errors_and_post_are_understood() -> None:
    candle = frames.decode(measured("candle"))
    assert isinstance(candle, frames.CandleFrame)
    assert (candle.data.s, candle.data.i, candle.data.t, candle.data.T) == ("BTC", "1m", 1790232180000, 1790232239999)
    assert (candle.data.o, candle.data.h, candle.data.l, candle.data.c) == ("84143.0", "84144.0", "84143.0", "84143.0")
    assert (candle.data.v, candle.data.n) == ("14.27847", 114)
    assert isinstance(frames.decode(measured("pong")), frames.PongFrame)
    ack = frames.decode(measured("ack l2Book fast"))
    assert isinstance(ack, frames.AckFrame)
    assert ack.data.method == "subscribe"
    assert ack.data.subscription.normal() == frames.Subscription(type="l2Book", coin="BTC", fast=True)
    leave = frames.decode(measured("ack unsubscribe"))
    assert isinstance(leave, frames.AckFrame)
    assert leave.data.method == "unsubscribe"
    assert leave.data.subscription.normal() == frames.Subscription(type="l2Book", coin="BTC", nSigFigs=5)
    twice = frames.decode(measured("duplicate subscription"))
    assert isinstance(twice, frames.ErrorFrame)
    assert twice.data.startswith("Already subscribed: {")
    unparsable = frames.decode(measured("unparsable"))
    assert isinstance(unparsable, frames.ErrorFrame)
    assert unparsable.data.startswith("Error parsing JSON into valid websocket request: ")
    post = frames.decode(measured("post reply"))
    assert isinstance(post, frames.PostFrame)
    assert post.data.id == 7
    assert isinstance(post.data.response, frames.PostInfo)
    assert bytes(post.data.response.payload) == b'{"type":"l2Book","data":null}'


def test_every_measured_server_frame_is_read() -> None:
    server = [frame["msg"] for frame in load(MEASURED)["frames"] if frame["dir"] == "server"]
    assert len(server) == 14
    for message in server:
        frames.decode(dump(message))


def test_the_recorded_trades_of_2024_which_had_no_users_are_read() -> None:
    known = small_universe()
    seen = []
    for raw in tardis("trades"):
        frame = frames.decode(raw)
        assert isinstance(frame, frames.TradesFrame)
        seen += [(t.market, t.price, t.size, t.buy) for t in events.trades(frame.data, known, receive_time_ns=NOW_NS)]
    assert seen == [
        ("FXS-PERP", 190080, 105, False),
        ("FXS-PERP", 190140, 91, False),
        ("BTC-PERP", 699970, 38111, True),
        ("BTC-PERP", 699970, 33458, True),
        ("BTC-PERP", 699970, 83613, True),
        ("BTC-PERP", 699980, 714, True),
    ]


def test_the_recorded_books_and_context_of_2024_are_read() -> None:
    empty, banana = (book_of(raw) for raw in tardis("l2Book"))
    assert (empty.market, empty.bids, empty.asks) == ("SHIA-PERP", [], [])
    assert banana.bids == [(5980000, 34), (5977800, 16)]
    assert banana.asks == [(5981100, 29), (5983200, 176)]
    (raw,) = tardis("activeAssetCtx")
    frame = frames.decode(raw)
    assert isinstance(frame, frames.ActiveContextFrame)
    coin = small_universe().coin(frame.data.coin)
    context = events.context(frame.data.ctx, coin, cadence_s=1.0, receive_time_ns=NOW_NS)
    assert (context.mark_price, context.index_price) == (Decimal("0.19963"), Decimal("0.1995"))
    assert (context.funding_rate, context.open_interest) == (Decimal("0.00004863"), Decimal("18617460"))


def test_one_full_frame_of_all_contexts_gives_each_market_its_own() -> None:
    raw = load(NAUTILUS + "ws_all_dexs_asset_ctxs.json")
    frame = frames.decode(dump(raw))
    assert isinstance(frame, frames.AllContextsFrame)
    sizes = {dex: len(contexts) for dex, contexts in frame.data.ctxs}
    assert sum(sizes.values()) == 412
    assert sizes[""] == 230
    assert sizes["xyz"] == 80
    dexes = {
        dex: [
            {"name": f"{dex}:C{i}" if dex else f"C{i}", "szDecimals": 0, "maxLeverage": 3} for i in range(count)
        ]
        for dex, count in sizes.items()
    }  # fmt: skip
    known = universe_of(dexes.pop(""), **dexes)
    found = {}
    for dex, contexts in frame.data.ctxs:
        parsed, problems = events.contexts(dex, contexts, known, cadence_s=13.6, receive_time_ns=NOW_NS)
        assert problems == []
        found.update({context.market: context for context in parsed})
    assert len(found) == 412
    assert found["C0-PERP"].mark_price == Decimal("77562.0")
    assert found["C0-PERP"].index_price == Decimal("77605.0")
    assert found["C0-PERP"].funding_rate == Decimal("-0.0000015186")
    assert found["C0-PERP"].volume_24h_usd == Decimal("1516669192.1953897476")
    assert found["C1-PERP"].open_interest == Decimal("605822.2557999999")
    assert found["XYZ-C0-PERP"].mark_price == Decimal("29855.0")
    assert found["VNTL-C0-PERP"].index_price == Decimal("2025.3")
    assert found["ABCD-C0-PERP"].funding_rate == 0


def test_captured_mids_are_read_spot_among_them() -> None:
    frame = frames.decode(dump(load(NAUTILUS + "ws_allmids.json")))
    assert isinstance(frame, frames.MidsFrame)
    assert frame.data.mids["BTC"] == "80868.5"
    assert frame.data.mids["PURR/USDC"] == "0.067131"
    mids = info.decode_mids(cassette("test_get_all_mids", "allMids"))
    assert (len(mids), mids["BTC"], mids["kPEPE"]) == (28, "30135.0", "0.001565")


def test_the_real_rest_book_of_2023_is_read_in_full() -> None:
    raw = info.decode_book(cassette("test_get_l2_snapshot", "l2Book"))
    assert raw is not None
    book = events.book(raw, small_universe(), depth=20, receive_time_ns=NOW_NS)
    assert book.market == "DYDX-PERP"
    assert (len(book.bids), len(book.asks)) == (20, 20)
    assert (book.bids[0], book.bids[-1]) == ((211100, 1344), (181000, 23970))
    assert (book.asks[0], book.asks[-1]) == ((211240, 3523), (215180, 620))


def test_the_real_trimmed_rest_book_of_2025_is_read_without_its_order_counts() -> None:
    raw = info.decode_book(dump(load(NAUTILUS + "http_l2_book_btc.json")))
    assert raw is not None
    book = events.book(raw, small_universe(), depth=20, receive_time_ns=NOW_NS)
    assert (book.bids[0], book.asks[0]) == ((1104270, 411882), (1104280, 372573))
    assert book.version == 1761786491067


@pytest.mark.parametrize("name", ["test_get_info", "test_get_l2_snapshot", "test_get_candles_snapshot"])
def test_the_real_universe_of_2023_lists_28_markets_of_one_tier(name: str) -> None:
    meta = info.decode_meta(cassette(name, "meta"))
    known = universe.build([meta], [None], [])
    assert len(known.listings) == 28
    assert known.problems == ()
    btc, pepe = known.coins["BTC"].listing, known.coins["kPEPE"].listing
    assert (btc.market, btc.quote, btc.price_decimals, btc.size_decimals) == ("BTC-PERP", "USDC", 1, 5)
    assert (btc.max_leverage, btc.venue_market_id, btc.min_notional) == (50, 0, Decimal(10))
    assert [tier.maintenance_margin for tier in btc.leverage_tiers] == [Decimal("0.01")]
    assert (pepe.market, pepe.venue_market_id, pepe.price_decimals) == ("1000PEPE-PERP", 15, 6)


def test_the_real_testnet_universe_carries_its_margin_tables_and_its_delisted_markets() -> None:
    known = universe.build([info.decode_meta(dump(load("roq_testnet_meta.json")))], [None], [info.RawToken("USDC", 0)])
    assert (len(known.listings), known.problems) == (201, ())
    assert sum(item.status is Status.DELISTED for item in known.listings) == 35
    btc = known.coins["BTC"].listing
    assert (btc.venue_market_id, btc.max_leverage, btc.price_significant_figures) == (3, 40, 5)
    assert [(t.lower_notional, t.max_leverage, t.maintenance_margin) for t in btc.leverage_tiers] == [
        (Decimal(0), 40, Decimal("0.0125")),
        (Decimal(10000), 25, Decimal("0.02")),
        (Decimal(50000), 10, Decimal("0.05")),
    ]
    assert (btc.maker_fee, btc.taker_fee, btc.funding_interval_s) == (Decimal("0.00015"), Decimal("0.00045"), 3600)
    assert not btc.isolated_only
    assert known.coins["UNIBOT"].listing.isolated_only
    assert not known.coins["UNIBOT"].live
    assert known.coins["SOL"].listing.leverage_tiers[0].max_leverage == 10
    assert known.dexes[""][5] is known.coins["MATIC"]


def test_the_collateral_of_each_dex_names_its_quote_and_growth_mode_cuts_its_fees() -> None:
    metas = info.decode_metas(dump(load(NAUTILUS + "http_all_perp_metas_non_usdc_collateral.json")))
    tokens = info.decode_spot_meta(dump(load(NAUTILUS + "http_spot_meta_non_usdc_collateral.json"))).tokens
    dexes = [None, info.RawDex("km", "1.0"), info.RawDex("hyna", "0.5")]
    known = universe.build(metas, dexes, tokens)
    assert known.problems == ()
    assert {item.market: (item.quote, item.venue_market_id) for item in known.listings} == {
        "BTC-PERP": ("USDC", 0),
        "KM-US500-PERP": ("USDH", 110_000),
        "HYNA-BTC-PERP": ("USDE", 120_000),
    }
    assert known.coins["km:US500"].listing.taker_fee == Decimal("0.00009")
    assert known.coins["hyna:BTC"].listing.maker_fee == Decimal("0.0000225")


def test_flags_written_as_null_are_flags_not_set() -> None:
    meta = info.decode_meta(dump(load(NAUTILUS + "http_meta_perp_sample.json")))
    known = universe.build([meta], [None], [])
    assert [(item.symbol, item.status, item.isolated_only) for item in known.listings] == [
        ("BTC", Status.ACTIVE, False),
        ("ETH", Status.ACTIVE, False),
        ("ATOM", Status.ACTIVE, False),
    ]


def test_captured_histories_are_read() -> None:
    rows = info.decode_funding(cassette("test_get_funding_history_None", "fundingHistory"))
    assert len(rows) == 1038
    assert (rows[0].fundingRate, rows[0].premium, rows[0].time) == ("-0.00061334", "-0.00091334", 1683849600048)
    assert len(info.decode_funding(cassette("test_get_funding_history_1684811870000", "fundingHistory"))) > 30
    short = info.decode_funding(dump(load(NAUTILUS + "http_funding_history.json")))
    assert [row.premium for row in short] == ["0.00029005", "-0.00012500", None]
    candles = info.decode_candles(cassette("test_get_candles_snapshot", "candleSnapshot"))
    assert (candles[0].s, candles[0].i, candles[0].c, candles[0].n) == ("kPEPE", "1h", "0.001604", 709)


def test_captured_recent_trades_come_out_oldest_first() -> None:
    raw = info.decode_trades(dump(load(NAUTILUS + "http_recent_trades_btc.json")))
    trades = events.trades(raw, small_universe(), receive_time_ns=NOW_NS)
    assert [(t.price, t.size, t.buy) for t in trades] == [
        (1043000, 500, False),
        (1043105, 2000, True),
        (1043200, 1500, False),
    ]


def refused_spot_context() -> None:
    frames.decode(tardis("activeSpotAssetCtx")[0])


def refused_spot_top() -> None:
    frame = frames.decode(tardis("bbo")[0])
    assert isinstance(frame, frames.TopFrame)
    events.top(frame.data, small_universe(), receive_time_ns=NOW_NS)


def refused_one_sided_top() -> None:
    frames.decode(tardis("bbo")[1])


def refused_rest_book() -> None:
    raw = info.decode_book(dump(load(NAUTILUS + "http_l2_book_snapshot.json")))
    assert raw is not None
    events.book(raw, small_universe(), depth=20, receive_time_ns=NOW_NS)


def refused_socket_book() -> None:
    book_of(dump({"channel": "l2Book", "data": load(NAUTILUS + "ws_book_data.json")}))


REFUSED = {
    f"{TARDIS} activeSpotAssetCtx @2": (refused_spot_context, "channel", "Invalid value 'activeSpotAssetCtx'"),
    f"{TARDIS} bbo @162": (refused_spot_top, "data.coin", "not a listed perpetual market"),
    f"{TARDIS} bbo BTC": (refused_one_sided_top, "data.bbo", "`array` of length 2"),
    f"{NAUTILUS}http_l2_book_snapshot.json": (refused_rest_book, "data.levels[0][0].px", "significant figures"),
    f"{NAUTILUS}ws_book_data.json": (refused_socket_book, "data.levels[0][0].px", "significant figures"),
}
"""Refused: two of spot markets, which are not aggregated; one edited by its publisher to one side instead of two; two
written by hand, with prices (98450.50) that no order of the venue can have."""


@pytest.mark.parametrize("name", REFUSED)
def test_a_capture_that_cannot_be_true_is_refused_with_its_field_and_reason(name: str) -> None:
    attempt, field, problem = REFUSED[name]
    with pytest.raises(WireError) as caught:
        attempt()
    assert caught.value.field == field
    assert problem in caught.value.problem
