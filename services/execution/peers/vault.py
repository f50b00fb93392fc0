"""The vault's signer as the ports `Accounts`, `Signer` and `CallerSigner`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, timedelta
from typing import Any, Final, cast
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.type.v1 import environment_pb2, margin_mode_pb2, order_type_pb2, refusal_pb2, side_pb2, time_in_force_pb2
from perpmesh.vault.v1 import account_pb2, action_pb2, signed_action_pb2
from perpmesh.vault.v1 import signer_service_pb2 as pb
from perpmesh.vault.v1.signer_service_pb2_grpc import SignerServiceStub

from services.chassis.client import Peer
from services.chassis.clock import Clock
from services.domain.decimals import parse_decimal, plain_text
from services.domain.errors import DomainError
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.execution.model.deed import Deed
from services.execution.model.fate import Fate
from services.execution.model.preparing import Prepared
from services.execution.ports import OwnLimits, TradingAccount, Work
from services.venues import actions
from services.venues.lighter.tokens import VenueToken
from services.venues.port import VenueError
from services.venues.trading import AccountRef, SignedBytes

SIGN_TIMEOUT_S: Final = 20.0
PREPARE_TIMEOUT_S: Final = 3.0
"""How long a caller waits for a nonce of their own key; what holds it up may be a person who has not signed yet."""
LIFE: Final = {"hyperliquid": timedelta(seconds=10), "lighter": timedelta(seconds=599)}
"""How long bytes may land. Lighter's signer chooses by itself; the vault answers with what holds."""
TOKEN_LIFE_S: Final = 8 * 3_600 - 60


class VaultPeer:
    """The ports `Accounts` and `Signer`."""

    def __init__(self, peer: Peer, clock: Clock) -> None:
        self._stub: Any = cast(Any, SignerServiceStub)(peer)  # a peer has the channel's methods that stubs use
        self._clock = clock

    async def of_user(self, user_id: UUID) -> Sequence[TradingAccount]:
        """Return a user's accounts."""
        return await self._accounts(pb.BatchGetSigningAccountsRequest(user_id=str(user_id), page_size=1_000))

    async def every(self) -> Sequence[TradingAccount]:
        """Return all accounts of all users."""
        return await self._accounts(pb.BatchGetSigningAccountsRequest(page_size=1_000))

    async def _accounts(self, request: pb.BatchGetSigningAccountsRequest) -> list[TradingAccount]:
        found: list[TradingAccount] = []
        while True:
            answer = await self._stub.BatchGetSigningAccounts(request)
            found += [_account(one) for one in answer.accounts]
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token

    async def sign(
        self, work: Work, account: TradingAccount, action: actions.Action, number: int
    ) -> SignedBytes | Refusal:
        """Return the bytes of an action; the same ones again for the same leg and number."""
        return await self._sign(
            account, action, self._request(work.leg.leg_id, number, work.fence, work.order.order_id)
        )

    async def sign_deed(self, deed: Deed, account: TradingAccount) -> SignedBytes | Refusal:
        """Return the bytes of a deed; the same ones again for the same deed."""
        return await self._sign(account, deed.action, self._request(deed.deed_id, 0, deed.fence, None))

    @staticmethod
    def _request(work_id: UUID, number: int, fence: int, order_id: UUID | None) -> pb.SignRequest:
        order = "" if order_id is None else str(order_id)
        return pb.SignRequest(leg_id=str(work_id), action_number=number, fence=fence, order_id=order)

    async def _sign(
        self, account: TradingAccount, action: actions.Action, request: pb.SignRequest
    ) -> SignedBytes | Refusal:
        request.account_id = str(account.account_id)
        request.action.CopyFrom(action_message(action))
        request.expire_time.FromDatetime(self._clock.now() + LIFE[account.venue])
        answer = await self._stub.Sign(request, timeout=SIGN_TIMEOUT_S)
        if answer.WhichOneof("result") == "refusal":
            return refusal_value(answer.refusal)
        return _bytes(answer.signed_action, action)

    async def prepare(self, work: Work, action: actions.Action, number: int) -> Prepared | Refusal:
        """Return what a leg's caller has to sign; the same again for the same leg and number."""
        leg, key = work.leg, work.leg.caller
        assert key is not None, "a leg that its caller signs names the key"
        assert leg.sign_by is not None, "and until when"
        request = pb.PrepareActionRequest(
            leg_id=str(leg.leg_id), action_number=number, fence=work.fence, account_id=str(leg.account_id),
            action=action_message(action), order_id=str(work.order.order_id), signer_address=key.address,
            public_key=key.public_key, api_key_index=key.api_key_index,
        )  # fmt: skip
        request.expire_time.FromDatetime(leg.sign_by)
        answer = await self._stub.PrepareAction(request, timeout=PREPARE_TIMEOUT_S)
        if answer.WhichOneof("result") == "refusal":
            return refusal_value(answer.refusal)
        made = answer.prepared
        return Prepared(
            payload=made.payload, digest=made.digest, unsigned_body=made.unsigned_body, nonce=made.nonce,
            expire_time=made.expire_time.ToDatetime(tzinfo=UTC),
        )  # fmt: skip

    async def accept(self, work: Work, action: actions.Action, number: int, signature: str) -> SignedBytes | Refusal:
        """Return the bytes with a caller's signature in them, once it holds."""
        request = pb.AcceptSignatureRequest(
            leg_id=str(work.leg.leg_id), action_number=number, fence=work.fence, signature=signature
        )
        answer = await self._stub.AcceptSignature(request, timeout=SIGN_TIMEOUT_S)
        if answer.WhichOneof("result") == "refusal":
            return refusal_value(answer.refusal)
        return _bytes(answer.signed_action, action)

    async def review(self, account_id: UUID, action: actions.Action) -> Refusal | None:
        """Say why an action would not be signed now; None where it would be."""
        request = pb.ReviewActionRequest(account_id=str(account_id), action=action_message(action))
        answer = await self._stub.ReviewAction(request, timeout=SIGN_TIMEOUT_S)
        return refusal_value(answer.refusal) if answer.HasField("refusal") else None

    async def settle(self, work: Work, number: int, fate: Fate) -> None:
        """Say what became of an action."""
        await self._settle(work.leg.leg_id, number, work.fence, fate)

    async def settle_deed(self, deed: Deed, fate: Fate) -> None:
        """Say what became of a deed."""
        await self._settle(deed.deed_id, 0, deed.fence, fate)

    async def _settle(self, work_id: UUID, number: int, fence: int, fate: Fate) -> None:
        outcome = pb.ReportOutcomeRequest.Outcome.Value(f"OUTCOME_{fate.value}")
        request = pb.ReportOutcomeRequest(leg_id=str(work_id), action_number=number, fence=fence, outcome=outcome)
        await self._stub.ReportOutcome(request, timeout=SIGN_TIMEOUT_S)

    async def token(self, account: AccountRef) -> VenueToken:
        """Return what opens an account's private channels at Lighter; raises `VenueError` where there is none."""
        request = pb.IssueVenueTokenRequest(account_id=account.account_id, lifetime=Duration(seconds=TOKEN_LIFE_S))
        try:
            answer = await self._stub.IssueVenueToken(request, timeout=SIGN_TIMEOUT_S)
        except DomainError as error:
            raise VenueError(f"The vault issues no token: {error.message}") from None
        return VenueToken(answer.venue_token, answer.expire_time.ToNanoseconds() / 1e9)


def _account(one: pb.BatchGetSigningAccountsResponse.SigningAccount) -> TradingAccount:
    account = one.account
    lighter = account.venue == "lighter"
    named = account.venue_account
    return TradingAccount(
        account_id=UUID(account.account_id),
        user_id=UUID(one.user_id),
        venue=account.venue,
        environment=environment_pb2.Environment.Name(account.environment).removeprefix("ENVIRONMENT_"),
        is_default=account.default,
        can_trade=account.state == account_pb2.Account.STATE_ACTIVE,
        has_our_key=account.custody != account_pb2.Account.CUSTODY_CALLER,
        why_not=account.explanation or f"The account at {account.venue} cannot trade yet.",
        ref=AccountRef(
            account_id=account.account_id,
            address=(account.wallet_address if lighter or not named else named).lower(),
            index=int(named) if lighter and named.isdecimal() else 0,
        ),
        limits=_limits(account.limits),
    )


def _limits(given: account_pb2.TradingLimits) -> OwnLimits:
    order, position = given.max_order_notional, given.max_position_notional
    return OwnLimits(
        max_order_notional=parse_decimal(order) if order else None,
        max_position_notional=parse_decimal(position) if position else None,
        markets=frozenset(given.markets),
        reduce_only=given.reduce_only,
    )


def _bytes(signed: signed_action_pb2.SignedAction, action: actions.Action) -> SignedBytes:
    return SignedBytes(
        body=signed.body,
        action=action,
        nonce=signed.nonce,
        expire_time_ms=_milliseconds(signed.expire_time),
        transaction_type=signed.transaction_type,
        transaction_hash=signed.transaction_hash,
    )


def action_message(action: actions.Action) -> action_pb2.Action:
    """Return an action as the signer takes it."""
    message = action_pb2.Action()
    if isinstance(action, actions.Place):
        message.place.orders.extend([_terms(terms) for terms in action.orders])
        message.place.priority_fee_bps = action.priority_fee_bps
    elif isinstance(action, actions.Cancel):
        message.cancel.orders.extend([_reference(one) for one in action.orders])
    elif isinstance(action, actions.SetLeverage):
        message.leverage.market = action.market
        message.leverage.venue_market_id = action.venue_market_id
        message.leverage.leverage = action.leverage
        message.leverage.margin_mode = margin_mode_pb2.MarginMode.Value(f"MARGIN_MODE_{action.margin_mode.value}")
    elif isinstance(action, actions.ScheduleCancel):
        message.scheduled_cancel.SetInParent()
        if action.cancel_time_ms is not None:
            message.scheduled_cancel.cancel_time.FromMilliseconds(action.cancel_time_ms)
    else:
        raise TypeError(f"{type(action).__name__} is not asked for yet")
    return message


def _terms(terms: actions.OrderTerms) -> action_pb2.OrderTerms:
    message = action_pb2.OrderTerms(
        market=terms.market,
        venue_market_id=terms.venue_market_id,
        side=side_pb2.Side.Value(f"SIDE_{terms.side.value}"),
        size=plain_text(terms.size),
        limit_price=plain_text(terms.limit_price),
        type=order_type_pb2.OrderType.Value(f"ORDER_TYPE_{terms.type.value}"),
        time_in_force=time_in_force_pb2.TimeInForce.Value(f"TIME_IN_FORCE_{terms.time_in_force.value}"),
        reduce_only=terms.reduce_only,
        venue_client_id=terms.client_id,
    )
    if terms.trigger_price is not None:
        message.trigger_price = plain_text(terms.trigger_price)
    if terms.expire_time_ms is not None:
        message.order_expire_time.FromMilliseconds(terms.expire_time_ms)
    return message


def _reference(one: actions.OrderReference) -> action_pb2.OrderReference:
    return action_pb2.OrderReference(
        market=one.market,
        venue_market_id=one.venue_market_id,
        venue_client_id=one.client_id,
        venue_order_id=one.order_id,
    )


def refusal_value(message: refusal_pb2.Refusal) -> Refusal:
    """Return a refusal that another room gave."""
    origin = refusal_pb2.Refusal.Origin.Name(message.origin).removeprefix("ORIGIN_")
    return Refusal(
        reason=RefusalReason(refusal_pb2.RefusalReason.Name(message.reason).removeprefix("REFUSAL_REASON_")),
        origin=Origin(origin) if origin in Origin.__members__ else Origin.MESH,
        message=message.message,
        advice=message.advice,
        field=message.field,
        given_value=message.given_value,
        passing_value=message.passing_value,
        venue=message.venue,
        venue_code=message.venue_code,
        venue_message=message.venue_message,
    )


def _milliseconds(stamp: Timestamp) -> int:
    return stamp.seconds * 1_000 + stamp.nanos // 1_000_000
