"""What an operator sees: one trace from the edge to the database, a line for each call, figures that mean something."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from typing import Any

import aiohttp
import grpc
from perpmesh.auth.v1 import auth_service_pb2
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh_client import Perpmesh

from tests.support.auth import bearer, sign_in
from tests.support.collector import Collector, Seen, collector
from tests.support.mesh import Mesh, running_mesh
from tests.support.wallet import Wallet

BTC = "BTC-PERP"
FIGURES = (
    "perpmesh_feed_live",
    "perpmesh_feed_age_seconds",
    "perpmesh_feed_frames_total",
    "perpmesh_feed_gaps_total",
    "perpmesh_feed_resyncs_total",
    "perpmesh_breaker_open",
    "perpmesh_venue_limit_used_ratio",
    "perpmesh_intake_events",
    "perpmesh_streams",
    "perpmesh_stream_collapsed_total",
    "perpmesh_stream_lag_seconds",
    "perpmesh_postgres_connections_used",
    "perpmesh_rpc_total",
    "perpmesh_loop_lag_seconds",
)


async def test_one_trace_goes_from_the_edge_through_a_room_to_the_database() -> None:
    async with (
        collector() as found,
        running_mesh(simulator_seed=81, markets=BTC, traces_endpoint=f"127.0.0.1:{found.port}", traces_ratio=1) as mesh,
    ):
        async with aiohttp.ClientSession() as http:
            await _recorded(http, mesh)
        spans = await _chain(found)
        edge, room, statement = spans
        assert (edge.service, room.service, statement.service) == ("edge", "market_data", "market_data")
        assert room.name == "perpmesh.marketdata.v1.MarketDataService/ListPriceHistory"
        assert "price_history" in statement.attributes["db.statement"]
        assert room.attributes["perpmesh.request_id"]


async def _recorded(http: aiohttp.ClientSession, mesh: Mesh) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        async with http.get(f"{mesh.url}/v1/markets/{BTC}/price-history") as answer:
            if answer.status == 200 and (await answer.json())["points"]:
                return
        await asyncio.sleep(0.1)
    raise AssertionError("no history was recorded")


async def _chain(found: Collector) -> tuple[Seen, Seen, Seen]:
    """Return the three spans, each within the one before, once they have been sent."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for spans in found.traces().values():
            by_id = {span.id: span for span in spans}
            for statement in spans:
                room = by_id.get(statement.parent)
                edge = by_id.get(room.parent) if room is not None else None
                if statement.name == "postgres" and room is not None and edge is not None:
                    return edge, room, statement
        await asyncio.sleep(0.1)
    raise AssertionError(f"no chain among {sorted({(one.service, one.name) for one in found.spans})}")


async def test_every_call_has_one_line_that_names_request_and_user_and_figures_are_there() -> None:
    async with running_mesh(simulator_seed=82) as mesh, Perpmesh(mesh.edge) as client:
        async with mesh.channel("auth") as channel:
            session = await sign_in(AuthServiceStub(channel), Wallet())  # type: ignore[no-untyped-call]
        async with grpc.aio.insecure_channel(mesh.edge) as channel:
            call = AuthServiceStub(channel).GetUser(  # type: ignore[no-untyped-call]
                auth_service_pb2.GetUserRequest(), metadata=bearer(session.access_token)
            )
            user = (await call).user.user_id
            told = dict(await call.trailing_metadata())["x-request-id"]
        line = await _line(mesh, "auth", told)
        assert (line["event"], line["user"], line["code"]) == ("rpc.unary", user, "OK")
        assert session.access_token not in mesh.log("auth")
        async for _ in client.watch_prices(BTC):
            break
        text = _page(mesh, "market_data", "metrics")
        names = {row.partition("{")[0].partition(" ")[0] for row in text.splitlines()}
        assert set(FIGURES) - names == set()
        assert _page(mesh, "market_data", "livez") == "ok\n"
        await _ready(mesh, "market_data")
        assert "perpmesh_stream_stalled" in _page(mesh, "stream", "metrics")


async def _line(mesh: Mesh, room: str, request_id: str) -> dict[str, Any]:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        lines = [json.loads(line) for line in mesh.log(room).splitlines() if request_id in line]
        if lines:
            return dict(lines[0])
        await asyncio.sleep(0.05)
    raise AssertionError(f"no line of {room} names {request_id}")


async def _ready(mesh: Mesh, room: str) -> None:
    """Wait until a room says that it is ready; it may be waiting for a venue in the moment."""
    end = time.monotonic() + 20
    while True:
        try:
            assert _page(mesh, room, "readyz") == "ok\n"
            return
        except urllib.error.HTTPError as error:
            if error.code != 503 or time.monotonic() > end:
                raise
        await asyncio.sleep(0.05)


def _page(mesh: Mesh, room: str, name: str) -> str:
    with urllib.request.urlopen(f"http://{mesh.address(f'{room}.metrics')}/{name}", timeout=5) as answer:
        return str(answer.read().decode())
