"""Keys: what they are and where they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.domain.market import HYPERLIQUID
from services.vault.model.account import Environment


class KeyKind(StrEnum):
    """What kind of key; the contract's names."""

    HYPERLIQUID_AGENT = "HYPERLIQUID_AGENT"
    LIGHTER_API_KEY = "LIGHTER_API_KEY"


class Origin(StrEnum):
    """Where a key comes from."""

    GENERATED = "GENERATED"
    IMPORTED = "IMPORTED"


class KeyState(StrEnum):
    """Where a key stands."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    EXPIRED = "EXPIRED"
    REVOKED = "REVOKED"
    DEAD = "DEAD"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows any more."""
        return self not in (KeyState.PENDING, KeyState.ACTIVE)


NEXT: Final = {
    KeyState.PENDING: frozenset((KeyState.ACTIVE, KeyState.REVOKED, KeyState.EXPIRED, KeyState.DEAD)),
    KeyState.ACTIVE: frozenset((KeyState.REVOKED, KeyState.EXPIRED, KeyState.DEAD)),
    KeyState.EXPIRED: frozenset[KeyState](),
    KeyState.REVOKED: frozenset[KeyState](),
    KeyState.DEAD: frozenset[KeyState](),
}
"""The lifecycle: which states may follow which."""

EXPLANATIONS: Final = {
    KeyState.PENDING: "The venue does not accept it yet: sign what its set-up says.",
    KeyState.ACTIVE: "The venue accepts it.",
    KeyState.EXPIRED: "Its time at the venue ran out: set up a new one.",
    KeyState.REVOKED: "It was revoked here and its secret is destroyed.",
    KeyState.DEAD: "The venue no longer accepts it: set up a new one.",
}


@dataclass(frozen=True, slots=True)
class Sealed:
    """A secret under a data key of its own, and that key under a master key."""

    secret: bytes
    wrapped_key: bytes
    master_key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key that can trade for an account; what is secret of it is sealed."""

    key_id: UUID
    account_id: UUID
    user_id: UUID
    venue: str
    environment: Environment
    kind: KeyKind
    origin: Origin
    state: KeyState
    explanation: str
    public_key: str
    """The agent's address in lower case, or the public key in hex without 0x."""
    api_key_index: int | None
    venue_name: str
    create_time: datetime
    activate_time: datetime | None = None
    expire_time: datetime | None = None
    last_use_time: datetime | None = None
    revoke_time: datetime | None = None
    venue_revoke_time: datetime | None = None
    sealed: Sealed | None = field(default=None, repr=False)

    @property
    def about(self) -> bytes:
        """What the secret is bound to: put elsewhere it does not open."""
        return binding("vault.keys", self.key_id, self.user_id, self.account_id, self.venue, self.environment, "sign")

    @property
    def words(self) -> str:
        """The state and what to do about it, as one sentence."""
        return self.explanation or EXPLANATIONS[self.state]


def binding(table: str, *parts: object) -> bytes:
    """Return associated data: the table, what the value belongs to, and the version of this form."""
    return "\0".join((table, *(str(part) for part in parts), "v1")).encode()


def signer_name(venue: str, public_key: str, venue_account: str, api_key_index: int | None) -> str:
    """Return whose nonces are counted: a signing address at Hyperliquid, an account's slot at Lighter."""
    return public_key.lower() if venue == HYPERLIQUID else f"{venue_account}:{api_key_index}"
