"""Rows to values, and limits to JSON and back."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

from services.domain.decimals import plain_text
from services.domain.refusal import Origin as RefusalOrigin
from services.domain.refusal import Refusal, RefusalReason
from services.vault.model.account import Account, AccountKind, Custody, Environment, Limits
from services.vault.model.key import Key, KeyKind, KeyState, Origin, Sealed
from services.vault.model.lane import Outcome
from services.vault.model.setup import Method, Plan, Purpose, Setup, SetupState, Step, StepKind, StepState
from services.vault.model.signing import Kept

ACCOUNT_COLUMNS: Final = (
    "a.account_id, a.user_id, a.venue, a.environment, a.kind, a.wallet_address, a.venue_account, a.label, a.custody, "
    "a.is_default, a.limits, a.fee_rate, a.freeze_time, a.freeze_reason, a.create_time, a.update_time, a.version, "
    "a.audit_seq, a.audit_hash, a.day, a.day_notional, a.master_key_id, a.wrapped_key, "
    "EXISTS (SELECT FROM keys k WHERE k.account_id = a.account_id AND k.state = 'ACTIVE' "
    "AND (k.expire_time IS NULL OR k.expire_time > now())) AS has_key"
)
KEY_COLUMNS: Final = (
    "key_id, account_id, user_id, venue, environment, kind, origin, state, explanation, public_key, api_key_index, "
    "venue_name, create_time, activate_time, expire_time, last_use_time, revoke_time, venue_revoke_time, "
    "sealed_secret, master_key_id, wrapped_key"
)
ACTION_COLUMNS: Final = (
    "leg_id, action_number, account_id, key_id, lane_id, order_id, kind, action_digest, nonce, expire_time, sign_time, "
    "transaction_type, transaction_hash, notional, orders, sealed_body, is_prepared, outcome"
)
SETUP_COLUMNS: Final = "key_setup_id, account_id, key_id, purpose, state, create_time, expire_time"
STEP_COLUMNS: Final = (
    "step_id, key_setup_id, kind, required, explanation, method, payload, signer_address, max_fee_rate, state, "
    "refusal, venue_action, nonce, sealed_body"
)
_AMOUNTS: Final = ("max_order_notional", "max_day_notional", "max_position_notional", "max_day_loss")


def account_of(row: Any) -> Account:
    """Return the account of a row with ACCOUNT_COLUMNS."""
    return Account(
        account_id=row["account_id"],
        user_id=row["user_id"],
        venue=row["venue"],
        environment=Environment(row["environment"]),
        kind=AccountKind(row["kind"]),
        wallet_address=row["wallet_address"],
        venue_account=row["venue_account"],
        label=row["label"],
        custody=Custody(row["custody"]),
        is_default=row["is_default"],
        limits=limits_of(row["limits"]),
        fee_rate=row["fee_rate"],
        freeze_time=row["freeze_time"],
        freeze_reason=row["freeze_reason"],
        create_time=row["create_time"],
        update_time=row["update_time"],
        version=row["version"],
        audit_seq=row["audit_seq"],
        audit_hash=row["audit_hash"],
        day=row["day"],
        day_notional=row["day_notional"],
        has_key=row["has_key"],
        wrapped=None if row["wrapped_key"] is None else (row["master_key_id"], row["wrapped_key"]),
    )


def limits_text(limits: Limits) -> str:
    """Return limits as JSON; amounts are texts."""
    amounts = {name: getattr(limits, name) for name in _AMOUNTS}
    return json.dumps(
        {name: plain_text(value) for name, value in amounts.items() if value is not None}
        | {
            "markets": list(limits.markets),
            "max_leverage": limits.max_leverage,
            "max_orders_per_minute": limits.max_orders_per_minute,
            "price_band_bps": limits.price_band_bps,
            "reduce_only": limits.reduce_only,
        },
        sort_keys=True,
    )


def limits_of(text: str) -> Limits:
    """Return limits from JSON."""
    fields = json.loads(text)
    for name in _AMOUNTS:
        if name in fields:
            fields[name] = Decimal(fields[name])
    if "markets" in fields:
        fields["markets"] = tuple(fields["markets"])
    return Limits(**fields)


def key_of(row: Any) -> Key:
    """Return the key of a row with KEY_COLUMNS."""
    sealed = None
    if row["sealed_secret"] is not None:
        sealed = Sealed(row["sealed_secret"], row["wrapped_key"], row["master_key_id"])
    return Key(
        key_id=row["key_id"],
        account_id=row["account_id"],
        user_id=row["user_id"],
        venue=row["venue"],
        environment=Environment(row["environment"]),
        kind=KeyKind(row["kind"]),
        origin=Origin(row["origin"]),
        state=KeyState(row["state"]),
        explanation=row["explanation"],
        public_key=row["public_key"],
        api_key_index=row["api_key_index"],
        venue_name=row["venue_name"],
        create_time=row["create_time"],
        activate_time=row["activate_time"],
        expire_time=row["expire_time"],
        last_use_time=row["last_use_time"],
        revoke_time=row["revoke_time"],
        venue_revoke_time=row["venue_revoke_time"],
        sealed=sealed,
    )


def kept_of(row: Any) -> Kept:
    """Return the action of a row with ACTION_COLUMNS and the signer of its lane."""
    return Kept(
        leg_id=row["leg_id"],
        number=row["action_number"],
        account_id=row["account_id"],
        key_id=row["key_id"],
        lane_id=row["lane_id"],
        order_id=row["order_id"],
        kind=row["kind"],
        digest=row["action_digest"],
        nonce=row["nonce"],
        expire_time=row["expire_time"],
        sign_time=row["sign_time"],
        transaction_type=row["transaction_type"],
        transaction_hash=row["transaction_hash"],
        notional=row["notional"],
        orders=row["orders"],
        sealed_body=row["sealed_body"],
        is_prepared=row["is_prepared"],
        outcome=None if row["outcome"] is None else Outcome(row["outcome"]),
        signer=row["signer"],
    )


def setup_of(row: Any, steps: list[Any]) -> Setup:
    """Return the set-up of a row with SETUP_COLUMNS and the rows of its steps."""
    return Setup(
        key_setup_id=row["key_setup_id"],
        account_id=row["account_id"],
        key_id=row["key_id"],
        purpose=Purpose(row["purpose"]),
        state=SetupState(row["state"]),
        steps=tuple(step_of(step) for step in steps),
        create_time=row["create_time"],
        expire_time=row["expire_time"],
    )


def step_of(row: Any) -> Step:
    """Return the step of a row with STEP_COLUMNS."""
    return Step(
        step_id=row["step_id"],
        plan=Plan(
            kind=StepKind(row["kind"]),
            required=row["required"],
            explanation=row["explanation"],
            method=Method(row["method"]),
            payload=row["payload"],
            venue_action=json.loads(row["venue_action"]),
            nonce=row["nonce"],
            max_fee_rate=row["max_fee_rate"],
        ),
        signer_address=row["signer_address"],
        state=StepState(row["state"]),
        refusal=None if row["refusal"] is None else refusal_of(row["refusal"]),
        sealed_body=row["sealed_body"],
    )


def refusal_text(refusal: Refusal) -> str:
    """Return a refusal as JSON."""
    names = Refusal.__dataclass_fields__
    return json.dumps({name: getattr(refusal, name) for name in names})


def refusal_of(text: str) -> Refusal:
    """Return a refusal from JSON."""
    fields = json.loads(text)
    reason, origin = RefusalReason(fields.pop("reason")), RefusalOrigin(fields.pop("origin"))
    return Refusal(reason=reason, origin=origin, **fields)
