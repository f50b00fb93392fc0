"""No field of a REST body is lost in silence: what the contract lacks is refused before any room hears of it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from google.api import annotations_pb2
from google.protobuf import descriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from perpmesh.execution.v1 import execution_service_pb2
from perpmesh.marketdata.v1 import market_data_service_pb2

from tests.support.edge import SERVED, RunningEdge, running_edge

pytestmark = pytest.mark.asyncio(loop_scope="module")
ORDER = {
    "request_id": "2f1c2a9e-6a55-4a36-8a2b-0d2f3a4b5c6d",
    "market": "BTC-PERP",
    "side": "SIDE_BUY",
    "size": "0.5",
    "type": "ORDER_TYPE_LIMIT",
    "limit_price": "60000",
    "expire_time": "2026-01-31T12:00:00Z",
    "account_ids": ["6a55a9e2-6a55-4a36-8a2b-0d2f3a4b5c6d"],
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningEdge]:
    async with running_edge(tmp_path_factory.mktemp("edge"), ip_requests_per_s=100_000) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


async def sent(http: aiohttp.ClientSession, edge: RunningEdge, path: str, body: str | bytes) -> tuple[int, Any]:
    """Return the status and the JSON of the answer to a POST."""
    edge.room.received.clear()
    async with http.post(f"{edge.url}/v1/{path}", data=body) as answer:
        text = await answer.text()
        assert "x-perpmesh-unreadable" not in answer.headers
        return answer.status, json.loads(text.splitlines()[0]) if text.strip() else None


def violation(error: Any) -> tuple[str, str]:
    """Return the field at fault and what would pass."""
    info, bad = error["details"]
    assert (error["code"], info["reason"], info["domain"]) == (3, "REQUEST_UNREADABLE", "perpmesh")
    (only,) = bad["field_violations"]
    assert info["metadata"] == {"category": "trading", "field": only["field"]}
    assert error["message"] == f"{only['field']}: {only['description']}"
    return only["field"], only["description"]


def order(**more: object) -> str:
    return json.dumps(ORDER | more)


async def test_an_order_arrives_as_it_was_written(edge: RunningEdge, http: aiohttp.ClientSession) -> None:
    camel = {"requestId": ORDER["request_id"], "limitPrice": "60000", "market": "BTC-PERP", "accountIds": []}
    for body in (order(), order(size=None), json.dumps(camel), json.dumps(ORDER, indent=3), order(side=1)):
        status, _ = await sent(http, edge, "orders", body)
        assert status == 200, body
        ((name, request, _),) = edge.room.received
        assert (name, request.limit_price, request.market) == ("PlaceOrder", "60000", "BTC-PERP")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("orders", order(limit_prise="60000"), "limit_prise"),
        ("orders", order(Limit_price="60000"), "Limit_price"),
        ("orders", order(limitprice="60000"), "limitprice"),
        ("orders", order(**{"limit-price": "60000"}), "limit-price"),
        ("orders", order(**{"limit_price ": "60000"}), "limit_price "),
        ("orders", order(nope={"deep": [{"er": 1}]}), "nope"),
        ("orders", order(nope=None), "nope"),
        ("orders", order(**{"": "1"}), ""),
        ("orders", '{"limit_pr\\u0069se": "1"}', "limit_prise"),
        (
            "orders:batchPlace",
            json.dumps({"requests": [ORDER, ORDER | {"limit_prise": "1"}]}),
            "requests[1].limit_prise",
        ),
        ("orders:batchPlace", json.dumps({"orders": [ORDER]}), "orders"),
    ],
)
async def test_a_field_that_the_contract_lacks_is_named(
    edge: RunningEdge, http: aiohttp.ClientSession, path: str, body: str, field: str
) -> None:
    status, error = await sent(http, edge, path, body)
    found, advice = violation(error)
    assert (status, found) == (400, field)
    assert advice.startswith("is not a field here; the fields are: ")
    assert ("limit_price" in advice) == (path == "orders" or "[1]" in field)
    assert edge.room.received == []


@pytest.mark.parametrize(
    "body",
    [
        '{"limit_price": "1", "limit_price": "60000"}',
        '{"limit_price": "1", "limitPrice": "60000"}',
        '{"limitPrice": "1", "limit_price": "60000"}',
        '{"limit_price": "1", "limit\\u005fprice": "60000"}',
        '{"limit_price": null, "limit_price": "60000"}',
    ],
)
async def test_a_field_stands_once(edge: RunningEdge, http: aiohttp.ClientSession, body: str) -> None:
    status, error = await sent(http, edge, "orders", body)
    assert (status, edge.room.received) == (400, [])
    assert violation(error)[1] == "must stand once; it is given twice"


@pytest.mark.parametrize(
    "body",
    [
        "{limit_prise: '1'}",
        "{market: 'BTC-PERP'}",
        "{'market': \"BTC-PERP\"}",
        '{"market": "BTC-PERP",}',
        '{"account_ids": ["a",]}',
        '{"market": "BTC-PERP"} {"limit_prise": "1"}',
        '{"market": "BTC-PERP"}]',
        '[{"market": "BTC-PERP"}]',
        '{"nope": ' + "[" * 60 + "]" * 60 + "}",
        '{"market": "BTC-PERP" "size": "1"}',
        "// a comment\n{}",
        "\ufeff{}",
    ],
)
async def test_what_is_no_json_is_no_order(edge: RunningEdge, http: aiohttp.ClientSession, body: str) -> None:
    status, error = await sent(http, edge, "orders", body.encode())
    assert (status, error["code"], edge.room.received) == (400, 3, [])
    assert error["details"][0]["reason"] == "REQUEST_UNREADABLE"


async def test_a_field_of_the_path_is_not_said_again_in_the_body_or_the_query(
    edge: RunningEdge, http: aiohttp.ClientSession
) -> None:
    body = '{"order_id": "another"}'
    for path, text, field in (
        ("orders/mine:cancel", body, "order_id"),
        ("orders/mine:replace", body, "order_id"),
        ("orders?limit_price=1", order(), "limit_price"),
    ):
        status, error = await sent(http, edge, path, text)
        assert (status, violation(error)[0], edge.room.received) == (400, field, []), (path, error)


async def test_a_large_body_is_read_to_its_end(edge: RunningEdge, http: aiohttp.ClientSession) -> None:
    requests: list[Any] = [ORDER | {"client_order_id": "x" * 2_500} for _ in range(20)]
    status, _ = await sent(http, edge, "orders:batchPlace", json.dumps({"requests": requests}))
    assert status == 200
    assert len(edge.room.received[0][1].requests) == 20
    requests[19] = requests[19] | {"limit_prise": "1"}
    status, error = await sent(http, edge, "orders:batchPlace", json.dumps({"requests": requests}))
    assert (status, violation(error)[0]) == (400, "requests[19].limit_prise")


async def test_a_body_that_comes_in_pieces_is_read_whole(edge: RunningEdge, http: aiohttp.ClientSession) -> None:
    async def pieces(text: str) -> AsyncIterator[bytes]:
        for at in range(0, len(text), 7):
            yield text[at : at + 7].encode()

    edge.room.received.clear()
    for body, expected in ((order(), 200), (order(limit_prise="1"), 400)):
        async with http.post(f"{edge.url}/v1/orders", data=pieces(body)) as answer:
            assert answer.status == expected
    assert [name for name, _, _ in edge.room.received] == ["PlaceOrder"]


def routes() -> list[tuple[str, Any]]:
    """Return every REST route of the served calls that takes a body: its address and the call."""
    found = []
    for module in (execution_service_pb2, market_data_service_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            assert service.full_name in SERVED
            for method in service.methods:
                rule = method.GetOptions().Extensions[annotations_pb2.http]
                if rule.body == "*":
                    found.append((rule.post or rule.patch, method))
    return found


def filled(kind: Any, rng: random.Random, depth: int = 0) -> dict[str, Any]:
    """Return JSON of a message with every field of it set, nested ones too."""
    found: dict[str, Any] = {}
    groups: set[str] = set()
    for field in kind.fields:
        if field.containing_oneof is not None and len(field.containing_oneof.fields) > 1:
            if field.containing_oneof.name in groups:
                continue
            groups.add(field.containing_oneof.name)
        one = _value(field, rng, depth)
        if one is not None:
            found[field.name if rng.random() < 0.5 else field.json_name] = [one] if field.is_repeated else one
    return found


def _value(field: Any, rng: random.Random, depth: int) -> Any:
    wire = descriptor.FieldDescriptor
    if field.message_type is not None:
        name = field.message_type.full_name
        if name.endswith("Timestamp"):
            return "2026-01-31T12:00:00Z"
        if name.endswith("Duration"):
            return "1.500s"
        return filled(field.message_type, rng, depth + 1) if depth < 4 else None
    if field.enum_type is not None:
        return field.enum_type.values[-1].name
    if field.type == wire.TYPE_BOOL:
        return True
    if field.type == wire.TYPE_BYTES:
        return "AAEC"
    return "7" if field.type == wire.TYPE_STRING or "64" in str(field.type) else 7


def places(value: Any, trail: str = "") -> list[tuple[dict[str, Any], str]]:
    """Return every object of a JSON tree with the way to it."""
    found = []
    if isinstance(value, dict):
        found.append((value, trail))
        for name, inner in value.items():
            found += places(inner, f"{trail}.{name}")
    if isinstance(value, list):
        for number, inner in enumerate(value):
            found += places(inner, f"{trail}[{number}]")
    return found


async def test_every_field_of_every_body_passes_and_a_stranger_in_any_place_does_not(
    edge: RunningEdge, http: aiohttp.ClientSession
) -> None:
    rng = random.Random(7)
    covered = 0
    for route, method in routes():
        bound = re.findall(r"{(\w+)}", route)
        path = re.sub(r"{\w+}", "mine", route.removeprefix("/v1/"))
        fields = {field.json_name: field.name for field in method.input_type.fields}
        body = {
            name: value for name, value in filled(method.input_type, rng).items() if fields.get(name, name) not in bound
        }
        status, answer = await sent(http, edge, path, json.dumps(body))
        assert status == 200, (route, answer)
        ((called, request, _),) = edge.room.received
        assert called == method.name
        told = ParseDict(body | dict.fromkeys(bound, "mine"), type(request)())
        assert MessageToDict(request) == MessageToDict(told)
        for held, trail in places(body):
            held["strangr"] = "1"
            status, error = await sent(http, edge, path, json.dumps(body))
            assert (status, edge.room.received) == (400, []), (route, trail)
            assert violation(error)[0] == f"{trail}.strangr".lstrip(".")
            del held["strangr"]
            covered += 1
    assert covered > 25, covered
