"""Attacks on the edge, while an honest client goes on: it is answered every time, and how fast is measured and printed.

The machine is shared with the attacker and with other tests, so the suite holds the honest client to being answered and
to a generous bound; `python -m bench.attacks` measures the ratio that is the goal (twice the quiet p99).
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
import pytest_asyncio

from bench.attacks import Honest
from tests.support.attacks import IDLE, LORIS, SOURCE
from tests.support.edge import RunningEdge, running_edge

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROOT = Path(__file__).resolve().parents[2]
BOUND_S = 2.0
RESETS_MAX = 24
"""Of so many requests of a connection half may be reset at once; those that were answered before count as well."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningEdge]:
    async with running_edge(tmp_path_factory.mktemp("edge"), ip_requests_per_s=1_000_000) as running:
        yield running


async def attacked(edge: RunningEdge, name: str, seconds: float) -> tuple[dict[str, int], Honest]:
    """Attack, and return what became of it and of an honest client meanwhile."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.attacks", name, edge.address, str(seconds), cwd=ROOT, stdout=-1
    )
    honest = Honest(edge.address, edge.room.message("perpmesh.marketdata.v1.GetPriceRequest")(market="BTC-PERP"))
    async with honest:
        running = asyncio.create_task(honest.call_until_stopped())
        out, _ = await process.communicate()
        honest.stop()
        await running
    assert process.returncode == 0
    seen = json.loads(out)
    print(f"{name}: {seen}; honest client {honest}")
    assert honest.failed == 0
    assert honest.answered > 20
    assert honest.p99_s < BOUND_S
    return seen, honest


async def test_a_thousand_idle_connections_cost_nobody_anything(edge: RunningEdge) -> None:
    seen, _ = await attacked(edge, "idle", 2)
    assert seen["opened"] == IDLE


async def test_headers_that_never_end_are_cut(edge: RunningEdge) -> None:
    seen, _ = await attacked(edge, "slow_headers", 45)
    assert seen.get("408", 0) + seen.get("closed", 0) == LORIS


async def test_bodies_that_never_end_are_cut_and_reach_no_room(edge: RunningEdge) -> None:
    before = len([name for name, _, _ in edge.room.received if name == "QuoteRoute"])
    seen, _ = await attacked(edge, "slow_body", 45)
    assert seen.get("408", 0) + seen.get("closed", 0) == LORIS
    assert len([name for name, _, _ in edge.room.received if name == "QuoteRoute"]) == before


def begun_by_the_attacker(edge: RunningEdge) -> int:
    """Return how many requests of a flood the edge has begun; slow attacks ask for other paths."""
    lines = edge.access_log.read_text().splitlines()
    return sum(f'"ip":"{SOURCE[0]}"' in line and '"/v1/prices"' in line for line in lines)


@pytest.mark.parametrize("name", ["rapid_reset", "continuation", "settings", "pings"])
async def test_a_flood_of_frames_is_cut(edge: RunningEdge, name: str) -> None:
    before = begun_by_the_attacker(edge)
    seen, _ = await attacked(edge, name, 2)
    assert seen["cut"] > 0
    if name == "rapid_reset":
        begun = begun_by_the_attacker(edge) - before
        assert 0 < begun <= RESETS_MAX * seen["connections"], "a connection is cut before it can hold others up"
    async with grpc.aio.insecure_channel(edge.address) as channel:
        await channel.unary_unary("/perpmesh.marketdata.v1.MarketDataService/ListVenues")(b"", timeout=10)
