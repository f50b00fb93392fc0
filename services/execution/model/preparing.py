"""Orders that their callers sign: what they cannot have, how long they wait, what is asked for and what is taken. Pure.

Such an order is durable before anything is leased for it. Its legs stay PREPARED until their signatures are there; from
then on they are SIGNED, and go the way of every leg. A leg that was never signed ends in EXPIRED, surely not sent.

What rests is canceled by a key of ours where one works at the account. Where none does, the cancel is an action of the
leg like any other, which its caller signs: it is leased, waits a minute, and is given back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from services.domain.decimals import plain_text
from services.domain.errors import DomainError, Reason, field_invalid
from services.domain.market import HYPERLIQUID, LIGHTER
from services.domain.refusal import Refusal, RefusalReason
from services.execution.model.caller_key import CallerKey
from services.execution.model.expiry import LIGHTER_MIN, MARGIN
from services.execution.model.leg import Evidence, Leg, LegState, Told, tell
from services.execution.model.order import NewOrder, Order, mesh_says_no

LIFE_IMMEDIATE: Final = timedelta(seconds=60)
"""How long an order that trades at once may wait for its signatures: its price is of now."""
LIFE_RESTING: Final = timedelta(minutes=5)
"""How long one that waits for its price may; Lighter's transactions live ten minutes at most."""
LIFE_CANCEL: Final = timedelta(seconds=60)
_STANDS: Final = (LegState.OPEN, LegState.PARTIALLY_FILLED)


class Method(StrEnum):
    """How a signature is made; the contract's names."""

    EIP712 = "EIP712"
    LIGHTER_SCHNORR = "LIGHTER_SCHNORR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the vault answers: what to sign, with its nonce; empty texts where nothing is to be signed any more."""

    payload: str
    digest: str
    unsigned_body: str
    nonce: int
    expire_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Signable:
    """What a caller signs for one leg."""

    leg: Leg
    prepared: Prepared

    @property
    def method(self) -> Method:
        """How the signature is made."""
        return Method.LIGHTER_SCHNORR if self.leg.venue == LIGHTER else Method.EIP712

    @property
    def explanation(self) -> str:
        """What is being signed, as one sentence."""
        leg = self.leg
        if leg.action_number:
            return f"Cancel the order {leg.client_id} in {leg.market} at {leg.venue}."
        what = f"{leg.side.value.lower()} {plain_text(leg.size)} {leg.market} at {leg.venue}, at worst at "
        trigger = "" if leg.trigger_price is None else f", once the mark price reaches {plain_text(leg.trigger_price)}"
        only = ", reducing a position" if leg.reduce_only else ""
        return f"{what[0].upper()}{what[1:]}{plain_text(leg.limit_price)} USD{trigger}{only}."


class Signs(Protocol):
    """An account, as far as these rules need it."""

    @property
    def account_id(self) -> UUID:
        """Its id."""
        ...

    @property
    def venue(self) -> str:
        """Its venue."""
        ...

    @property
    def has_our_key(self) -> bool:
        """Whether a key of ours works there."""
        ...


def check_signers(signers: Mapping[UUID, CallerKey], accounts: Sequence[Signs]) -> None:
    """Raise FIELD_INVALID where a signer is not named as its venue knows it."""
    for account in accounts:
        key = signers.get(account.account_id)
        if key is None:
            raise field_invalid("signers", f"a signer for each account would pass; {account.account_id} has none")
        if account.venue == LIGHTER and not (key.public_key and key.api_key_index is not None):
            raise field_invalid("signers", "for Lighter, public_key and api_key_index of the key that signs would pass")
        if account.venue == HYPERLIQUID and not key.address:
            raise field_invalid("signers", "for Hyperliquid, the signer_address of the wallet or agent would pass")


def judge(wanted: NewOrder, accounts: Sequence[Signs], now: datetime) -> Refusal | None:
    """Say why an order cannot be signed by its caller; None where it can, or is not to be."""
    for account in accounts if wanted.signers else ():
        if account.venue == LIGHTER and not account.has_our_key:
            return mesh_says_no(
                RefusalReason.KEY_UNUSABLE,
                "Lighter shows an account's orders only to a key of the account, and none is ours there.",
                "Set up a key (BeginKeySetup) to read with; orders that you prepare are still signed by your own.",
                field="signers",
                venue=LIGHTER,
            )
        until = wanted.expire_time
        if until is None:
            continue
        if account.venue == HYPERLIQUID and not account.has_our_key:
            return mesh_says_no(
                RefusalReason.NOT_SUPPORTED,
                "Hyperliquid ends no order by itself, and we have no key there to take it down with.",
                "Leave expire_time out and cancel it, or set up a key.",
                field="expire_time",
                venue=HYPERLIQUID,
            )
        least = now + LIGHTER_MIN + LIFE_RESTING + MARGIN
        if account.venue == LIGHTER and until < least:
            return mesh_says_no(
                RefusalReason.EXPIRED,
                "Lighter's orders live five minutes at least, and this one may wait five for its signature.",
                "Take a later time, or leave it out.",
                field="expire_time",
                venue=LIGHTER,
                passing=least.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            )
    return None


def for_callers(order: Order, wanted: NewOrder) -> Order:
    """Return an order with its legs waiting for the signatures of their callers; one that ours sign as it is."""
    if not wanted.signers:
        return order
    keys = dict(wanted.signers)
    legs = tuple(replace(leg, caller=keys[leg.account_id], sign_by=_sign_by(leg)) for leg in order.legs)
    return replace(order, legs=legs, caller_signed=True)


def _sign_by(leg: Leg) -> datetime:
    return leg.create_time + (LIFE_RESTING if leg.may_rest else LIFE_IMMEDIATE)


def take(order: Order, signatures: Mapping[UUID, str], now: datetime) -> tuple[Leg, ...]:
    """Return the legs whose signatures were brought. Raises FIELD_INVALID, STATE_FORBIDS where they cannot be taken."""
    if not order.caller_signed:
        raise DomainError(
            Reason.STATE_FORBIDS,
            "Keys of ours sign this order: there is nothing to submit. Orders to sign are made by PrepareOrder.",
            metadata={"order_id": str(order.order_id), "state": order.state.value},
        )
    known = {leg.leg_id for leg in order.legs}
    strange = next((leg_id for leg_id in signatures if leg_id not in known), None)
    if strange is not None:
        raise field_invalid("signatures", f"{strange} is no leg of this order: one of its own leg_ids would pass")
    waiting = tuple(leg for leg in order.legs if leg.awaits_signature)
    missing = next((leg for leg in waiting if leg.action_number == 0 and leg.leg_id not in signatures), None)
    if missing is not None:
        raise field_invalid("signatures", f"a signature for each leg would pass; that of {missing.leg_id} is missing")
    late = next((leg for leg in waiting if leg.sign_by is not None and leg.sign_by <= now), None)
    if late is not None and late.leg_id in signatures:
        raise DomainError(
            Reason.STATE_FORBIDS,
            f"The time to sign the leg {late.leg_id} ran out at {late.sign_by}: prepare it anew.",
            metadata={"order_id": str(order.order_id), "leg_id": str(late.leg_id), "state": "EXPIRED"},
        )
    return tuple(leg for leg in waiting if leg.leg_id in signatures)


def sign(order: Order, signatures: Mapping[tuple[UUID, int], str], now: datetime) -> Order:
    """Return an order with signatures that hold, each for an action of a leg; what waits for none is as it is."""

    def signed(leg: Leg) -> Leg:
        signature = signatures.get((leg.leg_id, leg.action_number))
        if signature is None or not leg.awaits_signature:
            return leg
        return tell(replace(leg, signature=signature), Told.SIGN, Evidence.NOT_SENT, now)

    legs = tuple(signed(leg) for leg in order.legs)
    return order if legs == order.legs else replace(order, legs=legs)


def deny(order: Order, leg_id: UUID, refusal: Refusal, now: datetime) -> Order:
    """Return an order with a leg that the vault would not prepare."""
    legs = tuple(
        tell(leg, Told.DENY, Evidence.NOT_SENT, now, refusal=refusal) if leg.leg_id == leg_id else leg
        for leg in order.legs
    )
    return order if legs == order.legs else replace(order, legs=legs)


def is_cancelable(leg: Leg, ours: Collection[UUID]) -> bool:
    """Whether only its caller can cancel a leg, and now; `ours` are the accounts where a key of ours works."""
    stands = leg.cancel_wanted and leg.state in _STANDS and leg.settled > 0
    return stands and leg.caller is not None and leg.account_id not in ours


def ask_cancels(order: Order, ours: Collection[UUID], now: datetime) -> Order:
    """Return an order with a cancel begun for each leg that only its caller can cancel, where none is out."""

    def asked(leg: Leg) -> Leg:
        if not is_cancelable(leg, ours) or not leg.is_settled:
            return leg
        return replace(
            leg, action_number=leg.action_number + 1, signature="", sign_by=now + LIFE_CANCEL, cancel_send_time=now
        )

    legs = tuple(asked(leg) for leg in order.legs)
    return order if legs == order.legs else replace(order, legs=legs)


def sign_left_s(leg: Leg, now: datetime) -> float:
    """Return how long a leg's caller may still sign; 0 for no longer."""
    return 0.0 if leg.sign_by is None else max(0.0, (leg.sign_by - now).total_seconds())


def caller_wait_s(leg: Leg, now: datetime) -> float:
    """Return how long until something is to be done about the cancel that a leg's caller signs; endless for nothing."""
    if leg.action_number == 0 or leg.is_settled:
        return float("inf")
    return sign_left_s(leg, now) if leg.awaits_signature else 0.0
