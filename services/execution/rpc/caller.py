"""Who is calling."""

from __future__ import annotations

from uuid import UUID

from services.chassis import call


def caller() -> UUID:
    """Return the caller's user; the contract sees to it that there is one."""
    serving = call.CURRENT.get()
    principal = serving.principal if serving is not None else None
    assert principal is not None, "the contract asks for a login"
    return UUID(principal.user)
