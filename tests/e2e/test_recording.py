"""The real recording of Lighter, from a socket through adapter, book and edge to a client, without a gap."""

from __future__ import annotations

import asyncio
import json
import os
from decimal import Decimal
from pathlib import Path

import aiohttp
import grpc
import pytest
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1 import market_data_service_pb2_grpc as stubs
from perpmesh_client import Perpmesh

from tests.support.mesh import running_mesh
from tests.support.simulator import running_simulator

FIXTURES = os.environ.get("PERPMESH_FIXTURES", "")
RECORDING = Path(FIXTURES) / "lighter/nautilus_pr_dec2025/ws/mainnet_ob_trade_stats_btc_20251210.jsonl"

pytestmark = pytest.mark.skipif(not FIXTURES, reason="PERPMESH_FIXTURES is not set: captured payloads are elsewhere")


def reference() -> tuple[dict[str, str], dict[str, str], int]:
    """Return the final bids and asks by plain dictionaries of text, and how many updates there were."""
    sides: dict[str, dict[Decimal, Decimal]] = {"bids": {}, "asks": {}}
    updates = 0
    for line in RECORDING.read_text().splitlines():
        frame = json.loads(json.loads(line)["msg"])
        if not frame.get("channel", "").startswith("order_book"):
            continue
        updates += frame["type"] == "update/order_book"
        for side, levels in sides.items():
            for level in frame["order_book"][side]:
                price, size = Decimal(level["price"]), Decimal(level["size"])
                if size:
                    levels[price] = size
                else:
                    levels.pop(price, None)
    bids, asks = sides["bids"], sides["asks"]
    return (
        {str(price.normalize()): str(bids[price].normalize()) for price in sorted(bids, reverse=True)[:500]},
        {str(price.normalize()): str(asks[price].normalize()) for price in sorted(asks)[:500]},
        updates,
    )


async def test_the_recorded_book_arrives_whole_and_the_local_book_of_a_client_equals_it() -> None:
    bids, asks, updates = reference()
    assert updates == 2_549
    async with (
        running_simulator(recording=RECORDING, recording_venue="lighter", recording_speed=2) as simulator,
        running_mesh(
            hyperliquid_url="off",
            lighter_url=simulator.lighter_http,
            lighter_chain="offset",
            markets="BTC-PERP",
            audit_interval_s=3600,
        ) as mesh,
        aiohttp.ClientSession(),
        grpc.aio.insecure_channel(mesh.edge) as channel,
        Perpmesh(mesh.edge) as client,
    ):
        stub = stubs.MarketDataServiceStub(channel)

        async def final() -> None:
            async for book in client.watch_book("BTC-PERP", depth=500):
                got_bids = {str(level.price.normalize()): str(level.size.normalize()) for level in book.bids}
                got_asks = {str(level.price.normalize()): str(level.size.normalize()) for level in book.asks}
                if (got_bids, got_asks) == (bids, asks):
                    return

        await asyncio.wait_for(final(), 40)
        venue = (await stub.ListVenues(pb.ListVenuesRequest())).venues[0]  # type: ignore[misc]
        assert (venue.counts.gaps, venue.counts.resyncs, venue.counts.bad_frames) == (0, 0, 0)
        assert venue.counts.frames >= updates
        trades = (await stub.ListTrades(pb.ListTradesRequest(market="BTC-PERP", page_size=1000))).trades  # type: ignore[misc]
        assert len(trades) >= 673
