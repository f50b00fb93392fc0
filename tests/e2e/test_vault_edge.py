"""The vault through a real edge, against both simulated venues: keys are set up, sign, and are revoked."""

from __future__ import annotations

# ruff: noqa: ASYNC110 - what is awaited is in other processes
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from google.protobuf import json_format
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.execution.v1 import execution_service_pb2, order_pb2
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.type.v1 import order_type_pb2, side_pb2, time_in_force_pb2
from perpmesh.vault.v1 import account_pb2, key_pb2, key_setup_pb2
from perpmesh.vault.v1 import vault_service_pb2 as pb
from perpmesh.vault.v1.signer_service_pb2_grpc import SignerServiceStub
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub
from perpmesh_client.errors import PerpmeshError
from perpmesh_client.quotes import Quotes

from services.domain.errors import Reason
from tests.support.auth import bearer, refusal, sign_in
from tests.support.mesh import Mesh, running_mesh
from tests.support.vault import (
    Owner,
    middle,
    new_id,
    order,
    own,
    post,
    report_request,
    secret_of,
    sign_request,
    signature,
)
from tests.support.wallet import Wallet

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOTH = pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh() -> AsyncIterator[Mesh]:
    async with running_mesh(simulator_seed=5, ip_requests_per_s=100_000, simulator_lighter_requests_max=0) as running:
        async with Quotes(running.edge) as quotes, asyncio.timeout(60):
            while not await quoted(quotes):
                await asyncio.sleep(0.2)
        yield running


async def quoted(quotes: Quotes) -> bool:
    """Say whether both venues' books are there."""
    try:
        return len((await quotes.quote("BTC-PERP", "buy", "1")).book_versions) == 2
    except PerpmeshError:
        return False


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def edge(mesh: Mesh) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(mesh.edge) as channel:
        yield channel


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def signer(mesh: Mesh) -> AsyncIterator[Any]:
    async with mesh.channel("vault.signer", part="execution") as channel:
        yield SignerServiceStub(channel)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def owner_at(edge: grpc.aio.Channel, venue: str) -> Owner:
    wallet = Wallet()
    token = (await sign_in(AuthServiceStub(edge), wallet)).access_token
    return await own(VaultServiceStub(edge), wallet, token, venue)


def face(mesh: Mesh, venue: str) -> str:
    return f"http://{mesh.address(f'simulator.{venue}')}"


def is_accepted(answer: Any) -> bool:
    if "code" in answer:
        return bool(answer["code"] == 200)
    return answer.get("status") == "ok" and "error" not in str(answer)


@BOTH
async def test_a_key_is_set_up_trades_and_is_revoked(
    mesh: Mesh, edge: grpc.aio.Channel, signer: Any, http: aiohttp.ClientSession, venue: str
) -> None:
    owner = await owner_at(edge, venue)
    assert owner.account.state == account_pb2.Account.STATE_NEEDS_DEPOSIT
    assert (await owner.fund()).balance == "100000"
    key = (await owner.complete(await owner.begin())).key
    assert key.state == key_pb2.Key.STATE_ACTIVE
    about = await owner.get()
    assert about.account.state == account_pb2.Account.STATE_ACTIVE
    assert key.key_id in {one.key_id for one in about.authorizations}

    price = await middle(http, face(mesh, venue), venue)
    request = sign_request(owner.account_id, order(venue, price=str(int(price * 95 // 100))))
    signed = (await signer.Sign(request)).signed_action
    assert signed.key_id == key.key_id
    again = (await signer.Sign(request)).signed_action
    assert again == signed
    assert is_accepted(await post(http, face(mesh, venue), signed))
    await signer.ReportOutcome(report_request(request, "ACCEPTED"))
    await signer.ReportOutcome(report_request(request, "ACCEPTED"))
    wiped = (await signer.Sign(request)).signed_action
    assert (wiped.nonce, wiped.body) == (signed.nonce, b"")

    last = sign_request(owner.account_id, order(venue, price=str(int(price * 94 // 100))))
    held_back = (await signer.Sign(last)).signed_action
    revoked = await owner.vault.RevokeKey(
        pb.RevokeKeyRequest(account_id=owner.account_id, key_id=key.key_id), metadata=owner.metadata
    )
    assert revoked.key.state == key_pb2.Key.STATE_REVOKED
    no = (await signer.Sign(sign_request(owner.account_id, order(venue, price=str(price))))).refusal
    assert "No key of ours" in no.message
    done = await owner.complete(revoked.key_setup)
    assert done.key_setup.state == key_setup_pb2.KeySetup.STATE_CONFIRMED
    assert done.key.HasField("venue_revoke_time")
    assert not is_accepted(await post(http, face(mesh, venue), held_back))


@BOTH
async def test_freeze_is_felt_at_once(mesh: Mesh, edge: grpc.aio.Channel, signer: Any, venue: str) -> None:
    owner = await owner_at(edge, venue)
    await owner.ready()
    request = pb.FreezeTradingRequest(account_id=owner.account_id, reason="phone lost")
    began = time.monotonic()
    await owner.vault.FreezeTrading(request, metadata=owner.metadata)
    answer = await signer.Sign(sign_request(owner.account_id, order(venue, price="1")))
    assert "phone lost" in answer.refusal.message
    assert time.monotonic() - began < 1
    await owner.vault.UnfreezeTrading(pb.UnfreezeTradingRequest(account_id=owner.account_id), metadata=owner.metadata)
    assert (await owner.get()).account.state == account_pb2.Account.STATE_ACTIVE


async def test_only_execution_reaches_the_signer(mesh: Mesh, edge: grpc.aio.Channel) -> None:
    request = sign_request(new_id(), order("hyperliquid", price="1"))
    for part in ("edge", "market_data", "auth", "vault", "stream"):
        async with mesh.channel("vault.signer", part=part) as channel:
            assert (await refusal(SignerServiceStub(channel).Sign(request))).reason is Reason.PERMISSION_DENIED
    async with mesh.channel("vault", part="execution") as channel:
        assert (await refusal(SignerServiceStub(channel).Sign(request))).reason in (
            Reason.CALL_NOT_SERVED,
            Reason.CALL_UNKNOWN,
        )
    assert (await refusal(SignerServiceStub(edge).Sign(request))).reason is Reason.TOKEN_MISSING
    token = (await sign_in(AuthServiceStub(edge), Wallet())).access_token
    outside = SignerServiceStub(edge).Sign(request, metadata=bearer(token))
    assert (await refusal(outside)).reason is Reason.CALL_UNKNOWN


async def perpmesh(mesh: Mesh, home: Path, *arguments: str, key: str = "") -> tuple[int, str]:
    """Run the command line as a person does."""
    environ = {"PATH": os.environ["PATH"], "PERPMESH_ADDRESS": mesh.edge, "PERPMESH_SESSION_FILE": str(home / "s.json")}
    if key:
        environ["PERPMESH_PRIVATE_KEY"] = key
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "perpmesh_client.cli", *arguments, env={**environ, "PYTHONPATH": "gen:clients/python"},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def first_order(edge: grpc.aio.Channel, wallet: Wallet, account_id: str, price: str) -> order_pb2.Order:
    """Place an order that rests as whoever owns the wallet, and return it once its venue, or the mesh, has answered."""
    metadata = bearer((await sign_in(AuthServiceStub(edge), wallet)).access_token)
    execution = ExecutionServiceStub(edge)
    request = execution_service_pb2.PlaceOrderRequest(
        request_id=new_id(), market="BTC-PERP", side=side_pb2.SIDE_BUY, size="0.01", account_ids=[account_id],
        type=order_type_pb2.ORDER_TYPE_LIMIT, limit_price=price,
        time_in_force=time_in_force_pb2.TIME_IN_FORCE_GOOD_TILL_CANCELED,
    )  # fmt: skip
    placed = (await execution.PlaceOrder(request, metadata=metadata)).order
    asked = execution_service_pb2.GetOrderRequest(order_id=placed.order_id)
    async with asyncio.timeout(60):
        while True:
            now = (await execution.GetOrder(asked, metadata=metadata)).order
            if now.state not in (order_pb2.Order.STATE_PLANNED, order_pb2.Order.STATE_RUNNING):
                return now
            if all(leg.venue_order_id for leg in now.legs):
                return now
            await asyncio.sleep(0.05)


@BOTH
async def test_a_person_sets_up_and_revokes_a_key_by_commands(
    mesh: Mesh, edge: grpc.aio.Channel, http: aiohttp.ClientSession, venue: str, tmp_path: Path
) -> None:
    wallet = Wallet()
    key = secret_of(wallet)
    assert (await perpmesh(mesh, tmp_path, "login", key=key))[0] == 0
    code, said = await perpmesh(mesh, tmp_path, "accounts", "add", venue, "--json")
    assert code == 0, said
    account_id = json.loads(said)["account_id"]
    code = 1
    async with asyncio.timeout(60):
        while code != 0:  # a machine that is busy may take longer than the command waits
            code, said = await perpmesh(mesh, tmp_path, "accounts", "fund", venue, "100000")
    assert "100000" in said
    code, said = await perpmesh(mesh, tmp_path, "keys", "setup", venue, key=key)
    assert (code, "confirmed" in said) == (0, True), said
    price = str(int(await middle(http, face(mesh, venue), venue) * 95 // 1_000) * 10)
    accepted = await first_order(edge, wallet, account_id, price)
    assert (accepted.state, accepted.legs[0].venue) == (order_pb2.Order.STATE_RUNNING, venue), accepted

    if venue == "lighter":
        await _by_hand(mesh, tmp_path, venue, wallet)
        second = await first_order(edge, wallet, account_id, price)
        assert second.state == order_pb2.Order.STATE_RUNNING, second
    rows: list[Any] = []
    while not any("authorization" in row for row in rows):  # a venue that is slow to answer is shown as silent
        code, said = await perpmesh(mesh, tmp_path, "keys", "list", venue, "--json")
        assert code == 0, said
        rows = [json.loads(line) for line in said.splitlines()]
    active = [row["key_id"] for row in rows if row.get("state") == "STATE_ACTIVE"]
    assert len(active) == 1
    assert any("authorization" in row for row in rows)
    code, said = await perpmesh(mesh, tmp_path, "keys", "revoke", venue, active[0][:20], key=key)
    assert (code, "confirmed" in said) == (0, True), said
    refused = await first_order(edge, wallet, account_id, price)
    assert (refused.state, "No key of ours" in refused.explanation) == (order_pb2.Order.STATE_DENIED, True), refused
    code, said = await perpmesh(mesh, tmp_path, "keys", "list", "nonsense")
    assert code == 1
    assert "names none of your accounts" in said


async def _by_hand(mesh: Mesh, home: Path, venue: str, wallet: Wallet) -> None:
    """Freeze and unfreeze, and set up another key whose steps are signed elsewhere, by something that is not ours."""
    code, said = await perpmesh(mesh, home, "freeze", venue, "--reason", "lunch")
    assert (code, "frozen" in said) == (0, True), said
    assert (await perpmesh(mesh, home, "unfreeze", venue))[0] == 0
    _, said = await perpmesh(mesh, home, "keys", "setup", venue, "--print", "--json")
    printed = json.loads(said)
    pairs = [f"{step['step_id']}={signature(wallet, _step(step))}" for step in printed["steps"]]
    code, said = await perpmesh(mesh, home, "keys", "finish", venue, printed["key_setup_id"], *pairs)
    assert (code, "confirmed" in said) == (0, True), said


def _step(fields: dict[str, Any]) -> Any:
    return json_format.ParseDict(fields, key_setup_pb2.KeySetupStep())
