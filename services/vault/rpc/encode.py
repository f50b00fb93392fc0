"""Values to messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import msgspec
from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.type.v1 import environment_pb2, refusal_pb2
from perpmesh.vault.v1 import account_pb2, authorization_pb2, key_pb2, key_setup_pb2, signed_action_pb2
from perpmesh.vault.v1 import signer_service_pb2 as signer_pb

from services.domain.decimals import plain_text
from services.domain.refusal import Refusal
from services.vault.model.account import Account, Limits
from services.vault.model.key import Key
from services.vault.model.setup import Authorization, Setup, Step
from services.vault.model.signing import SignedAction


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Return a time as the contract has it."""
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def amount(value: Decimal | None) -> str:
    """Return an amount as text, the empty one for None."""
    return "" if value is None else plain_text(value)


def account(value: Account) -> account_pb2.Account:
    """Return an account."""
    return account_pb2.Account(
        account_id=str(value.account_id),
        venue=value.venue,
        environment=environment_pb2.Environment.Value(f"ENVIRONMENT_{value.environment}"),
        kind=account_pb2.Account.Kind.Value(f"KIND_{value.kind}"),
        wallet_address=value.wallet_address,
        venue_account=value.venue_account,
        label=value.label,
        custody=account_pb2.Account.Custody.Value(f"CUSTODY_{value.custody}"),
        state=account_pb2.Account.State.Value(f"STATE_{value.state}"),
        explanation=value.explanation,
        default=value.is_default,
        limits=limits(value.limits),
        freeze_time=timestamp(value.freeze_time),
        freeze_reason=value.freeze_reason,
        create_time=timestamp(value.create_time),
        update_time=timestamp(value.update_time),
    )


def limits(value: Limits) -> account_pb2.TradingLimits:
    """Return limits."""
    return account_pb2.TradingLimits(
        max_order_notional=amount(value.max_order_notional),
        max_day_notional=amount(value.max_day_notional),
        max_position_notional=amount(value.max_position_notional),
        max_day_loss=amount(value.max_day_loss),
        markets=value.markets,
        max_leverage=value.max_leverage,
        max_orders_per_minute=value.max_orders_per_minute,
        price_band_bps=value.price_band_bps,
        reduce_only=value.reduce_only,
    )


def key(value: Key) -> key_pb2.Key:
    """Return a key, of which nothing secret is in reach here."""
    return key_pb2.Key(
        key_id=str(value.key_id),
        account_id=str(value.account_id),
        kind=key_pb2.Key.Kind.Value(f"KIND_{value.kind}"),
        origin=key_pb2.Key.Origin.Value(f"ORIGIN_{value.origin}"),
        state=key_pb2.Key.State.Value(f"STATE_{value.state}"),
        explanation=value.words,
        public_key=value.public_key,
        api_key_index=value.api_key_index,
        venue_name=value.venue_name,
        create_time=timestamp(value.create_time),
        activate_time=timestamp(value.activate_time),
        expire_time=timestamp(value.expire_time),
        last_use_time=timestamp(value.last_use_time),
        revoke_time=timestamp(value.revoke_time),
        venue_revoke_time=timestamp(value.venue_revoke_time),
    )


def setup(value: Setup) -> key_setup_pb2.KeySetup:
    """Return a set-up."""
    return key_setup_pb2.KeySetup(
        key_setup_id=str(value.key_setup_id),
        account_id=str(value.account_id),
        key_id="" if value.key_id is None else str(value.key_id),
        state=key_setup_pb2.KeySetup.State.Value(f"STATE_{value.state}"),
        steps=[_step(step) for step in value.steps],
        create_time=timestamp(value.create_time),
        expire_time=timestamp(value.expire_time),
    )


def _step(value: Step) -> key_setup_pb2.KeySetupStep:
    plan = value.plan
    return key_setup_pb2.KeySetupStep(
        step_id=str(value.step_id),
        kind=key_setup_pb2.KeySetupStep.Kind.Value(f"KIND_{plan.kind}"),
        required=plan.required,
        explanation=plan.explanation,
        method=key_setup_pb2.KeySetupStep.Method.Value(f"METHOD_{plan.method}"),
        payload=plan.payload,
        signer_address=value.signer_address,
        max_fee_rate=amount(plan.max_fee_rate),
        state=key_setup_pb2.KeySetupStep.State.Value(f"STATE_{value.state}"),
        refusal=None if value.refusal is None else refusal(value.refusal),
    )


def authorization(value: Authorization, venue: str, ours: Sequence[Key]) -> authorization_pb2.Authorization:
    """Return what a wallet authorized, with our own key that it is."""
    mine = next((one for one in ours if one.public_key == value.grantee), None)
    return authorization_pb2.Authorization(
        kind=authorization_pb2.Authorization.Kind.Value(f"KIND_{value.kind}"),
        venue=venue,
        grantee=value.grantee,
        name=value.name,
        max_fee_rate=amount(value.max_fee_rate),
        key_id="" if mine is None else str(mine.key_id),
        expire_time=timestamp(value.expire_time),
    )


def refusal(value: Refusal) -> refusal_pb2.Refusal:
    """Return why something is refused."""
    retry = None
    if value.retry_time_ns:
        retry = timestamp(datetime.fromtimestamp(value.retry_time_ns / 1e9, UTC))
    reason = "REFUSAL_REASON_" + value.reason.value
    return refusal_pb2.Refusal(
        reason=refusal_pb2.RefusalReason.Value(reason),
        origin=refusal_pb2.Refusal.Origin.Value(f"ORIGIN_{value.origin}"),
        message=value.message,
        advice=value.advice,
        field=value.field,
        given_value=value.given_value,
        passing_value=value.passing_value,
        venue=value.venue,
        venue_code=value.venue_code,
        venue_message=value.venue_message,
        retry_time=retry,
    )


def signed_action(value: SignedAction) -> signed_action_pb2.SignedAction:
    """Return the bytes to send."""
    kept = value.kept
    return signed_action_pb2.SignedAction(
        leg_id=str(kept.leg_id),
        action_number=kept.number,
        venue=value.venue,
        body=value.body,
        transaction_type=kept.transaction_type,
        transaction_hash=kept.transaction_hash,
        nonce=kept.nonce,
        key_id="" if kept.key_id is None else str(kept.key_id),
        expire_time=timestamp(kept.expire_time),
        sign_time=timestamp(kept.sign_time),
    )


def prepared(value: SignedAction) -> signer_pb.PrepareActionResponse.Prepared:
    """Return what a caller has to sign; empty texts once it was wiped, or is signed."""
    held: dict[str, object] = {}
    if value.kept.is_prepared and value.body:
        held = msgspec.json.decode(value.body, type=dict[str, object])
    return signer_pb.PrepareActionResponse.Prepared(
        payload=str(held.get("payload", "")),
        digest=str(held.get("digest", "")),
        unsigned_body=str(held.get("unsigned_body", "")),
        nonce=value.kept.nonce,
        expire_time=timestamp(value.kept.expire_time),
    )
