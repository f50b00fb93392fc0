"""Whom a token names, by the verifier that every room has."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from services.chassis.verifier import TokenVerifier
from services.domain.errors import DomainError, Reason
from services.stream.model.caller import Caller


class VerifiedCallers:
    """The port `Callers`."""

    def __init__(self, verifier: TokenVerifier | None) -> None:
        self._verifier = verifier

    def admit(self, token: str, end: Callable[[DomainError], None]) -> Caller:
        """Return whom a token names, and call `end` once when it ends or is revoked; raises a `DomainError`."""
        if self._verifier is None:
            raise DomainError(Reason.CALL_NOT_SERVED, "This door is not set up to verify who calls.")
        principal = self._verifier.principal(token)
        return Caller(
            user=principal.user,
            token=token,
            expire_time=datetime.fromtimestamp(principal.token_end_s, UTC),
            forget=self._verifier.follow(principal, end),
        )
