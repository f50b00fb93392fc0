"""What somebody has at the vault: an account at Hyperliquid with test funds, a key, a set-up under way."""

from __future__ import annotations

from perpmesh.vault.v1 import account_pb2, key_setup_pb2
from perpmesh.vault.v1 import vault_service_pb2 as pb
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub

from tests.support.owned import Owner, Step
from tests.support.vault import SIMULATED, signature
from tests.support.vault import Owner as AccountOwner

LEFT_OUT: dict[str, str] = {
    "ImportKey": "only a key that the venue accepts already passes; tests/integration/vault imports one",
}


async def own(owner: Owner) -> list[Step]:
    """Add an account, fund it, set up a key, and begin another."""
    stub = VaultServiceStub(owner.channel)
    create = pb.CreateAccountRequest(request_id=owner.new_id(), venue="hyperliquid", environment=SIMULATED)
    made = (await stub.CreateAccount(create, metadata=owner.metadata)).account
    mine = AccountOwner(stub, owner.wallet, owner.token, made)
    mark = made.account_id
    fund = pb.RequestTestFundsRequest(account_id=mark, request_id=owner.new_id(), amount="5000")
    await stub.RequestTestFunds(fund, metadata=owner.metadata)
    key = (await mine.complete(await mine.begin())).key
    begin = pb.BeginKeySetupRequest(account_id=mark, request_id=owner.new_id(), key_name="second")
    setup = (await stub.BeginKeySetup(begin, metadata=owner.metadata)).key_setup
    complete = pb.CompleteKeySetupRequest(
        account_id=mark,
        key_setup_id=setup.key_setup_id,
        signatures=[
            key_setup_pb2.StepSignature(step_id=step.step_id, signature=signature(owner.wallet, step))
            for step in setup.steps
        ],
    )
    limits = account_pb2.TradingLimits(max_order_notional="1000")
    return [
        Step("CreateAccount", create, shows=(mark,)),
        Step("ListAccounts", pb.ListAccountsRequest(), shows=(mark,)),
        Step("GetAccount", pb.GetAccountRequest(account_id=mark), shows=(mark,), hides=(mark,)),
        Step("RequestTestFunds", fund, hides=(mark,)),
        Step("ListKeys", pb.ListKeysRequest(account_id=mark), shows=(key.key_id,), hides=(mark,)),
        Step("BeginKeySetup", begin, shows=(setup.key_setup_id,), hides=(mark,)),
        Step("CompleteKeySetup", complete, shows=(setup.key_setup_id,), hides=(mark, setup.key_setup_id)),
        Step(
            "SetTradingLimits", pb.SetTradingLimitsRequest(account_id=mark, limits=limits), shows=(mark,), hides=(mark,)
        ),
        Step("FreezeTrading", pb.FreezeTradingRequest(account_id=mark), shows=(mark,), hides=(mark,)),
        Step("UnfreezeTrading", pb.UnfreezeTradingRequest(account_id=mark), shows=(mark,), hides=(mark,)),
        Step(
            "RevokeKey",
            pb.RevokeKeyRequest(account_id=mark, key_id=key.key_id),
            shows=(key.key_id,),
            hides=(mark, key.key_id),
        ),
        Step("DeleteAccount", pb.DeleteAccountRequest(account_id=mark), hides=(mark,)),
    ]
