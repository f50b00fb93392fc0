"""Work that fails: which it is, how often it was tried, and since when it is stuck."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from services.execution.model.leg import Leg, LegState
from services.execution.model.retry import Retry, Trouble

WORDS_MAX = 500
"""How many characters of an error are kept."""


class WorkKind(StrEnum):
    """What kind of work it is; the contract's names."""

    SIGN = "SIGN"
    SEND = "SEND"
    RESOLVE = "RESOLVE"
    CANCEL = "CANCEL"
    REPLACE = "REPLACE"
    RECONCILE = "RECONCILE"


def kind_of(leg: Leg) -> WorkKind:
    """Return what is being done for a leg."""
    if leg.state is LegState.PREPARED:
        return WorkKind.SIGN
    if leg.state is LegState.SIGNED:
        return WorkKind.SEND
    is_open = leg.state in (LegState.OPEN, LegState.PARTIALLY_FILLED)
    return WorkKind.CANCEL if leg.cancel_wanted and is_open else WorkKind.RESOLVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """Work that failed the last time it was tried."""

    work_id: UUID
    kind: WorkKind
    trouble: Trouble
    user_id: UUID
    account_id: UUID
    venue: str
    order_id: UUID | None = None
    leg_id: UUID | None = None
    attempts: int = 1
    last_error: str
    first_time: datetime
    last_time: datetime
    stuck_time: datetime | None = None
    """Since when its attempts are used up."""


def failed_again(before: Failing | None, now: Failing, retry: Retry) -> Failing:
    """Return how work stands that failed, after how it stood before; another trouble counts on."""
    if before is not None:
        now = replace(now, attempts=before.attempts + 1, first_time=before.first_time, stuck_time=before.stuck_time)
    if now.stuck_time is None and 0 < retry.max_attempts <= now.attempts:
        return replace(now, stuck_time=now.last_time)
    return now
