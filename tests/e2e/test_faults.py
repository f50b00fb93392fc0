"""Each way a venue can misbehave, and the state that a client sees through the edge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal

import aiohttp
import grpc
import pytest
import pytest_asyncio
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

from tests.support.mesh import Mesh, running_mesh
from tests.support.simulator import Simulator
from tests.support.storm import LIVE, RECOVERING, STALE, Watcher, simulator_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

H, L = "hyperliquid", "lighter"
SEED = 41


@dataclass
class Storm:
    """A mesh that may be disturbed, and a client of it."""

    mesh: Mesh
    sim: Simulator
    watcher: Watcher

    async def calm(self) -> None:
        """End all faults and wait until both venues are LIVE again."""
        await self.sim.clear_faults()
        for venue in (H, L):
            await self.watcher.until_state(venue, LIVE, 15)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def storm_mesh() -> AsyncIterator[Storm]:
    """A mesh of our own, with audits often enough to be waited for."""
    print(f"seed {SEED}")
    async with (
        running_mesh(simulator_seed=SEED, audit_interval_s=0.5, markets="BTC-PERP", ip_requests_per_s=10_000) as mesh,
        aiohttp.ClientSession() as session,
        grpc.aio.insecure_channel(mesh.edge) as channel,
    ):
        watcher = Watcher(channel)
        yield Storm(mesh, simulator_of(mesh, session), watcher)
        await watcher.close()


@pytest_asyncio.fixture(loop_scope="module")
async def storm(storm_mesh: Storm) -> AsyncIterator[Storm]:
    """The mesh, calm before and after."""
    await storm_mesh.calm()
    yield storm_mesh
    await storm_mesh.calm()


@pytest.mark.parametrize("venue", [H, L])
@pytest.mark.parametrize("kind", ["silent", "mute"])
async def test_silence_is_stale_within_three_seconds_and_ends_with_it(storm: Storm, venue: str, kind: str) -> None:
    before = storm.watcher.venue(venue)
    await storm.sim.fault(kind, venue=venue)
    await storm.watcher.until_state(venue, STALE, 6)
    shown = storm.watcher.venue(venue)
    silence_s = time.time() - shown.receive_time.ToNanoseconds() / 1e9
    assert silence_s <= 3.0, "since the last frame that the socket delivered"
    assert shown.bid, "the last known values stay"
    assert shown.state_reason
    price = storm.watcher.prices[-1][1]
    assert venue not in (price.best_bid.venue, price.best_ask.venue)
    assert before.bid
    await storm.sim.clear_faults()
    await storm.watcher.until_state(venue, LIVE, 10)


@pytest.mark.parametrize("venue", [H, L])
async def test_after_a_cut_line_heals_the_book_is_fresh_within_one_and_a_half_seconds(storm: Storm, venue: str) -> None:
    await storm.sim.fault("refuse", venue=venue)
    await storm.sim.fault("close", venue=venue)
    await storm.watcher.until(lambda: storm.watcher.venue(venue).state in (STALE, RECOVERING), 5, "down")
    await asyncio.sleep(0.5)  # the line stays cut for a while: nothing happens that could be awaited
    await storm.sim.clear_faults()
    assert await storm.watcher.until_state(venue, LIVE, 10) <= 1.5
    await _equals_truth(storm, venue)


@pytest.mark.parametrize("venue", [H, L])
@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("drop", {"probability": 0.3}),
        ("duplicate", {"probability": 0.5}),
        ("reorder", {"probability": 0.3}),
        ("garbage", {"probability": 0.2}),
        ("close", {"probability": 0.02}),
        ("latency", {"params": {"ms": 300, "jitter_ms": 200}}),
    ],
)
async def test_whatever_happened_to_frames_the_state_ends_true(
    storm: Storm, venue: str, kind: str, rule: dict[str, object]
) -> None:
    await storm.sim.fault(kind, venue=venue, **rule)
    seen = len(storm.watcher.prices)
    await storm.watcher.until(lambda: len(storm.watcher.prices) > seen + 20, 20, "twenty more prices")
    assert (await storm.sim.faults())["counts"].get(kind, 0) > 0
    await storm.sim.clear_faults()
    await storm.watcher.until_state(venue, LIVE, 15)
    await _equals_truth(storm, venue)


async def test_a_gap_in_lighters_chain_is_noticed_and_repaired(storm: Storm) -> None:
    before = await _counts(storm, L)
    await storm.sim.fault("gap", venue=L, channel="order_book", count=1)
    while (await _counts(storm, L)).gaps == before.gaps:
        await asyncio.sleep(0.05)
    await storm.watcher.until_state(L, LIVE, 10)
    await _equals_truth(storm, L)
    assert (await _counts(storm, L)).resyncs > before.resyncs


async def test_a_changed_digit_is_found_by_the_audit_or_by_a_crossed_book(storm: Storm) -> None:
    before = await _counts(storm, L)
    await storm.sim.fault("garbage", venue=L, channel="order_book", count=40, params={"variant": "digit"})
    for _ in range(600):
        counts = await _counts(storm, L)
        if counts.resyncs > before.resyncs:
            break
        await asyncio.sleep(0.05)
    print(f"audits {counts.audits}, differences {counts.audit_differences}, resyncs {counts.resyncs}")
    assert counts.resyncs > before.resyncs, "neither the audit nor a crossed book showed it within 30 s"
    await storm.watcher.until_state(L, LIVE, 10)
    await _equals_truth(storm, L)


@pytest.mark.parametrize("kind", ["http_status", "http_html", "http_garbage", "http_hang"])
async def test_a_broken_rest_face_opens_its_breaker_and_prices_go_on(storm: Storm, kind: str) -> None:
    for venue in (H, L):
        await storm.sim.fault(kind, venue=venue, params={"status": 503})
    opened = False
    for _ in range(600):
        venues = (await storm.watcher.stub.ListVenues(pb.ListVenuesRequest())).venues
        rest = [one for venue in venues for one in venue.breakers if one.endpoint == "rest"]
        if any(one.state in (2, 3) and one.last_failure for one in rest):
            opened = True
            break
        await asyncio.sleep(0.05)
    assert opened, "no breaker opened within 30 s"
    assert all(storm.watcher.venue(venue).state == LIVE for venue in (H, L)), "sockets feed on"


async def _counts(storm: Storm, venue: str):  # type: ignore[no-untyped-def]
    venues = (await storm.watcher.stub.ListVenues(pb.ListVenuesRequest())).venues
    return next(one.counts for one in venues if one.venue == venue)


async def _equals_truth(storm: Storm, venue: str) -> None:
    """Let the market stand still, and compare what the client ends up with with the venue's true book."""
    await storm.sim.freeze()
    try:
        symbol = "BTC"
        truth = await storm.sim.book(venue, symbol)
        want = [(Decimal(price), Decimal(size)) for price, size in truth["bids"][:5]]
        want_asks = [(Decimal(price), Decimal(size)) for price, size in truth["asks"][:5]]
        got = got_asks = None
        for _ in range(100):
            answer = await storm.watcher.stub.GetOrderBook(
                pb.GetOrderBookRequest(market="BTC-PERP", depth=500, include_stale=True)
            )
            got, got_asks = (
                [
                    (Decimal(level.price), Decimal(part.size))
                    for level in side
                    for part in level.venues
                    if part.venue == venue
                ][:5]
                for side in (answer.book.bids, answer.book.asks)
            )
            if (got, got_asks) == (want, want_asks):
                return
            await asyncio.sleep(0.1)
        assert (got, got_asks) == (want, want_asks)
    finally:
        await storm.sim.thaw()
