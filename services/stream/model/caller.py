"""Who calls on a socket, for as long as the token that said so counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A user who has said so by a token."""

    user: str
    token: str = field(repr=False)
    """The token itself, with which the caller's own topics are asked for."""
    expire_time: datetime
    """When the token ends; a fresh one must be sent before."""
    forget: Callable[[], None]
    """Stops following the token."""
