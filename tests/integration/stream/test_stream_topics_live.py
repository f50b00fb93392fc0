"""A client follows topics through a real socket, fed by a real gRPC server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from perpmesh.marketdata.v1 import book_pb2, candle_pb2, funding_pb2, price_pb2, trade_pb2
from perpmesh.type.v1 import stream_pb2

from services.domain.errors import DomainError, Reason
from services.stream.app.door import DoorBounds
from services.stream.app.hub import HubBounds
from services.stream.model.limits import Limits
from tests.integration.stream.conftest import MakeMesh, Mesh, Reader


def price(market: str, sequence: int) -> Any:
    return price_pb2.Price(
        market=market, sequence=sequence, best_bid={"price": f"{sequence}.5", "size": "1", "venue": "lighter"}
    )


def trade(market: str, sequence: int) -> Any:
    return trade_pb2.Trade(market=market, sequence=sequence, price="1", size="2", side=1)


def level(at: str, size: str) -> Any:
    return book_pb2.BookLevel(price=at, size=size, venues=[{"venue": "lighter", "size": size}])


def names(frames: list[dict[str, Any]]) -> list[str]:
    """Return what each frame carries; of a status, its state."""
    out = []
    for frame in frames:
        (event,) = set(frame) - {"topic", "id"}
        out.append(frame["status"]["state"].removeprefix("STATE_") if event == "status" else event)
    return out


async def follow(mesh: Mesh, reader: Reader, topic: str, *, present: int = 1) -> Any:
    """Subscribe to a price or trade topic, answer upstream, and return the stream when it is live."""
    await reader.subscribe(topic)
    stream = await mesh.service.opened()
    kind, market = topic.split(":")[:2]
    for sequence in range(1, present + 1):
        stream.say(**({"price": price(market, sequence)} if kind == "prices" else {"trade": trade(market, sequence)}))
    stream.live()
    await reader.until("live", topic)
    return stream


async def test_a_subscription_is_answered_by_status_present_and_live_and_then_by_changes(mesh: Mesh) -> None:
    reader = await mesh.client()
    await reader.send(id="a", subscribe={"topics": ["prices:BTC-PERP", "prices:ETH-PERP"]})
    stream = await mesh.service.opened()
    assert list(stream.request.markets) == ["BTC-PERP", "ETH-PERP"]
    stream.say(prices={"prices": [price("BTC-PERP", 7), price("ETH-PERP", 9)]})
    stream.live()
    frames = [await reader.next() for _ in range(6)]
    for market, number in (("BTC-PERP", "7"), ("ETH-PERP", "9")):
        mine = [frame for frame in frames if frame["topic"] == f"prices:{market}"]
        assert names(mine) == ["SUBSCRIBED", "price", "live"]
        assert mine[0]["id"] == "a"
        assert mine[1]["id"] == ""
        assert mine[1]["price"]["sequence"] == number
        assert mine[1]["price"]["best_bid"]["venue"] == "lighter"
    stream.say(price=price("ETH-PERP", 10))
    assert (await reader.until("price"))["price"]["sequence"] == "10"


async def test_a_topic_is_followed_upstream_once_and_newcomers_get_the_present_at_once(mesh: Mesh) -> None:
    first, second = await mesh.client(), await mesh.client()
    stream = await follow(mesh, first, "prices:BTC-PERP", present=3)
    await second.subscribe("prices:BTC-PERP")
    assert names([await second.next() for _ in range(3)]) == ["SUBSCRIBED", "price", "live"]
    assert second.seen[-2]["price"]["sequence"] == "3"
    stream.say(price=price("BTC-PERP", 4))
    for reader in (first, second):
        assert (await reader.until("price"))["price"]["sequence"] == "4"
    assert mesh.service.idle
    assert len(mesh.service.streams) == 1


async def test_what_nobody_follows_is_followed_upstream_no_longer_after_the_linger(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(DoorBounds(hub=HubBounds(linger_s=0.0)))
    reader = await mesh.client()
    stream = await follow(mesh, reader, "prices:BTC-PERP")
    await reader.send(id="u", unsubscribe={"topics": ["prices:BTC-PERP", "prices:SOL-PERP", "nonsense"]})
    frames = [await reader.next() for _ in range(3)]
    assert names(frames) == ["UNSUBSCRIBED", "UNSUBSCRIBED", "REFUSED"]
    assert {frame["id"] for frame in frames} == {"u"}
    await asyncio.wait_for(stream.closed.wait(), 10)
    assert b"perpmesh_stream_subjects 0.0" in mesh.metrics.render()


async def test_a_topic_is_dropped_when_its_last_socket_closes(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(DoorBounds(hub=HubBounds(linger_s=0.0)))
    reader = await mesh.client()
    stream = await follow(mesh, reader, "trades:BTC-PERP")
    await reader.socket.close()
    await asyncio.wait_for(stream.closed.wait(), 10)


async def test_refused_topics_leave_the_others_of_their_frame_alone(mesh: Mesh) -> None:
    reader = await mesh.client()
    await reader.send(
        id=5,
        subscribe={"topics": ["prices:NONE-PERP", "orders", "prices:btc", "funding:BTC-PERP", "candles:BTC-PERP:2m"]},
    )
    refused = {frame["topic"]: frame for frame in [await reader.status("REFUSED") for _ in range(4)]}
    reasons = {topic: frame["status"]["reason"] for topic, frame in refused.items()}
    assert reasons == {
        "prices:NONE-PERP": "MARKET_UNKNOWN",
        "orders": "TOKEN_MISSING",
        "prices:btc": "FIELD_INVALID",
        "candles:BTC-PERP:2m": "FIELD_INVALID",
    }
    assert all(frame["id"] == "5" and "topics" in frame["status"]["message"] for frame in refused.values())
    stream = await mesh.service.opened()
    stream.say(funding_rate=funding_pb2.FundingRate(market="BTC-PERP", sequence=1))
    assert (await reader.until("funding_rate"))["topic"] == "funding:BTC-PERP"


async def test_a_new_listing_is_found_and_unknown_names_cost_upstream_almost_nothing(mesh: Mesh) -> None:
    reader = await mesh.client()
    await follow(mesh, reader, "prices:BTC-PERP")
    lists = mesh.service.lists
    for number in range(50):
        await reader.subscribe(f"prices:X{number}-PERP")
    for _ in range(50):
        assert (await reader.until("status"))["status"]["reason"] == "MARKET_UNKNOWN"
    assert mesh.service.lists <= lists + 2
    assert mesh.service.idle


async def test_a_market_that_upstream_refuses_is_told_and_the_rest_is_followed(mesh: Mesh) -> None:
    reader = await mesh.client()
    await reader.subscribe("prices:BTC-PERP", "prices:ETH-PERP", "prices:SOL-PERP")
    first = await mesh.service.opened()
    first.fail(DomainError(Reason.MARKET_UNKNOWN, "No venue lists ETH-PERP now.", metadata={"market": "ETH-PERP"}))
    refused = await reader.status("REFUSED")
    assert (refused["topic"], refused["status"]["reason"]) == ("prices:ETH-PERP", "MARKET_UNKNOWN")
    second = await mesh.service.opened()
    assert list(second.request.markets) == ["BTC-PERP", "SOL-PERP"]
    second.say(price=price("SOL-PERP", 1))
    assert (await reader.until("price"))["topic"] == "prices:SOL-PERP"


async def test_a_market_that_upstream_refuses_without_a_name_is_found_by_halving(mesh: Mesh) -> None:
    reader = await mesh.client()
    await reader.subscribe("prices:BTC-PERP", "prices:ETH-PERP", "prices:SOL-PERP")
    live = set()
    while len(live) < 2:
        stream = await mesh.service.opened()
        markets = list(stream.request.markets)
        if "ETH-PERP" in markets:
            stream.fail(DomainError(Reason.MARKET_UNKNOWN, "One of them is not listed."))
        else:
            live.update(markets)
            for market in markets:
                stream.say(price=price(market, 1))
    assert (await reader.status("REFUSED"))["topic"] == "prices:ETH-PERP"
    assert live == {"BTC-PERP", "SOL-PERP"}


async def test_a_call_that_is_not_served_refuses_its_topics(mesh: Mesh) -> None:
    reader = await mesh.client()
    await reader.subscribe("candles:BTC-PERP:1m")
    stream = await mesh.service.opened()
    stream.fail(DomainError(Reason.CALL_NOT_SERVED, "Candles are not served by this version."))
    assert (await reader.status("REFUSED"))["status"]["reason"] == "CALL_NOT_SERVED"


async def test_a_book_begins_whole_and_goes_on_by_deltas_and_a_newcomer_gets_it_whole(mesh: Mesh) -> None:
    first, second = await mesh.client(), await mesh.client()
    await first.subscribe("book:BTC-PERP", depth=5)
    stream = await mesh.service.opened()
    assert (stream.request.market, stream.request.depth) == ("BTC-PERP", 5)
    stream.say(
        snapshot=book_pb2.OrderBook(
            market="BTC-PERP", sequence=4, bids=[level("100", "1"), level("99", "1")], asks=[level("101", "2")]
        )
    )
    stream.live()
    assert names([await first.next() for _ in range(3)]) == ["SUBSCRIBED", "book", "live"]
    assert [item["price"] for item in first.seen[-2]["book"]["bids"]] == ["100", "99"]
    stream.say(
        delta=book_pb2.BookDelta(
            market="BTC-PERP",
            sequence=5,
            previous_sequence=4,
            bids=[level("100", "0"), level("98.5", "3")],
            bid_level_count=2,
            ask_level_count=1,
            crossed=True,
        )
    )
    assert (await first.until("book_delta"))["book_delta"]["previous_sequence"] == "4"
    await second.subscribe("book:BTC-PERP", depth=5)
    book = (await second.until("book"))["book"]
    assert [item["price"] for item in book["bids"]] == ["99", "98.5"]
    assert book["bids"][1]["venues"] == [{"venue": "lighter", "size": "3"}]
    assert (book["sequence"], book["crossed"]) == ("5", True)


async def test_books_of_two_depths_are_two_subjects(mesh: Mesh) -> None:
    first, second = await mesh.client(), await mesh.client()
    await first.subscribe("book:BTC-PERP")
    await second.subscribe("book:BTC-PERP", depth=100)
    assert {(await mesh.service.opened()).request.depth for _ in range(2)} == {20, 100}


async def test_a_book_that_does_not_fit_is_asked_for_again(mesh: Mesh) -> None:
    reader = await mesh.client()
    await reader.subscribe("book:BTC-PERP")
    stream = await mesh.service.opened()
    stream.say(snapshot=book_pb2.OrderBook(market="BTC-PERP", sequence=4, bids=[level("100", "1")]))
    stream.live()
    await reader.until("live")
    stream.say(delta=book_pb2.BookDelta(market="BTC-PERP", sequence=9, previous_sequence=8, bid_level_count=1))
    interrupted = await reader.status("INTERRUPTED")
    assert "cannot be continued" in interrupted["status"]["message"]
    again = await mesh.service.opened()
    assert again.request.cursor == ""
    again.say(snapshot=book_pb2.OrderBook(market="BTC-PERP", sequence=9, bids=[level("102", "1")]))
    again.live()
    frames = [await reader.next() for _ in range(4)]
    assert names(frames) == ["SUBSCRIBED", "gap", "book", "live"]
    assert (frames[1]["gap"]["from_sequence"], frames[1]["gap"]["to_sequence"]) == ("5", "8")
    assert frames[2]["book"]["bids"][0]["price"] == "102"


async def test_a_cut_line_interrupts_the_topic_and_the_cursor_resumes_it(mesh: Mesh) -> None:
    reader = await mesh.client()
    stream = await follow(mesh, reader, "trades:BTC-PERP", present=2)
    assert stream.request.replay_count == 50
    stream.say(cursor="here", trade=trade("BTC-PERP", 3))
    await reader.until("trade")
    await mesh.upstream.stop()
    interrupted = await reader.status("INTERRUPTED")
    assert interrupted["status"]["reason"] == "PEER_UNAVAILABLE"
    await mesh.upstream.start()
    again = await mesh.service.opened()
    assert (again.request.cursor, again.request.replay_count) == ("here", 50)
    again.say(trade=trade("BTC-PERP", 4))
    again.live()
    frames = [await reader.next() for _ in range(3)]
    assert names(frames) == ["SUBSCRIBED", "trade", "live"]
    assert frames[1]["trade"]["sequence"] == "4"


async def test_a_restart_that_resumes_nothing_is_a_gap_that_names_what_is_missing(mesh: Mesh) -> None:
    reader = await mesh.client()
    stream = await follow(mesh, reader, "trades:BTC-PERP", present=3)
    stream.say(end={"reason": "DRAINING", "message": "The room is stopping.", "resumable": True})
    stream.finish()
    assert (await reader.status("INTERRUPTED"))["status"]["reason"] == "DRAINING"
    resuming = await mesh.service.opened()
    assert resuming.request.cursor
    resuming.fail(DomainError(Reason.CURSOR_EXPIRED, "cursor: it was made before this service started"))
    anew = await mesh.service.opened()
    assert (anew.request.cursor, anew.request.replay_count) == ("", 0)
    anew.live()
    await reader.status("SUBSCRIBED")
    anew.say(trade=trade("BTC-PERP", 9))
    gap = (await reader.until("gap"))["gap"]
    assert (gap["from_sequence"], gap["to_sequence"]) == ("4", "8")
    assert "ListTrades" in gap["message"]
    assert (await reader.until("trade"))["trade"]["sequence"] == "9"


async def test_a_client_that_comes_while_the_source_is_away_is_told_and_served_when_it_is_back(
    make_mesh: MakeMesh,
) -> None:
    mesh = await make_mesh(started=False)
    reader = await mesh.client()
    await reader.send(id="a", subscribe={"topics": ["prices:BTC-PERP"]})
    interrupted = await reader.status("INTERRUPTED")
    assert (interrupted["id"], interrupted["status"]["reason"]) == ("a", "PEER_UNAVAILABLE")
    await mesh.upstream.start()
    stream = await mesh.service.opened()
    stream.say(price=price("BTC-PERP", 1))
    stream.live()
    assert names([await reader.next() for _ in range(3)]) == ["SUBSCRIBED", "price", "live"]
    assert reader.seen[-3]["id"] == ""


async def test_a_source_that_falls_silent_is_asked_again(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(silence_max_s=0.2)
    reader = await mesh.client()
    await follow(mesh, reader, "prices:BTC-PERP")
    assert "said nothing" in (await reader.status("INTERRUPTED"))["status"]["message"]
    await mesh.service.opened()


async def test_gaps_of_venues_and_of_trades_are_passed_on_and_skipped_prices_are_none(mesh: Mesh) -> None:
    reader = await mesh.client()
    prices = await follow(mesh, reader, "prices:BTC-PERP")
    trades = await follow(mesh, reader, "trades:BTC-PERP")
    prices.say(gap=stream_pb2.Gap(market="BTC-PERP", from_sequence=2, to_sequence=3, message="skipped"))
    prices.say(gap=stream_pb2.Gap(market="BTC-PERP", venue="lighter", message="feed"))
    assert (await reader.until("gap"))["gap"]["venue"] == "lighter"
    trades.say(gap=stream_pb2.Gap(market="BTC-PERP", from_sequence=2, to_sequence=8, message="slow"))
    gap = await reader.until("gap")
    assert (gap["topic"], gap["gap"]["to_sequence"]) == ("trades:BTC-PERP", "8")


async def test_candles_of_one_interval_share_a_stream_and_each_last_state_arrives(mesh: Mesh) -> None:
    reader = await mesh.client()
    await reader.subscribe("candles:BTC-PERP:1s", "candles:ETH-PERP:1s")
    stream = await mesh.service.opened()
    assert (list(stream.request.markets), stream.request.interval) == (["BTC-PERP", "ETH-PERP"], 1)
    stream.live()
    await reader.until("live", "candles:ETH-PERP:1s")
    for second in range(1, 4):
        for state in range(3):
            candle = candle_pb2.Candle(market="BTC-PERP", interval=1, trade_count=state, closed=state == 2)
            candle.open_time.seconds = second
            stream.say(candle=candle)
    closed = []
    while len(closed) < 3:
        candle = (await reader.until("candle"))["candle"]
        if candle["closed"]:
            closed.append(candle["open_time"])
    assert closed == [f"1970-01-01T00:00:0{second}Z" for second in (1, 2, 3)]


async def test_prices_collapse_to_the_interval_that_was_asked_for(mesh: Mesh) -> None:
    modest, eager = await mesh.client(), await mesh.client()
    await modest.subscribe("prices:BTC-PERP", min_interval="60s")
    stream = await mesh.service.opened()
    stream.say(price=price("BTC-PERP", 1))
    stream.live()
    await modest.until("live")
    await eager.subscribe("prices:BTC-PERP", min_interval="0s")
    await eager.until("live")
    for sequence in range(2, 12):
        stream.say(price=price("BTC-PERP", sequence))
        assert (await eager.until("price"))["price"]["sequence"] == str(sequence)
    await modest.send(ping={})
    await modest.until("pong")
    assert [frame["price"]["sequence"] for frame in modest.seen if "price" in frame] == ["1"]


async def test_a_topic_asked_for_again_takes_its_new_settings_and_counts_once(make_mesh: MakeMesh) -> None:
    mesh = await make_mesh(DoorBounds(limits=Limits(topics_max=2)))
    reader = await mesh.client()
    await follow(mesh, reader, "prices:BTC-PERP")
    await reader.subscribe("prices:BTC-PERP", min_interval="1s")
    assert names([await reader.next() for _ in range(3)]) == ["SUBSCRIBED", "price", "live"]
    await reader.subscribe("prices:ETH-PERP", "prices:SOL-PERP")
    refused = await reader.status("REFUSED")
    assert (refused["topic"], refused["status"]["reason"]) == ("prices:SOL-PERP", "LIMIT_REACHED")
    assert "unsubscribe" in refused["status"]["message"]


@pytest.mark.parametrize("kind", ["trades", "prices"])
async def test_a_message_that_breaks_us_is_not_asked_for_again(mesh: Mesh, kind: str) -> None:
    reader = await mesh.client()
    stream = await follow(mesh, reader, f"{kind}:BTC-PERP")
    bad: Any = trade("BTC-PERP", 2) if kind == "trades" else price("BTC-PERP", 2)
    when = bad.trade_time if kind == "trades" else bad.update_time
    when.seconds = 2**62
    stream.say(**{"trade" if kind == "trades" else "price": bad})
    assert (await reader.status("INTERRUPTED"))["status"]["reason"] == "INTERNAL"
    again = await mesh.service.opened()
    assert again.request.cursor == ""
