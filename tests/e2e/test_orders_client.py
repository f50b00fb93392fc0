"""The Python client, the commands and the README's program trade through the edge; a killed room loses nothing."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.execution.v1 import fill_pb2, leg_pb2, order_pb2, signable_pb2
from perpmesh.vault.v1 import account_pb2
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub
from perpmesh_client import Perpmesh
from perpmesh_client.cli.account import ACCOUNT_COMMANDS
from perpmesh_client.cli.arguments import parse
from perpmesh_client.cli.output import Output
from perpmesh_client.cli.trading import run_trading
from perpmesh_client.errors import PerpmeshError
from perpmesh_client.orders import Orders, wish

from tests.integration.client.client_process import environment, perpmesh
from tests.support.auth import sign_in
from tests.support.callers import by_sdk
from tests.support.mesh import Mesh, running_mesh
from tests.support.vault import own
from tests.support.waiting import until
from tests.support.wallet import Wallet

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]
README = (Path(__file__).parents[2] / "README.md").read_text()
BTC = "BTC-PERP"
VENUES = ("hyperliquid", "lighter")
SIZE = Decimal("0.01")
State = order_pb2.Order
CALLER = account_pb2.Account.CUSTODY_CALLER


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh() -> AsyncIterator[Mesh]:
    settings = {"simulator_seed": 72, "ip_requests_per_s": 100_000, "simulator_lighter_requests_max": 0}
    async with running_mesh(**settings) as running:
        yield running


async def test_orders_are_placed_once_through_a_killed_room_and_shown_by_the_commands(
    mesh: Mesh, tmp_path: Path
) -> None:
    wallet = Wallet()
    kept = {"PERPMESH_SESSION_FILE": str(tmp_path / "sessions.json"), "PERPMESH_PRIVATE_KEY": wallet.secret.hex()}

    async def cli(*typed: str, code: int = 0) -> list[str]:
        done = await perpmesh(*typed, "--address", mesh.edge, **kept)
        assert done.code == code, done.err
        return (done.err if code else done.out).splitlines()

    async with grpc.aio.insecure_channel(mesh.edge) as edge:
        token = (await sign_in(AuthServiceStub(edge), wallet)).access_token
        for venue in VENUES:
            await (await own(VaultServiceStub(edge), wallet, token, venue, default=True)).ready()
    async with Perpmesh(mesh.edge, token=token) as client:
        await _killed_and_told_once(client.orders, mesh)
    await cli("login")
    (placed,) = [json.loads(line) for line in await cli("order", "btc", "buy", "0.01", "--venue", "lighter", "--json")]
    assert (placed["state"], placed["filled_size"]) == ("STATE_DONE", "0.01")
    told = [json.loads(line) for line in await cli("fills", "--order", placed["order_id"], "--json")]
    assert sum(Decimal(one["size"]) for one in told) == SIZE
    assert placed["order_id"] in "\n".join(await cli("orders", "--json"))
    report = json.loads("".join(await cli("report", placed["order_id"], "--json")))
    assert (report["complete"], report["filled_size"]) == (True, "0.01")
    assert sum(Decimal(one["amount"]) for one in report["attributions"]) == Decimal(report["difference"])
    shown = "\n".join(await cli("report", placed["order_id"]))
    assert "platform fee" in shown
    assert "unexplained" in shown
    seen = json.loads("".join(await cli("preview", "btc", "buy", "0.01", "--json")))
    assert seen["passes"]
    assert "Expected cost" in "\n".join(await cli("preview", "btc", "buy", "0.01"))
    (denied,) = await cli("preview", "btc", "buy", "0.01", "--limit", "1.23456789", "--venue", "lighter", code=1)
    assert "would pass" in denied
    (resting,) = await cli("order", "btc", "buy", "0.01", "--limit", "20000", "--venue", "hyperliquid", "--json")
    (canceled,) = await cli("cancel", json.loads(resting)["order_id"], "--json")
    assert json.loads(canceled)["order_id"] == json.loads(resting)["order_id"]
    closed = [json.loads(line) for line in await cli("close", "btc", "--json")]
    assert {one["state"] for one in closed} == {"STATE_DONE"}
    assert {leg["venue"] for one in closed for leg in one["legs"]} == set(VENUES)
    assert await cli("close", "btc") == ["You hold no BTC-PERP: there is nothing to close."]
    (refused,) = await cli("order", "btc", "buy", "0.01", "--venue", "nowhere", code=1)
    assert refused == "perpmesh: It was not sent. You have no account at nowhere. Add an account and set up a key."


async def test_orders_and_accounts_are_steered_by_the_commands(
    mesh: Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wallet = Wallet()
    monkeypatch.setenv("PERPMESH_SESSION_FILE", str(tmp_path / "sessions.json"))
    monkeypatch.setenv("PERPMESH_PRIVATE_KEY", wallet.secret.hex())

    async def cli(*typed: str, run: Any = run_trading) -> list[Any]:
        await run(parse([*typed, "--json", "--address", mesh.edge]), Output(as_json=True, screen=False))
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    async with grpc.aio.insecure_channel(mesh.edge) as edge:
        token = (await sign_in(AuthServiceStub(edge), wallet)).access_token
        owner = await own(VaultServiceStub(edge), wallet, token, "hyperliquid", default=True)
        await owner.ready()
    await cli("login", run=ACCOUNT_COMMANDS["login"])
    async with Perpmesh(mesh.edge, token=token) as client:
        await client.orders.ended((await _placed(client.orders, "hyperliquid")).order_id)
    (rests,) = await cli("order", "btc", "buy", "0.01", "--limit", "20000", "--client-id", "mine")
    (asked,) = await cli("replace", rests["order_id"], "--size", "0.02", "--limit", "21000")
    assert asked["order_id"] == rests["order_id"]
    async with Perpmesh(mesh.edge, token=token) as client:
        now = await until(
            lambda: client.orders.get(rests["order_id"]),
            lambda one: one.limit_price == "21000",
            timeout_s=60,
            why="the leg with the new terms follows",
        )
    assert (now.size, len(now.legs)) == ("0.02", 2)
    (seen,) = await cli("preview", "btc", "sell", "0.01", "--stop", "20000")
    assert seen["passes"], seen
    (sliced,) = await cli("order", "btc", "buy", "0.05", "--twap", "2h", "--every", "1h")
    assert (sliced["type"], sliced["twap_progress"]["slice_count"]) == ("ORDER_TYPE_TWAP", 3)
    (paused,) = await cli("pause", sliced["order_id"])
    assert "next_slice_time" not in paused["twap_progress"]
    (resumed,) = await cli("resume", sliced["order_id"])
    assert resumed["twap_progress"]["next_slice_time"]
    (set_,) = await cli("leverage", "btc", "7", "--account", owner.account_id)
    assert (set_["leverage"], set_["state"]) == (7, "STATE_CONFIRMED")
    (armed,) = await cli("arm", "1h", "--mesh-keeper")
    assert (armed["state"], armed["keeper"]) == ("STATE_ARMED", "KEEPER_MESH"), "it has no million of volume"
    (free,) = await cli("disarm", "--account", owner.account_id)
    assert free["state"] == "STATE_DISARMED"
    assert {one["venue"] for one in await cli("budget", "--venue", "hyperliquid")} == {"hyperliquid"}
    assert [one["name"] for one in await cli("usage")] == ["open_orders", "orders"]
    await run_trading(parse(["usage", "--address", mesh.edge]), Output(as_json=False, screen=False))
    assert "open_orders" in capsys.readouterr().out
    await cli("cancel", "--all")


async def test_an_order_is_signed_by_its_owner_through_the_client(mesh: Mesh) -> None:
    wallet = Wallet()
    async with grpc.aio.insecure_channel(mesh.edge) as edge:
        token = (await sign_in(AuthServiceStub(edge), wallet)).access_token
        owner = await own(VaultServiceStub(edge), wallet, token, "hyperliquid", default=True, custody=CALLER)
        await owner.fund()
        owner.account = (await owner.get()).account
    signer = signable_pb2.CallerSigner(account_id=owner.account_id, signer_address=wallet.address)
    async with Perpmesh(mesh.edge, token=token) as client:
        orders = client.orders
        made = await orders.prepare(wish(BTC, "buy", SIZE, venue="hyperliquid"), [signer])
        signed = {one.leg_id: by_sdk(one, wallet.secret) for one in made.signables}
        assert signed, made.order.explanation
        await orders.submit_signed(made.order.order_id, signed)
        done = await orders.ended(made.order.order_id)
        assert (done.state, done.caller_signed, done.filled_size) == (State.STATE_DONE, True, "0.01"), done
        assert (await orders.report(done.order_id)).complete


async def test_the_program_in_the_readme_trades_as_it_stands(mesh: Mesh) -> None:
    (program,) = [one for one in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "orders.place" in one]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", program.replace("127.0.0.1:8080", mesh.edge)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    async with asyncio.timeout(100):
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    *fills, positions, closed = out.decode().splitlines()
    (wanted,) = re.findall(r'"DOGE-PERP", "buy", "(\d+)"', program)
    assert sum(Decimal(line.split()[1]) for line in fills) == Decimal(wanted), "the fills were followed to the last"
    assert "lighter" in positions
    assert closed == "It is filled in full."


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
            while len(seen) < len(listed):
                if following.done():
                    following.result()
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
