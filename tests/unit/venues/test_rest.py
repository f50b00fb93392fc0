"""The REST face against a real server: every bad answer is a sentence, nothing is unbounded, nothing followed."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from services.chassis.breaker import BreakerPolicy
from services.chassis.clock import SYSTEM
from services.venues.budget import Allowance, Budget
from services.venues.circuit import REST, Circuit
from services.venues.port import VenueError
from services.venues.rest import Importance, Rest, RestConfig, RestRefusedError, RestUnavailableError


async def answer(request: web.Request) -> web.StreamResponse:
    kind = request.match_info["kind"]
    if kind == "good":
        return web.json_response({"query": dict(request.query), "body": (await request.read()).decode()})
    if kind == "refused":
        return web.json_response({"code": 20001, "message": "invalid param"}, status=400)
    if kind == "html":
        return web.Response(text="<html>hello</html>", content_type="text/html")
    if kind == "html502":
        return web.Response(status=502, text="<html>bad gateway</html>", content_type="text/html")
    if kind == "limited":
        return web.Response(status=429, text="null", headers={"Retry-After": "7"})
    if kind == "moved":
        return web.Response(status=302, headers={"Location": "/good"})
    if kind == "large":
        return web.Response(body=b" " * 200_000)
    if kind == "zipped":
        return web.Response(body=gzip.compress(b"0" * 10_000_000), headers={"Content-Encoding": "gzip"})
    if kind == "silent":
        await asyncio.sleep(30)
    response = web.StreamResponse()
    await response.prepare(request)
    if kind == "cut":
        assert request.transport is not None
        await response.write(b"half")
        request.transport.abort()
        return response
    for _ in range(100):
        await response.write(b" ")
        await asyncio.sleep(0.2)
    return response


@asynccontextmanager
async def served(
    *, units: int = 100, failures_max: int = 100, open_s: float = 60
) -> AsyncIterator[tuple[Rest, Circuit]]:
    app = web.Application()
    app.router.add_route("*", "/{kind}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    circuit = Circuit("venue", REST, clock=SYSTEM, policy=BreakerPolicy(failures_max=failures_max, open_s=open_s))
    rest = Rest(
        base_url=f"http://127.0.0.1:{port}/",
        budget=Budget(Allowance(units=units, seconds=60)),
        breaker=circuit,
        clock=SYSTEM,
        config=RestConfig(read_timeout_s=0.5, total_timeout_s=1.0, body_bytes_max=100_000, budget_wait_s=0.1),
    )
    try:
        async with rest:
            yield rest, circuit
    finally:
        await runner.cleanup()


async def test_a_good_answer_is_its_body() -> None:
    async with served() as (rest, _):
        assert await rest.get("/good", {"a": 1}) == b'{"query": {"a": "1"}, "body": ""}'
        assert await rest.post("/good", b"{}") == b'{"query": {}, "body": "{}"}'


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("html", "web page"),
        ("html502", "HTTP 502"),
        ("moved", "redirects are not followed"),
        ("large", "more than 100000 bytes"),
        ("zipped", "encoding 'gzip'"),
        ("silent", "not answered within"),
        ("slow", "not answered within"),
        ("cut", "failed"),
    ],
)
async def test_a_bad_answer_is_a_failure_of_the_endpoint_with_a_sentence(kind: str, sentence: str) -> None:
    async with served() as (rest, circuit):
        with pytest.raises(RestUnavailableError, match=sentence):
            await rest.get(f"/{kind}")
        assert circuit.status().failure_count == 1
        assert sentence in circuit.status().last_failure


async def test_a_refusal_is_the_requests_fault_not_the_endpoints() -> None:
    async with served() as (rest, circuit):
        with pytest.raises(RestRefusedError, match="invalid param") as caught:
            await rest.get("/refused")
        assert caught.value.status == 400
        assert caught.value.body == b'{"code": 20001, "message": "invalid param"}'
        assert circuit.status().failure_count == 0


async def test_too_many_requests_stops_all_requests_until_the_venue_says() -> None:
    async with served() as (rest, _):
        with pytest.raises(RestUnavailableError, match="waiting 7 s") as caught:
            await rest.get("/limited")
        assert caught.value.retry_after_s == 7
        with pytest.raises(RestUnavailableError, match=r"used up; it is free in [67]"):
            await rest.get("/good")


async def test_the_budget_is_kept() -> None:
    async with served(units=3) as (rest, _):
        await rest.get("/good", weight=2)
        await rest.get("/good")
        with pytest.raises(RestUnavailableError, match="request budget"):
            await rest.get("/good")


async def test_an_open_breaker_refuses_at_once() -> None:
    async with served(failures_max=2) as (rest, circuit):
        for _ in range(2):
            with pytest.raises(VenueError):
                await rest.get("/html502")
        assert circuit.status().state == "open"
        with pytest.raises(RestUnavailableError, match="circuit breaker"):
            await rest.get("/good")


async def test_nobody_listening_is_a_sentence() -> None:
    rest = Rest(
        base_url="http://127.0.0.1:9",
        budget=Budget(Allowance(units=10, seconds=60)),
        breaker=Circuit("venue", REST, clock=SYSTEM),
        clock=SYSTEM,
    )
    async with rest:
        with pytest.raises(RestUnavailableError, match="GET /x failed"):
            await rest.get("/x")


async def test_no_order_is_a_breakers_probe_and_no_breaker_holds_a_look_up_back() -> None:
    async with served(failures_max=1, open_s=0.05) as (rest, circuit):
        circuit.failure("the venue is away")
        with pytest.raises(RestUnavailableError) as error:
            await rest.post("/good", b"{}", importance=Importance.ORDER)
        assert not error.value.is_sent
        assert await rest.get("/good", importance=Importance.URGENT)
        assert not circuit.is_closed()
        await asyncio.sleep(0.06)  # half open: the next attempt is a probe
        with pytest.raises(RestUnavailableError, match="no order goes first"):
            await rest.post("/good", b"{}", importance=Importance.ORDER)
        assert await rest.get("/good")
        assert await rest.post("/good", b"{}", importance=Importance.ORDER)


async def test_what_was_never_sent_is_told_from_what_may_have_been() -> None:
    circuit = Circuit("test", REST, clock=SYSTEM)
    budget = Budget(Allowance(units=100, seconds=60))
    async with Rest(base_url="http://127.0.0.1:9", budget=budget, breaker=circuit, clock=SYSTEM) as closed:
        with pytest.raises(RestUnavailableError) as error:
            await closed.post("/good", b"{}")
        assert not error.value.is_sent
    async with served(units=1) as (rest, _):
        with pytest.raises(RestUnavailableError) as error:
            await rest.get("/html502")
        assert (error.value.is_sent, error.value.status) == (True, 502)
        with pytest.raises(RestUnavailableError) as error:
            await rest.get("/good")
        assert not error.value.is_sent
