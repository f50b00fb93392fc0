"""Accounts, limits and set-ups over the contract, against both simulated venues."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from typing import Any

import pytest
from perpmesh.type.v1 import environment_pb2, refusal_pb2
from perpmesh.vault.v1 import account_pb2, authorization_pb2, key_pb2, key_setup_pb2
from perpmesh.vault.v1 import vault_service_pb2 as pb

from services.domain.errors import Reason
from tests.integration.vault.conftest import BUILDER, INTEGRATOR
from tests.support.auth import bearer, refusal
from tests.support.signers import Wallet as VenueWallet
from tests.support.vault import (
    SIMULATED,
    Owner,
    middle,
    moment,
    new_id,
    order,
    own,
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


async def limited(owner: Owner, token: str = "", **limits: Any) -> Any:
    request = pb.SetTradingLimitsRequest(account_id=owner.account_id, limits=account_pb2.TradingLimits(**limits))
    return await owner.vault.SetTradingLimits(request, metadata=bearer(token or owner.token))


async def test_an_account_is_added_once_and_named_by_its_user_alone(mesh: Client) -> None:
    wallet = Wallet()
    token = mesh.grounds.token(wallet)
    request = pb.CreateAccountRequest(request_id=new_id(), venue="lighter", environment=SIMULATED, label="main")
    made = (await mesh.vault.CreateAccount(request, metadata=bearer(token))).account
    again = (await mesh.vault.CreateAccount(request, metadata=bearer(token))).account
    assert again.account_id == made.account_id
    assert made.default
    assert made.label == "main"
    assert made.wallet_address == wallet.address
    request.venue = "hyperliquid"
    assert (await refusal(mesh.vault.CreateAccount(request, metadata=bearer(token)))).reason is Reason.REQUEST_ID_REUSED
    twin = pb.CreateAccountRequest(request_id=new_id(), venue="lighter", environment=SIMULATED)
    assert (await refusal(mesh.vault.CreateAccount(twin, metadata=bearer(token)))).reason is Reason.STATE_FORBIDS
    stranger = mesh.grounds.token(Wallet())
    get = pb.GetAccountRequest(account_id=made.account_id)
    assert (await refusal(mesh.vault.GetAccount(get, metadata=bearer(stranger)))).reason is Reason.RESOURCE_UNKNOWN


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"environment": environment_pb2.ENVIRONMENT_MAINNET}, "environment"),
        ({"wallet_address": "0x" + "11" * 20}, "wallet_address"),
        ({"kind": account_pb2.Account.KIND_SUB_ACCOUNT}, "venue_account"),
        ({"kind": account_pb2.Account.KIND_SUB_ACCOUNT, "venue_account": "0x" + "12" * 20}, "venue_account"),
        ({"venue_account": "0x" + "12" * 20}, "venue_account"),
    ],
)
async def test_what_an_account_cannot_be_is_said_by_its_field(mesh: Client, fields: Any, field: str) -> None:
    given = {"request_id": new_id(), "venue": "hyperliquid", "environment": SIMULATED, **fields}
    call = mesh.vault.CreateAccount(pb.CreateAccountRequest(**given), metadata=bearer(mesh.grounds.token(Wallet())))
    told = await refusal(call)
    assert (told.reason, told.fields[0].field) == (Reason.FIELD_INVALID, field)
    assert "would pass" in told.message or "does not show" in told.message or "is named here" in told.message


async def test_accounts_are_listed_by_pages(mesh: Client) -> None:
    wallet = Wallet()
    token = mesh.grounds.token(wallet, sub=str(uuid.uuid4()))
    made = [(await own(mesh.vault, wallet, token, venue)).account_id for venue in ("lighter", "hyperliquid")]
    found, page = [], ""
    for _ in range(3):
        request = pb.ListAccountsRequest(page_size=1, page_token=page)
        answer = await mesh.vault.ListAccounts(request, metadata=bearer(token))
        found += [one.account_id for one in answer.accounts]
        page = answer.next_page_token
        if not page:
            break
    assert found == [made[1], made[0]]
    only = pb.ListAccountsRequest(venue="lighter")
    assert [one.account_id for one in (await mesh.vault.ListAccounts(only, metadata=bearer(token))).accounts] == made[
        :1
    ]


@BOTH
async def test_limits_are_kept_by_the_signer_itself(mesh: Client, venue: str) -> None:
    owner = await mesh.owner(venue)
    await owner.ready()
    price = int(await bid(mesh, venue))
    mark = price * 100 // 95
    await limited(owner, max_order_notional="500", max_day_notional="1500", markets=["BTC-PERP"], max_leverage=5)
    big = await sign(mesh, owner, size="0.05")
    assert big.refusal.reason == refusal_pb2.REFUSAL_REASON_TRADING_LIMIT
    assert float(big.refusal.passing_value) <= 500 / mark * 1.02
    sell = await sign(mesh, owner, size="0.05", side=2, price=str(price))
    assert sell.refusal.reason == refusal_pb2.REFUSAL_REASON_TRADING_LIMIT, "a low limit hides nothing"
    size = f"{400 / mark:.5f}"
    for _ in range(3):
        request = sign_request(owner.account_id, order(venue, price=str(price), size=size))
        assert (await mesh.signer.Sign(request, timeout=20)).HasField("signed_action")
        await mesh.signer.ReportOutcome(report_request(request, "ACCEPTED"))
    over = await sign(mesh, owner, size=size)
    assert over.refusal.field == "limits.max_day_notional"
    await limited(owner, max_order_notional="500", max_day_notional="1900", markets=["BTC-PERP"])
    request = sign_request(owner.account_id, order(venue, price=str(price), size=size))
    assert (await mesh.signer.Sign(request, timeout=20)).HasField("signed_action")
    if venue == "hyperliquid":  # the other would wait for its turn
        assert (await sign(mesh, owner, size=size)).refusal.field == "limits.max_day_notional"
    await mesh.signer.ReportOutcome(report_request(request, "NOT_SENT"))
    assert (await sign(mesh, owner, size=size)).HasField("signed_action"), "what never traded is given back"


async def test_an_api_token_may_tighten_and_stop_and_nothing_that_loosens(mesh: Client) -> None:
    owner = await mesh.owner("hyperliquid")
    key = await owner.ready()
    claims = json.loads(_payload(owner.token))
    robot = mesh.grounds.token(owner.wallet, sub=claims["sub"], via="api_token")
    await limited(owner, robot, max_order_notional="100")
    denied = [
        limited(owner, robot, max_order_notional="101"),
        limited(owner, robot),
        mesh.vault.CreateAccount(
            pb.CreateAccountRequest(request_id=new_id(), venue="lighter", environment=SIMULATED), metadata=bearer(robot)
        ),
        mesh.vault.BeginKeySetup(
            pb.BeginKeySetupRequest(account_id=owner.account_id, request_id=new_id()), metadata=bearer(robot)
        ),
        mesh.vault.ImportKey(
            pb.ImportKeyRequest(account_id=owner.account_id, request_id=new_id(), private_key="11" * 32),
            metadata=bearer(robot),
        ),
        mesh.vault.UnfreezeTrading(pb.UnfreezeTradingRequest(account_id=owner.account_id), metadata=bearer(robot)),
    ]
    for call in denied:
        assert (await refusal(call)).reason is Reason.PERMISSION_DENIED
    await mesh.vault.FreezeTrading(pb.FreezeTradingRequest(account_id=owner.account_id), metadata=bearer(robot))
    revoke = pb.RevokeKeyRequest(account_id=owner.account_id, key_id=key.key_id)
    done = await mesh.vault.RevokeKey(revoke, metadata=bearer(robot))
    assert done.key.state == key_pb2.Key.STATE_REVOKED


def _payload(token: str) -> bytes:
    part = token.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@BOTH
async def test_a_set_up_takes_the_wallets_own_signature_of_exactly_its_text(mesh: Client, venue: str) -> None:
    owner = await mesh.owner(venue)
    begin = pb.BeginKeySetupRequest(account_id=owner.account_id, request_id=new_id())
    told = await refusal(owner.vault.BeginKeySetup(begin, metadata=owner.metadata))
    assert (told.reason, told.metadata["state"]) == (Reason.STATE_FORBIDS, "NEEDS_DEPOSIT")
    for amount in ("1000000.000001", "0.0001095703125"):
        told = await refusal(owner.fund(amount))
        assert (told.reason, told.metadata["field"]) == (Reason.FIELD_INVALID, "amount")
    assert (await owner.fund("0.000001")).amount == "0.000001"
    await owner.fund()
    setup = await owner.begin()
    assert setup.state == Setup.STATE_AWAITING_SIGNATURES
    (step,) = setup.steps
    assert step.required
    assert step.signer_address == owner.wallet.address
    wrong = [signature(Wallet(), step), "0x" + "00" * 65, "0x" + "ff" * 65]
    for spoiled in wrong:
        request = pb.CompleteKeySetupRequest(
            account_id=owner.account_id,
            key_setup_id=setup.key_setup_id,
            signatures=[key_setup_pb2.StepSignature(step_id=step.step_id, signature=spoiled)],
        )
        assert (await refusal(owner.vault.CompleteKeySetup(request, metadata=owner.metadata))).reason is (
            Reason.FIELD_INVALID
        )
    looked = pb.CompleteKeySetupRequest(account_id=owner.account_id, key_setup_id=setup.key_setup_id)
    still = await owner.vault.CompleteKeySetup(looked, metadata=owner.metadata)
    assert still.key_setup.state == Setup.STATE_AWAITING_SIGNATURES
    assert still.key.state == key_pb2.Key.STATE_PENDING
    done = await owner.complete(setup)
    assert done.key_setup.state == Setup.STATE_CONFIRMED
    assert (await owner.complete(setup)).key_setup.state == Setup.STATE_CONFIRMED, "again is no error"


@BOTH
async def test_a_fee_is_approved_used_and_taken_back(mesh: Client, venue: str) -> None:
    owner = await mesh.owner(venue)
    await owner.fund()
    setup = await owner.begin(max_fee_rate="0.0005")
    assert [step.required for step in setup.steps] == [True, False]
    grantee = BUILDER if venue == "hyperliquid" else str(INTEGRATOR)
    done = await owner.complete(setup)
    assert [step.state for step in done.key_setup.steps] == [Step.STATE_CONFIRMED] * 2, done
    listed = [one for one in (await owner.get()).authorizations if one.grantee == grantee]
    assert [one.max_fee_rate for one in listed] == ["0.0005"]
    action = order(venue, price=await bid(mesh, venue))
    action.place.interface_fee_rate = "0.0005"
    request = sign_request(owner.account_id, action)
    signed = (await mesh.signer.Sign(request, timeout=20)).signed_action
    said = await post(mesh.grounds.http, mesh.grounds.face(venue), signed)
    assert (said.get("code", 200), said.get("status", "ok")) == (200, "ok")
    assert "error" not in str(said)
    await mesh.signer.ReportOutcome(report_request(request, "ACCEPTED"))
    action.place.interface_fee_rate = "0.0006"
    above = await mesh.signer.Sign(sign_request(owner.account_id, action), timeout=20)
    assert above.refusal.reason == refusal_pb2.REFUSAL_REASON_FEE_NOT_APPROVED
    back = await owner.begin(purpose=pb.BeginKeySetupRequest.PURPOSE_REVOKE_FEE)
    assert (await owner.complete(back)).key_setup.state == Setup.STATE_CONFIRMED
    action.place.interface_fee_rate = "0.0001"
    none = await mesh.signer.Sign(sign_request(owner.account_id, action), timeout=20)
    assert none.refusal.reason == refusal_pb2.REFUSAL_REASON_FEE_NOT_APPROVED


async def test_a_fee_can_be_left_out(mesh: Client) -> None:
    owner = await mesh.owner("hyperliquid")
    await owner.fund()
    setup = await owner.begin(max_fee_rate="0.0001")
    required, other = setup.steps
    request = pb.CompleteKeySetupRequest(
        account_id=owner.account_id, key_setup_id=setup.key_setup_id, skipped_step_ids=[required.step_id]
    )
    assert (
        await refusal(owner.vault.CompleteKeySetup(request, metadata=owner.metadata))
    ).reason is Reason.FIELD_INVALID
    done = await owner.complete(setup, skip=[other.step_id])
    assert done.key_setup.state == Setup.STATE_CONFIRMED
    assert done.key_setup.steps[1].state == Step.STATE_SKIPPED


@BOTH
async def test_a_second_key_takes_over_and_the_first_is_destroyed(mesh: Client, venue: str) -> None:
    owner = await mesh.owner(venue)
    first = await owner.ready()
    assert (await sign(mesh, owner)).signed_action.key_id == first.key_id
    second = (await owner.complete(await owner.begin())).key
    if venue == "lighter":
        assert second.api_key_index != first.api_key_index
    price = await bid(mesh, venue)
    request = sign_request(owner.account_id, order(venue, price=price))
    signed = (await mesh.signer.Sign(request, timeout=20)).signed_action
    assert signed.key_id == second.key_id
    said = await post(mesh.grounds.http, mesh.grounds.face(venue), signed)
    assert (said.get("code", 200), said.get("status", "ok")) == (200, "ok"), said
    listed = pb.ListKeysRequest(account_id=owner.account_id, include_ended=True)
    keys = (await owner.vault.ListKeys(listed, metadata=owner.metadata)).keys
    assert {one.key_id: one.state for one in keys} == {
        first.key_id: key_pb2.Key.STATE_REVOKED,
        second.key_id: key_pb2.Key.STATE_ACTIVE,
    }
    database = await mesh.grounds.connection()
    left = await database.fetchval("SELECT sealed_secret FROM keys WHERE key_id = $1", uuid.UUID(first.key_id))
    await database.close()
    assert left is None


async def test_authorizations_made_elsewhere_are_listed(mesh: Client) -> None:
    owner = await mesh.owner("hyperliquid")
    await owner.fund()
    elsewhere = VenueWallet(7_777)
    master = VenueWallet(int.from_bytes(owner.wallet.secret))
    body = master.approve_agent(elsewhere, int(moment(0).seconds * 1000), "other")
    async with mesh.grounds.http.post(f"{mesh.grounds.face('hyperliquid')}/exchange", json=body) as answer:
        assert (await answer.json())["status"] == "ok"
    found = (await owner.get()).authorizations
    assert [(one.kind, one.grantee, one.name, one.key_id) for one in found] == [
        (authorization_pb2.Authorization.KIND_AGENT, elsewhere.address, "other", "")
    ]


@BOTH
async def test_an_account_with_open_orders_stays_and_one_without_goes_for_good(mesh: Client, venue: str) -> None:
    owner = await mesh.owner(venue)
    await owner.ready()
    request = sign_request(owner.account_id, order(venue, price=await bid(mesh, venue)))
    signed = (await mesh.signer.Sign(request, timeout=20)).signed_action
    delete = pb.DeleteAccountRequest(account_id=owner.account_id)
    assert (await refusal(owner.vault.DeleteAccount(delete, metadata=owner.metadata))).reason is Reason.STATE_FORBIDS
    await post(mesh.grounds.http, mesh.grounds.face(venue), signed)
    await mesh.signer.ReportOutcome(report_request(request, "ACCEPTED"))
    await _open(mesh, owner)
    told = await refusal(owner.vault.DeleteAccount(delete, metadata=owner.metadata))
    assert told.metadata["open_orders"] == "1"
    empty = await mesh.owner(venue)
    await empty.ready()
    delete.account_id = empty.account_id
    await empty.vault.DeleteAccount(delete, metadata=empty.metadata)
    await empty.vault.DeleteAccount(delete, metadata=empty.metadata)
    told = await refusal(mesh.signer.Sign(sign_request(empty.account_id, order(venue, price="1")), timeout=20))
    assert told.reason is Reason.RESOURCE_UNKNOWN
    database = await mesh.grounds.connection()
    left = await database.fetchval(
        "SELECT count(*) FROM keys WHERE account_id = $1 AND sealed_secret IS NOT NULL", uuid.UUID(empty.account_id)
    )
    await database.close()
    assert left == 0


async def _open(mesh: Client, owner: Owner) -> None:
    """Wait until the venue shows the order that was posted."""
    account = (await owner.get()).account
    for _ in range(200):
        if account.venue == "hyperliquid":
            body = {"type": "frontendOpenOrders", "user": account.venue_account}
            async with mesh.grounds.http.post(f"{mesh.grounds.face('hyperliquid')}/info", json=body) as answer:
                if await answer.json():
                    return
        else:
            query = {"by": "index", "value": account.venue_account}
            url = f"{mesh.grounds.face('lighter')}/api/v1/account"
            async with mesh.grounds.http.get(url, params=query) as answer:
                if (await answer.json())["accounts"][0]["total_order_count"]:
                    return
        await asyncio.sleep(0.05)
    raise AssertionError("the venue shows no order")
