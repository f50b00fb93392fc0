"""What PlaceOrder costs beside its floor, and how soon a venue has the order beside the venues' own SDKs.

A whole mesh runs with the simulator, whose journal says when bytes arrived, on this machine's clock.

The acknowledgement is a call to the execution room itself (no edge), answered when the order is durable. Its floor is
made of what any design must do, each measured alone, in turn with the calls: a call of the same room that ends after
its token was checked; for an order that takes, the same question to routing; and the same statements run bare.

The way to the venue is measured from the call (through the edge, or of the SDK) until the venue has read the bytes.

python -m bench.execution --rounds 200 --seconds 10 --rates 1 200
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import eth_account
import grpc
import lighter
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.routing.v1 import planner_service_pb2, routing_service_pb2
from perpmesh.routing.v1.planner_service_pb2_grpc import PlannerServiceStub
from perpmesh.type.v1 import order_type_pb2, side_pb2, size_unit_pb2, time_in_force_pb2

from services.execution.store import statements as sql
from tests.support.crowd import MARKET, Crowd, Trader
from tests.support.mesh import Mesh, running_mesh
from tests.support.soak import GENEROUS
from tests.support.vault import middle

VENUES = ("hyperliquid", "lighter")
GOAL_ACK = 1.3
GOAL_MS = 3.0
TRADERS = 10
WARM = 20
_COPY = """
    SELECT to_jsonb(o) AS order_row, (SELECT jsonb_agg(to_jsonb(l)) FROM legs l WHERE l.order_id = o.order_id) AS legs,
        (SELECT quoted::text FROM order_quotes q WHERE q.order_id = o.order_id) AS quoted
    FROM orders o WHERE o.order_id = $1"""
_LOOK = "SELECT order_id FROM orders WHERE user_id = $1 AND request_id = $2"
_STANDING = """SELECT (SELECT count(*) FROM (SELECT 1 FROM orders WHERE user_id = $1 AND finish_time IS NULL LIMIT 2000)
    AS open), (SELECT order_id FROM orders WHERE user_id = $1 AND finish_time IS NULL AND client_order_id = 'x'
    LIMIT 1)"""


def limit_order(price: int, venue: str) -> pb.PlaceOrderRequest:
    """Return an order that rests."""
    return pb.PlaceOrderRequest(
        request_id=str(uuid.uuid4()), market=MARKET, side=side_pb2.SIDE_BUY, size="0.001", venue=venue,
        type=order_type_pb2.ORDER_TYPE_LIMIT, limit_price=str(price),
        time_in_force=time_in_force_pb2.TIME_IN_FORCE_GOOD_TILL_CANCELED,
    )  # fmt: skip


def market_order(number: int) -> pb.PlaceOrderRequest:
    """Return an order that takes, routed over both venues."""
    side = side_pb2.SIDE_BUY if number % 2 else side_pb2.SIDE_SELL
    return pb.PlaceOrderRequest(
        request_id=str(uuid.uuid4()), market=MARKET, side=side, size="0.001", type=order_type_pb2.ORDER_TYPE_MARKET
    )


async def timed(work: Callable[[], Awaitable[Any]]) -> tuple[float, Any]:
    """Return the milliseconds of something, and what it gave."""
    began = time.perf_counter()
    found = await work()
    return (time.perf_counter() - began) * 1e3, found


def p(values: list[float], share: float) -> float:
    """Return a quantile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


class Floor:
    """What any design must do for an order, each part alone."""

    def __init__(self, mesh: Mesh, trader: Trader, room: Any, planner: Any, database: Any) -> None:
        self._mesh = mesh
        self._trader = trader
        self._room = room
        self._planner = planner
        self._database = database

    async def token(self) -> None:
        """Make a call that ends after its token was checked: the order it names is none."""
        try:
            await self._room.GetOrder(pb.GetOrderRequest(order_id="no"), metadata=self._trader.metadata)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
                raise

    async def route(self, user_id: str) -> None:
        """Ask routing for the plan that execution asks for."""
        wish = routing_service_pb2.QuoteRouteRequest(
            market=MARKET, side=side_pb2.SIDE_BUY, size="0.001", size_unit=size_unit_pb2.SIZE_UNIT_BASE,
            venues=list(VENUES), include_inputs=True,
            time_in_force=time_in_force_pb2.TIME_IN_FORCE_IMMEDIATE_OR_CANCEL,
        )  # fmt: skip
        accounts = [owner.account_id for owner in self._trader.owners.values()]
        request = planner_service_pb2.PlanRouteRequest(
            route=wish, account_ids=accounts, order_id=str(uuid.uuid4()), user_id=user_id
        )
        await self._planner.PlanRoute(request)

    async def transaction(self, copied: Any, event: bytes) -> None:
        """Run the statements of an order like one that was placed."""
        row, legs = json.loads(copied["order_row"]), json.loads(copied["legs"])
        row["order_id"], row["request_id"] = str(uuid.uuid4()), str(uuid.uuid4())
        for leg in legs:
            leg |= {"order_id": row["order_id"], "leg_id": str(uuid.uuid4()), "client_id": str(uuid.uuid4())}
            leg |= {"due_time": None, "lease_time": None}
        await self._database.fetchrow(_LOOK, uuid.UUID(row["user_id"]), uuid.UUID(row["request_id"]))
        await self._database.fetchrow(_STANDING, uuid.UUID(row["user_id"]))
        await self._database.fetchval(sql.ADD, json.dumps(row), json.dumps(legs), copied["quoted"], event, None)


async def acknowledgements(mesh: Mesh, crowd: Crowd, price: int, rounds: int) -> None:
    """Print the acknowledgement beside its floor."""
    trader = crowd.traders[0]
    database = await asyncpg.connect(mesh.about["postgres_url"], server_settings={"search_path": "execution"})
    async with mesh.channel("execution") as inner, mesh.channel("routing", part="execution") as routing:
        room: Any = ExecutionServiceStub(inner)  # type: ignore[no-untyped-call]
        planner: Any = PlannerServiceStub(routing)  # type: ignore[no-untyped-call]
        floor = Floor(mesh, trader, room, planner, database)
        print(
            f"{'acknowledged, ms':<34} {'p50':>7} {'p99':>8}   {'floor p50':>9} {'p99':>8} {'ratio p50':>9} {'p99':>6}"
        )
        for name, takes in (("an order that rests", False), ("one that takes, routed", True)):
            ours: list[float] = []
            sums: list[float] = []
            parts: list[tuple[float, ...]] = []
            copied: Any = None
            user_id = ""
            for number in range(rounds + WARM):
                request = market_order(number) if takes else limit_order(price, "hyperliquid")
                spent, answer = await timed(
                    lambda request=request: room.PlaceOrder(request, metadata=trader.metadata)  # type: ignore[misc]
                )
                if copied is None:
                    copied = await database.fetchrow(_COPY, uuid.UUID(answer.order.order_id))
                    user_id = json.loads(copied["order_row"])["user_id"]
                event = answer.order.SerializeToString()
                token, _ = await timed(floor.token)
                route, _ = await timed(lambda user_id=user_id: floor.route(user_id)) if takes else (0.0, None)  # type: ignore[misc]
                wrote, _ = await timed(lambda event=event, copied=copied: floor.transaction(copied, event))  # type: ignore[misc]
                if number >= WARM:
                    ours.append(spent)
                    parts.append((token, route, wrote))
                    sums.append(token + route + wrote)
            ratio = p(ours, 0.5) / p(sums, 0.5), p(ours, 0.99) / p(sums, 0.99)
            print(
                f"{name:<34} {p(ours, 0.5):>7.2f} {p(ours, 0.99):>8.2f}   {p(sums, 0.5):>9.2f} {p(sums, 0.99):>8.2f} "
                f"{ratio[0]:>9.2f} {ratio[1]:>6.2f}"
            )
            medians = [statistics.median(column) for column in zip(*parts, strict=True)]
            print(f"  of the floor: token {medians[0]:.2f}, routing {medians[1]:.2f}, statements {medians[2]:.2f}")
    await database.close()
    print(f"goal: {GOAL_ACK:g} times the floor")


class Arrivals:
    """When the venues read the bytes of orders, by client id."""

    def __init__(self, mesh: Mesh, http: aiohttp.ClientSession) -> None:
        self._url = f"http://{mesh.address('simulator.control')}/control/accounts/journal"
        self._http = http
        self._after = dict.fromkeys(VENUES, 0)

    async def read(self, venue: str) -> dict[int, int]:
        """Return what came since the last look."""
        found: dict[int, int] = {}
        while True:
            query = {"venue": venue, "after": str(self._after[venue]), "limit": "10000", "kinds": "received"}
            async with self._http.get(self._url, params=query) as answer:
                page = await answer.json()
            for entry in page["entries"]:
                for client in _clients(venue, entry["body"]):
                    found.setdefault(client, entry["body"]["wall_ns"])
            full = len(page["entries"]) == 10_000
            self._after[venue] = page["entries"][-1]["seq"] if full else page["last"]
            if not full:
                return found


def _clients(venue: str, body: Any) -> list[int]:
    if venue == "hyperliquid":
        return [int(text, 16) for text in re.findall(r'"c":"(0x[0-9a-f]{32})"', body["body"])]
    infos = [one if isinstance(one, dict) else json.loads(one) for one in body["infos"]]
    return [int(one["ClientOrderIndex"]) for one in infos if "ClientOrderIndex" in one]


async def ours(crowd: Crowd, stub: Any, venue: str, price: int, rate: float, seconds: float) -> Any:
    """Place orders at a rate; return (client id, call's begin) of those taken in, and how many were refused."""
    called: list[tuple[int, int]] = []
    refused: list[str] = []

    async def one(number: int) -> None:
        trader = crowd.traders[number % len(crowd.traders)]
        began = time.time_ns()
        try:
            order = (await stub.PlaceOrder(limit_order(price, venue), metadata=trader.metadata, timeout=20)).order
        except grpc.aio.AioRpcError as error:
            refused.append(error.code().name)
            return
        for leg in order.legs:
            client = leg.venue_client_id
            called.append((int(client, 16) if client.startswith("0x") else int(client), began))

    tasks, began = [], time.monotonic()
    for at in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + at / rate - time.monotonic()))
        tasks.append(asyncio.create_task(one(at)))
    await asyncio.gather(*tasks)
    return called, len(refused)


async def of_sdk(
    mesh: Mesh, http: aiohttp.ClientSession, venue: str, price: int, rate: float, seconds: float, folder: Path
) -> list[tuple[int, int]]:
    """Have the venue's SDK place orders in a process of its own."""
    control = f"http://{mesh.address('simulator.control')}/control/accounts"
    accounts = []
    for _ in range(TRADERS):
        wallet = eth_account.Account.create()
        body: dict[str, object] = {"venue": venue, "address": wallet.address, "usdc": "1000000"}
        secret = "0x" + wallet.key.hex().removeprefix("0x")
        if venue == "lighter":
            secret, public, error = lighter.create_api_key()
            assert error is None
            body["api_keys"] = {"5": public.removeprefix("0x")}
        async with http.post(control, json=body) as answer:
            told = await answer.json()
        accounts.append({"secret": secret, "index": told["account"]})
    file = folder / f"{venue}.json"
    file.write_text(json.dumps(accounts))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.sdk_orders", venue, f"http://{mesh.address(f'simulator.{venue}')}",
        "--accounts", str(file), "--rate", str(rate), "--seconds", str(seconds), "--price", str(price),
        stdout=asyncio.subprocess.PIPE, env=os.environ | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
    )  # fmt: skip
    said, _ = await process.communicate()
    return [(client, began) for client, began in json.loads(said.splitlines()[-1])]


async def ways(mesh: Mesh, crowd: Crowd, price: int, rates: list[float], seconds: float) -> None:
    """Print the way from a call to the venue, of ours and of each SDK."""
    print(f"\n{'call until the venue has it, ms':<34} {'orders/s':>8} {'p50':>8} {'p99':>8} {'arrived':>8}  refused")
    async with aiohttp.ClientSession() as http, grpc.aio.insecure_channel(mesh.edge) as channel:
        stub: Any = ExecutionServiceStub(channel)  # type: ignore[no-untyped-call]
        arrivals = Arrivals(mesh, http)
        with tempfile.TemporaryDirectory() as folder:
            for venue in VENUES:
                for rate in rates:
                    spans = {}
                    count = max(seconds, 30.0 if rate <= 1 else 0.0)
                    for name in ("SDK", "ours"):
                        await arrivals.read(venue)
                        refused = 0
                        if name == "SDK":
                            called = await of_sdk(mesh, http, venue, price, rate, count, Path(folder))
                        else:
                            called, refused = await ours(crowd, stub, venue, price, rate, count)
                        await asyncio.sleep(3)
                        there = await arrivals.read(venue)
                        spans[name] = [(there[client] - began) / 1e6 for client, began in called if client in there]
                        print(
                            f"{venue + ', ' + name:<34} {rate:>8g} {p(spans[name], 0.5):>8.2f} "
                            f"{p(spans[name], 0.99):>8.2f} {len(spans[name]):>5}/{len(called)}  {refused}"
                        )
                    beyond = p(spans["ours"], 0.5) - p(spans["SDK"], 0.5)
                    print(f"  {beyond:+.2f} ms at p50 (goal {GOAL_MS:+g}); load {os.getloadavg()[0]:.1f}")


async def run(rounds: int, seconds: float, rates: list[float]) -> None:
    """Print the tables."""
    settings = GENEROUS | {"simulator_seed": 23, "execution_open_orders_max": 100_000}
    async with running_mesh(**settings) as mesh:
        async with aiohttp.ClientSession() as http:
            price = int(await middle(http, f"http://{mesh.address('simulator.hyperliquid')}", "hyperliquid"))
        crowd = Crowd(mesh, TRADERS, str(price))
        try:
            await crowd.begin()
            await asyncio.sleep(6)
            if rounds:
                await acknowledgements(mesh, crowd, price * 95 // 100, rounds)
            await ways(mesh, crowd, price * 95 // 100, rates, seconds)
        finally:
            await crowd.close()


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=200)
    options.add_argument("--seconds", type=float, default=10.0)
    options.add_argument("--rates", type=float, nargs="*", default=[1.0, 200.0])
    chosen = options.parse_args()
    asyncio.run(run(chosen.rounds, chosen.seconds, chosen.rates))


if __name__ == "__main__":
    main()
