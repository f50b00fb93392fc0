"""Every way the house says no, each with its reason.

A rule or a use case raises a `DomainError`; the chassis turns it into a `google.rpc.Status` at the one crossing
(`services/chassis/errors.py`) and back into a `DomainError` in a client. `Reason` repeats `perpmesh.errors.v1.Reason`
because the domain imports no generated code; a test keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The machine-readable reason of an error; the contract's enum without its prefix."""

    FIELD_INVALID = "FIELD_INVALID"
    REQUEST_UNREADABLE = "REQUEST_UNREADABLE"
    CALL_UNKNOWN = "CALL_UNKNOWN"
    CALL_NOT_SERVED = "CALL_NOT_SERVED"
    MARKET_UNKNOWN = "MARKET_UNKNOWN"
    VENUE_UNKNOWN = "VENUE_UNKNOWN"
    NO_LIVE_VENUE = "NO_LIVE_VENUE"
    CURSOR_EXPIRED = "CURSOR_EXPIRED"
    CURSOR_INVALID = "CURSOR_INVALID"
    SLOW_CONSUMER = "SLOW_CONSUMER"
    LIMIT_REACHED = "LIMIT_REACHED"
    REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
    DRAINING = "DRAINING"
    PEER_UNAVAILABLE = "PEER_UNAVAILABLE"
    VENUE_UNAVAILABLE = "VENUE_UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    TOKEN_MISSING = "TOKEN_MISSING"
    TOKEN_INVALID = "TOKEN_INVALID"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    INTERNAL = "INTERNAL"
    SIGN_IN_REFUSED = "SIGN_IN_REFUSED"
    WALLET_TAKEN = "WALLET_TAKEN"
    WALLET_LAST = "WALLET_LAST"
    WALLET_KIND_UNSUPPORTED = "WALLET_KIND_UNSUPPORTED"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    RESOURCE_UNKNOWN = "RESOURCE_UNKNOWN"
    STATE_FORBIDS = "STATE_FORBIDS"
    OUTCOME_CONTRADICTED = "OUTCOME_CONTRADICTED"
    FENCED = "FENCED"
    VENUE_REFUSED = "VENUE_REFUSED"
    KEY_SEALED = "KEY_SEALED"
    VERSION_MOVED = "VERSION_MOVED"


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that has a wrong shape or value, and what would pass."""

    field: str
    """Path of the field in the request, dotted, such as `markets[0]`."""
    description: str
    """A sentence that says what would pass."""


class DomainError(Exception):
    """A refusal that is meant for the caller.

    `message` is a whole sentence for a person; `metadata` repeats every changing part of it for a machine; `fields`
    names the fields at fault, if any; `retry_after_s` says how long to wait where waiting helps.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        fields: tuple[FieldViolation, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata: Mapping[str, str] = dict(metadata or {})
        self.fields = fields
        self.retry_after_s = retry_after_s


def field_invalid(field: str, description: str) -> DomainError:
    """Return the refusal of one field: `description` says what would pass."""
    return DomainError(
        Reason.FIELD_INVALID,
        f"{field}: {description}",
        metadata={"field": field},
        fields=(FieldViolation(field, description),),
    )
