"""Who is calling: the one chassis module that a room's `app.py` may import.

A principal is made by the verifier that the server is given (`services/chassis/interceptors.py`) and by nothing else;
no request message names a user. A call that needs no sign-in may have none.
"""

from __future__ import annotations

from dataclasses import dataclass, field

READ = "read"
"""The scope of looking at what is one's own."""

TRADE = "trade"
"""The scope of placing and canceling orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """A signed-in user, or another service of the mesh, for the time of one call."""

    user: str
    """The user's id, a UUID; for a service, the empty string."""
    wallet: str = ""
    """The wallet that signed in, an EVM address with its checksum; empty for a service."""
    session: str = ""
    """The id of the session or API token the call came with; what a revocation names."""
    scopes: frozenset[str] = field(default_factory=frozenset)
    """What the token allows: `read`, `trade`."""
    from_api_token: bool = False
    """Whether the token was exchanged from an API token, which may not manage sessions, tokens and wallets."""
    token_end_s: float = 0.0
    """When the access token ends, in seconds since 1970; 0 for a service."""
    service: str = ""
    """The calling service's name from its certificate; empty for a user."""

    @property
    def is_service(self) -> bool:
        """Say whether another service of the mesh is calling for itself."""
        return bool(self.service)

    def may(self, scope: str) -> bool:
        """Say whether the token carries `scope`."""
        return scope in self.scopes
