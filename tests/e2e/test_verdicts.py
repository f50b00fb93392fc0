"""The same bad inputs get one verdict over gRPC, REST and gRPC-web: the field, and what would pass."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable

import aiohttp
import grpc
import pytest
from google.protobuf.message import Message

from tests.support import doors
from tests.support.mesh import Mesh

pytestmark = pytest.mark.asyncio(loop_scope="session")

INPUTS = 500
SEED = int(os.environ.get("PERPMESH_TEST_SEED", "20261122"))

Bad = tuple[str, Callable[[random.Random], dict[str, object]]]
"""The field that must be named, and how its request is made."""


def _word(rng: random.Random, alphabet: str, low: int, high: int) -> str:
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(low, high)))


def bad_market(rng: random.Random) -> str:
    """Return a text that is no market's name, whatever markets there are."""
    return rng.choice(
        [
            lambda: _word(rng, "abcdefghij", 1, 12),
            lambda: _word(rng, "ABCDEF", 21, 40) + "-PERP",
            lambda: _word(rng, "ABC", 2, 5) + rng.choice(["-perp", "_PERP", "-PERPS", "PERP", "-PERP-", " PERP"]),
            lambda: rng.choice(
                ["-PERP", "BTC", "BTC-USD", "BTC--PERP", "A-B-C-D-PERP", "BTC-PERP;", "ÄÖ-PERP", "B\u200bTC-PERP"]
            ),
            lambda: _word(rng, "<>&'\"%$#@!", 1, 8),
        ]
    )()


def bad_cursor(rng: random.Random) -> str:
    return rng.choice([lambda: _word(rng, "xyz-!", 1, 40), lambda: "z" * 129, lambda: "q1-1", lambda: "--"])()


def bad_span(rng: random.Random) -> str:
    return rng.choice(["-1s", "61s", "3600s", "-0.5s", "60.000000001s"])


def bad_venues(rng: random.Random) -> list[str]:
    return rng.choice(
        [["Lighter"], ["li ghter"], ["x"], ["lighter", "lighter"], [f"venue{n}" for n in range(17)], ["9"]]
    )


MARKET: Bad = ("market", lambda rng: {"market": bad_market(rng)})
MARKETS: Bad = ("markets[0]", lambda rng: {"markets": [bad_market(rng)]})
SECOND: Bad = ("markets[1]", lambda rng: {"markets": ["BTC-PERP", bad_market(rng)]})
TWICE: Bad = ("markets", lambda rng: {"markets": ["BTC-PERP"] * rng.randint(2, 4)})
MANY: Bad = ("markets", lambda rng: {"markets": [f"M{n}-PERP" for n in range(rng.randint(101, 120))]})
CURSOR: Bad = ("cursor", lambda rng: {"cursor": bad_cursor(rng)})
SPAN: Bad = ("min_interval", lambda rng: {"min_interval": bad_span(rng)})
BATCH: Bad = ("batch_size", lambda rng: {"batch_size": rng.choice([-1, 101, 5000, -(2**31), 2**31 - 1])})
REPLAY: Bad = ("replay_count", lambda rng: {"replay_count": rng.choice([-1, 1001, 2**31 - 1])})
BTC = {"market": "BTC-PERP"}
DEPTH: Bad = ("depth", lambda rng: BTC | {"depth": rng.choice([-1, 1, 19, 21, 501, 2**31 - 1])})
PAGE: Bad = ("page_size", lambda rng: {"page_size": rng.randint(-(2**31), -1)})
TOKEN: Bad = ("page_token", lambda rng: {"page_token": _word(rng, "abcXYZ-_", 1, 60)})
LONG: Bad = ("page_token", lambda rng: {"page_token": "a" * rng.randint(513, 600)})
BOOK_SPAN: Bad = ("min_interval", lambda rng: BTC | SPAN[1](rng))
BOOK_CURSOR: Bad = ("cursor", lambda rng: BTC | CURSOR[1](rng))
TRADE_PAGE: Bad = ("page_size", lambda rng: BTC | PAGE[1](rng))
TRADE_TOKEN: Bad = ("page_token", lambda rng: BTC | TOKEN[1](rng))

CASES: dict[str, list[Bad]] = {
    "GetMarket": [MARKET],
    "GetPrice": [MARKET],
    "BatchGetPrices": [MARKETS, SECOND, TWICE, MANY],
    "WatchPrices": [MARKETS, SECOND, TWICE, MANY, CURSOR, SPAN, BATCH],
    "GetOrderBook": [MARKET, DEPTH],
    "WatchOrderBook": [MARKET, DEPTH, BOOK_SPAN, BOOK_CURSOR],
    "ListTrades": [MARKET, TRADE_PAGE, TRADE_TOKEN],
    "WatchTrades": [MARKETS, TWICE, CURSOR, REPLAY],
    "ListFundingRates": [MARKETS, SECOND, TWICE, MANY],
    "WatchFundingRates": [MARKETS, CURSOR, SPAN],
    "WatchVenues": [CURSOR],
    "ListMarkets": [PAGE, TOKEN, LONG, ("venues", lambda rng: {"venues": bad_venues(rng)})],
}


def inputs(rng: random.Random) -> list[tuple[str, str, Message]]:
    """Return (call, field, request), seeded."""
    made = []
    calls = sorted(CASES)
    for number in range(INPUTS):
        call = calls[number % len(calls)]
        field, make = rng.choice(CASES[call])
        request = doors.request_type(call)()
        for name, value in make(rng).items():
            if isinstance(value, list):
                getattr(request, name).extend(value)
            elif name == "min_interval":
                getattr(request, name).FromJsonString(value)
            else:
                setattr(request, name, value)
        made.append((call, field, request))
    return made


async def test_five_hundred_bad_inputs_get_one_verdict_at_every_door(
    mesh: Mesh, session: aiohttp.ClientSession, channel: grpc.aio.Channel
) -> None:
    print(f"seed {SEED}")
    verdicts: Counter[str] = Counter()
    wrong = []
    for call, field, request in inputs(random.Random(SEED)):
        grpc_verdict = await doors.over_grpc(channel, call, request)
        rest = await doors.over_rest(session, mesh.url, call, request)
        web = await doors.over_grpc_web(session, mesh.url, call, request)
        verdicts[grpc_verdict.code] += 1
        named = bool(grpc_verdict.fields) and grpc_verdict.fields[0].startswith(field)
        taught = all(grpc_verdict.descriptions) and bool(grpc_verdict.descriptions)
        if not (grpc_verdict == rest == web and grpc_verdict.code == "INVALID_ARGUMENT" and named and taught):
            wrong.append((call, field, str(request)[:120], grpc_verdict, rest, web))
    assert wrong == [], f"{len(wrong)} of {INPUTS}, the first: {wrong[0]}"
    assert verdicts == {"INVALID_ARGUMENT": INPUTS}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/markets/BTC-PERP/book?depth=abc", 400),
        ("/v1/markets/BTC-PERP/book?depth=99999999999", 400),
        ("/v1/markets/BTC-PERP/book?nothing=1", 400),
        ("/v1/prices:watch?min_interval=soon", 400),
        ("/v1/markets/BTC%2FPERP/price", 400),
        ("/v1/markets/%00/price", 400),
    ],
)
async def test_what_only_http_can_say_wrongly_is_refused_in_the_same_shape(
    mesh: Mesh, session: aiohttp.ClientSession, path: str, status: int
) -> None:
    from yarl import URL

    async with session.get(URL(mesh.url + path, encoded=True)) as response:
        assert response.status == status
        body = await response.json()
    assert body["code"] == 3
    assert body["details"][0]["reason"] in ("REQUEST_UNREADABLE", "FIELD_INVALID")
    assert body["message"]
