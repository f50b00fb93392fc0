"""What execution asks of the vault: outcomes, fences, tokens, the accounts of all, and callers who sign themselves."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import pytest
from perpmesh.type.v1 import refusal_pb2
from perpmesh.vault.v1 import account_pb2, key_pb2, key_setup_pb2
from perpmesh.vault.v1 import signer_service_pb2 as signer_pb
from perpmesh.vault.v1 import vault_service_pb2 as pb

from services.domain.errors import Reason
from tests.support.auth import refusal
from tests.support.signers import ApiKey
from tests.support.vault import (
    Owner,
    middle,
    moment,
    new_id,
    order,
    post,
    report_request,
    sign_request,
    signature,
)
from tests.support.vault_room import Client
from tests.support.wallet import Wallet

pytestmark = pytest.mark.asyncio(loop_scope="session")
BOTH = pytest.mark.parametrize("venue", ["hyperliquid", "lighter"])
Setup, Step = key_setup_pb2.KeySetup, key_setup_pb2.KeySetupStep


async def bid(mesh: Client, venue: str, percent: int = 95) -> str:
    ground = mesh.grounds
    return str(int(await middle(ground.http, ground.face(venue), venue)) * percent // 100)


async def sign(mesh: Client, owner: Owner, **fields: Any) -> Any:
    venue = owner.account.venue
    given = {"price": await bid(mesh, venue), **fields}
    return await mesh.signer.Sign(sign_request(owner.account_id, order(venue, **given)), timeout=20)


def _payload(token: str) -> bytes:
    part = token.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def test_a_key_unknown_to_the_venue_is_dead(mesh: Client) -> None:
    owner = await mesh.owner("hyperliquid")
    key = await owner.ready()
    request = sign_request(owner.account_id, order("hyperliquid", price=await bid(mesh, "hyperliquid")))
    await mesh.signer.Sign(request)
    await mesh.signer.ReportOutcome(report_request(request, "KEY_UNKNOWN", venue_message="does not exist"))
    answer = await sign(mesh, owner)
    assert answer.refusal.reason == refusal_pb2.REFUSAL_REASON_KEY_UNUSABLE
    listed = pb.ListKeysRequest(account_id=owner.account_id, include_ended=True)
    keys = (await owner.vault.ListKeys(listed, metadata=owner.metadata)).keys
    assert [(one.key_id, one.state) for one in keys] == [(key.key_id, key_pb2.Key.STATE_DEAD)]
    told = await refusal(mesh.signer.ReportOutcome(report_request(request, "ACCEPTED")))
    assert told.reason is Reason.OUTCOME_CONTRADICTED


@BOTH
async def test_an_old_fence_and_another_action_are_refused(mesh: Client, venue: str) -> None:
    owner = await mesh.owner(venue)
    await owner.ready()
    price = await bid(mesh, venue)
    request = sign_request(owner.account_id, order(venue, price=price), fence=5)
    first = (await mesh.signer.Sign(request, timeout=20)).signed_action
    request.fence = 7
    assert (await mesh.signer.Sign(request, timeout=20)).signed_action == first
    await mesh.signer.ReportOutcome(report_request(request, "NOT_SENT"))
    request.fence = 6
    assert (await refusal(mesh.signer.Sign(request, timeout=20))).reason is Reason.FENCED
    assert (await refusal(mesh.signer.ReportOutcome(report_request(request, "NOT_SENT")))).reason is Reason.FENCED
    other = sign_request(owner.account_id, order(venue, price=price), leg_id=request.leg_id, fence=9)
    assert (await refusal(mesh.signer.Sign(other, timeout=20))).reason is Reason.REQUEST_ID_REUSED
    unknown = report_request(sign_request(owner.account_id, order(venue, price=price)), "ACCEPTED")
    assert (await refusal(mesh.signer.ReportOutcome(unknown))).reason is Reason.RESOURCE_UNKNOWN


async def test_a_hundred_twins_get_the_same_bytes(mesh: Client) -> None:
    owner = await mesh.owner("lighter")
    await owner.ready()
    request = sign_request(owner.account_id, order("lighter", price=await bid(mesh, "lighter")))
    answers = await asyncio.gather(*(mesh.signer.Sign(request, timeout=25) for _ in range(100)))
    assert len({one.signed_action.SerializeToString(deterministic=True) for one in answers}) == 1


async def test_lighter_waits_for_the_outcome_before(mesh: Client) -> None:
    owner = await mesh.owner("lighter")
    await owner.ready()
    price = await bid(mesh, "lighter")
    first = sign_request(owner.account_id, order("lighter", price=price))
    second = sign_request(owner.account_id, order("lighter", price=price))
    one = (await mesh.signer.Sign(first, timeout=20)).signed_action
    told = await refusal(mesh.signer.Sign(second, timeout=1.0))
    assert told.reason is Reason.LIMIT_REACHED
    waiting = asyncio.ensure_future(mesh.signer.Sign(second, timeout=20))
    await mesh.signer.ReportOutcome(report_request(first, "REFUSED_NONCE_FREE"))
    assert (await waiting).signed_action.nonce == one.nonce, "a nonce that was not used is used again"


async def test_a_nonce_that_moved_at_the_venue_is_asked_for(mesh: Client) -> None:
    owner = await mesh.owner("lighter")
    await owner.ready()
    price = await bid(mesh, "lighter")
    first = sign_request(owner.account_id, order("lighter", price=price))
    signed = (await mesh.signer.Sign(first, timeout=20)).signed_action
    await post(mesh.grounds.http, mesh.grounds.face("lighter"), signed)
    await mesh.signer.ReportOutcome(report_request(first, "REFUSED_NONCE", venue_code="21104"))
    after = sign_request(owner.account_id, order("lighter", price=price))
    assert (await mesh.signer.Sign(after, timeout=20)).signed_action.nonce == signed.nonce + 1


async def test_lighters_token_opens_private_reads(mesh: Client) -> None:
    owner = await mesh.owner("lighter")
    await owner.ready()
    request = signer_pb.IssueVenueTokenRequest(account_id=owner.account_id)
    request.lifetime.FromSeconds(600)
    issued = await mesh.signer.IssueVenueToken(request, timeout=20)
    query = {"account_index": (await owner.get()).account.venue_account, "auth": issued.venue_token}
    url = f"{mesh.grounds.face('lighter')}/api/v1/accountActiveOrders"
    async with mesh.grounds.http.get(url, params=query) as answer:
        assert (await answer.json())["code"] == 200
    other = await mesh.owner("hyperliquid")
    request.account_id = other.account_id
    assert (await mesh.signer.IssueVenueToken(request)).venue_token == ""


async def test_execution_learns_whose_accounts_are_and_who_trades(mesh: Client) -> None:
    owner = await mesh.owner("lighter")
    key = await owner.ready()
    request = signer_pb.BatchGetSigningAccountsRequest(account_ids=[owner.account_id])
    (found,) = (await mesh.signer.BatchGetSigningAccounts(request)).accounts
    assert found.user_id == json.loads(_payload(owner.token))["sub"]
    assert key.public_key in found.trading_keys
    seen, page = set(), ""
    while True:
        every = signer_pb.BatchGetSigningAccountsRequest(page_size=3, page_token=page)
        answer = await mesh.signer.BatchGetSigningAccounts(every)
        seen |= {one.account.account_id for one in answer.accounts}
        page = answer.next_page_token
        if not page:
            break
    assert owner.account_id in seen


async def prepared(mesh: Client, owner: Owner, **who: Any) -> tuple[Any, Any]:
    venue = owner.account.venue
    request = signer_pb.PrepareActionRequest(
        leg_id=new_id(), fence=1, account_id=owner.account_id, action=order(venue, price=await bid(mesh, venue)),
        expire_time=moment(), order_id=new_id(), **who,
    )  # fmt: skip
    return request, (await mesh.signer.PrepareAction(request, timeout=20)).prepared


async def test_a_caller_signs_for_hyperliquid(mesh: Client) -> None:
    owner = await mesh.owner("hyperliquid", custody=account_pb2.Account.CUSTODY_CALLER)
    await owner.fund()
    request, made = await prepared(mesh, owner, signer_address=owner.wallet.address)
    assert (await mesh.signer.PrepareAction(request)).prepared == made, "again it is the same"
    step = Step(method=Step.METHOD_EIP712, payload=made.payload)
    accept = signer_pb.AcceptSignatureRequest(leg_id=request.leg_id, fence=1, signature=signature(Wallet(), step))
    assert (await mesh.signer.AcceptSignature(accept)).refusal.reason == refusal_pb2.REFUSAL_REASON_SIGNATURE
    accept.signature = signature(owner.wallet, step)
    signed = (await mesh.signer.AcceptSignature(accept)).signed_action
    assert (await mesh.signer.AcceptSignature(accept)).signed_action == signed
    said = await post(mesh.grounds.http, mesh.grounds.face("hyperliquid"), signed)
    assert said["status"] == "ok"
    assert "error" not in str(said)
    await mesh.signer.ReportOutcome(report_request(request, "ACCEPTED"))
    ours = await mesh.signer.Sign(sign_request(owner.account_id, request.action))
    assert ours.HasField("refusal"), "no key of ours signs for an account whose owner does"


async def test_a_caller_signs_for_lighter(mesh: Client) -> None:
    owner = await mesh.owner("lighter", custody=account_pb2.Account.CUSTODY_CALLER)
    key = ApiKey(99)
    await mesh.grounds.simulator.fund("lighter", owner.wallet.address, "5000", api_keys={"9": key.hex})
    assert (await owner.get()).account.state == account_pb2.Account.STATE_ACTIVE
    request, made = await prepared(mesh, owner, public_key=key.hex, api_key_index=9)
    accept = signer_pb.AcceptSignatureRequest(leg_id=request.leg_id, fence=1)
    accept.signature = base64.b64encode(ApiKey(98).sign(bytes.fromhex(made.digest))).decode()
    assert (await mesh.signer.AcceptSignature(accept)).refusal.reason == refusal_pb2.REFUSAL_REASON_SIGNATURE
    accept.signature = base64.b64encode(key.sign(bytes.fromhex(made.digest))).decode()
    signed = (await mesh.signer.AcceptSignature(accept)).signed_action
    said = await post(mesh.grounds.http, mesh.grounds.face("lighter"), signed)
    assert said["code"] == 200, said
    await mesh.signer.ReportOutcome(report_request(request, "ACCEPTED"))
    _, after = await prepared(mesh, owner, public_key=key.hex, api_key_index=9)
    assert after.nonce == made.nonce + 1
