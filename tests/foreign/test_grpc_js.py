"""grpc-js, the gRPC of Node, against the edge: what it holds at the end is what the mesh held."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from tests.foreign import node_packages
from tests.foreign.truth import PERIOD_S, Truth
from tests.support.mesh import Mesh

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).resolve().parents[2]
CLIENT = Path(__file__).resolve().parent / "node" / "client.mjs"
MARKET = "BTC-PERP"
FOLLOW_S = 3.0
PRICES_MIN, DELTAS_MIN, SHARED_MIN = 10, 10, 5


class Told:
    """What the client said, and what the mesh said meanwhile, by sequence number."""

    def __init__(self, said: dict[str, Any]) -> None:
        self.said = said
        self.prices: dict[int, Any] = {}
        self.books: dict[int, Any] = {}
        self.trades: dict[int, Any] = {}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def told(mesh: Mesh, truth: Truth) -> Told:
    """Run the client for a while and ask the mesh the same things meanwhile."""
    folder = await node_packages.installed()
    client = Path(shutil.copy(CLIENT, folder / CLIENT.name))
    await truth.until_live(MARKET)
    process = await asyncio.create_subprocess_exec(
        "node",
        str(client),
        mesh.edge,
        str(ROOT / "gen" / "perpmesh.binpb"),
        MARKET,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stderr is not None
    told = Told({})
    try:
        async with asyncio.timeout(60):
            line = await process.stderr.readline()
            assert line == b"following\n", line + await process.stderr.read()
            loop = asyncio.get_running_loop()
            end = loop.time() + FOLLOW_S
            while loop.time() < end:
                price, book = await asyncio.gather(truth.price(MARKET), truth.book(MARKET))
                told.prices[price.sequence] = price
                told.books[book.sequence] = book
                await asyncio.sleep(PERIOD_S)
            out, err = await process.communicate(b"")  # which closes its standard input
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    told.said = json.loads(out)
    told.trades = await truth.trades(MARKET, 1000)
    return told


def reason(refusal: dict[str, Any]) -> str:
    """Return the reason that a refusal's details carry."""
    assert len(refusal["details"]) == 1
    status = status_pb2.Status.FromString(base64.b64decode(refusal["details"][0]))
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            assert info.domain == "perpmesh"
            return info.reason
    raise AssertionError(f"no reason in {status}")


async def test_a_unary_call_is_answered_with_both_venues(told: Told) -> None:
    price = told.said["price"]["answer"]["price"]
    assert price["market"] == MARKET
    assert [(one["venue"], one["state"], one["source"]) for one in price["venues"]] == [
        ("hyperliquid", "STATE_LIVE", "SOURCE_SIMULATED"),
        ("lighter", "STATE_LIVE", "SOURCE_SIMULATED"),
    ]


async def test_refusals_carry_their_code_and_reason(told: Told) -> None:
    assert (told.said["unknown"]["code"], reason(told.said["unknown"])) == ("NOT_FOUND", "MARKET_UNKNOWN")
    assert (told.said["wrong"]["code"], reason(told.said["wrong"])) == ("INVALID_ARGUMENT", "FIELD_INVALID")


async def test_who_is_not_signed_in_does_not_learn_which_calls_exist(told: Told) -> None:
    assert told.said["unserved"] == "UNAUTHENTICATED"


async def test_every_price_of_the_stream_is_the_price_of_that_moment(told: Told) -> None:
    prices = {int(number): price for number, price in told.said["prices"].items()}
    assert len(prices) == told.said["counts"]["prices"] >= PRICES_MIN
    shared = prices.keys() & told.prices.keys()
    assert len(shared) >= SHARED_MIN
    for number in shared:
        price, wanted = prices[number], told.prices[number]
        assert price["crossed"] == wanted.crossed
        for side, level in (("best_bid", wanted.best_bid), ("best_ask", wanted.best_ask)):
            assert price[side] == {"price": level.price, "size": level.size, "venue": level.venue}
        for one, other in zip(price["venues"], wanted.venues, strict=True):
            names = ("venue", "bid", "bid_size", "ask", "ask_size", "last_price", "mark_price", "funding_rate")
            assert {name: one[name] for name in names} == {name: getattr(other, name) for name in names}


async def test_the_book_kept_from_deltas_is_the_book_of_that_moment(told: Told) -> None:
    books = {int(number): book for number, book in told.said["books"].items()}
    assert told.said["counts"]["deltas"] >= DELTAS_MIN
    shared = books.keys() & told.books.keys()
    assert len(shared) >= SHARED_MIN
    for number in shared:
        for side in ("bids", "asks"):
            assert books[number][side] == {one.price: one.size for one in getattr(told.books[number], side)}


async def test_every_trade_came_once_and_in_order(told: Told) -> None:
    numbers = [int(trade["sequence"]) for trade in told.said["trades"]]
    assert numbers, "nothing was traded"
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    for trade in told.said["trades"]:
        wanted = told.trades[int(trade["sequence"])]
        assert (trade["price"], trade["size"], trade["venue"]) == (wanted.price, wanted.size, wanted.venue)


async def test_nothing_was_lost_and_the_streams_ended_when_the_client_left(told: Told) -> None:
    assert told.said["faults"] == []
    assert told.said["counts"]["live"] == 3
    assert told.said["ends"] == dict.fromkeys(("WatchPrices", "WatchOrderBook", "WatchTrades"), "CANCELLED")
