"""The calls of `ExecutionService` for callers who sign: message to value and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import order_pb2, signable_pb2

from services.domain.errors import field_invalid
from services.execution.app.preparing import Preparer
from services.execution.model.caller_key import CallerKey
from services.execution.model.order import NewOrder
from services.execution.model.preparing import Signable
from services.execution.rpc import decode, encode
from services.execution.rpc.caller import user

_LATER: Final = ("take_profit", "stop_loss", "twap")


class PreparingRpc:
    """Serves its part of the contract."""

    def __init__(self, preparer: Preparer) -> None:
        self._preparer = preparer

    async def PrepareOrder(self, request: pb.PrepareOrderRequest, context: Any) -> pb.PrepareOrderResponse:
        """Prepare an order for a caller who signs."""
        order, signables = await self._preparer.prepare(user(), _wanted(request))
        return pb.PrepareOrderResponse(order=encode.order(order), signables=_signables(signables))

    async def SubmitOrder(self, request: pb.SubmitOrderRequest, context: Any) -> pb.SubmitOrderResponse:
        """Submit the signatures of a prepared order, or of its cancels."""
        signatures = {UUID(one.leg_id): one.signature for one in request.signatures}
        if len(signatures) < len(request.signatures):
            raise field_invalid("signatures", "one signature for each leg would pass; a leg is named twice")
        order = await self._preparer.submit(user(), UUID(request.order_id), signatures)
        return pb.SubmitOrderResponse(order=encode.order(order))

    async def CancelOrder(self, request: pb.CancelOrderRequest, context: Any) -> pb.CancelOrderResponse:
        """Ask for what is open of an order to be canceled."""
        order, signables = await self._preparer.cancel(user(), UUID(request.order_id))
        return pb.CancelOrderResponse(order=encode.order(order), signables=_signables(signables))


def _wanted(request: pb.PrepareOrderRequest) -> NewOrder:
    """Return what a caller asks for. Raises FIELD_INVALID for what needs signatures later."""
    for name in _LATER:
        if request.order.HasField(name):
            raise field_invalid(f"order.{name}", "this would need your signature later: leave it out")
    if request.order.leg_policy not in (order_pb2.LEG_POLICY_UNSPECIFIED, order_pb2.LEG_POLICY_KEEP):
        raise field_invalid("order.leg_policy", "the others need your signature later: LEG_POLICY_KEEP would pass")
    signers = tuple((UUID(one.account_id), _key(one)) for one in request.signers)
    accounts = [account_id for account_id, _ in signers]
    if len(set(accounts)) < len(accounts):
        raise field_invalid("signers", "one signer for each account would pass; an account is named twice")
    wanted = replace(decode.new_order(request.order), signers=signers)
    missing = [one for one in wanted.account_ids if one not in accounts]
    if missing:
        raise field_invalid("signers", f"a signer for each account would pass; {missing[0]} has none")
    return wanted


def _key(one: signable_pb2.CallerSigner) -> CallerKey:
    return CallerKey(
        address=one.signer_address.lower(),
        public_key=one.public_key,
        api_key_index=one.api_key_index if one.HasField("api_key_index") else None,
    )


def _signables(found: Sequence[Signable]) -> list[signable_pb2.Signable]:
    return [_signable(one) for one in found]


def _signable(one: Signable) -> signable_pb2.Signable:
    leg, made = one.leg, one.prepared
    until = Timestamp()
    until.FromDatetime(made.expire_time)
    return signable_pb2.Signable(
        leg_id=str(leg.leg_id),
        venue=leg.venue,
        account_id=str(leg.account_id),
        method=signable_pb2.Signable.Method.Value(f"METHOD_{one.method.value}"),
        payload=made.payload,
        digest=made.digest,
        unsigned_body=made.unsigned_body,
        nonce=made.nonce,
        expire_time=until,
        explanation=one.explanation,
    )
