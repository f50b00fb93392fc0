"""What somebody has at the vault: an account at a simulated venue, its key, a set-up under way, limits."""

from __future__ import annotations

from perpmesh.vault.v1 import account_pb2
from perpmesh.vault.v1 import vault_service_pb2 as pb
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub

from tests.support import vault
from tests.support.owned import Owner, Step

VENUE = "hyperliquid"
LEFT_OUT = {"ImportKey": "a key that the venue accepts is known to its owner alone; tests/integration/vault has it"}


async def own(owner: Owner) -> list[Step]:
    """Add an account, give it funds and a key, and begin another set-up."""
    made = pb.CreateAccountRequest(request_id=owner.new_id(), venue=VENUE, environment=vault.SIMULATED)
    stub = VaultServiceStub(owner.channel)
    account = (await stub.CreateAccount(made, metadata=owner.metadata)).account
    mine = vault.Owner(stub, owner.wallet, owner.token, account)
    key = await mine.ready()
    setup = await mine.begin()
    one, address = account.account_id, owner.wallet.address
    begun = pb.BeginKeySetupRequest(account_id=one, request_id=owner.new_id())
    funds = pb.RequestTestFundsRequest(account_id=one, request_id=owner.new_id())
    limits = account_pb2.TradingLimits(max_order_notional="1000")
    return [
        Step("CreateAccount", made, shows=(one, address)),
        Step("ListAccounts", pb.ListAccountsRequest(), shows=(one, address)),
        Step("GetAccount", pb.GetAccountRequest(account_id=one), shows=(one, key.key_id), hides=(one,)),
        Step("ListKeys", pb.ListKeysRequest(account_id=one), shows=(key.key_id, key.public_key), hides=(one,)),
        Step("RequestTestFunds", funds, hides=(one,)),
        Step("BeginKeySetup", begun, shows=(one,), hides=(one,)),
        Step(
            "CompleteKeySetup",
            pb.CompleteKeySetupRequest(account_id=one, key_setup_id=setup.key_setup_id),
            shows=(setup.key_setup_id,),
            hides=(one, setup.key_setup_id),
        ),
        Step("SetTradingLimits", pb.SetTradingLimitsRequest(account_id=one, limits=limits), shows=(one,), hides=(one,)),
        Step("FreezeTrading", pb.FreezeTradingRequest(account_id=one, reason="mine"), shows=(one,), hides=(one,)),
        Step("UnfreezeTrading", pb.UnfreezeTradingRequest(account_id=one), shows=(one,), hides=(one,)),
        Step(
            "RevokeKey",
            pb.RevokeKeyRequest(account_id=one, key_id=key.key_id),
            shows=(key.key_id,),
            hides=(one, key.key_id),
        ),
        Step("DeleteAccount", pb.DeleteAccountRequest(account_id=one), hides=(one,)),
    ]
