"""`VaultService`: message to value, one use case, value to message."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from perpmesh.vault.v1 import vault_service_pb2 as pb
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceServicer

from services.chassis import call
from services.chassis.principal import Principal
from services.domain.decimals import parse_decimal, plain_text
from services.domain.pages import Pager, page_size
from services.vault.app.accounts import AccountDesk, Asked
from services.vault.app.setups import KeyDesk, SetupWish
from services.vault.model.setup import Purpose
from services.vault.rpc import decode, encode

PAGE_DEFAULT, PAGE_MAX = 50, 200
_PURPOSES = {
    pb.BeginKeySetupRequest.PURPOSE_UNSPECIFIED: Purpose.NEW_KEY,
    pb.BeginKeySetupRequest.PURPOSE_NEW_KEY: Purpose.NEW_KEY,
    pb.BeginKeySetupRequest.PURPOSE_APPROVE_FEE: Purpose.APPROVE_FEE,
    pb.BeginKeySetupRequest.PURPOSE_REVOKE_FEE: Purpose.REVOKE_FEE,
}


class VaultRpc(VaultServiceServicer):
    """Serves the contract."""

    def __init__(self, *, accounts: AccountDesk, keys: KeyDesk, pager: Pager) -> None:
        self._accounts = accounts
        self._keys = keys
        self._pager = pager

    async def CreateAccount(self, request: pb.CreateAccountRequest, context: Any) -> pb.CreateAccountResponse:
        """Add an account."""
        asked = Asked(
            request_id=UUID(request.request_id),
            venue=request.venue,
            environment=decode.environment(request.environment),
            wallet_address=request.wallet_address,
            kind=decode.kind(request.kind),
            venue_account=request.venue_account,
            label=request.label,
            custody=decode.custody(request.custody),
            is_default=request.default,
        )
        return pb.CreateAccountResponse(account=encode.account(await self._accounts.create(_caller(), asked)))

    async def ListAccounts(self, request: pb.ListAccountsRequest, context: Any) -> pb.ListAccountsResponse:
        """List the caller's accounts."""
        caller = _caller()
        limit = page_size(request.page_size, default=PAGE_DEFAULT, largest=PAGE_MAX)
        arguments = f"{caller.user} {request.venue} {request.environment}"
        after = self._pager.position("ListAccounts", arguments, request.page_token) if request.page_token else ""
        found = await self._accounts.page(
            caller,
            venue=request.venue,
            environment=decode.environment(request.environment) if request.environment else None,
            after=after,
            limit=limit + 1,
        )
        token = ""
        if len(found) > limit:
            token = self._pager.token("ListAccounts", arguments, str(found[limit - 1].account_id))
        return pb.ListAccountsResponse(accounts=[encode.account(one) for one in found[:limit]], next_page_token=token)

    async def GetAccount(self, request: pb.GetAccountRequest, context: Any) -> pb.GetAccountResponse:
        """Return an account, with what its wallet has authorized."""
        caller, account_id = _caller(), UUID(request.account_id)
        account, looked = await self._accounts.get(caller, account_id)
        ours = await self._keys.page(caller, account_id, ended=True, after=None, limit=PAGE_MAX)
        listed = [encode.authorization(one, account.venue, ours) for one in looked.authorizations]
        return pb.GetAccountResponse(
            account=encode.account(account), authorizations=listed, authorizations_time=encode.timestamp(looked.time)
        )

    async def DeleteAccount(self, request: pb.DeleteAccountRequest, context: Any) -> pb.DeleteAccountResponse:
        """Remove an account and destroy its keys."""
        await self._accounts.delete(_caller(), UUID(request.account_id))
        return pb.DeleteAccountResponse()

    async def BeginKeySetup(self, request: pb.BeginKeySetupRequest, context: Any) -> pb.BeginKeySetupResponse:
        """Begin the set-up of a key or a fee."""
        lifetime = None
        if request.HasField("lifetime"):
            lifetime = timedelta(seconds=request.lifetime.seconds)
        wish = SetupWish(
            request_id=UUID(request.request_id),
            purpose=_PURPOSES[request.purpose],
            key_name=request.key_name,
            lifetime=lifetime,
            api_key_index=request.api_key_index if request.HasField("api_key_index") else None,
            fee_rate=parse_decimal(request.max_fee_rate or "0"),
            chain_id=request.chain_id,
        )
        setup = await self._keys.begin(_caller(), UUID(request.account_id), wish)
        return pb.BeginKeySetupResponse(key_setup=encode.setup(setup))

    async def CompleteKeySetup(self, request: pb.CompleteKeySetupRequest, context: Any) -> pb.CompleteKeySetupResponse:
        """Complete a set-up with the wallet's signatures."""
        setup, key = await self._keys.complete(
            _caller(),
            UUID(request.account_id),
            UUID(request.key_setup_id),
            signatures={UUID(one.step_id): one.signature for one in request.signatures},
            skipped=[UUID(one) for one in request.skipped_step_ids],
        )
        return pb.CompleteKeySetupResponse(key_setup=encode.setup(setup), key=None if key is None else encode.key(key))

    async def ImportKey(self, request: pb.ImportKeyRequest, context: Any) -> pb.ImportKeyResponse:
        """Import a key that the venue accepts already."""
        secret = bytearray(bytes.fromhex(request.private_key.removeprefix("0x")))
        request.private_key = ""
        index = request.api_key_index if request.HasField("api_key_index") else None
        key = await self._keys.import_key(_caller(), UUID(request.account_id), UUID(request.request_id), secret, index)
        return pb.ImportKeyResponse(key=encode.key(key))

    async def RequestTestFunds(self, request: pb.RequestTestFundsRequest, context: Any) -> pb.RequestTestFundsResponse:
        """Give test funds to a simulated account."""
        amount, balance = await self._accounts.fund(
            _caller(), UUID(request.account_id), UUID(request.request_id), decode.amount(request.amount)
        )
        return pb.RequestTestFundsResponse(amount=plain_text(amount), balance=plain_text(balance))

    async def ListKeys(self, request: pb.ListKeysRequest, context: Any) -> pb.ListKeysResponse:
        """List the keys of an account."""
        caller = _caller()
        limit = page_size(request.page_size, default=PAGE_DEFAULT, largest=PAGE_MAX)
        arguments = f"{caller.user} {request.account_id} {request.include_ended}"
        after = None
        if request.page_token:
            moment, _, last = self._pager.position("ListKeys", arguments, request.page_token).partition(" ")
            after = (datetime.fromisoformat(moment), UUID(last))
        found = await self._keys.page(
            caller, UUID(request.account_id), ended=request.include_ended, after=after, limit=limit + 1
        )
        token = ""
        if len(found) > limit:
            last_one = found[limit - 1]
            token = self._pager.token("ListKeys", arguments, f"{last_one.create_time.isoformat()} {last_one.key_id}")
        return pb.ListKeysResponse(keys=[encode.key(one) for one in found[:limit]], next_page_token=token)

    async def RevokeKey(self, request: pb.RevokeKeyRequest, context: Any) -> pb.RevokeKeyResponse:
        """Revoke a key here, and say what makes the venue forget it too."""
        key, setup = await self._keys.revoke(_caller(), UUID(request.account_id), UUID(request.key_id))
        return pb.RevokeKeyResponse(key=encode.key(key), key_setup=None if setup is None else encode.setup(setup))

    async def SetTradingLimits(self, request: pb.SetTradingLimitsRequest, context: Any) -> pb.SetTradingLimitsResponse:
        """Set the limits of an account."""
        account = await self._accounts.set_limits(_caller(), UUID(request.account_id), decode.limits(request.limits))
        return pb.SetTradingLimitsResponse(account=encode.account(account))

    async def FreezeTrading(self, request: pb.FreezeTradingRequest, context: Any) -> pb.FreezeTradingResponse:
        """Freeze an account."""
        reason = request.reason.replace("\0", "")
        account = await self._accounts.freeze(_caller(), UUID(request.account_id), reason)
        return pb.FreezeTradingResponse(account=encode.account(account))

    async def UnfreezeTrading(self, request: pb.UnfreezeTradingRequest, context: Any) -> pb.UnfreezeTradingResponse:
        """Unfreeze an account."""
        account = await self._accounts.unfreeze(_caller(), UUID(request.account_id))
        return pb.UnfreezeTradingResponse(account=encode.account(account))


def _caller() -> Principal:
    """Return who calls; the chassis lets nobody else into a method that is not public."""
    serving = call.CURRENT.get()
    assert serving is not None
    assert serving.principal is not None
    return serving.principal
