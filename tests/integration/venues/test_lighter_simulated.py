"""Lighter's adapter on the simulator: what is Lighter's own. What every venue must do is in `tests/referee/venue`."""

from __future__ import annotations

import asyncio
import json
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path

import pytest

from services.chassis.clock import SYSTEM
from services.domain.feed import FeedState, MarketDown
from services.venues.circuit import REST, SOCKET, Circuit
from services.venues.lighter.venue import LighterConfig, LighterVenue
from services.venues.port import FeedLevel
from services.venues.recorder import main as record
from tests.referee.venue.watcher import Watcher
from tests.support.simulator import Simulator, running_simulator
from tests.support.waiting import STALE_MAX_S

BTC, ETH, SOL = "BTC-PERP", "ETH-PERP", "SOL-PERP"
RECORDING = "lighter/nautilus_pr_dec2025/ws/mainnet_ob_trade_stats_btc_20251210.jsonl"


def a_venue(url: str, *, chain: str = "nonce") -> LighterVenue:
    return LighterVenue(
        LighterConfig(base_url=url, chain=chain),
        clock=SYSTEM,
        rng=random.Random(2),
        rest_breaker=Circuit("lighter", REST, clock=SYSTEM),
        socket_breaker=Circuit("lighter", SOCKET, clock=SYSTEM),
    )


@asynccontextmanager
async def fed(
    simulator: Simulator, wanted: dict[str, FeedLevel], *, chain: str = "nonce"
) -> AsyncIterator[tuple[LighterVenue, Watcher]]:
    venue = a_venue(simulator.lighter_http, chain=chain)
    room = Watcher(venue)
    venue.want(wanted)
    running = asyncio.create_task(venue.run(room.emit))
    try:
        yield venue, room
        assert not running.done(), running.exception()
    finally:
        running.cancel()
        await asyncio.wait((running,))


def books(*names: str) -> dict[str, FeedLevel]:
    return dict.fromkeys(names, FeedLevel.BOOK)


async def test_a_gap_takes_the_book_down_at_once_and_a_fresh_snapshot_brings_it_back() -> None:
    async with running_simulator(seed=51) as simulator, fed(simulator, books(BTC, ETH)) as (venue, room):
        await room.until(lambda: room.is_live(BTC, ETH), "live books", 10)
        before = dict(room.snapshots)
        await simulator.fault("gap", venue="lighter", market="1", count=1)
        await room.until(lambda: bool(room.downs), "the gap to be seen", 5)
        down = room.downs[0]
        assert isinstance(down, MarketDown)
        assert (down.state, down.markets) == (FeedState.RECOVERING, {BTC})
        assert "follows" in down.reason
        await room.until(lambda: room.book(BTC) is FeedState.LIVE, "a fresh book", 3)
        assert room.snapshots == {BTC: before[BTC] + 1, ETH: before[ETH]}
        assert venue.status().counts.gaps == 1
        assert venue.status().connections[0].reconnect_count == 0


async def test_a_book_whose_channel_dies_while_the_others_live_is_found_by_its_ticker() -> None:
    async with running_simulator(seed=52) as simulator, fed(simulator, books(BTC, ETH)) as (_, room):
        await room.until(lambda: room.is_live(BTC, ETH), "live books", 10)
        await simulator.fault("silent", venue="lighter", channel="order_book", market="1", duration_s=6)
        took = await room.until(lambda: room.book(BTC) is not FeedState.LIVE, "the dead channel to be found", 5)
        assert took <= STALE_MAX_S
        assert room.book(ETH) is FeedState.LIVE
        await room.until(lambda: room.is_live(BTC), "the book again", 12)


async def test_an_announced_restart_is_followed() -> None:
    async with running_simulator(seed=53) as simulator, fed(simulator, books(BTC)) as (venue, room):
        await room.until(lambda: room.is_live(BTC), "a live book", 10)
        await simulator.fault("shutdown", venue="lighter", params={"close_in_ms": 200})
        await room.until(lambda: venue.status().connections[0].reconnect_count >= 1, "a new connection", 5)
        await simulator.clear_faults()
        await room.until(lambda: room.is_live(BTC), "a live book", 5)


async def test_forty_books_start_and_come_back_within_the_venues_message_limit_the_first_wanted_first() -> None:
    async with running_simulator(seed=54) as simulator:
        async with fed(simulator, books(BTC)) as (_, room):
            await room.until(lambda: room.is_live(BTC), "a live book", 10)
            names = [name for name, known in room.markets.items() if known.listing.status.value == "active"][:40]
        wanted = books(BTC, *names)
        async with fed(simulator, wanted) as (venue, room):
            await room.until(lambda: room.is_live(*wanted), "forty live books", 15)
            await simulator.fault("refuse", venue="lighter", duration_s=1)
            await simulator.fault("close", venue="lighter")
            healed = time.monotonic() + 1
            await room.until(lambda: not room.is_live(BTC), "the cut to be seen", 2)
            await asyncio.sleep(max(0.0, healed - time.monotonic()))
            assert await room.until(lambda: room.is_live(BTC), "the first book", 5) <= 1.5
            await room.until(lambda: room.is_live(*wanted), "forty live books again", 10)
            limits = {limit.name: limit for limit in venue.status().limits}
            assert limits["messages_per_minute"].used <= 200
            assert venue.status().counts.refused_subscriptions == 0


async def test_contexts_say_what_the_simulator_says() -> None:
    async with running_simulator(seed=55) as simulator, fed(simulator, books(BTC)) as (_, room):
        await room.until(lambda: room.is_live(BTC), "a live book", 10)
        await room.until(lambda: room.markets[BTC].context is not None, "a context", 5)
        await simulator.freeze()
        await asyncio.sleep(0.3)
        context = room.markets[BTC].context
        assert context is not None
        async with simulator.session.get(f"{simulator.lighter_http}/api/v1/orderBookDetails") as response:
            rows = json.loads(await response.text(), parse_float=Decimal)["order_book_details"]
        row = next(row for row in rows if row["symbol"] == "BTC")
        assert context.open_interest is not None
        assert abs(context.open_interest / Decimal(row["open_interest"]) - 1) < Decimal("0.01")
        assert context.mark_price is not None
        assert context.next_funding_time_ns % (3600 * 10**9) == 0
        assert 0 < context.next_funding_time_ns - time.time_ns() <= 3600 * 10**9


@pytest.mark.skipif(not os.environ.get("PERPMESH_FIXTURES"), reason="PERPMESH_FIXTURES is not set: no recording")
async def test_the_recording_runs_through_a_real_socket_to_the_book_of_a_plain_dictionary() -> None:
    path = Path(os.environ["PERPMESH_FIXTURES"]) / RECORDING
    bids: dict[Decimal, Decimal] = {}
    asks: dict[Decimal, Decimal] = {}
    for line in path.read_text().splitlines():
        frame = json.loads(json.loads(line)["msg"])
        for side, name in ((bids, "bids"), (asks, "asks")):
            for level in frame.get("order_book", {}).get(name, ()):
                side[Decimal(level["price"])] = Decimal(level["size"])
    true_bids = {price: size for price, size in bids.items() if size}
    true_asks = {price: size for price, size in asks.items() if size}
    options = {"recording": path, "recording_speed": "4", "recording_venue": "lighter"}
    async with running_simulator(**options) as simulator, fed(simulator, books(BTC), chain="offset") as (venue, room):
        await room.until(lambda: room.is_live(BTC), "a live book", 10)

        def is_true() -> bool:
            book = room.markets[BTC].full
            assert book is not None
            return all(
                {Decimal(p).scaleb(-1): Decimal(s).scaleb(-5) for p, s in side.levels()} == true
                for side, true in ((book.bids, true_bids), (book.asks, true_asks))
            )

        await room.until(is_true, "the last book of the recording", 20)
        counts = venue.status().counts
        assert (counts.gaps, counts.bad_frames, room.wrong) == (0, 0, [])


async def test_the_recorder_writes_what_came_with_times(tmp_path: Path) -> None:
    out = tmp_path / "frames.jsonl"
    async with running_simulator(seed=56) as simulator:
        given = ["--venue", "lighter", "--markets", BTC, "--seconds", "1.5", "--out", str(out)]
        given += ["--environment", "local", "--url", simulator.lighter_http]
        assert await asyncio.to_thread(record, given) == 0
        with pytest.raises(SystemExit):  # the file exists
            await asyncio.to_thread(record, given)
        small = [*given[:-6], "--out", str(tmp_path / "small.jsonl"), *given[-4:], "--megabytes-max", "0.02"]
        assert await asyncio.to_thread(record, small) == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {line["venue"] for line in lines} == {"lighter"}
    assert {line["connection"] for line in lines} == {"lighter-1"}
    times = [line["receive_time_ns"] for line in lines]
    assert times == sorted(times)
    kinds = {json.loads(line["msg"])["type"] for line in lines}
    assert {"connected", "subscribed/order_book", "update/order_book"} <= kinds
    assert (tmp_path / "small.jsonl").stat().st_size <= 20_000
