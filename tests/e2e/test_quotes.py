"""Quotes through the edge: proven, replayed, streamed, kept; refused in words that teach."""

# ruff: noqa: ASYNC110 - what is awaited is in other processes

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from decimal import Decimal
from typing import Any

import aiohttp
import asyncpg
import grpc
import pytest
from google.protobuf import json_format
from perpmesh.routing.v1 import planner_service_pb2, quote_pb2
from perpmesh.routing.v1.planner_service_pb2_grpc import PlannerServiceStub
from perpmesh_client.certificate import check_quote
from perpmesh_client.quotes import Quotes, route

from tests.support.mesh import Mesh

BTC = "BTC-PERP"


pytestmark = pytest.mark.asyncio(loop_scope="session")


async def asked(mesh: Mesh, path: str = "/v1/quotes", **body: Any) -> tuple[int, dict[str, Any]]:
    wish = body if path != "/v1/quotes" else {"market": BTC, "side": "SIDE_BUY", "include_inputs": True, **body}
    async with aiohttp.ClientSession() as session, session.post(f"{mesh.url}{path}", json=wish) as answer:
        return answer.status, await answer.json()


def message(answer: dict[str, Any]) -> quote_pb2.Quote:
    return json_format.ParseDict(answer["quote"], quote_pb2.Quote())


@pytest.mark.parametrize(
    "wish",
    [
        {"size": "0.5"},
        {"size": "35"},
        {"size": "20", "side": "SIDE_SELL", "holding_time": "86400s", "charge_latency": True},
        {"size": "250000", "size_unit": "SIZE_UNIT_USD"},
        {"size": "2", "venues": ["hyperliquid"], "priority_fee_bps": 2},
        {"size": "3", "max_slippage_bps": 40},
    ],
)
async def test_every_quote_over_rest_is_proven_and_replays_bit_for_bit(mesh: Mesh, wish: dict[str, Any]) -> None:
    status, answer = await asked(mesh, **wish)
    assert status == 200, answer
    quote = message(answer)
    assert quote.outcome == quote_pb2.Quote.OUTCOME_FEASIBLE, quote.explanation
    assert check_quote(quote) == []
    assert quote.certificate.gap == "0", "the lots of both venues are equal"
    assert sum(Decimal(line.amount) for line in quote.costs) == Decimal(quote.total_cost)
    assert len(quote.alternatives) == (1 if wish.get("venues") else 3)
    status, again = await asked(mesh, f"/v1/quotes/{quote.quote_id}:replay")
    assert (status, again["verdict"], again["differences"]) == (200, "VERDICT_MATCH", [])


async def test_what_cannot_be_met_is_an_answer_with_the_nearest_sizes_that_can(mesh: Mesh) -> None:
    for size, reason in (("0.00001", "NOTIONAL_TOO_SMALL"), ("900000", None), ("1.000001", "SIZE_OFF_LOT")):
        status, answer = await asked(mesh, size=size)
        quote = message(answer)
        assert status == 200
        assert quote.outcome == quote_pb2.Quote.OUTCOME_INFEASIBLE
        assert check_quote(quote) == []
        assert reason is None or any(one["reason"].endswith(reason) for one in answer["quote"]["refusals"])
        assert quote.nearest_sizes
        for _ in range(20):  # the books move on, and with them what they hold at most
            status, better = await asked(mesh, size=quote.nearest_sizes[0], max_slippage_bps=9_999)
            if message(better).outcome == quote_pb2.Quote.OUTCOME_FEASIBLE:
                break
            status, answer = await asked(mesh, size=size)
            quote = message(answer)
        assert message(better).outcome == quote_pb2.Quote.OUTCOME_FEASIBLE, better["quote"]["explanation"]


async def test_inputs_that_were_altered_in_the_record_are_found(mesh: Mesh) -> None:
    _, answer = await asked(mesh, size="4")
    quote = message(answer)
    connection = await asyncpg.connect(mesh.about["postgres_url"])
    try:
        async with asyncio.timeout(10):
            while not await connection.fetchval("SELECT 1 FROM routing.quotes WHERE quote_id = $1", quote.quote_id):
                await asyncio.sleep(0.05)
        quote.inputs.venues[0].levels[0].price = "1"
        raw = quote.inputs.SerializeToString()
        await connection.execute("UPDATE routing.quotes SET inputs = $1 WHERE quote_id = $2", raw, quote.quote_id)
    finally:
        await connection.close()
    status, found = await asked(mesh, f"/v1/quotes/{quote.quote_id}:replay")
    assert (status, found["verdict"]) == (200, "VERDICT_INPUTS_ALTERED")
    assert found["differences"][0]["field"] == "inputs"


@pytest.mark.parametrize(
    ("wish", "code", "reason", "field"),
    [
        ({"size": "1", "venues": ["hyperlquid"]}, 404, "VENUE_UNKNOWN", "venues[0]"),
        ({"size": "1", "market": "NOPE-PERP"}, 404, "MARKET_UNKNOWN", "market"),
        ({"size": "0"}, 400, "FIELD_INVALID", None),
        ({"size": "1", "limit_prize": "3"}, 400, "REQUEST_UNREADABLE", None),
        ({"size": "1", "reduce_only": True}, 401, "TOKEN_MISSING", "reduce_only"),
        ({"size": "1", "excluded_venues": ["hyperliquid", "lighter"]}, 400, "FIELD_INVALID", "excluded_venues"),
        ({"size": "1", "split_resting": True}, 400, "FIELD_INVALID", None),
    ],
)
async def test_a_wrong_wish_is_refused_with_its_field(
    mesh: Mesh, wish: dict[str, Any], code: int, reason: str, field: str | None
) -> None:
    status, answer = await asked(mesh, **wish)
    assert (status, answer["details"][0]["reason"]) == (code, reason), answer
    assert field is None or answer["details"][0]["metadata"]["field"] == field


async def test_streams_quote_again_as_books_move_no_faster_than_asked(mesh: Mesh) -> None:
    """A sample of what `make bench ARGS=quotes` measures with two hundred."""
    loop = asyncio.get_running_loop()
    async with Quotes(mesh.edge) as quotes:

        async def watch(size: str) -> list[str]:
            times, ids = [], []
            stream = quotes.watch(route(BTC, "sell", size))
            async for quote in stream:
                assert check_quote(quote) == []
                times.append(loop.time())
                ids.append(quote.quote_id)
                if len(times) == 8:
                    break
            await stream.aclose()
            assert times[-1] - times[0] >= 0.6, "at most ten a second"
            assert len(set(ids)) == 8
            return ids

        async with asyncio.timeout(60):
            one, _, *others = await asyncio.gather(*(watch(size) for size in ("2", "2", "3", "0.5", "20", "1.25")))
        status, answer = await asked(mesh, f"/v1/quotes/{one[0]}:replay")
        assert (status, answer["details"][0]["reason"]) == (404, "RESOURCE_UNKNOWN"), "frames of a stream are not kept"
    assert all(set(one).isdisjoint(ids) for ids in others)


async def test_the_planner_is_not_reached_from_outside(mesh: Mesh) -> None:
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        request = planner_service_pb2.PlanRouteRequest(route=route(BTC, "buy", "1"))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await PlannerServiceStub(channel).PlanRoute(request)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_the_forecast_grows_with_the_size_up_to_the_capacity(mesh: Mesh) -> None:
    status, answer = await asked(mesh, "/v1/costs:forecast", market=BTC, side="SIDE_BUY", point_count=10)
    assert status == 200
    costs = [Decimal(point["total_cost_bps"]) for point in answer["points"]]
    assert costs == sorted(costs)
    assert answer["points"][-1]["size"] == answer["capacity"]


async def test_the_command_line_prints_the_plan_and_the_check(mesh: Mesh) -> None:
    command = [sys.executable, "-m", "perpmesh_client.cli", "--address", mesh.edge, "quote", "btc", "buy", "1.5"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Checked here: no plan on these books buys it for less than" in done.stdout
    assert "synthetic" in done.stderr.lower()
    done = await asyncio.to_thread(
        subprocess.run, [*command, "--json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert json.loads(done.stdout)["problems"] == []
