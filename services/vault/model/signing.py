"""What is asked of the signer, and what it keeps of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.vault.model.lane import Outcome
from services.venues.actions import Action


@dataclass(frozen=True, slots=True)
class Leg:
    """One action of one leg, and the caller's fence."""

    leg_id: UUID
    number: int
    fence: int

    @property
    def name(self) -> tuple[UUID, int]:
        """What the action is known by."""
        return self.leg_id, self.number


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An action to sign, or to prepare for a caller who signs."""

    leg: Leg
    account_id: UUID
    action: Action
    digest: bytes
    """SHA-256 of the action as it was asked, by which a repetition is known."""
    expire_ms: int
    order_id: UUID | None = None
    signer: CallerKey | None = None
    """The caller's own key; None where ours signs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerKey:
    """A key that is not ours: an address at Hyperliquid, a public key and its slot at Lighter."""

    public_key: str
    api_key_index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a signed action."""

    leg: Leg
    outcome: Outcome
    venue_code: str = ""
    venue_message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a venue's adapter made of an action: bytes to post, or text to sign."""

    body: bytes = field(repr=False)
    expire_ms: int
    transaction_type: int = 0
    transaction_hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A signed action as it is kept."""

    leg_id: UUID
    number: int
    account_id: UUID
    key_id: UUID | None
    lane_id: int
    kind: str
    digest: bytes
    nonce: int
    expire_time: datetime
    sign_time: datetime
    transaction_type: int
    transaction_hash: str
    notional: Decimal
    orders: int
    sealed_body: bytes | None = field(repr=False)
    is_prepared: bool = False
    outcome: Outcome | None = None
    order_id: UUID | None = None
    signer: str = ""
    """Whose nonce it has, as its lane is named."""

    @property
    def about(self) -> bytes:
        """What the sealed bytes are bound to."""
        parts = (self.account_id, self.leg_id, self.number, self.nonce, "prepared" if self.is_prepared else "signed")
        return "\0".join(("vault.signed_actions", *(str(part) for part in parts), "v1")).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedAction:
    """An action as it goes to the venue."""

    kept: Kept
    venue: str
    body: bytes = field(repr=False)
    """Empty once it was wiped."""


def frozen_refusal(reason: str, *, everywhere: bool) -> Refusal:
    """Return why nothing is signed now."""
    if everywhere:
        words = "Signing is frozen for every account, by the operator"
        return _no(RefusalReason.HALTED, words + (f": {reason}." if reason else "."), "Wait until it is lifted.")
    words = "Trading is frozen for this account, by its owner"
    return _no(RefusalReason.FROZEN, words + (f": {reason}." if reason else "."), "Unfreeze the account.")


def no_key(message: str) -> Refusal:
    """Return why no key of ours can sign."""
    return _no(RefusalReason.KEY_UNUSABLE, message, "Set up a new key.")


def _no(reason: RefusalReason, message: str, advice: str) -> Refusal:
    return Refusal(reason=reason, origin=Origin.MESH, message=message, advice=advice)


def fenced(leg: Leg, newest: int) -> DomainError:
    """Return the refusal of an old fence."""
    return DomainError(
        Reason.FENCED,
        f"The leg {leg.leg_id} was taken over by fence {newest}; fence {leg.fence} is old.",
        metadata={"leg_id": str(leg.leg_id), "fence": str(leg.fence), "newest_fence": str(newest)},
    )


def reused(leg: Leg) -> DomainError:
    """Return the refusal of another action under a used number."""
    return DomainError(
        Reason.REQUEST_ID_REUSED,
        f"Action {leg.number} of leg {leg.leg_id} was signed before with other content: count the action number up.",
        metadata={"leg_id": str(leg.leg_id), "action_number": str(leg.number)},
    )


def never_signed(leg: Leg) -> DomainError:
    """Return the refusal of an outcome or a signature for what is not known."""
    return DomainError(
        Reason.RESOURCE_UNKNOWN,
        f"Action {leg.number} of leg {leg.leg_id} is not known here: nothing was signed for it.",
        metadata={"resource": "action", "leg_id": str(leg.leg_id), "action_number": str(leg.number)},
    )


def contradicted(leg: Leg, before: Outcome, now: Outcome) -> DomainError:
    """Return the refusal of another outcome than the one reported before."""
    return DomainError(
        Reason.OUTCOME_CONTRADICTED,
        f"The outcome {before} of action {leg.number} of leg {leg.leg_id} was reported before; {now} says otherwise.",
        metadata={"leg_id": str(leg.leg_id), "action_number": str(leg.number), "outcome": before, "given": now},
    )


def waited(seconds: float) -> DomainError:
    """Return the refusal of an action that found no room among those that are out."""
    return DomainError(
        Reason.LIMIT_REACHED,
        "Earlier actions of this key are out without an outcome: report what became of them. Nothing was allocated.",
        metadata={"limit": "actions_out"},
        retry_after_s=seconds,
    )


def held_elsewhere() -> DomainError:
    """Return the refusal of a vault whose lane another one holds."""
    return DomainError(
        Reason.PEER_UNAVAILABLE,
        "Another vault serves this key now: ask that one, or wait until it is gone. Nothing was signed.",
        metadata={"peer": "vault"},
        retry_after_s=1.0,
    )
