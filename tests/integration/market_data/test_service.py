"""What a gRPC client of the market data room sees."""

from __future__ import annotations

import time

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1 import price_pb2, state_pb2

from services.domain.errors import Reason
from services.domain.feed import FeedState, MarketDown
from tests.integration.market_data.conftest import Room
from tests.support.feed import context, delta, snapshot, trade

L, H, BTC = "lighter", "hyperliquid", "BTC-PERP"


def now() -> int:
    return time.time_ns()


def reason_of(error: grpc.aio.AioRpcError) -> tuple[str, dict[str, str]]:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return info.reason, dict(info.metadata)


async def feed_both(room: Room) -> None:
    room.lighter.say(
        snapshot(L, [(1000, 500_000), (999, 1)], [(1002, 100_000)], version=5, at_ns=now()),
        context(L, mark="100.1", funding="0.0000125", at_ns=now()),
    )
    room.hyperliquid.say(snapshot(H, [(1001, 200_000)], [(1003, 300_000)], version=6, depth=5, at_ns=now()))
    await room.engine.round_done()


async def test_a_price_names_the_venue_of_each_side_and_keeps_every_venues_own_values(room: Room) -> None:
    await feed_both(room)
    price = (await room.stub.GetPrice(pb.GetPriceRequest(market=BTC))).price
    assert (price.best_bid.price, price.best_bid.size, price.best_bid.venue) == ("100.1", "2", H)
    assert (price.best_ask.price, price.best_ask.size, price.best_ask.venue) == ("100.2", "1", L)
    assert not price.crossed
    assert [one.venue for one in price.venues] == [H, L]
    lighter = price.venues[1]
    assert (lighter.bid, lighter.bid_size, lighter.ask, lighter.mark_price) == ("100", "5", "100.2", "100.1")
    assert lighter.state == state_pb2.STATE_LIVE
    assert lighter.source == state_pb2.SOURCE_SIMULATED
    assert 0 <= lighter.age.ToSeconds() < 2
    assert price_pb2.Price.FromString(room.kept[BTC]).best_bid == price.best_bid


async def test_an_unknown_market_is_refused_with_near_names(room: Room) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await room.stub.GetPrice(pb.GetPriceRequest(market="BTCC-PERP"))
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    reason, metadata = reason_of(refused.value)
    assert reason == Reason.MARKET_UNKNOWN
    assert metadata["near"] == BTC
    assert metadata["category"] == "trading"


@pytest.mark.parametrize("market", ["", "btc-perp", "BTC", "BTC-PERP ", "x" * 60])
async def test_a_malformed_name_is_refused_with_the_field_and_what_would_pass(room: Room, market: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await room.stub.GetPrice(pb.GetPriceRequest(market=market))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(refused.value)  # type: ignore[arg-type]
    bad = error_details_pb2.BadRequest()
    assert status is not None
    assert any(detail.Unpack(bad) for detail in status.details)
    assert bad.field_violations[0].field == "market"
    assert bad.field_violations[0].description


async def test_a_stream_of_prices_begins_with_the_present_and_follows_changes(room: Room) -> None:
    await feed_both(room)
    stream = room.stub.WatchPrices(pb.WatchPricesRequest(markets=[BTC]))
    first, live = await stream.read(), await stream.read()
    assert first.price.market == BTC
    assert live.WhichOneof("event") == "live"
    room.lighter.say(delta(L, [(1001, 900_000)], [], previous=5, version=6, at_ns=now()))
    changed = await stream.read()
    assert changed.price.best_bid.venue == L
    assert changed.price.sequence == first.price.sequence + 1
    stream.cancel()


async def test_a_broken_chain_is_shown_as_recovering_and_the_venue_is_asked_for_a_resync(room: Room) -> None:
    await feed_both(room)
    stream = room.stub.WatchPrices(pb.WatchPricesRequest(markets=[BTC]))
    await stream.read(), await stream.read()
    room.lighter.say(delta(L, [(1001, 900_000)], [], previous=999, version=1000, at_ns=now()))
    broken = (await stream.read()).price
    assert broken.venues[1].state == state_pb2.STATE_RECOVERING
    assert "999" in broken.venues[1].state_reason
    assert broken.venues[1].bid == "100", "the last known value stays"
    assert broken.best_ask.venue == H, "and takes no part in the best"
    assert room.lighter.resyncs[0][0] == BTC
    stream.cancel()


async def test_silence_is_seen_as_stale_within_three_seconds(room: Room) -> None:
    await feed_both(room)
    start = time.monotonic()
    stream = room.stub.WatchPrices(pb.WatchPricesRequest(markets=[BTC]))
    while True:
        message = await stream.read()
        if message.WhichOneof("event") == "price":
            states = {one.venue: one.state for one in message.price.venues}
            if set(states.values()) == {state_pb2.STATE_STALE}:
                break
    assert time.monotonic() - start <= 3.0
    assert not message.price.HasField("best_bid")
    stream.cancel()


async def test_a_book_says_which_venue_has_how_much_and_deltas_lead_from_state_to_state(room: Room) -> None:
    await feed_both(room)
    stream = room.stub.WatchOrderBook(pb.WatchOrderBookRequest(market=BTC, depth=5))
    book = (await stream.read()).snapshot
    assert [(one.price, one.size, [(v.venue, v.size) for v in one.venues]) for one in book.bids] == [
        ("100.1", "2", [(H, "2")]),
        ("100", "5", [(L, "5")]),
        ("99.9", "0.00001", [(L, "0.00001")]),
    ]
    assert (await stream.read()).WhichOneof("event") == "live"
    room.lighter.say(delta(L, [(1001, 100_000), (999, 0)], [], previous=5, version=6, at_ns=now()))
    change = (await stream.read()).delta
    assert change.previous_sequence == book.sequence
    assert (change.bid_level_count, change.ask_level_count) == (2, 2)
    levels = {one.price: one for one in change.bids}
    assert levels["100.1"].size == "3"
    assert levels["99.9"].size == "0"
    stream.cancel()


async def test_a_venue_that_goes_down_takes_its_levels_out_of_the_book(room: Room) -> None:
    await feed_both(room)
    stream = room.stub.WatchOrderBook(pb.WatchOrderBookRequest(market=BTC, depth=5))
    await stream.read(), await stream.read()
    room.lighter.say(
        MarketDown(venue=L, markets=frozenset({BTC}), state=FeedState.RECOVERING, reason="cut", receive_time_ns=now())
    )
    change = (await stream.read()).delta
    assert {one.price for one in change.bids if one.size == "0"} == {"100", "99.9"}
    assert {one.venue: one.state for one in change.versions}[L] == state_pb2.STATE_RECOVERING
    stream.cancel()


async def test_trades_are_numbered_listed_and_streamed_exactly_once(room: Room) -> None:
    await feed_both(room)
    stream = room.stub.WatchTrades(pb.WatchTradesRequest(markets=[BTC]))
    assert (await stream.read()).WhichOneof("event") == "live"
    for number in (1, 2, 2, 3):
        room.lighter.say(trade(L, str(number), 1000 + number, 10_000, at_ns=now()))
    seen = [await stream.read() for _ in range(3)]
    assert [one.trade.trade_id for one in seen] == ["1", "2", "3"]
    listed = await room.stub.ListTrades(pb.ListTradesRequest(market=BTC, page_size=2))
    assert [one.trade_id for one in listed.trades] == ["3", "2"]
    rest = await room.stub.ListTrades(pb.ListTradesRequest(market=BTC, page_size=2, page_token=listed.next_page_token))
    assert [one.trade_id for one in rest.trades] == ["1"]
    assert rest.next_page_token == ""
    resumed = room.stub.WatchTrades(pb.WatchTradesRequest(markets=[BTC], cursor=seen[0].cursor))
    assert [(await resumed.read()).trade.trade_id for _ in range(2)] == ["2", "3"]
    between = await room.stub.ListTrades(pb.ListTradesRequest(market=BTC, first_sequence=2, last_sequence=2))
    assert [one.trade_id for one in between.trades] == ["2"]
    stream.cancel()
    resumed.cancel()


async def test_a_page_token_of_other_arguments_is_refused(room: Room) -> None:
    await feed_both(room)
    for number in range(3):
        room.lighter.say(trade(L, str(number), 1000, 10_000, at_ns=now()))
    await room.engine.round_done()
    listed = await room.stub.ListTrades(pb.ListTradesRequest(market=BTC, page_size=1))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await room.stub.ListTrades(
            pb.ListTradesRequest(market=BTC, page_size=1, venues=[L], page_token=listed.next_page_token)
        )
    assert reason_of(refused.value)[0] == Reason.CURSOR_INVALID


async def test_trades_that_may_be_missing_are_named_as_a_gap(room: Room) -> None:
    await feed_both(room)
    stream = room.stub.WatchTrades(pb.WatchTradesRequest(markets=[BTC]))
    await stream.read()
    room.lighter.say(
        MarketDown(
            venue=L,
            markets=frozenset({BTC}),
            state=FeedState.RECOVERING,
            reason="cut",
            receive_time_ns=now(),
            trades_lost=True,
        )
    )
    gap = (await stream.read()).gap
    assert (gap.market, gap.venue, gap.message) == (BTC, L, "cut")
    stream.cancel()


async def test_funding_is_normalized_and_markets_say_their_rules(room: Room) -> None:
    await feed_both(room)
    rates = (await room.stub.ListFundingRates(pb.ListFundingRatesRequest(markets=[BTC]))).funding_rates
    assert rates[0].venues[1].yearly_rate == "0.1095"
    listing = (await room.stub.GetMarket(pb.GetMarketRequest(market=BTC))).market.listings[1]
    assert (listing.venue, listing.tick, listing.lot, listing.min_size) == (L, "0.1", "0.00001", "0.0002")


async def test_the_end_of_a_stream_is_said(room: Room) -> None:
    await feed_both(room)
    stream = room.stub.WatchPrices(pb.WatchPricesRequest(markets=[BTC]))
    await stream.read(), await stream.read()
    room.publisher.close(Reason.DRAINING, "the room is stopping; connect again")
    end = (await stream.read()).end
    assert (end.reason, end.resumable) == ("DRAINING", True)
    assert await stream.read() == grpc.aio.EOF


async def test_an_audit_finds_a_changed_digit_and_asks_for_a_resync(room: Room) -> None:
    await feed_both(room)
    room.lighter.books[BTC] = snapshot(L, [(1000, 600_000), (999, 1)], [(1002, 100_000), (1003, 1)], at_ns=now())
    room.lighter.say(delta(L, [(998, 1)], [(1004, 1)], previous=5, version=6, at_ns=now()))
    assert await room.auditor.audit(L, BTC)
    assert room.engine.audit_differences[L] == 1
    assert "wrong level" in room.lighter.resyncs[-1][1]
    assert not await room.auditor.audit(H, BTC), "a venue that gives no snapshot is no difference"
