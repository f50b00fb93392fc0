"""Candles as a client sees them beside the venues' own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from perpmesh_client import Candle, Perpmesh, PerpmeshError

from services.domain.feed import PastCandle
from tests.referee.venue.adapters import ADAPTERS
from tests.support.mesh import Mesh

BTC = "BTC-PERP"
MINUTE_NS = 60 * 10**9


async def closed_minutes(client: Perpmesh, start_ns: int, end_ns: int) -> dict[str, list[Candle]]:
    """What the mesh has of the closed minutes in [start, end), oldest first: of each venue, and of both."""
    start, end = (datetime.fromtimestamp(ns / 1e9, UTC) for ns in (start_ns, end_ns))
    found = {}
    for venue in ("lighter", "hyperliquid", ""):
        try:
            candles = await client.candles(BTC, "1m", venue=venue, start=start, end=end)
        except PerpmeshError:
            candles = []
        found[venue] = [one for one in candles[::-1] if one.closed]
    return found


async def venues_own(mesh: Mesh, start_ns: int, end_ns: int) -> dict[str, list[PastCandle]]:
    """What each venue itself says of the minutes in [start, end)."""
    found = {}
    for adapter in ADAPTERS:
        venue = adapter.make(f"http://{mesh.address(f'simulator.{adapter.name}')}")
        listed = asyncio.Event()
        running = asyncio.create_task(venue.run(lambda _, listed=listed: listed.set() or True))  # type: ignore[func-returns-value, misc]
        await asyncio.wait_for(listed.wait(), 30)
        found[adapter.name] = await venue.fetch_candles(BTC, 60, start_ns, end_ns)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    return found


def differences(ours: dict[str, list[Candle]], theirs: dict[str, list[PastCandle]]) -> list[str]:
    """Say where a minute is not the venue's own, or one of both is not the two together."""
    found = []
    for venue, candles in theirs.items():
        shown = [
            (round(one.open_time.timestamp()), one.open, one.high, one.low, one.close, one.volume)
            for one in ours[venue]
        ]
        true = [(one.open_time_ns // 10**9, one.open, one.high, one.low, one.close, one.volume) for one in candles]
        found += [f"{venue}: {mine} and not {own}" for mine, own in zip(shown, true, strict=False) if mine != own]
        if len(shown) != len(true):
            found.append(f"{venue}: {len(shown)} minutes and not {len(true)}")
    for both, one, other in zip(ours[""], ours["lighter"], ours["hyperliquid"], strict=False):
        together = (one.volume + other.volume, max(one.high, other.high), min(one.low, other.low))
        if (both.volume, both.high, both.low) != together:
            found.append(f"both: {both} and not {together}")
    if len({len(candles) for candles in ours.values()}) > 1:
        found.append(f"not as many of each: { {name: len(candles) for name, candles in ours.items()} }")
    return found
