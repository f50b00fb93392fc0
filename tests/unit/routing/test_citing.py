"""An order cites a quote: it is used only while it serves that order, from books that still stand, for its own user."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from perpmesh.routing.v1 import planner_service_pb2, quote_pb2
from perpmesh.routing.v1 import routing_service_pb2 as pb
from perpmesh_client.quotes import route

from services.chassis import call
from services.chassis.principal import Principal
from services.domain.errors import DomainError, Reason
from services.domain.feed import FeedState
from tests.support.bus import MemoryServer
from tests.support.desk import MARKET, Room, market_books, venue_book
from tests.support.waiting import until

ALICE, BOB = "0197d2a0-7b1c-7000-8000-00000000000a", "0197d2a0-7b1c-7000-8000-00000000000b"
ACCOUNT, ORDER = "0197d2a0-7b1c-7000-8000-0000000000aa", "0197d2a0-7b1c-7000-8000-0000000000ff"
ASKS = [("84000", "1"), ("84010", "2"), ("84020", "5")]
LIGHTER_ASKS = [("84030", "3"), ("84045", "3"), ("84090", "3"), ("84100", "3")]
HYPERLIQUID = venue_book("hyperliquid", [("83990", "1")], ASKS)
LIGHTER = venue_book("lighter", [("83960", "3")], LIGHTER_ASKS)
BOOKS = market_books(HYPERLIQUID, LIGHTER)


@contextmanager
def user(name: str | None) -> Iterator[None]:
    principal = Principal(user=name) if name is not None else None
    mark = call.CURRENT.set(call.Call(request_id="1", method="m", principal=principal))
    try:
        yield
    finally:
        call.CURRENT.reset(mark)


async def planned(
    room: Room, quote: quote_pb2.Quote, *, of: str = ALICE, **changes: Any
) -> planner_service_pb2.PlanRouteResponse:
    """Return what execution is answered for an order like the quote's wish, with changes, that cites the quote."""
    wish = route(MARKET, "buy", "4")
    for name, value in changes.items():
        if isinstance(value, list):
            getattr(wish, name).extend(value)
        else:
            setattr(wish, name, value)
    request = planner_service_pb2.PlanRouteRequest(
        route=wish, account_ids=[ACCOUNT], order_id=ORDER, quote_id=quote.quote_id, user_id=of
    )
    return await room.rpc.PlanRoute(request, None)


async def asked(room: Room, of: str | None = None) -> quote_pb2.Quote:
    with user(of):
        quote = await room.quote(route(MARKET, "buy", "4"))
    assert {leg.venue for leg in quote.legs} == {"hyperliquid", "lighter"}
    return quote


async def test_a_quote_that_stands_is_the_plan_and_is_kept_under_its_order() -> None:
    room = Room(BOOKS)
    quote = await asked(room, ALICE)
    answer = await planned(room, quote)
    assert not answer.quote_replaced
    assert answer.quote.quote_id == quote.quote_id
    assert [str(one.order_id) for one in room.quotes.kept.values()] == [ORDER]


@pytest.mark.parametrize(
    "books",
    [
        pytest.param(market_books(HYPERLIQUID, replace(LIGHTER, state=FeedState.STALE)), id="a venue went stale"),
        pytest.param(market_books(HYPERLIQUID, replace(LIGHTER, state=FeedState.RECOVERING)), id="a venue was lost"),
        pytest.param(
            market_books(venue_book("hyperliquid", [("83990", "1")], ASKS[1:], version=8), LIGHTER),
            id="a level is gone",
        ),
        pytest.param(
            market_books(
                HYPERLIQUID, venue_book("lighter", [("83960", "3")], [("84025", "1"), *LIGHTER_ASKS], version=8)
            ),
            id="a better level came",
        ),
    ],
)
async def test_books_that_moved_or_are_not_live_any_more_replace_the_quote(books: Any) -> None:
    room = Room(BOOKS)
    quote = await asked(room)
    room.books.move(replace(books, number=2))
    answer = await planned(room, quote)
    assert answer.quote_replaced
    assert answer.quote.quote_id != quote.quote_id
    if books.books[1].state is not FeedState.LIVE:
        assert [leg.venue for leg in answer.quote.legs] == ["hyperliquid"]
        assert [one.venue for one in answer.quote.left_out] == ["lighter"]


async def test_a_version_that_moved_on_over_the_same_levels_leaves_the_quote_standing() -> None:
    room = Room(BOOKS)
    quote = await asked(room)
    deeper = [*LIGHTER_ASKS[:3], ("84120", "9")]
    room.books.move(
        market_books(
            replace(HYPERLIQUID, version=8), venue_book("lighter", [("83961", "3")], deeper, version=9), number=2
        )
    )
    assert not (await planned(room, quote)).quote_replaced, "nothing that the plan and its proof rest on has changed"


async def test_a_quote_of_another_user_is_no_ones_to_cite_and_one_of_nobody_is_anyones() -> None:
    room = Room(BOOKS)
    quote = await asked(room, ALICE)
    assert (await planned(room, quote, of=BOB)).quote_replaced
    assert not (await planned(room, await asked(room), of=BOB)).quote_replaced


@pytest.mark.parametrize(
    "changes",
    [
        {"size": "5"},
        {"market": "BTC-PERP", "side": 2},
        {"venues": ["hyperliquid"]},
        {"excluded_venues": ["lighter"]},
        {"limit_price": "84020"},
        {"max_slippage_bps": 50},
        {"reduce_only": True},
    ],
)
async def test_a_quote_that_does_not_keep_the_limits_of_the_order_is_replaced(changes: dict[str, Any]) -> None:
    room = Room(BOOKS)
    assert (await planned(room, await asked(room), **changes)).quote_replaced


@pytest.mark.parametrize(
    "changes", [{"limit_price": "84030"}, {"max_slippage_bps": 100}, {"venues": ["lighter", "hyperliquid"]}]
)
async def test_limits_that_the_quote_keeps_leave_it_in_force(changes: dict[str, Any]) -> None:
    room = Room(BOOKS)
    assert not (await planned(room, await asked(room), **changes)).quote_replaced


async def test_a_quote_past_its_time_is_replaced() -> None:
    room = Room(BOOKS)
    quote = await asked(room)
    (kept,) = room.quotes.kept.values()
    room.quotes.kept[kept.quote_id] = replace(kept, expire_time=kept.create_time)
    assert (await planned(room, quote)).quote_replaced


async def test_what_is_planned_for_an_order_is_read_by_its_user_alone() -> None:
    room = Room(BOOKS)
    request = planner_service_pb2.PlanRouteRequest(
        route=route(MARKET, "buy", "4"), account_ids=[ACCOUNT], order_id=ORDER, user_id=ALICE
    )
    made = (await room.rpc.PlanRoute(request, None)).quote
    assert made.HasField("inputs"), "what came of the order is measured against the books it was planned on"
    get = pb.GetQuoteRequest(quote_id=made.quote_id)
    with user(ALICE):
        told = (await room.rpc.GetQuote(get, None)).quote
    made.ClearField("inputs")
    assert told == made
    for other in (BOB, None):
        with user(other), pytest.raises(DomainError) as caught:
            await room.rpc.GetQuote(get, None)
        assert caught.value.reason is Reason.RESOURCE_UNKNOWN


async def test_a_frame_of_a_stream_can_be_cited_and_only_then_is_kept() -> None:
    room = Room(BOOKS)
    request = pb.WatchQuoteRequest(route=route(MARKET, "buy", "4"))
    stream = room.rpc.WatchQuote(request, None)
    frame = pb.WatchQuoteResponse.FromString(await anext(stream)).quote
    assert not room.quotes.kept
    assert not (await planned(room, frame)).quote_replaced
    assert [str(one.quote_id) for one in room.quotes.kept.values()] == [frame.quote_id]
    await stream.aclose()


async def test_the_same_wish_on_the_same_books_is_planned_once_and_never_for_a_user() -> None:
    room = Room(BOOKS)
    first = await asked(room)
    assert (await asked(room)).quote_id == first.quote_id
    assert (await asked(room, ALICE)).quote_id != first.quote_id
    mine = await asked(room, ALICE)
    assert (await asked(room)).quote_id == first.quote_id != mine.quote_id
    with user(None):
        assert (await room.quote(route(MARKET, "buy", "3"))).quote_id != first.quote_id
    room.books.move(replace(BOOKS, number=2, versions="2"))
    assert (await asked(room)).quote_id != first.quote_id, "other books, another quote"


async def shared(server: MemoryServer) -> None:
    """Wait until something is on the bus."""

    async def values() -> int:
        return len(server.values)

    await until(values, bool, timeout_s=20, why="the quote is on the bus")


async def test_replicas_share_what_comes_again_while_the_versions_stand() -> None:
    server = MemoryServer()
    one, two = Room(BOOKS, bus=server), Room(replace(BOOKS, number=5), bus=server)
    writing = asyncio.create_task(one.routes.run())
    try:
        for room in (one, two):
            await asked(room)
        for room in (one, two):  # the wish has come before at both: from now on it is shared
            room.books.move(replace(BOOKS, number=6, versions="6"))
        first = await asked(one)
        await shared(server)
        assert (await asked(two)).quote_id == first.quote_id
        assert all(key.startswith("routes:{") for key in server.values)
        two.books.move(replace(BOOKS, number=7, versions="7"))
        assert (await asked(two)).quote_id != first.quote_id
        server.away = True
        two.books.move(replace(BOOKS, number=8, versions="8"))
        assert (await asked(two)).legs, "without the bus every look is a miss, and no fault"
    finally:
        writing.cancel()


async def test_what_the_bus_gives_is_taken_only_as_it_was_made() -> None:
    server = MemoryServer()
    one, two = Room(BOOKS, bus=server), Room(BOOKS, bus=server)
    writing = asyncio.create_task(one.routes.run())
    try:
        await asked(two)
        await asked(one)
        moved = replace(BOOKS, number=2, versions="2")
        one.books.move(moved)
        two.books.move(moved)
        first = await asked(one)
        await shared(server)
        for key, (raw, until) in list(server.values.items()):
            server.values[key] = raw[:-1] + bytes([raw[-1] ^ 1]), until
        assert (await asked(two)).quote_id != first.quote_id, "its inputs are not those that its digest names"
    finally:
        writing.cancel()
