"""Who calls: the user that the access token names."""

from __future__ import annotations

from uuid import UUID

from services.chassis import call


def user() -> UUID:
    """Return the caller."""
    serving = call.CURRENT.get()
    principal = serving.principal if serving is not None else None
    assert principal is not None, "the contract asks for a login"
    return UUID(principal.user)
