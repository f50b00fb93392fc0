"""Every trade exactly once, whatever the stream does; what cannot be had is told."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1 import trade_pb2
from perpmesh.type.v1 import stream_pb2
from perpmesh_client import Gap, GapError, Perpmesh, Trade, Watch

from services.domain.errors import DomainError, Reason
from tests.integration.client.scripted_mesh import Cut, ScriptedMesh, Step, end, hang, live, messages, steps
from tests.unit.client.client_messages import trade

EXPIRED = DomainError(Reason.CURSOR_EXPIRED, "The cursor is too old.")
CUT = Cut(grpc.StatusCode.UNAVAILABLE)
LIVE = live(pb.WatchTradesResponse)


def printed(*sequences: int) -> list[Any]:
    return [messages(pb.WatchTradesResponse, "trade", [trade(number)], number)[0] for number in sequences]


def lost(first: int, last: int, *, market: str = "BTC-PERP", venue: str = "") -> pb.WatchTradesResponse:
    gap = stream_pb2.Gap(market=market, venue=venue, from_sequence=first, to_sequence=last, message="Lost.")
    return pb.WatchTradesResponse(gap=gap)


def archive(kept: Sequence[trade_pb2.Trade], page: int = 1_000) -> Any:
    """Answer ListTrades from the trades kept, newest first, `page` at most to a page."""

    def answer(request: pb.ListTradesRequest) -> pb.ListTradesResponse:
        first, last = request.first_sequence, request.last_sequence or 2**63
        found = [item for item in reversed(kept) if first <= item.sequence <= last and item.market == request.market]
        start = int(request.page_token or 0)
        size = min(page, request.page_size or 100)
        token = str(start + size) if start + size < len(found) else ""
        earliest = kept[0].sequence if kept else 0
        return pb.ListTradesResponse(
            trades=found[start : start + size], next_page_token=token, earliest_sequence=earliest
        )

    return answer


async def take(watch: Watch[Trade], count: int) -> list[int]:
    async with asyncio.timeout(10):
        return [(await anext(watch)).sequence for _ in range(count)]


async def test_a_hole_is_filled_before_anything_later_and_twins_are_dropped(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]
) -> None:
    server.stream("WatchTrades", steps(*printed(5, 6, 6, 9, 8, 10), hang()))
    server.answer("ListTrades", archive([trade(number) for number in range(1, 12)]))
    assert await take(mesh.watch_trades("BTC-PERP"), 6) == [5, 6, 7, 8, 9, 10]
    asked = server.requests["ListTrades"][0]
    assert (asked.market, asked.first_sequence, asked.last_sequence) == ("BTC-PERP", 7, 8)
    assert gaps == []


async def test_a_gap_that_the_mesh_names_is_filled_at_once_page_by_page(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream("WatchTrades", steps(*printed(1), lost(2, 60), hang()))
    server.answer("ListTrades", archive([trade(number) for number in range(1, 70)], page=25))
    assert await take(mesh.watch_trades("BTC-PERP"), 60) == list(range(1, 61))
    assert [request.page_token for request in server.requests["ListTrades"]] == ["", "25", "50"]


async def test_a_cursor_too_old_costs_no_trade(server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]) -> None:
    server.stream("WatchTrades", steps(*printed(1, 2), CUT), steps(EXPIRED), steps(LIVE, *printed(9), hang()))
    server.answer("ListTrades", archive([trade(number) for number in range(1, 9)]))
    assert await take(mesh.watch_trades("BTC-PERP"), 9) == list(range(1, 10))
    assert gaps == []


async def test_a_trade_before_the_live_mark_of_a_restart_is_yielded_once(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream(
        "WatchTrades", steps(*printed(1, 2), CUT), steps(EXPIRED), steps(*printed(4), LIVE, *printed(5), hang())
    )
    server.answer("ListTrades", archive([trade(number) for number in range(1, 5)]))
    assert await take(mesh.watch_trades("BTC-PERP"), 5) == [1, 2, 3, 4, 5]


async def test_what_is_no_longer_kept_is_a_gap_with_its_numbers(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]
) -> None:
    server.stream("WatchTrades", steps(*printed(1, 2), CUT), steps(EXPIRED), steps(LIVE, *printed(9), hang()))
    server.answer("ListTrades", archive([trade(number) for number in range(6, 9)]))
    assert await take(mesh.watch_trades("BTC-PERP"), 6) == [1, 2, 6, 7, 8, 9]
    assert [(gap.market, gap.from_sequence, gap.to_sequence) for gap in gaps] == [("BTC-PERP", 3, 5)]
    assert "no longer keeps" in gaps[0].message


async def test_a_numbering_that_begins_anew_yields_only_what_was_not_seen(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]
) -> None:
    anew = [
        trade(1, trade_id="t5"),
        trade(2, trade_id="t6"),
        trade(3, trade_id="fresh3", second=1),
        trade(4, trade_id="fresh4", second=2),
    ]
    tail = pb.WatchTradesResponse(cursor="d5", trade=trade(5, trade_id="fresh5", second=3))
    server.stream("WatchTrades", steps(*printed(5, 6), CUT), steps(EXPIRED), steps(LIVE, tail, hang()))
    server.answer("ListTrades", archive(anew))
    async with asyncio.timeout(10):
        watch = mesh.watch_trades("BTC-PERP")
        ids = [(await anext(watch)).trade_id for _ in range(5)]
    assert ids == ["t5", "t6", "fresh3", "fresh4", "fresh5"]
    assert [(gap.from_sequence, gap.to_sequence) for gap in gaps] == [(0, 0)]
    assert "numbers its trades anew" in gaps[0].message


@pytest.mark.parametrize("policy", ["report", "yield", "raise"])
async def test_a_hole_that_cannot_be_filled_is_told_as_the_caller_chose(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap], policy: Any
) -> None:
    server.stream("WatchTrades", steps(*printed(1, 4), hang()))
    server.answer("ListTrades", DomainError(Reason.INTERNAL, "A fault of ours."))
    watch = mesh.watch_trades("BTC-PERP", unfilled=policy)
    async with asyncio.timeout(10):
        assert (await anext(watch)).sequence == 1
        if policy == "raise":
            with pytest.raises(GapError, match="sequence 2 to 3") as caught:
                await anext(watch)
            assert (caught.value.gap.from_sequence, caught.value.gap.to_sequence) == (2, 3)
            return
        item = await anext(watch)
        if policy == "yield":
            assert isinstance(item, Gap)
            assert "A fault of ours" in item.message
            item = await anext(watch)
        assert item.sequence == 4
    assert [(gap.from_sequence, gap.to_sequence) for gap in gaps] == ([(2, 3)] if policy == "report" else [])


async def test_holes_inside_what_is_fetched_are_gaps_too(server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]) -> None:
    server.stream("WatchTrades", steps(*printed(1, 10), hang()))
    server.answer("ListTrades", archive([trade(number) for number in (3, 4, 7)]))
    assert await take(mesh.watch_trades("BTC-PERP"), 5) == [1, 3, 4, 7, 10]
    assert [(gap.from_sequence, gap.to_sequence) for gap in gaps] == [(2, 2), (5, 6), (8, 9)]


async def test_what_a_venue_lost_was_never_in_the_mesh_and_is_told(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap]
) -> None:
    server.stream("WatchTrades", steps(*printed(1), lost(0, 0, venue="lighter"), *printed(2), hang()))
    assert await take(mesh.watch_trades("BTC-PERP"), 2) == [1, 2]
    assert [gap.venue for gap in gaps] == ["lighter"]
    assert server.requests["ListTrades"] == []


async def test_the_cursor_does_not_move_on_while_a_hole_is_open(server: ScriptedMesh, mesh: Perpmesh) -> None:
    server.stream("WatchTrades", steps(*printed(1, 4), hang()))
    server.answer("ListTrades", archive([trade(number) for number in range(1, 5)]))
    watch = mesh.watch_trades("BTC-PERP")
    seen = []
    async with asyncio.timeout(5):
        for _ in range(4):
            item = await anext(watch)
            seen.append((item.sequence, watch.cursor))
    assert seen == [(1, ""), (2, "c1"), (3, "c1"), (4, "c1")]


async def test_after_a_restart_the_cursor_waits_until_every_market_is_caught_up(
    server: ScriptedMesh, mesh: Perpmesh
) -> None:
    def said(cursor: str, sequence: int, market: str) -> pb.WatchTradesResponse:
        return pb.WatchTradesResponse(cursor=cursor, trade=trade(sequence, market=market))

    server.stream(
        "WatchTrades",
        steps(said("c1", 1, "BTC-PERP"), said("c2", 1, "ETH-PERP"), CUT),
        steps(EXPIRED),
        steps(said("d2", 2, "BTC-PERP"), said("d3", 3, "BTC-PERP"), LIVE, said("d4", 4, "BTC-PERP"), hang()),
    )
    kept = [trade(1), trade(2), trade(1, market="ETH-PERP"), trade(2, market="ETH-PERP")]
    server.answer("ListTrades", archive(kept))
    seen = []
    watch = mesh.watch_trades("BTC-PERP", "ETH-PERP")
    async with asyncio.timeout(5):
        for _ in range(6):
            item = await anext(watch)
            seen.append((item.market[:3], item.sequence, watch.cursor))
    assert seen == [
        ("BTC", 1, ""),
        ("ETH", 1, "c1"),
        ("BTC", 2, "c2"),
        ("BTC", 3, "c2"),
        ("ETH", 2, "c2"),
        ("BTC", 4, "d3"),
    ]


@pytest.mark.parametrize("seed", range(8))
async def test_a_stream_that_loses_doubles_cuts_and_forgets_yields_each_trade_once(
    server: ScriptedMesh, mesh: Perpmesh, gaps: list[Gap], seed: int
) -> None:
    """Two markets, 150 trades each; every stream is cut after a few messages, at times with its cursor refused."""
    print(f"seed {seed}")
    dice = random.Random(seed)
    markets = ("BTC-PERP", "ETH-PERP")
    history = [trade(number, market=name) for number in range(1, 151) for name in markets]
    reached = 0

    async def stream(request: pb.WatchTradesRequest) -> AsyncIterator[Step]:
        nonlocal reached
        if request.cursor and dice.random() < 0.2:
            yield EXPIRED
            return
        at = int(request.cursor) if request.cursor else reached
        yield LIVE
        for _ in range(dice.randrange(1, 60)):
            if at >= len(history):
                yield hang()
            roll = dice.random() if at >= len(markets) else 1.0  # what came before the first trade is nobody's loss
            if roll < 0.1:
                at = min(len(history) - 2, at + dice.randrange(1, 6))
            elif roll < 0.2:
                at = max(len(markets), at - dice.randrange(1, 6))
            elif roll < 0.25:
                yield lost(0, 0, market="")
            yield pb.WatchTradesResponse(cursor=str(at + 1), trade=history[at])
            at += 1
            reached = max(reached, at)
        yield dice.choice([CUT, end(pb.WatchTradesResponse, "DRAINING", resumable=True)])

    def list_trades(request: pb.ListTradesRequest) -> pb.ListTradesResponse:
        kept = [item for item in history[:reached] if item.market == request.market]
        answer: pb.ListTradesResponse = archive(kept)(request)
        return answer

    server.stream("WatchTrades", stream)
    server.answer("ListTrades", list_trades)
    watch = mesh.watch_trades(*markets)
    found: dict[str, list[int]] = {name: [] for name in markets}
    async with asyncio.timeout(20):
        while any(len(found[name]) < 150 for name in markets):
            item = await anext(watch)
            found[item.market].append(item.sequence)
    assert found == {name: list(range(1, 151)) for name in markets}
    assert gaps == []
    assert len(server.requests["WatchTrades"]) > 5
    assert len(server.requests["ListTrades"]) > 5
