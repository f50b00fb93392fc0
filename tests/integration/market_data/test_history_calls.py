"""The calls that ask for the past, and streams of candles, over gRPC with a real database and scripted venues."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import grpc
import pytest
from perpmesh.marketdata.v1 import candle_pb2
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

from services.domain.errors import Reason
from services.domain.feed import Alive, PastCandle, PastFunding
from services.market_data.model.candle import MINUTE_NS, SECOND_NS, start_of
from tests.integration.market_data.conftest import Room, running_room
from tests.integration.market_data.test_service import feed_both, reason_of
from tests.support import waiting
from tests.support.feed import top, trade

BTC, L, H = "BTC-PERP", "lighter", "hyperliquid"
MINUTE = candle_pb2.CANDLE_INTERVAL_1M
HOUR_NS = 3_600 * SECOND_NS


def now() -> int:
    return time.time_ns()


def past(open_ns: int, price: int = 100, volume: str = "2", *, quote: str | None = "200") -> PastCandle:
    one = Decimal(price)
    return PastCandle(
        open_time_ns=open_ns,
        open=one,
        high=one + 1,
        low=one - 1,
        close=one,
        volume=Decimal(volume),
        quote_volume=None if quote is None else Decimal(quote),
        trade_count=7,
    )


async def until(condition: Callable[[], Any], what: str, timeout_s: float = 15.0) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.02)


async def alive(room: Room) -> None:
    """Keep both feeds alive for ever."""
    while True:
        for venue in (room.lighter, room.hyperliquid):
            venue.say(Alive(venue=venue.name, connection="1", markets=frozenset({BTC}), receive_time_ns=now()))
        room.hyperliquid.say(top(H, (1001, 200_000), (1003, 300_000), at_ns=now()))
        await asyncio.sleep(0.1)


def script_past(room: Room, *, minutes: int = 300) -> int:
    """Give both venues a past: a candle for every minute and hour, and settled funding. Return the current minute."""
    minute_ns = start_of(now(), 60)
    for venue in (room.lighter, room.hyperliquid):
        price = 100 if venue is room.lighter else 200
        for interval_s in (60, 300, 900, 3_600, 14_400, 86_400):
            length_ns = interval_s * SECOND_NS
            newest_ns = start_of(now(), interval_s)
            opens = [newest_ns - number * length_ns for number in range(1, max(minutes, 1500) + 1)]
            venue.candles[BTC, interval_s] = [past(open_ns, price) for open_ns in sorted(opens)]
        hour_ns = start_of(now(), 3_600)
        venue.fundings[BTC] = [
            PastFunding(
                settle_time_ns=hour_ns - number * HOUR_NS + (3_000_000 if venue is room.hyperliquid else 0),
                rate=Decimal("0.0000125"),
                premium=None,
            )
            for number in range(40, -1, -1)
        ]
    return minute_ns


async def filled(room: Room) -> None:
    """Wait until the backfill has asked for everything."""
    await until(lambda: room.history.store() is not None, "the database")
    await until(lambda: len(room.recorder.ladders) == 2, "both ladders")
    await until(lambda: all(not one.held for one in room.recorder.ladders.values()), "where the candles stand")
    await until(lambda: all(one.counts.funding for one in room.backfills), "funding")
    asked = -1
    while asked != len(room.lighter.asked) + len(room.hyperliquid.asked):
        asked = len(room.lighter.asked) + len(room.hyperliquid.asked)
        await asyncio.sleep(1.2)
    await until(lambda: not room.history.writer.buffered, "everything written")


async def test_candles_are_listed_of_one_venue_and_of_all_and_page_without_hole_or_double(database_url: str) -> None:
    async with running_room(database_url) as room:
        minute_ns = script_past(room)
        await feed_both(room)
        beat = asyncio.create_task(alive(room))
        await filled(room)

        async def newest_closed() -> int:
            request = pb.ListCandlesRequest(market=BTC, interval=MINUTE, venue=L, page_size=3)
            page = await room.stub.ListCandles(request)
            return max((one.open_time.ToNanoseconds() for one in page.candles if one.closed), default=0)

        # A minute that is over since a moment is asked for a little later.
        await waiting.until(
            newest_closed, lambda seen: seen >= minute_ns - MINUTE_NS, timeout_s=60, why="the last minute is filled in"
        )
        seen: list[int] = []
        token = ""
        while True:
            request = pb.ListCandlesRequest(market=BTC, interval=MINUTE, venue=L, page_size=37, page_token=token)
            page = await room.stub.ListCandles(request)
            seen += [one.open_time.ToNanoseconds() for one in page.candles if one.closed]
            token = page.next_page_token
            if not token:
                break
        newest = seen[0]
        assert newest >= minute_ns - MINUTE_NS
        assert seen == list(range(newest, seen[-1] - 1, -MINUTE_NS))
        assert seen[-1] <= start_of(newest, 86_400)
        both = await room.stub.ListCandles(pb.ListCandlesRequest(market=BTC, interval=MINUTE, page_size=5))
        closed = [one for one in both.candles if one.closed]
        assert [(one.venue, one.high, one.low, one.volume) for one in closed] == [("", "201", "99", "4")] * len(closed)
        hour = candle_pb2.CANDLE_INTERVAL_1H
        hours = (await room.stub.ListCandles(pb.ListCandlesRequest(market=BTC, interval=hour, venue=H))).candles
        opens = [one.open_time.ToNanoseconds() for one in hours]
        assert opens == sorted(set(opens), reverse=True)
        whole = [one for one in hours if one.closed and one.open_time.ToNanoseconds() > minute_ns - 1400 * MINUTE_NS]
        assert whole
        beat.cancel()


async def test_a_page_token_outlives_a_restart_and_is_bound_to_its_arguments(database_url: str) -> None:
    async with running_room(database_url) as room:
        script_past(room)
        await feed_both(room)
        beat = asyncio.create_task(alive(room))
        await filled(room)
        wanted = pb.ListFundingHistoryRequest(market=BTC, page_size=5)
        first = await room.stub.ListFundingHistory(wanted)
        assert [one.venue for one in first.points] == [H, L, H, L, H]
        assert (first.points[0].hourly_rate, first.points[0].yearly_rate) == ("0.0000125", "0.1095")
        beat.cancel()
    async with running_room(database_url) as room:
        await feed_both(room)
        await until(lambda: room.history.store() is not None, "the database")
        wanted.page_token = first.next_page_token
        second = await room.stub.ListFundingHistory(wanted)
        keys = [(one.settle_time.ToNanoseconds(), one.venue) for one in (*first.points, *second.points)]
        assert keys == sorted(set(keys), key=lambda one: (-one[0], one[1]))
        assert len(keys) == 10
        for other in (
            pb.ListFundingHistoryRequest(market=BTC, page_size=5, venues=[L], page_token=first.next_page_token),
            pb.ListFundingHistoryRequest(market=BTC, page_token=first.next_page_token[:-2] + "AA"),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await room.stub.ListFundingHistory(other)
            assert reason_of(refused.value)[0] == Reason.CURSOR_INVALID


async def test_trades_page_back_beyond_memory_and_beyond_a_restart(database_url: str) -> None:
    start_ns = now() - 50 * SECOND_NS
    async with running_room(database_url) as room:
        await feed_both(room)
        room.lighter.say(
            *(trade(L, f"{n:03d}", 1000 + n, 10_000, at_ns=start_ns + n * SECOND_NS // 10) for n in range(300))
        )
        await until(lambda: room.history.writer.buffers["trades"].written == 300, "everything written")
    async with running_room(database_url) as room:
        await feed_both(room)
        room.lighter.say(  # the venue repeats its last fifty, and goes on
            *(trade(L, f"{n:03d}", 1000 + n, 10_000, at_ns=start_ns + n * SECOND_NS // 10) for n in range(250, 320))
        )
        await until(lambda: room.history.writer.buffers["trades"].written, "everything written")
        seen: list[str] = []
        request = pb.ListTradesRequest(market=BTC, page_size=33)
        while True:
            page = await room.stub.ListTrades(request)
            seen += [one.trade_id for one in page.trades]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        assert seen == [f"{n:03d}" for n in range(319, -1, -1)]


async def test_recorded_prices_are_every_change_once_a_sample(database_url: str) -> None:
    async with running_room(database_url) as room:
        await feed_both(room)
        await until(lambda: room.history.writer.buffers["price_history"].written >= 2, "samples")
        written = room.history.writer.buffers["price_history"].written
        await asyncio.sleep(0.5)
        assert room.history.writer.buffers["price_history"].written == written  # nothing changed
        room.lighter.say(trade(L, "1", 1010, 10_000, at_ns=now()))
        await until(lambda: room.history.writer.buffers["price_history"].written > written, "the change")
        page = await room.stub.ListPriceHistory(pb.ListPriceHistoryRequest(market=BTC, venue=L, page_size=1))
        assert page.points[0].last_price == "101"
        assert page.next_page_token
        assert dict(await metadata_of(room)).get("x-data-age-ms") == "0"


async def metadata_of(room: Room) -> Any:
    call = room.stub.ListPriceHistory(pb.ListPriceHistoryRequest(market=BTC))
    await call
    return [(key, value) for key, value in await call.initial_metadata()]


async def test_a_candle_is_streamed_as_it_forms_and_its_last_state_always_comes(database_url: str) -> None:
    second = candle_pb2.CANDLE_INTERVAL_1S
    async with running_room(database_url) as room:
        await feed_both(room)
        beat = asyncio.create_task(alive(room))
        stream = room.stub.WatchCandles(pb.WatchCandlesRequest(markets=[BTC], interval=second))
        while (await stream.read()).WhichOneof("event") != "live":
            pass
        sizes: dict[int, int] = {}
        for number in range(40):
            at_ns = now()
            venue = (room.lighter, room.hyperliquid)[number % 2]
            venue.say(trade(venue.name, str(number), 1000 + number, 100_000, at_ns=at_ns))
            sizes[start_of(at_ns, 1)] = sizes.get(start_of(at_ns, 1), 0) + 1
            await asyncio.sleep(0.07)
        closed: dict[int, Any] = {}
        forming = 0
        async with asyncio.timeout(15):
            while len(closed) < len(sizes):
                message = await stream.read()
                if message.WhichOneof("event") == "candle":
                    open_ns = message.candle.open_time.ToNanoseconds()
                    assert open_ns not in closed, "a closed candle does not change"
                    if message.candle.closed:
                        closed[open_ns] = message.candle
                    else:
                        forming += 1
        assert {open_ns: int(one.volume) for open_ns, one in closed.items()} == sizes
        assert forming > len(closed)
        beat.cancel()
        stream.cancel()


async def test_a_stream_of_candles_resumes_with_what_it_missed(database_url: str) -> None:
    second = candle_pb2.CANDLE_INTERVAL_1S
    async with running_room(database_url) as room:
        await feed_both(room)
        beat = asyncio.create_task(alive(room))
        stream = room.stub.WatchCandles(pb.WatchCandlesRequest(markets=[BTC], interval=second, venue=L))
        live = await stream.read()
        stream.cancel()
        opens = set()
        for number in range(5):
            opens.add(start_of(now(), 1))
            room.lighter.say(trade(L, str(number), 1000, 100_000, at_ns=now()))
            await asyncio.sleep(0.8)
        await asyncio.sleep(3)
        again = room.stub.WatchCandles(
            pb.WatchCandlesRequest(markets=[BTC], interval=second, venue=L, cursor=live.cursor)
        )
        seen = []
        while (message := await again.read()).WhichOneof("event") != "live":
            seen.append(message.candle)
        assert {one.open_time.ToNanoseconds() for one in seen} == opens
        assert all(one.closed for one in seen)
        beat.cancel()
        again.cancel()


async def test_without_its_database_prices_and_trades_go_on_and_history_says_what_is_wrong(room: Room) -> None:
    await feed_both(room)
    room.lighter.say(trade(L, "1", 1000, 100_000, at_ns=now()))
    await room.engine.round_done()
    assert (await room.stub.GetPrice(pb.GetPriceRequest(market=BTC))).price.best_bid.price
    assert len((await room.stub.ListTrades(pb.ListTradesRequest(market=BTC))).trades) == 1
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await room.stub.ListCandles(pb.ListCandlesRequest(market=BTC, interval=MINUTE))
    assert reason_of(refused.value)[0] == Reason.PEER_UNAVAILABLE
    assert "prices and streams go on" in str(refused.value.details())


async def test_candles_are_made_only_of_what_is_recorded_or_watched(room: Room) -> None:
    """The venues feed hundreds of markets; those nobody asks for cost neither memory nor questions to REST."""
    await feed_both(room)
    room.lighter.say(trade(L, "1", 1000, 100_000, at_ns=now()))
    await room.engine.round_done()
    room.recorder.tick()
    assert room.recorder.ladders == {}
    room.publisher.candles.get(60, "", [BTC])
    room.recorder.tick()
    assert set(room.recorder.ladders) == {(BTC, L), (BTC, H)}
    room.publisher.candles._hubs.clear()
    room.publisher.candles.expire()
    room.recorder.tick()
    assert room.recorder.ladders == {}
