"""The main job through every door: both venues LIVE, best bid and ask attributed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import grpc
import pytest
import websockets
from google.protobuf import json_format
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1 import market_data_service_pb2_grpc as stubs

from tests.support import doors
from tests.support.mesh import Mesh

pytestmark = pytest.mark.asyncio(loop_scope="session")

VENUES = ["hyperliquid", "lighter"]


def check(price: dict[str, Any]) -> None:
    """Assert what a user needs of a price, in its JSON form."""
    assert price["market"] == "BTC-PERP"
    assert [one["venue"] for one in price["venues"]] == VENUES
    assert {one["state"] for one in price["venues"]} == {"STATE_LIVE"}
    assert {one["source"] for one in price["venues"]} == {"SOURCE_SIMULATED"}
    for side in ("best_bid", "best_ask"):
        assert price[side]["venue"] in VENUES
        owner = next(one for one in price["venues"] if one["venue"] == price[side]["venue"])
        assert owner["bid" if side == "best_bid" else "ask"] == price[side]["price"]


async def test_rest(mesh: Mesh, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{mesh.url}/v1/markets/BTC-PERP/price") as response:
        assert response.status == 200
        check((await response.json())["price"])


async def test_grpc(channel: grpc.aio.Channel) -> None:
    stub = stubs.MarketDataServiceStub(channel)
    answer = await stub.GetPrice(pb.GetPriceRequest(market="BTC-PERP"))  # type: ignore[misc]
    check(json_format.MessageToDict(answer.price, preserving_proto_field_name=True))


async def test_grpc_web(mesh: Mesh, session: aiohttp.ClientSession) -> None:
    verdict = await doors.over_grpc_web(session, mesh.url, "GetPrice", pb.GetPriceRequest(market="BTC-PERP"))
    assert verdict == doors.OK


async def test_newline_json_begins_with_the_present_and_marks_it(mesh: Mesh, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{mesh.url}/v1/prices:watch", params={"markets": "BTC-PERP"}) as response:
        first, live, third = [json.loads(await response.content.readline()) for _ in range(3)]
    check(first["price"])
    assert "live" in live
    assert int(third["price"]["sequence"]) > int(first["price"]["sequence"])


async def test_server_sent_events(mesh: Mesh, session: aiohttp.ClientSession) -> None:
    headers = {"accept": "text/event-stream"}
    async with session.get(f"{mesh.url}/v1/prices:watch?markets=BTC-PERP", headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        line = await response.content.readline()
        assert line.startswith(b"data: ")
        check(json.loads(line[6:])["price"])


async def test_websocket(mesh: Mesh) -> None:
    async with websockets.connect(f"ws://{mesh.edge}/v1/ws") as socket:
        assert "welcome" in json.loads(await socket.recv())
        await socket.send(json.dumps({"id": "1", "subscribe": {"topics": ["prices:BTC-PERP"]}}))
        seen = []
        while "price" not in (frame := json.loads(await asyncio.wait_for(socket.recv(), 5))):
            seen.append(frame)
        check(frame["price"])
        assert any(one.get("status", {}).get("state") == "STATE_SUBSCRIBED" for one in seen)


async def test_every_market_has_a_price_and_a_rule_for_it(mesh: Mesh, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{mesh.url}/v1/markets", params={"page_size": "1000"}) as response:
        markets = (await response.json())["markets"]
    assert len(markets) >= 40
    async with session.get(f"{mesh.url}/v1/prices") as response:
        prices = {one["market"]: one for one in (await response.json())["prices"]}
    assert prices.keys() == {one["market"] for one in markets}
    for market in markets:
        for listing in market["listings"]:
            assert listing["tick"]
            assert listing["lot"]
            assert listing["venue"] in {one["venue"] for one in prices[market["market"]]["venues"]}


async def test_unknown_routes_and_methods_are_refused_in_one_shape(mesh: Mesh, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{mesh.url}/v1/nothing") as response:
        assert response.status == 401, "who is not signed in does not learn which routes exist"
        body = await response.json()
    assert body["code"] == 16
    assert body["details"][0]["reason"] == "TOKEN_MISSING"
    async with session.get(f"{mesh.url}/nothing") as response:
        assert response.status == 404
        body = await response.json()
    assert body["code"] == 5
    assert body["details"][0]["reason"] == "CALL_UNKNOWN"
    async with session.get(f"{mesh.url}/v1/markets/NOPE-PERP/price") as response:
        assert response.status == 404
        assert (await response.json())["details"][0]["reason"] == "MARKET_UNKNOWN"
    async with session.get(f"{mesh.url}/v1/markets/BTC-PERP/candles") as response:
        assert response.status == 400
        assert (await response.json())["details"][0]["reason"] == "FIELD_INVALID"
