"""The schedule of the keys that sign tokens: published first, signing later, published until the last token has ended.

A key is made `ahead` before it signs, so that every verifier has fetched it by then; it signs for `period`; and it
stays published until tokens that it signed in its last moment have ended. So at every time exactly one key signs, and
nobody meets a token whose key they cannot have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

OVERLAP = timedelta(minutes=20)
"""For how long a key stays published after it has signed its last: the life of a token, and clocks that differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """One key without its secret."""

    kid: str
    algorithm: str
    """`EdDSA` or `ES256`; the key fixes it."""
    public: dict[str, str]
    """The public key as a JWK."""
    sign_time: datetime
    """When it begins to sign."""
    retire_time: datetime
    """When it stops signing."""
    revoke_time: datetime | None = None
    """When it was withdrawn at once, after a compromise."""

    def published(self, now: datetime) -> bool:
        """Say whether verifiers are given it."""
        return self.revoke_time is None and now < self.retire_time + OVERLAP


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How keys follow each other."""

    ahead: timedelta
    period: timedelta

    def wanted(self, keys: Iterable[KeyRecord], now: datetime) -> tuple[datetime, datetime] | None:
        """Return when a key to be made now signs, from and until; None when none is needed."""
        live = [key for key in keys if key.revoke_time is None and now < key.retire_time]
        if not any(key.sign_time <= now for key in live):
            return now, now + self.period  # the first, or the one after a gap: it cannot be known beforehand
        last = max(key.retire_time for key in live)
        if last - now > self.ahead:
            return None
        return last, last + self.period


def signer(keys: Iterable[KeyRecord], now: datetime) -> KeyRecord | None:
    """Return the key that signs now: of several the one that began last."""
    able = [key for key in keys if key.revoke_time is None and key.sign_time <= now < key.retire_time]
    return max(able, key=lambda key: (key.sign_time, key.kid), default=None)
