"""The local book equals the mesh's, or is fetched again; it is never wrong and yielded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from perpmesh.marketdata.v1 import book_pb2
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh_client import Gap, LocalBook, OrderBook, Perpmesh, Watch

from services.domain.errors import DomainError, Reason
from tests.integration.client.scripted_mesh import Cut, ScriptedMesh, Step, hang, live, steps
from tests.unit.client.client_messages import delta, level, order_book

CUT = Cut(grpc.StatusCode.UNAVAILABLE)
LIVE = live(pb.WatchOrderBookResponse)


def snapshot(book: book_pb2.OrderBook) -> Message:
    return pb.WatchOrderBookResponse(cursor=f"c{book.sequence}", snapshot=book)


def change(message: book_pb2.BookDelta) -> Message:
    return pb.WatchOrderBookResponse(cursor=f"c{message.sequence}", delta=message)


async def take(watch: Watch[LocalBook], count: int) -> list[OrderBook]:
    async with asyncio.timeout(10):
        return [(await anext(watch)).snapshot() for _ in range(count)]


async def test_deltas_change_levels_and_keep_who_has_how_much(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream(
        "WatchOrderBook",
        steps(
            snapshot(order_book(1)),
            LIVE,
            change(
                delta(2, (2, 3), asks=[level("100001", lighter="0.25", hyperliquid="2"), level("100004", lighter="9")])
            ),
            change(delta(3, (1, 3), bids=[level("100000")])),
            hang(),
        ),
    )
    books = await take(mesh.watch_book("BTC-PERP", depth=100, min_interval=0.5), 3)
    assert [book.sequence for book in books] == [1, 2, 3]
    best = books[1].asks[0]
    assert (best.price, best.size) == (Decimal("100001"), Decimal("2.25"))
    assert [(item.venue, item.size) for item in best.venues] == [
        ("hyperliquid", Decimal("2")),
        ("lighter", Decimal("0.25")),
    ]
    assert [str(item.price) for item in books[1].asks] == ["100001", "100002.5", "100004"]
    assert [str(item.price) for item in books[2].bids] == ["99999"]
    request = server.requests["WatchOrderBook"][0]
    assert (request.market, request.depth, request.min_interval.ToMilliseconds()) == ("BTC-PERP", 100, 500)


async def test_after_a_cut_the_book_goes_on_from_its_cursor(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]
) -> None:
    server.stream(
        "WatchOrderBook",
        steps(snapshot(order_book(1)), CUT),
        steps(change(delta(2, (1, 2), bids=[level("100000")])), hang()),
    )
    books = await take(mesh.watch_book("BTC-PERP"), 2)
    assert [str(item.price) for item in books[1].bids] == ["99999"]
    assert [request.cursor for request in server.requests["WatchOrderBook"]] == ["", "c1"]
    assert gaps == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (delta(3, (2, 2), previous=2), "applies to state 2, and the book here is at 1"),
        (delta(2, (2, 2), previous=0), "applies to state 0, and the book here is at 1"),
        (delta(2, (2, 3)), "should have 2 bids and 3 asks, and here has 2 and 2"),
        (delta(2, (2, 2), bids=[level("99999")]), "should have 2 bids and 2 asks, and here has 1 and 2"),
    ],
)
async def test_a_delta_that_does_not_fit_is_never_yielded_and_the_book_is_fetched_again(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap], wrong: book_pb2.BookDelta, told: str
) -> None:
    server.stream(
        "WatchOrderBook",
        steps(snapshot(order_book(1)), change(wrong), hang()),
        steps(snapshot(order_book(8, bids=[level("100000", lighter="4")])), hang()),
    )
    books = await take(mesh.watch_book("BTC-PERP"), 2)
    assert [book.sequence for book in books] == [1, 8]
    assert [str(item.size) for item in books[1].bids] == ["4"]
    assert [request.cursor for request in server.requests["WatchOrderBook"]] == ["", ""]
    assert len(gaps) == 1
    assert told in gaps[0].message
    await server.until(lambda: server.open_streams == 1)


async def test_a_delta_before_any_snapshot_has_the_book_fetched(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]
) -> None:
    server.stream("WatchOrderBook", steps(change(delta(2, (2, 2))), hang()), steps(snapshot(order_book(5)), hang()))
    books = await take(mesh.watch_book("BTC-PERP", cursor="c1"), 1)
    assert books[0].sequence == 5
    assert "before any snapshot" in gaps[0].message


async def test_a_snapshot_in_mid_stream_replaces_the_book(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]
) -> None:
    second = order_book(50, bids=[], asks=[level("7", lighter="1")])
    server.stream("WatchOrderBook", steps(snapshot(order_book(1)), snapshot(second), hang()))
    books = await take(mesh.watch_book("BTC-PERP"), 2)
    assert books[1] == OrderBook.from_proto(second)
    assert gaps == []


async def test_a_cursor_too_old_begins_with_a_snapshot_again(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]
) -> None:
    server.stream(
        "WatchOrderBook",
        steps(snapshot(order_book(1)), CUT),
        steps(DomainError(Reason.CURSOR_EXPIRED, "Too old.")),
        steps(snapshot(order_book(9)), hang()),
    )
    assert [book.sequence for book in await take(mesh.watch_book("BTC-PERP"), 2)] == [1, 9]
    assert [gap.message for gap in gaps] == ["Too old."]


@pytest.mark.parametrize("seed", range(6))
async def test_no_wrong_book_is_ever_yielded_from_a_stream_that_drops_doubles_and_swaps(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap], seed: int
) -> None:
    print(f"seed {seed}")
    dice = random.Random(seed)
    states, deltas = _walk(dice, 120)
    at = 0

    async def stream(_: Any) -> AsyncIterator[Step]:
        nonlocal at
        yield snapshot(states[at])
        while at < len(deltas):
            roll = dice.random()
            if roll < 0.05:
                at += 1
            elif roll < 0.1 and at:
                yield change(deltas[at - 1])
            if at < len(deltas):
                yield change(deltas[at])
                at += 1
        yield hang()

    server.stream("WatchOrderBook", stream)
    expected = {state.sequence: OrderBook.from_proto(state) for state in states}
    watch = mesh.watch_book("BTC-PERP")
    yielded = 0
    async with asyncio.timeout(20):
        while True:
            book = (await anext(watch)).snapshot()
            yielded += 1
            assert (book.bids, book.asks) == (expected[book.sequence].bids, expected[book.sequence].asks)
            if book.sequence == states[-1].sequence:
                break
    assert yielded > 5, "how many come whole depends on what the server had sent to a stream already given up"
    assert gaps, "the seed must have met at least one fault"


def _walk(dice: random.Random, count: int) -> tuple[list[book_pb2.OrderBook], list[book_pb2.BookDelta]]:
    """Return the states of a random book and the deltas between them, kept in plain dictionaries."""
    sides: dict[str, dict[int, str]] = {"bids": {100: "1"}, "asks": {101: "1"}}
    states, deltas = [], []
    for sequence in range(1, count + 2):
        bids = [level(str(price), lighter=sides["bids"][price]) for price in sorted(sides["bids"], reverse=True)]
        asks = [level(str(price), lighter=sides["asks"][price]) for price in sorted(sides["asks"])]
        states.append(order_book(sequence, bids=bids, asks=asks))
        name = dice.choice(["bids", "asks"])
        price = dice.randrange(80, 101) if name == "bids" else dice.randrange(101, 122)
        size = str(dice.randrange(1, 50)) if dice.random() < 0.7 or price not in sides[name] else ""
        if size:
            sides[name][price] = size
        else:
            del sides[name][price]
        changed = [level(str(price), lighter=size) if size else level(str(price))]
        counts = (len(sides["bids"]), len(sides["asks"]))
        deltas.append(delta(sequence + 1, counts, **{name: changed}))  # type: ignore[arg-type]
    return states, deltas[:-1]
