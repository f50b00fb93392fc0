"""The vault through a real edge, against both simulated venues: keys are set up, sign, and are revoked."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.vault.v1 import account_pb2, key_pb2, key_setup_pb2
from perpmesh.vault.v1 import vault_service_pb2 as pb
from perpmesh.vault.v1.signer_service_pb2_grpc import SignerServiceStub
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub

from services.domain.errors import Reason
from tests.support.auth import bearer, refusal, sign_in
from tests.support.mesh import Mesh, running_mesh
from tests.support.vault import Owner, middle, new_id, order, own, post, report_request, sign_request
from tests.support.wallet import Wallet

pytestmark = pytest.mark.asyncio(loop_scope="module")
BOTH = pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def mesh() -> AsyncIterator[Mesh]:
    async with running_mesh(simulator_seed=5, ip_requests_per_s=100_000, simulator_lighter_requests_max=0) as running:
        yield running


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
