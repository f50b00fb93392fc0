"""Accounts at the venues and the keys that trade for them.

    async with Login(address, wallet) as login, Vault(address, login) as vault:
        account = await vault.create_account("hyperliquid")
        await vault.test_funds(account.account_id)
        key = await vault.set_up_key(account.account_id, wallet)

What comes back are the contract's own messages (`perpmesh.vault.v1`). Every call raises `PerpmeshError`. A set-up signs
nothing but what makes or ends a key, or approves a fee: a mesh that asks for another signature gets none.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

from google.protobuf.duration_pb2 import Duration
from perpmesh.type.v1 import environment_pb2
from perpmesh.vault.v1 import account_pb2, key_pb2, key_setup_pb2
from perpmesh.vault.v1 import vault_service_pb2 as pb
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub

from perpmesh_client.errors import PerpmeshError
from perpmesh_client.login import Login
from perpmesh_client.part import Part
from perpmesh_client.transport import Token

if TYPE_CHECKING:
    from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceAsyncStub

PATIENCE_S = 20.0
"""How long a call is repeated while the mesh, or the venue behind it, is away for a moment."""
CONFIRM_WAIT_S = 60.0
"""How long a set-up may take to be confirmed by its venue."""
ENVIRONMENTS = ("simulated", "paper", "testnet", "mainnet")
PURPOSES = {
    "new_key": pb.BeginKeySetupRequest.PURPOSE_NEW_KEY,
    "approve_fee": pb.BeginKeySetupRequest.PURPOSE_APPROVE_FEE,
    "revoke_fee": pb.BeginKeySetupRequest.PURPOSE_REVOKE_FEE,
}
_TYPED = frozenset(("HyperliquidTransaction:ApproveAgent", "HyperliquidTransaction:ApproveBuilderFee"))
_TEXTS = ("Register Lighter Account\n", "Approve Integrator\n")


class SetupWallet(Protocol):
    """A wallet that signs set-ups: `KeyWallet` is one."""

    @property
    def address(self) -> str:
        """Return the address."""

    async def sign(self, text: str) -> str:
        """Return the signature over a text as `personal_sign` makes it."""

    async def sign_typed(self, payload: str) -> str:
        """Return the signature over typed data as `eth_signTypedData_v4` makes it."""


class Vault(Part):
    """The caller's accounts and keys."""

    timeout_s = 30.0

    def __init__(self, address: str, token: Token | Login, *, root_certificates: bytes | None = None) -> None:
        """Prepare; the first call connects. `token`: an access token, or a `Login`."""
        super().__init__(address, token=token, root_certificates=root_certificates, patience_s=PATIENCE_S)

    async def create_account(
        self, venue: str, environment: str = "simulated", *, label: str = "", default: bool = False,
        caller_signs: bool = False, sub_account: str = "", request_id: str = "",
    ) -> account_pb2.Account:  # fmt: skip
        """Add the wallet's account at a venue, or a sub-account of it. The same `request_id` adds it once."""
        custody = account_pb2.Account.CUSTODY_CALLER if caller_signs else account_pb2.Account.CUSTODY_DELEGATED
        request = pb.CreateAccountRequest(
            request_id=request_id or str(uuid.uuid4()),
            venue=venue,
            environment=_environment(environment),
            kind=account_pb2.Account.KIND_SUB_ACCOUNT if sub_account else account_pb2.Account.KIND_MAIN,
            venue_account=sub_account,
            label=label,
            custody=custody,
            default=default,
        )
        return (await self._ask(self._stub().CreateAccount, request)).account

    async def accounts(self, venue: str = "", environment: str = "") -> list[account_pb2.Account]:
        """Return the caller's accounts, by venue and then the oldest first."""
        where = _environment(environment) if environment else environment_pb2.ENVIRONMENT_UNSPECIFIED
        request = pb.ListAccountsRequest(page_size=200, venue=venue, environment=where)
        return await self._pages(self._stub().ListAccounts, request, lambda page: page.accounts)

    async def account(self, account_id: str) -> pb.GetAccountResponse:
        """Return an account, with everything its wallet has authorized at the venue."""
        request = pb.GetAccountRequest(account_id=account_id)
        return await self._ask(self._stub().GetAccount, request)

    async def delete_account(self, account_id: str) -> None:
        """Remove an account here and destroy its keys; nothing changes at the venue."""
        request = pb.DeleteAccountRequest(account_id=account_id)
        await self._ask(self._stub().DeleteAccount, request)

    async def test_funds(self, account_id: str, amount: Decimal | None = None) -> Decimal:
        """Have test funds given to a simulated account; return its balance."""
        request = pb.RequestTestFundsRequest(
            account_id=account_id, request_id=str(uuid.uuid4()), amount="" if amount is None else str(amount)
        )
        answer = await self._ask(self._stub().RequestTestFunds, request)
        return Decimal(answer.balance)

    async def begin_key_setup(
        self, account_id: str, *, purpose: str = "new_key", key_name: str = "", lifetime: timedelta | None = None,
        api_key_index: int | None = None, max_fee_rate: str = "", request_id: str = "",
    ) -> key_setup_pb2.KeySetup:  # fmt: skip
        """Begin a set-up; its steps say what the wallet must sign."""
        span = None
        if lifetime is not None:
            span = Duration()
            span.FromTimedelta(lifetime)
        request = pb.BeginKeySetupRequest(
            account_id=account_id,
            request_id=request_id or str(uuid.uuid4()),
            purpose=PURPOSES[purpose],
            key_name=key_name,
            lifetime=span,
            api_key_index=api_key_index,
            max_fee_rate=max_fee_rate,
        )
        return (await self._ask(self._stub().BeginKeySetup, request)).key_setup

    async def complete_key_setup(
        self, account_id: str, key_setup_id: str, signatures: Mapping[str, str] | None = None,
        *, skip: Sequence[str] = (),
    ) -> pb.CompleteKeySetupResponse:  # fmt: skip
        """Bring the signatures of steps, by their ids; without any it only looks how far the set-up has come."""
        signed = [
            key_setup_pb2.StepSignature(step_id=step_id, signature=signature)
            for step_id, signature in (signatures or {}).items()
        ]
        request = pb.CompleteKeySetupRequest(
            account_id=account_id, key_setup_id=key_setup_id, signatures=signed, skipped_step_ids=skip
        )
        return await self._ask(self._stub().CompleteKeySetup, request)

    async def set_up_key(
        self, account_id: str, wallet: SetupWallet, *, key_name: str = "", lifetime: timedelta | None = None,
        api_key_index: int | None = None, max_fee_rate: str = "",
    ) -> key_pb2.Key:  # fmt: skip
        """Make a key and have the venue accept it: the wallet signs what the steps say. Return the key."""
        setup = await self.begin_key_setup(
            account_id, key_name=key_name, lifetime=lifetime, api_key_index=api_key_index, max_fee_rate=max_fee_rate
        )
        return (await self.signed(setup, wallet)).key

    async def signed(self, setup: key_setup_pb2.KeySetup, wallet: SetupWallet) -> pb.CompleteKeySetupResponse:
        """Sign every step of a set-up and wait until the venue has confirmed it; raise for one it refuses."""
        signatures = {
            step.step_id: await sign_step(step, wallet)
            for step in setup.steps
            if step.state == key_setup_pb2.KeySetupStep.STATE_AWAITING_SIGNATURE
        }
        done = await self.complete_key_setup(setup.account_id, setup.key_setup_id, signatures)
        try:
            async with asyncio.timeout(CONFIRM_WAIT_S):
                while done.key_setup.state == key_setup_pb2.KeySetup.STATE_SUBMITTED:
                    await asyncio.sleep(1)
                    done = await self.complete_key_setup(setup.account_id, setup.key_setup_id)
        except TimeoutError:
            return done
        for step in done.key_setup.steps:
            if step.required and step.state == key_setup_pb2.KeySetupStep.STATE_REFUSED:
                raise PerpmeshError(
                    f"{step.refusal.message} {step.refusal.advice}".strip(),
                    code="FAILED_PRECONDITION",
                    reason="VENUE_REFUSED",
                    category="trading",
                )
        return done

    async def import_key(self, account_id: str, private_key: str, *, api_key_index: int | None = None) -> key_pb2.Key:
        """Bring a key that the venue accepts already; it never comes out again."""
        request = pb.ImportKeyRequest(
            account_id=account_id, request_id=str(uuid.uuid4()), private_key=private_key, api_key_index=api_key_index
        )
        return (await self._ask(self._stub().ImportKey, request)).key

    async def keys(self, account_id: str, *, ended: bool = False) -> list[key_pb2.Key]:
        """Return the keys of an account, the newest first."""
        request = pb.ListKeysRequest(account_id=account_id, page_size=200, include_ended=ended)
        return list((await self._ask(self._stub().ListKeys, request)).keys)

    async def revoke_key(self, account_id: str, key_id: str) -> tuple[key_pb2.Key, key_setup_pb2.KeySetup | None]:
        """Revoke a key here at once; the set-up, if there is one, is what makes the venue forget it too."""
        request = pb.RevokeKeyRequest(account_id=account_id, key_id=key_id)
        answer = await self._ask(self._stub().RevokeKey, request)
        return answer.key, answer.key_setup if answer.HasField("key_setup") else None

    async def set_limits(self, account_id: str, limits: account_pb2.TradingLimits) -> account_pb2.Account:
        """Set the limits of an account, all of them at once."""
        request = pb.SetTradingLimitsRequest(account_id=account_id, limits=limits)
        return (await self._ask(self._stub().SetTradingLimits, request)).account

    async def freeze(self, account_id: str, reason: str = "") -> account_pb2.Account:
        """Stop all signing for an account within a second, cancellations included."""
        request = pb.FreezeTradingRequest(account_id=account_id, reason=reason)
        return (await self._ask(self._stub().FreezeTrading, request)).account

    async def unfreeze(self, account_id: str) -> account_pb2.Account:
        """Let an account sign again."""
        request = pb.UnfreezeTradingRequest(account_id=account_id)
        return (await self._ask(self._stub().UnfreezeTrading, request)).account

    def _stub(self) -> VaultServiceAsyncStub:
        stub: VaultServiceAsyncStub = VaultServiceStub(self._open())  # type: ignore[assignment, unused-ignore]
        return stub


async def sign_step(step: key_setup_pb2.KeySetupStep, wallet: SetupWallet) -> str:
    """Return the wallet's signature of a step; raise `PerpmeshError` for what is no part of a set-up."""
    typed = step.method == key_setup_pb2.KeySetupStep.METHOD_EIP712
    try:
        known = json.loads(step.payload)["primaryType"] in _TYPED if typed else step.payload.startswith(_TEXTS)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known or step.signer_address.lower() != wallet.address.lower():
        raise PerpmeshError(
            "What the mesh asked to sign is no step of a key's set-up by this wallet, so it was not signed.",
            code="INTERNAL",
            reason="SIGN_IN_REFUSED",
            category="authentication",
        )
    return await (wallet.sign_typed(step.payload) if typed else wallet.sign(step.payload))


def _environment(name: str) -> environment_pb2.Environment.ValueType:
    if name not in ENVIRONMENTS:
        raise ValueError(f"the environment {name!r} is none of {', '.join(ENVIRONMENTS)}")
    return environment_pb2.Environment.Value(f"ENVIRONMENT_{name.upper()}")
