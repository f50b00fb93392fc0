"""What a user and execution do with the vault: wallets that sign set-ups, actions to sign, bytes to post."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import aiohttp
import coincurve
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data
from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.type.v1 import environment_pb2, order_type_pb2, side_pb2, time_in_force_pb2
from perpmesh.vault.v1 import action_pb2, key_setup_pb2, signer_service_pb2
from perpmesh.vault.v1 import vault_service_pb2 as pb

from tests.support.auth import bearer
from tests.support.wallet import Wallet

SIMULATED = environment_pb2.ENVIRONMENT_SIMULATED
MARKET = "BTC-PERP"
LIFE_S = 60.0


def new_id() -> str:
    """Return a new request or leg id."""
    return str(uuid.uuid4())


def signature(wallet: Wallet, step: Any) -> str:
    """Return a wallet's signature of a step, made as wallets make it and by nothing of ours."""
    if step.method == key_setup_pb2.KeySetupStep.METHOD_EIP712:
        message = encode_typed_data(full_message=json.loads(step.payload))
        signed = EthAccount.sign_message(message, private_key=wallet.secret)
        return "0x" + bytes(signed.signature).hex()
    return wallet.sign(step.payload)


def secret_of(wallet: Wallet) -> str:
    """Return the wallet's key in hex."""
    return coincurve.PrivateKey(wallet.secret).to_hex()


@dataclass(slots=True)
class Owner:
    """A signed-in user who owns an account at a venue."""

    vault: Any
    wallet: Wallet
    token: str
    account: Any

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What the calls carry."""
        return bearer(self.token)

    @property
    def account_id(self) -> str:
        """The account's id."""
        return str(self.account.account_id)

    async def fund(self, amount: str = "100000") -> Any:
        """Ask for test funds."""
        request = pb.RequestTestFundsRequest(account_id=self.account_id, request_id=new_id(), amount=amount)
        return await self.vault.RequestTestFunds(request, metadata=self.metadata)

    async def begin(self, **fields: Any) -> Any:
        """Begin a set-up."""
        request = pb.BeginKeySetupRequest(account_id=self.account_id, request_id=new_id(), **fields)
        return (await self.vault.BeginKeySetup(request, metadata=self.metadata)).key_setup

    async def complete(self, setup: Any, *, skip: Sequence[str] = (), sign: Sequence[str] | None = None) -> Any:
        """Sign steps of a set-up, all that are not skipped, and complete it."""
        chosen = [step for step in setup.steps if step.step_id not in skip]
        if sign is not None:
            chosen = [step for step in chosen if step.step_id in sign]
        signed = [
            key_setup_pb2.StepSignature(step_id=step.step_id, signature=signature(self.wallet, step)) for step in chosen
        ]
        request = pb.CompleteKeySetupRequest(
            account_id=self.account_id,
            key_setup_id=setup.key_setup_id,
            signatures=signed,
            skipped_step_ids=list(skip),
        )
        return await self.vault.CompleteKeySetup(request, metadata=self.metadata)

    async def ready(self) -> Any:
        """Fund the account and set up a key; return the key."""
        await self.fund()
        done = await self.complete(await self.begin())
        assert done.key_setup.state == key_setup_pb2.KeySetup.STATE_CONFIRMED, done
        return done.key

    async def get(self) -> Any:
        """Return the account as it now stands."""
        request = pb.GetAccountRequest(account_id=self.account_id)
        return await self.vault.GetAccount(request, metadata=self.metadata)


async def own(vault: Any, wallet: Wallet, token: str, venue: str, **fields: Any) -> Owner:
    """Add an account at a venue."""
    request = pb.CreateAccountRequest(request_id=new_id(), venue=venue, environment=SIMULATED, **fields)
    made = await vault.CreateAccount(request, metadata=bearer(token))
    return Owner(vault, wallet, token, made.account)


def moment(seconds_ahead: float = LIFE_S) -> Timestamp:
    """Return a time ahead of now."""
    stamp = Timestamp()
    stamp.FromNanoseconds(round((time.time() + seconds_ahead) * 1e9))
    return stamp


def client_id(venue: str, number: int | None = None) -> str:
    """Return a client order id of the venue's form."""
    value = uuid.uuid4().int if number is None else number
    return f"0x{value % 2**128:032x}" if venue == "hyperliquid" else str(value % 10**14 + 1)


def order(
    venue: str,
    *,
    price: str,
    size: str = "0.01",
    side: int = side_pb2.SIDE_BUY,
    market: str = MARKET,
    market_id: int | None = None,
    client: str = "",
    **more: Any,
) -> action_pb2.Action:
    """Return the placing of one resting order."""
    terms = action_pb2.OrderTerms(
        market=market,
        venue_market_id=(0 if venue == "hyperliquid" else 1) if market_id is None else market_id,
        side=side,  # type: ignore[arg-type]
        size=size,
        limit_price=price,
        type=order_type_pb2.ORDER_TYPE_LIMIT,
        time_in_force=time_in_force_pb2.TIME_IN_FORCE_GOOD_TILL_CANCELED,
        venue_client_id=client or client_id(venue),
        **more,
    )
    return action_pb2.Action(place=action_pb2.PlaceAction(orders=[terms]))


def sign_request(account_id: str, action: Any, **fields: Any) -> signer_service_pb2.SignRequest:
    """Return a request to sign."""
    given = {"leg_id": new_id(), "fence": 1, "expire_time": moment(), **fields}
    return signer_service_pb2.SignRequest(account_id=account_id, action=action, **given)


def report_request(request: Any, outcome: str, **fields: Any) -> signer_service_pb2.ReportOutcomeRequest:
    """Return the report of what became of a signed request."""
    value = signer_service_pb2.ReportOutcomeRequest.Outcome.Value(f"OUTCOME_{outcome}")
    given = {"leg_id": request.leg_id, "action_number": request.action_number, "fence": request.fence, **fields}
    return signer_service_pb2.ReportOutcomeRequest(outcome=value, **given)


async def post(http: aiohttp.ClientSession, url: str, signed: Any) -> Any:
    """Post signed bytes to a venue's face and return its answer."""
    if signed.venue == "hyperliquid":
        async with http.post(
            f"{url}/exchange", data=signed.body, headers={"content-type": "application/json"}
        ) as answer:
            return json.loads(await answer.read())
    form = urlencode({"tx_type": signed.transaction_type, "tx_info": signed.body.decode()})
    headers = {"content-type": "application/x-www-form-urlencoded"}
    async with http.post(f"{url}/api/v1/sendTx", data=form, headers=headers) as answer:
        return json.loads(await answer.read())


async def middle(http: aiohttp.ClientSession, url: str, venue: str) -> Decimal:
    """Return about where BTC trades at a venue, in whole dollars."""
    if venue == "hyperliquid":
        async with http.post(f"{url}/info", json={"type": "allMids"}) as answer:
            return Decimal(json.loads(await answer.read())["BTC"]).quantize(Decimal(1))
    async with http.get(f"{url}/api/v1/orderBookOrders", params={"market_id": 1, "limit": 1}) as answer:
        book = json.loads(await answer.read())
    return Decimal(book["bids"][0]["price"]).quantize(Decimal(1))
