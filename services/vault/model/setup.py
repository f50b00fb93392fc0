"""Set-ups: what a wallet must sign so that a venue accepts a key, approves a fee, or forgets either. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.domain.refusal import Refusal

LIFE: Final = timedelta(minutes=15)
"""How long a set-up may take; the venues' own limits are longer."""
KEY_LIFE: Final = timedelta(days=90)
FEE_RATE_MAX: Final = Decimal("0.001")


class Purpose(StrEnum):
    """What a set-up is for; the contract's names, and the revocation of a key."""

    NEW_KEY = "NEW_KEY"
    APPROVE_FEE = "APPROVE_FEE"
    REVOKE_FEE = "REVOKE_FEE"
    REVOKE_KEY = "REVOKE_KEY"


class SetupState(StrEnum):
    """How far a set-up has come."""

    AWAITING_SIGNATURES = "AWAITING_SIGNATURES"
    SUBMITTED = "SUBMITTED"
    CONFIRMED = "CONFIRMED"
    REFUSED = "REFUSED"
    EXPIRED = "EXPIRED"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows any more."""
        return self not in (SetupState.AWAITING_SIGNATURES, SetupState.SUBMITTED)


class StepKind(StrEnum):
    """What a step does; the contract's names."""

    APPROVE_AGENT = "APPROVE_AGENT"
    APPROVE_BUILDER_FEE = "APPROVE_BUILDER_FEE"
    CHANGE_PUBLIC_KEY = "CHANGE_PUBLIC_KEY"
    APPROVE_INTEGRATOR = "APPROVE_INTEGRATOR"
    REVOKE_KEY = "REVOKE_KEY"
    REVOKE_FEE = "REVOKE_FEE"


class Method(StrEnum):
    """How a signature is made."""

    EIP712 = "EIP712"
    PERSONAL_SIGN = "PERSONAL_SIGN"


class StepState(StrEnum):
    """How far a step has come."""

    AWAITING_SIGNATURE = "AWAITING_SIGNATURE"
    SUBMITTED = "SUBMITTED"
    CONFIRMED = "CONFIRMED"
    REFUSED = "REFUSED"
    SKIPPED = "SKIPPED"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows any more."""
        return self not in (StepState.AWAITING_SIGNATURE, StepState.SUBMITTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A step as an adapter plans it."""

    kind: StepKind
    required: bool
    explanation: str
    """What the wallet agrees to, as one sentence for a person."""
    method: Method
    payload: str
    """The exact text to sign."""
    venue_action: Mapping[str, object]
    """What the venue is told, in the adapter's own form."""
    nonce: int
    max_fee_rate: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that the wallet must sign."""

    step_id: UUID
    plan: Plan
    signer_address: str
    state: StepState = StepState.AWAITING_SIGNATURE
    refusal: Refusal | None = None
    sealed_body: bytes | None = field(default=None, repr=False)
    """What was posted, or will be; kept until the venue has confirmed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A set-up and its steps, in the order they must be done."""

    key_setup_id: UUID
    account_id: UUID
    key_id: UUID | None
    purpose: Purpose
    state: SetupState
    steps: tuple[Step, ...]
    create_time: datetime
    expire_time: datetime

    def step(self, step_id: UUID) -> Step | None:
        """Return a step by its id."""
        return next((step for step in self.steps if step.step_id == step_id), None)

    def next_step(self) -> Step | None:
        """Return the first step that has not ended."""
        return next((step for step in self.steps if not step.state.is_final), None)


def state_of(steps: Iterable[Step], *, is_late: bool) -> SetupState:
    """Return how far a set-up has come, from its steps."""
    found = tuple(steps)
    if any(step.plan.required and step.state is StepState.REFUSED for step in found):
        return SetupState.REFUSED
    if all(step.state.is_final for step in found):
        worked = any(step.state is StepState.CONFIRMED for step in found)
        return SetupState.CONFIRMED if worked else SetupState.REFUSED
    if any(step.state is StepState.SUBMITTED for step in found):
        return SetupState.SUBMITTED
    if is_late:
        # What is required was done before; only the rest ran out of time.
        done = [step.state is StepState.CONFIRMED for step in found if step.plan.required]
        return SetupState.CONFIRMED if done and all(done) else SetupState.EXPIRED
    return SetupState.AWAITING_SIGNATURES


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """Something a wallet authorized at a venue, as the venue lists it."""

    kind: str
    """The contract's name of the kind: AGENT, BUILDER_FEE, INTEGRATOR, API_KEY."""
    grantee: str
    name: str = ""
    max_fee_rate: Decimal | None = None
    expire_time: datetime | None = None
    api_key_index: int | None = None
