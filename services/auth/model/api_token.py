"""API tokens for programs: scoped, expiring, shown once, kept as a hash, exchanged for access tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.auth.model.session import SCOPES
from services.domain.errors import DomainError, Reason, field_invalid

PREFIX = "pma_"
SHOWN_CHARS = 10
"""How much of the secret is kept readable, its fixed prefix included: 36 bits, to recognize it by."""
LIFETIME_DEFAULT = timedelta(days=30)
LIVE_MAX = 100
"""How many live tokens one user may have."""
ENDED_SHOWN = timedelta(days=90)
"""For how long an ended token is still listed where that is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiToken:
    """A token for a program."""

    api_token_id: UUID
    user_id: UUID
    request_id: UUID
    name: str
    scopes: tuple[str, ...]
    prefix: str
    """The first characters of the secret."""
    address: str
    """The wallet of the session that made it."""
    create_time: datetime
    expire_time: datetime
    last_use_time: datetime | None = None
    revoke_time: datetime | None = None

    def lives(self, now: datetime) -> bool:
        """Say whether it was neither revoked nor has expired."""
        return self.revoke_time is None and now < self.expire_time

    def same_request(self, other: ApiToken) -> bool:
        """Say whether both answer the same request."""
        lifetimes = (self.expire_time - self.create_time, other.expire_time - other.create_time)
        return (self.name, self.scopes, lifetimes[0]) == (other.name, other.scopes, lifetimes[1])


def read_scopes(asked: Sequence[str], allowed: frozenset[str]) -> tuple[str, ...]:
    """Return the scopes asked for in their fixed order, or raise PERMISSION_DENIED for more than the caller has."""
    beyond = [scope for scope in SCOPES if scope in asked and scope not in allowed]
    if beyond:
        raise DomainError(
            Reason.PERMISSION_DENIED,
            f"A token can do no more than whoever makes it: the scope {beyond[0]} is not yours to give.",
            metadata={"scope": beyond[0]},
        )
    chosen = tuple(scope for scope in SCOPES if scope in asked)
    if "trade" in chosen and "read" not in chosen:
        return ("read", *chosen)  # what may trade may look
    return chosen


def checked_name(name: str) -> str:
    """Return the name, or raise FIELD_INVALID for one that could not be shown."""
    if not name.strip() or not name.isprintable():
        raise field_invalid("name", "must have a visible character and no control characters")
    return name


def reused() -> DomainError:
    """Return the refusal of a request_id that was used for another token."""
    return DomainError(
        Reason.REQUEST_ID_REUSED,
        "This request_id made another token before: use a new one.",
        metadata={"field": "request_id"},
    )


def too_many() -> DomainError:
    """Return the refusal beyond the bound."""
    return DomainError(
        Reason.LIMIT_REACHED,
        f"You have {LIVE_MAX} live API tokens, which is the most: revoke one first.",
        metadata={"limit": "api_tokens", "limit_max": str(LIVE_MAX)},
    )
