"""Candles equal the venues' own, minute by minute, though the lines were cut and trades were missed."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import aiohttp
import pytest
from perpmesh_client import Candle, Perpmesh, PerpmeshError

from services.domain.feed import PastCandle
from tests.referee.venue.adapters import ADAPTERS
from tests.support.mesh import Mesh, running_mesh

BTC = "BTC-PERP"
MINUTE_NS = 60 * 10**9
CUT_S = 6.0


async def fault(mesh: Mesh, body: dict[str, object] | None) -> None:
    """Put a fault in force at the simulator; None ends all."""
    url = f"http://{mesh.address('simulator.control')}/control/faults"
    async with aiohttp.ClientSession() as session:
        method = "DELETE" if body is None else "POST"
        async with session.request(method, url, json=body) as response:
            assert response.status == 200, await response.text()


async def truth(mesh: Mesh, start_ns: int, end_ns: int) -> dict[str, list[PastCandle]]:
    """What each venue itself says of the minutes in [start, end)."""
    found = {}
    for adapter in ADAPTERS:
        venue = adapter.make(f"http://{mesh.address(f'simulator.{adapter.name}')}")
        listed = asyncio.Event()
        running = asyncio.create_task(venue.run(lambda _, listed=listed: listed.set() or True))  # type: ignore[func-returns-value, misc]
        await asyncio.wait_for(listed.wait(), 10)
        found[adapter.name] = await venue.fetch_candles(BTC, 60, start_ns, end_ns)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return found


@pytest.mark.timeout(300)
async def test_after_cut_lines_every_minute_is_the_venues_own_with_no_hole_and_no_double() -> None:
    async with (
        running_mesh(simulator_seed=31, markets=BTC, backfill_pause_s=0.2) as mesh,
        Perpmesh(mesh.edge) as client,
    ):
        started_ns = time.time_ns()
        await asyncio.sleep(3)
        await fault(mesh, {"kind": "refuse", "venue": "*", "duration_s": CUT_S})
        await fault(mesh, {"kind": "close", "venue": "*", "duration_s": 2.0})
        await asyncio.sleep(CUT_S + 1)
        await fault(mesh, None)
        for channel in ("trades", "trade"):  # and some trades of both venues are dropped without a cut
            await fault(mesh, {"kind": "drop", "channel": channel, "probability": 1.0, "duration_s": 3.0})
        await asyncio.sleep(3)
        await fault(mesh, {"kind": "close", "venue": "*", "count": 4})
        over_ns = time.time_ns() // MINUTE_NS * MINUTE_NS + MINUTE_NS
        start_ns = started_ns // MINUTE_NS * MINUTE_NS - 3 * MINUTE_NS
        start, end = (datetime.fromtimestamp(ns / 1e9, UTC) for ns in (start_ns, over_ns))
        wanted = (over_ns - start_ns) // MINUTE_NS

        async def closed(venue: str) -> list[Candle]:
            try:
                found = await client.candles(BTC, "1m", venue=venue, start=start, end=end)
            except PerpmeshError:
                return []
            return [one for one in found[::-1] if one.closed]

        deadline = time.monotonic() + 150
        ours: dict[str, list[Candle]] = {}
        while any(len(ours.get(venue, ())) < wanted for venue in ("lighter", "hyperliquid", "")):
            assert time.monotonic() < deadline, {name: len(candles) for name, candles in ours.items()}
            await asyncio.sleep(1)
            ours = {venue: await closed(venue) for venue in ("lighter", "hyperliquid", "")}
        theirs = await truth(mesh, start_ns, over_ns)
        for venue, candles in theirs.items():
            assert [round(one.open_time.timestamp()) for one in ours[venue]] == [
                one.open_time_ns // 10**9 for one in candles
            ]
            for mine, true in zip(ours[venue], candles, strict=True):
                shown = (mine.open, mine.high, mine.low, mine.close, mine.volume)
                assert shown == (true.open, true.high, true.low, true.close, true.volume), (venue, mine, true)
        for both, one, other in zip(ours[""], ours["lighter"], ours["hyperliquid"], strict=True):
            assert both.volume == one.volume + other.volume
            assert (both.high, both.low) == (max(one.high, other.high), min(one.low, other.low))
