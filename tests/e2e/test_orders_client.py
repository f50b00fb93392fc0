"""The Python client and the commands trade through the edge; a killed room loses and doubles nothing."""

from __future__ import annotations

import asyncio
import json
import signal
from decimal import Decimal
from pathlib import Path

import grpc
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.execution.v1 import fill_pb2, leg_pb2, order_pb2
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub
from perpmesh_client import Perpmesh
from perpmesh_client.errors import PerpmeshError
from perpmesh_client.orders import Orders, wish

from tests.integration.client.client_process import perpmesh
from tests.support.auth import sign_in
from tests.support.mesh import Mesh, running_mesh
from tests.support.vault import own
from tests.support.wallet import Wallet

BTC = "BTC-PERP"
SIZE = Decimal("0.01")
State = order_pb2.Order


async def test_orders_are_placed_once_through_a_killed_room_and_shown_by_the_commands(tmp_path: Path) -> None:
    wallet = Wallet()
    kept = {"PERPMESH_SESSION_FILE": str(tmp_path / "sessions.json"), "PERPMESH_PRIVATE_KEY": wallet.secret.hex()}
    settings = {"simulator_seed": 72, "ip_requests_per_s": 100_000, "simulator_lighter_requests_max": 0}
    async with running_mesh(**settings) as mesh:

        async def cli(*typed: str) -> list[str]:
            done = await perpmesh(*typed, "--address", mesh.edge, **kept)
            assert done.code == 0, done.err
            return done.out.splitlines()

        async with grpc.aio.insecure_channel(mesh.edge) as edge:
            token = (await sign_in(AuthServiceStub(edge), wallet)).access_token
            for venue in ("hyperliquid", "lighter"):
                await (await own(VaultServiceStub(edge), wallet, token, venue, default=True)).ready()
        async with Perpmesh(mesh.edge, token=token) as client:
            await _killed_and_told_once(client.orders, mesh)
        await cli("login")
        (placed,) = [
            json.loads(line) for line in await cli("order", "btc", "buy", "0.01", "--venue", "lighter", "--json")
        ]
        assert (placed["state"], placed["filled_size"]) == ("STATE_DONE", "0.01")
        told = [json.loads(line) for line in await cli("fills", "--order", placed["order_id"], "--json")]
        assert sum(Decimal(one["size"]) for one in told) == SIZE
        assert placed["order_id"] in "\n".join(await cli("orders", "--json"))
        (resting,) = await cli("order", "btc", "buy", "0.01", "--limit", "20000", "--venue", "hyperliquid", "--json")
        (canceled,) = await cli("cancel", json.loads(resting)["order_id"], "--json")
        assert json.loads(canceled)["order_id"] == json.loads(resting)["order_id"]


async def _killed_and_told_once(orders: Orders, mesh: Mesh) -> None:
    """Place orders while the room is killed under them, and hold the live fills against the list."""
    seen: list[fill_pb2.Fill] = []

    async def follow() -> None:
        async for fill in orders.watch_fills():
            seen.append(fill)

    following = asyncio.create_task(follow())
    try:
        first = await orders.ended((await _placed(orders, "hyperliquid")).order_id, timeout_s=60)
        assert first.state == State.STATE_DONE, first
        killed = mesh.kill("execution", signal.SIGKILL)
        requests = [wish(BTC, "buy", SIZE, venue=venue) for venue in ("hyperliquid", "lighter")]
        placed = await asyncio.gather(*(orders.submit(request) for request in requests))
        await mesh.restarted("execution", than=killed)
        again = [await orders.submit(request) for request in requests]
        assert [one.order_id for one in again] == [one.order_id for one in placed], "the same request, the same order"
        for one in placed:
            order = await orders.ended(one.order_id, timeout_s=90)
            filled = sum(Decimal(fill.size) for fill in await orders.fills(one.order_id))
            if order.state == State.STATE_EXPIRED:  # its bytes were surely not sent, and are not sent late
                assert ([leg.evidence for leg in order.legs], filled) == ([leg_pb2.Leg.EVIDENCE_NOT_SENT], 0)
            else:
                assert (order.state, filled) == (State.STATE_DONE, SIZE), "none lost, none doubled"
        listed = sorted(fill.fill_id for fill in await orders.fills())
        async with asyncio.timeout(30):
            while len(seen) < len(listed):  # noqa: ASYNC110 - what is awaited is told by another process
                await asyncio.sleep(0.05)
        assert sorted(fill.fill_id for fill in seen) == listed, "the resumed stream told every fill once"
    finally:
        following.cancel()


async def _placed(orders: Orders, venue: str) -> order_pb2.Order:
    """Place one order as soon as the venue's books are there."""
    async with asyncio.timeout(60):
        while True:
            try:
                order = await orders.place(BTC, "buy", SIZE, venue=venue)
            except PerpmeshError as error:
                raise AssertionError(str(error)) from None
            if order.state != State.STATE_DENIED:
                return order
            await asyncio.sleep(0.2)
