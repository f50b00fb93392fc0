"""Callers who sign themselves, with nothing of ours: Hyperliquid's own SDK, and a second hand at Lighter's signature.

Hyperliquid's SDK makes its signature from the body that will be sent, so that it also judges that body: where what was
prepared is not what the body says, the signature does not hold. Lighter's library signs only what it has built itself,
with an expiry of its own choosing; there the simulator's Schnorr signs the digest.
"""

from __future__ import annotations

import base64
import json
import uuid
from dataclasses import dataclass
from typing import Any

import eth_account
from hyperliquid.utils import signing
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import order_pb2, signable_pb2
from perpmesh.vault.v1 import account_pb2

from tests.support.execution_room import Trader
from tests.support.signers import ApiKey
from tests.support.vault import MARKET
from tests.support.vault_room import Client

SLOT = 9
MINE = account_pb2.Account.CUSTODY_CALLER


@dataclass(slots=True)
class Caller:
    """A trader who signs with a key of their own."""

    trader: Trader
    key: ApiKey

    @property
    def signer(self) -> signable_pb2.CallerSigner:
        """Whose key signs."""
        owner = self.trader.owner
        if self.trader.venue == "lighter":
            return signable_pb2.CallerSigner(account_id=owner.account_id, public_key=self.key.hex, api_key_index=SLOT)
        return signable_pb2.CallerSigner(account_id=owner.account_id, signer_address=owner.wallet.address)

    def wish(self, **fields: Any) -> pb.PrepareOrderRequest:
        """Return what an order is prepared by."""
        order = pb.PlaceOrderRequest(request_id=str(uuid.uuid4()), market=MARKET, **fields)
        return pb.PrepareOrderRequest(order=order, signers=[self.signer])

    async def prepare(self, wish: pb.PrepareOrderRequest) -> pb.PrepareOrderResponse:
        """Prepare an order, surely: asked twice, it answers the same."""
        first = await self.ask("PrepareOrder", wish)
        again = await self.ask("PrepareOrder", wish)
        assert again.order.order_id == first.order.order_id, "the same request, two orders"
        assert list(again.signables) == list(first.signables), "the same request, other bytes"
        self.trader.placed.append(first.order.order_id)
        return first  # type: ignore[no-any-return]

    async def submit(self, order_id: str, signables: Any) -> order_pb2.Order:
        """Sign and submit, surely: asked twice, nothing more is sent."""
        request = pb.SubmitOrderRequest(order_id=order_id, signatures=[self.sign(one) for one in signables])
        await self.ask("SubmitOrder", request)
        return (await self.ask("SubmitOrder", request)).order  # type: ignore[no-any-return]

    async def ask(self, method: str, request: Any) -> Any:
        """Make a call as a client does whose server may die."""
        return await self.trader.brittle.ask(method, request, self.trader.owner.metadata)

    def sign(self, signable: signable_pb2.Signable) -> signable_pb2.LegSignature:
        """Sign one leg."""
        if self.trader.venue == "lighter":
            made = base64.b64encode(self.key.sign(bytes.fromhex(signable.digest))).decode()
        else:
            made = by_sdk(signable, self.trader.owner.wallet.secret)
        return signable_pb2.LegSignature(leg_id=signable.leg_id, signature=made)


def by_sdk(signable: signable_pb2.Signable, secret: bytes) -> str:
    """Return Hyperliquid's own SDK's signature of the body that is to be sent."""
    body = json.loads(signable.unsigned_body)
    wallet = eth_account.Account.from_key(secret)
    made = signing.sign_l1_action(
        wallet, body["action"], body["vaultAddress"], body["nonce"], body["expiresAfter"], False
    )
    return f"0x{int(made['r'], 16):064x}{int(made['s'], 16):064x}{made['v']:02x}"


async def caller_of(trader: Trader, vault: Client) -> Caller:
    """Return a trader as one who signs; at Lighter with a key of their own beside ours."""
    key = ApiKey(int(trader.owner.account_id.replace("-", ""), 16))
    if trader.venue == "lighter":
        await vault.grounds.simulator.fund(
            "lighter", trader.owner.wallet.address, "5000", api_keys={str(SLOT): key.hex}
        )
    return Caller(trader, key)
