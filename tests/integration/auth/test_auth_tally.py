"""One limit for several edges: two real Envoys and two replicas of who counts for them, over a real Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from envoyrls.v3 import rls_pb2 as pb

from services.auth.model.allowance import Allowance
from services.auth.rpc.limits import PATH, Limits
from services.auth.store.tally import ValkeyTally
from services.chassis.metrics import Metrics
from services.chassis.server import Server, ServerConfig
from services.launcher.edge import Upstream
from tests.e2e.test_edge_tokens import edge_with_keys, status_of
from tests.support.edge import RunningEdge, reason_of
from tests.support.tokens import Issuer
from tests.support.valkey import Valkey, valkey

AUTH = "perpmesh.auth.v1.AuthService"
RATE, BURST = 20, 40
ALLOWANCE = Allowance(per_second=RATE, burst=BURST)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Valkey]:
    with valkey(tmp_path) as server:
        yield server


@pytest.fixture
async def counters(cache: Valkey) -> AsyncIterator[tuple[Upstream, ...]]:
    """Two replicas that count."""
    async with contextlib.AsyncExitStack() as held:
        found = []
        for _ in range(2):
            tally = ValkeyTally(cache.url, ALLOWANCE, timeout_s=2)
            held.push_async_callback(tally.close)
            server = Server("auth", ServerConfig(), metrics=Metrics())
            server.add_foreign(PATH, Limits(tally, ALLOWANCE).should_rate_limit)
            found.append(Upstream(host="127.0.0.1", port=await server.start()))
            held.push_async_callback(server.stop)
        yield tuple(found)


@pytest.fixture
async def edges(tmp_path: Path, counters: tuple[Upstream, ...]) -> AsyncIterator[tuple[list[RunningEdge], Issuer]]:
    """Two edges that share their limit; what each would let pass by itself is far more."""
    issuer = Issuer()
    async with contextlib.AsyncExitStack() as held:
        found = []
        for number in range(2):
            folder = tmp_path / str(number)
            folder.mkdir()
            settings = {"user_requests_per_s": 100_000, "shares_limits": True, "more": {AUTH: counters}}
            found.append(await held.enter_async_context(edge_with_keys(folder, (issuer, issuer), **settings)))
        yield found, issuer


async def test_one_user_has_one_limit_at_two_edges(edges: tuple[list[RunningEdge], Issuer], cache: Valkey) -> None:
    found, issuer = edges
    greedy, modest = issuer.token(time.time()), issuer.token(time.time())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8)) as http:
        began = time.monotonic()
        statuses = await asyncio.gather(*(status_of(http, found[n % 2], greedy) for n in range(240)))
        passed, most = statuses.count(200), BURST + RATE * (time.monotonic() - began) + 1
        print(f"{passed} of 240 passed at two edges, at most {most:.0f} may")
        assert BURST <= passed <= most
        assert passed + statuses.count(429) == 240
        async with http.get(f"{found[1].url}/v1/orders", headers={"authorization": f"Bearer {greedy}"}) as answer:
            if answer.status == 429:
                assert reason_of(await answer.text()) == (8, "LIMIT_REACHED")
        async with http.get(f"{found[0].url}/v1/orders", headers={"authorization": f"Bearer {modest}"}) as answer:
            assert answer.status == 200, "another user is not limited by it"
            assert answer.headers["x-ratelimit-limit"].split(",")[0] == str(BURST)
            assert answer.headers["x-ratelimit-remaining"] == str(BURST - 1)
            assert answer.headers["x-ratelimit-reset"] == "1"
        async with http.get(f"{found[0].url}/v1/markets") as answer:
            assert answer.status == 200, "who names no user is not counted as one"
        cache.kill()
        statuses = await asyncio.gather(*(status_of(http, found[n % 2], greedy) for n in range(60)))
        assert statuses == [200] * 60, "where nobody can count, an edge's own limit stands alone"


async def test_a_bucket_is_shared_exact_and_fills_again(cache: Valkey) -> None:
    slow = Allowance(per_second=1, burst=50)
    one, other = ValkeyTally(cache.url, slow, timeout_s=5), ValkeyTally(cache.url, slow, timeout_s=5)
    began = time.monotonic()
    standings = await asyncio.gather(*((one, other)[n % 2].take("u", 1) for n in range(80)))
    fits = [standing.fits for standing in standings if standing is not None]
    assert len(fits) == 80
    assert 50 <= sum(fits) <= 50 + time.monotonic() - began
    assert min(standing.left for standing in standings if standing is not None) == 0
    refused = next(standing for standing in standings if standing is not None and not standing.fits)
    assert 0 < refused.reset_us <= 1_000_000, "it says when one more fits"
    again = await one.take("v", 50)
    assert again is not None
    assert (again.fits, again.left) == (True, 0)
    await one.close()
    await other.close()


async def test_whoever_asks_is_told_what_is_left(counters: tuple[Upstream, ...]) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{counters[0].port}") as channel:
        request = pb.RateLimitRequest(domain="perpmesh")
        request.descriptors.add().entries.add(key="user", value="u")
        raw = await channel.unary_unary(PATH)(request.SerializeToString())
    answer = pb.RateLimitResponse.FromString(raw)
    assert answer.overall_code == pb.RateLimitResponse.OK
    assert (answer.statuses[0].limit_remaining, answer.statuses[0].current_limit.requests_per_unit) == (
        BURST - 1,
        BURST,
    )
