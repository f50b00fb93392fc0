"""What the edge does by itself, seen from outside: errors, limits, protocols. The rooms behind it answer anything."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from tests.support.edge import RunningEdge, grpc_web_answer, grpc_web_frame, reason_of, running_edge

MARKET_DATA = "/perpmesh.marketdata.v1.MarketDataService"
UNSERVED = "/perpmesh.auth.v1.AuthService/GetUser"
INTERNAL = "/perpmesh.vault.v1.SignerService/Sign"


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[RunningEdge]:
    async with running_edge(tmp_path, cors_origins=("https://page.example",), ip_requests_per_s=100_000) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


async def over_grpc(edge: RunningEdge, path: str, message: bytes = b"") -> tuple[int, str]:
    """Return the code and the reason a gRPC caller gets."""
    async with grpc.aio.insecure_channel(edge.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(path)(message, timeout=10)
    trailers = dict(raised.value.trailing_metadata() or ())
    return raised.value.code().value[0], reason_in(trailers["grpc-status-details-bin"], raised.value.details())


def reason_in(details: Any, message: str | None) -> str:
    status = status_pb2.Status.FromString(details)
    assert status.message == message
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "perpmesh"
    assert info.metadata["category"]
    return info.reason


async def over_grpc_web(http: aiohttp.ClientSession, edge: RunningEdge, path: str) -> tuple[int, str]:
    """Return the code and the reason a browser gets over gRPC-web."""
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    async with http.post(edge.url + path, data=grpc_web_frame(b""), headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("application/grpc-web")
        _, trailers = grpc_web_answer(await answer.read(), answer.headers)
    encoded = trailers["grpc-status-details-bin"]
    details = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    return int(trailers["grpc-status"]), reason_in(details, trailers["grpc-message"])


async def over_rest(http: aiohttp.ClientSession, url: str, method: str = "GET", **more: Any) -> tuple[int, int, str]:
    """Return the HTTP status, the code and the reason a REST caller gets."""
    async with http.request(method, url, **more) as answer:
        assert answer.headers["content-type"] == "application/json"
        return (answer.status, *reason_of(await answer.text()))


async def test_every_protocol_reaches_the_same_call(edge: RunningEdge, http: aiohttp.ClientSession) -> None:
    asks, answers = (edge.room.message(f"perpmesh.marketdata.v1.GetPrice{kind}") for kind in ("Request", "Response"))
    request = asks(market="BTC-PERP").SerializeToString()
    async with grpc.aio.insecure_channel(edge.address) as channel:
        assert (
            answers.FromString(await channel.unary_unary(f"{MARKET_DATA}/GetPrice")(request)).price.market == "BTC-PERP"
        )
    async with http.get(f"{edge.url}/v1/markets/BTC-PERP/price") as rest:
        assert (await rest.json())["price"]["market"] == "BTC-PERP"
    web = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    async with http.post(f"{edge.url}{MARKET_DATA}/GetPrice", data=grpc_web_frame(request), headers=web) as browser:
        messages, trailers = grpc_web_answer(await browser.read(), browser.headers)
    assert answers.FromString(messages[0]).price.market == "BTC-PERP"
    assert trailers["grpc-status"] == "0"
    async with http.ws_connect(f"{edge.url}/v1/ws") as socket:
        await socket.send_str("hello")
        assert (await socket.receive()).data == "echo hello"
    async with http.get(edge.url) as page:
        assert "<title>page</title>" in await page.text()
        assert "default-src 'self'" in page.headers["content-security-policy"]
        assert page.headers["x-content-type-options"] == "nosniff"


async def test_a_stream_comes_as_json_lines_or_as_server_sent_events(
    edge: RunningEdge, http: aiohttp.ClientSession
) -> None:
    url = f"{edge.url}/v1/prices:watch?markets=BTC-PERP"
    async with http.get(url) as lines:
        cursors = [json.loads(line)["cursor"] for line in (await lines.text()).splitlines() if line.strip()]
    async with http.get(url, headers={"accept": "text/event-stream"}) as events:
        assert events.headers["content-type"] == "text/event-stream"
        parts = (await events.text()).strip().split("\n\n")
    assert cursors == ["0", "1", "2"]
    assert [json.loads(part.removeprefix("data: "))["cursor"] for part in parts] == cursors


async def test_an_unknown_call_is_told_in_each_callers_protocol(edge: RunningEdge, http: aiohttp.ClientSession) -> None:
    for path in ("/perpmesh.none.v1.None/Get", INTERNAL):
        assert await over_grpc(edge, path) == (12, "CALL_UNKNOWN")
        assert await over_grpc_web(http, edge, path) == (12, "CALL_UNKNOWN")
    assert await over_rest(http, f"{edge.url}/v1/nope") == (404, 5, "CALL_UNKNOWN")
    assert await over_rest(http, f"{edge.url}/v1/markets", "DELETE") == (404, 5, "CALL_UNKNOWN")


async def test_a_call_of_the_contract_that_is_not_served_says_so(
    edge: RunningEdge, http: aiohttp.ClientSession
) -> None:
    assert await over_grpc(edge, UNSERVED) == (12, "CALL_NOT_SERVED")
    assert await over_grpc_web(http, edge, UNSERVED) == (12, "CALL_NOT_SERVED")
    assert await over_rest(http, f"{edge.url}/v1/user") == (501, 12, "CALL_NOT_SERVED")


async def test_a_room_that_is_away_is_told_in_each_callers_protocol(
    edge: RunningEdge, http: aiohttp.ClientSession
) -> None:
    await edge.grpc_server.stop(0)
    path = f"{MARKET_DATA}/ListVenues"
    assert await over_grpc(edge, path) == (14, "PEER_UNAVAILABLE")
    assert await over_grpc_web(http, edge, path) == (14, "PEER_UNAVAILABLE")
    assert await over_rest(http, f"{edge.url}/v1/venues") == (503, 14, "PEER_UNAVAILABLE")


WHOLE = "a whole number from -2147483648 to 2147483647"


def violation(error: dict[str, Any]) -> tuple[str, str]:
    """Return the field at fault and what would pass, as the details of an error name them."""
    info, bad = error["details"]
    assert (error["code"], info["reason"]) == (3, "REQUEST_UNREADABLE")
    (only,) = bad["field_violations"]
    assert info["metadata"] == {"category": "trading", "field": only["field"]}
    assert error["message"] == f"{only['field']}: {only['description']}"
    return only["field"], only["description"]


@pytest.mark.parametrize(
    ("query", "field", "passes"),
    [
        ("markets?page_size=x", "page_size", WHOLE),
        ("markets?page_size=99999999999", "page_size", WHOLE),
        ("markets?page_size=1.5", "page_size", WHOLE),
        ("markets?nope=1", "nope", "is not a field of this request: remove it"),
        ("prices:watch?min_interval=soon", "min_interval", "a span in seconds, such as 1.5s"),
        ("prices:watch?min_interval=5", "min_interval", "a span in seconds, such as 1.5s"),
        ("candles:watch?interval=NOPE", "interval", "one of CANDLE_INTERVAL_"),
        ("markets/BTC-PERP/candles?start_time=yesterday", "start_time", "a time, such as 2026-01-31T12:00:00Z"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_a_query_that_cannot_be_read_names_the_field_and_what_would_pass(
    edge: RunningEdge, http: aiohttp.ClientSession, query: str, field: str, passes: str, accept: str
) -> None:
    async with http.get(f"{edge.url}/v1/{query}", headers={"accept": accept}) as answer:
        error = await answer.json()
    assert answer.status == 400
    assert "x-perpmesh-unreadable" not in answer.headers
    found, description = violation(error)
    assert found == field
    assert passes in description
    assert edge.room.received == []


@pytest.mark.parametrize(
    ("body", "field", "passes"),
    [
        ('{"size": 0.5}', "size", "a text in quotes"),
        ('{"reduce_only": 1}', "reduce_only", "true or false"),
        ('{"side": "UP"}', "side", "one of SIDE_BUY, SIDE_SELL"),
        ('{"account_ids": ["a", 1]}', "account_ids", "a text in quotes"),
        ('{"market": {"name": "BTC"}}', "market", "a single value"),
        ('{"size": "' + '\\"' * 5 + '", "reduce_only": "\\u0001\\"\\\\"}', "reduce_only", "true or false"),
    ],
)
async def test_a_body_that_cannot_be_read_names_the_field_and_what_would_pass(
    edge: RunningEdge, http: aiohttp.ClientSession, body: str, field: str, passes: str
) -> None:
    async with http.post(f"{edge.url}/v1/orders", data=body) as answer:
        found, description = violation(await answer.json())
    assert (answer.status, found) == (400, field)
    assert passes in description


@pytest.mark.parametrize(
    "body", ['{"size', "[]", "null", '{"size": NaN}', "<a/>", '{"market": "\\ud800"}', '{"market": "\xff', "{" * 200]
)
async def test_a_body_that_is_no_json_says_so(edge: RunningEdge, http: aiohttp.ClientSession, body: str) -> None:
    async with http.post(f"{edge.url}/v1/orders", data=body.encode("latin-1")) as answer:
        error = await answer.json()
    assert (answer.status, error["code"], error["details"][0]["reason"]) == (400, 3, "REQUEST_UNREADABLE")
    assert error["message"].startswith("The request could not be read: ")


async def test_what_is_too_large_is_refused_with_the_bound(edge: RunningEdge, http: aiohttp.ClientSession) -> None:
    large = b'{"market": "' + b"a" * 70_000 + b'"}'
    assert await over_rest(http, f"{edge.url}/v1/orders", "POST", data=large) == (413, 8, "REQUEST_TOO_LARGE")
    headers = {"x-long": "a" * 20_000}
    assert await over_rest(http, f"{edge.url}/v1/venues", headers=headers) == (431, 8, "REQUEST_TOO_LARGE")
    assert await over_grpc(edge, f"{MARKET_DATA}/GetPrice", b"\n\xf0\xa2\x04" + b"a" * 70_000) == (
        8,
        "REQUEST_TOO_LARGE",
    )
    assert edge.room.received == []


async def test_a_large_answer_comes_whole(edge: RunningEdge, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{edge.url}/v1/markets") as answer:
        assert len((await answer.json())["markets"]) == 20_000


async def test_what_only_the_mesh_may_say_is_not_taken_from_a_caller(
    edge: RunningEdge, http: aiohttp.ClientSession
) -> None:
    lies = {
        "x-wallet": "0xdead", "x-role": "admin", "x-jwt-payload": "e30", "x-perpmesh-user": "me",
        "X-Perpmesh-Door": "lie", "x-envoy-original-path": "/lie", "x-envoy-retry-on": "5xx",
    }  # fmt: skip
    async with http.get(f"{edge.url}/v1/venues", headers=lies) as answer:
        assert answer.status == 200
    async with grpc.aio.insecure_channel(edge.address) as channel:
        lowered = tuple((name.lower(), value) for name, value in lies.items())
        await channel.unary_unary(f"{MARKET_DATA}/ListVenues")(b"", metadata=lowered)
    assert len(edge.room.received) == 2
    for _, _, metadata in edge.room.received:
        assert not {"x-wallet", "x-role", "x-jwt-payload", "x-perpmesh-user"} & set(metadata)
        assert metadata.get("x-perpmesh-door") != "lie"
        assert metadata.get("x-envoy-original-path") != "/lie"


async def test_only_named_origins_may_call_from_a_browser(edge: RunningEdge, http: aiohttp.ClientSession) -> None:
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "content-type,x-grpc-web"}
    for origin, allowed in (("https://page.example", "https://page.example"), ("https://evil.example", None)):
        for path in (f"{MARKET_DATA}/GetPrice", "/v1/venues"):
            async with http.options(f"{edge.url}{path}", headers={"origin": origin, **asked}) as answer:
                assert answer.headers.get("access-control-allow-origin") == allowed
    async with http.get(f"{edge.url}/v1/venues", headers={"origin": "https://page.example"}) as answer:
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        assert "grpc-status-details-bin" in answer.headers["access-control-expose-headers"]


async def test_a_websocket_opens_at_its_path_only(edge: RunningEdge, http: aiohttp.ClientSession) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
        await http.ws_connect(f"{edge.url}/v1/venues")
    assert raised.value.status in (403, 404)


@pytest.mark.parametrize("path", ["/v1/markets/a%2fb/price", "/v1/markets/%00/price", "/v1/%2e%2e/admin"])
async def test_a_path_in_disguise_reaches_no_room(edge: RunningEdge, path: str) -> None:
    reader, writer = await asyncio.open_connection(*edge.address.split(":"))
    writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
    status = (await reader.readline()).split()[1]
    writer.close()
    assert status in (b"400", b"404")
    assert edge.room.received == []


async def test_a_thousand_streams_are_open_at_once_over_several_connections(edge: RunningEdge) -> None:
    request = edge.room.message("perpmesh.marketdata.v1.WatchPricesRequest")(markets=["HOLD-PERP"]).SerializeToString()
    channels = [
        grpc.aio.insecure_channel(
            edge.address, options=[("grpc.use_local_subchannel_pool", 1), ("edge.number", number)]
        )
        for number in range(5)
    ]
    calls = [channels[number % 5].unary_stream(f"{MARKET_DATA}/WatchPrices")(request) for number in range(1000)]

    async def three(call: Any) -> int:
        return len([await call.read() for _ in range(3)])

    assert sum(await asyncio.gather(*(three(call) for call in calls))) == 3000
    edge.room.hold.set()
    for channel in channels:
        await channel.close()


async def test_an_address_that_asks_too_often_is_told_to_wait(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with running_edge(tmp_path, ip_requests_per_s=5) as edge:
        statuses = []
        for _ in range(30):
            async with http.get(f"{edge.url}/healthz", headers={"x-forwarded-for": f"10.0.0.{_}"}) as answer:
                statuses.append(answer.status)
                assert answer.headers["x-ratelimit-limit"]
        assert {200, 429} == set(statuses)
        assert await over_grpc(edge, f"{MARKET_DATA}/ListVenues") == (8, "LIMIT_REACHED")
        assert await over_grpc_web(http, edge, f"{MARKET_DATA}/ListVenues") == (8, "LIMIT_REACHED")
        assert await over_rest(http, f"{edge.url}/v1/venues") == (429, 8, "LIMIT_REACHED")


async def test_each_request_is_one_json_line_without_its_query(edge: RunningEdge, http: aiohttp.ClientSession) -> None:
    async with http.get(f"{edge.url}/v1/markets/BTC-PERP/price?nope=secret") as answer:
        request_id = answer.headers["x-request-id"]
    for _ in range(200):
        lines = edge.access_log.read_text().splitlines()
        if found := [json.loads(line) for line in lines if request_id in line]:
            break
        await asyncio.sleep(0.02)
    (line,) = found
    assert (line["method"], line["path"], line["status"]) == ("GET", "/v1/markets/BTC-PERP/price", 400)
    assert "secret" not in edge.access_log.read_text()


async def test_the_admin_page_is_on_loopback_and_not_behind_the_edge(
    edge: RunningEdge, http: aiohttp.ClientSession
) -> None:
    async with http.get(f"http://{edge.admin}/stats?filter=http.edge.downstream_rq_total") as answer:
        assert re.search(r"downstream_rq_total: \d+", await answer.text())
    async with http.get(f"{edge.url}/stats") as answer:
        assert answer.status == 404
