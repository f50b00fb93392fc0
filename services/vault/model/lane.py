"""Nonces: which is next, how many may be out, and what an outcome does to them. Pure.

Hyperliquid takes a nonce once, in any order, near the time in milliseconds, and above the lowest of the hundred highest
it has seen. So nonces here only rise, and no more than `WINDOW` are given out from the oldest that is not settled on:
however late that one is posted, it is not too low. Lighter takes exactly the next one of each key, so one is out at a
time. Sources: the venues' pages on nonces; measured bounds in docs/venue-trading.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.domain.market import LIGHTER

WINDOW: Final = 100
"""How many nonces Hyperliquid keeps of a signer."""
AHEAD_MAX_MS: Final = 12 * 3_600_000
"""How far a nonce may be ahead of the clock; the venue takes a day less two minutes."""
FOREIGN_MAX: Final = 3
"""How often somebody else may be seen to use a key before it counts as dead."""
GRACE_MS: Final = 5_000
"""How long after their expiry bytes count as possibly alive."""


class Outcome(StrEnum):
    """What became of a signed action; the contract's names, and LAPSED: it expired and nobody told."""

    ACCEPTED = "ACCEPTED"
    REFUSED_NONCE_USED = "REFUSED_NONCE_USED"
    REFUSED_NONCE_FREE = "REFUSED_NONCE_FREE"
    REFUSED_NONCE = "REFUSED_NONCE"
    NOT_SENT = "NOT_SENT"
    NEVER_LANDED = "NEVER_LANDED"
    KEY_UNKNOWN = "KEY_UNKNOWN"
    LAPSED = "LAPSED"

    @property
    def gives_back(self) -> bool:
        """Whether what was signed certainly did not trade, so that it does not count against the day."""
        return self not in (Outcome.ACCEPTED, Outcome.LAPSED)


_USED: Final = frozenset((Outcome.ACCEPTED, Outcome.REFUSED_NONCE_USED))
_FREE: Final = frozenset((Outcome.REFUSED_NONCE_FREE, Outcome.NOT_SENT))


class NonceError(Exception):
    """No nonce can be given out: the clock is wrong by hours. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Out:
    """A nonce that was given out, and to which action of which leg."""

    nonce: int
    expire_ms: int
    name: tuple[UUID, int]
    settled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The nonces of one key. `nonce`: the highest given out (Hyperliquid), or the next (Lighter; None: ask)."""

    lane_id: int
    venue: str
    fence: int
    nonce: int | None
    out: tuple[Out, ...] = ()
    """Those given out from the oldest unsettled one on, in their order."""
    foreign_moves: int = 0
    """How often somebody else was seen to use the key."""
    refused: int | None = None
    """The nonce that the venue refused as none; where it is then beyond it, somebody else uses the key."""

    @property
    def is_ordered(self) -> bool:
        """Whether the venue takes nonces strictly one after another."""
        return self.venue == LIGHTER

    def room(self, now_ms: int) -> int:
        """Return how many actions may be signed now."""
        if self.is_ordered:
            return 0 if self.out else 1
        return WINDOW - len(self._living(now_ms))

    def lapsed(self, now_ms: int) -> Out | None:
        """Return what is out at an ordered venue and has expired untold: the venue has to be asked."""
        if self.is_ordered and self.out and self.out[0].expire_ms + GRACE_MS <= now_ms:
            return self.out[0]
        return None

    def free_at_ms(self, now_ms: int) -> int | None:
        """Return when room comes of itself, by expiry; None where there is room, or nothing is out."""
        if self.room(now_ms) or not self.out:
            return None
        return self.out[0].expire_ms + GRACE_MS

    def allocate(self, name: tuple[UUID, int], now_ms: int, expire_ms: int) -> tuple[Lane, int]:
        """Return the lane after giving out a nonce, and the nonce. Raises `NonceError`."""
        if self.is_ordered:
            assert self.nonce is not None
            assert not self.out
            return replace(self, out=(Out(self.nonce, expire_ms, name),)), self.nonce
        nonce = max(now_ms, (self.nonce or 0) + 1)
        if nonce > now_ms + AHEAD_MAX_MS:
            raise NonceError(
                f"the highest nonce is {(nonce - now_ms) // 60_000} minutes ahead of this clock: set the clock right"
            )
        return replace(self, nonce=nonce, out=(*self._living(now_ms), Out(nonce, expire_ms, name))), nonce

    def settle(self, nonce: int, outcome: Outcome) -> Lane:
        """Return the lane after an outcome. What is not out any more changes nothing."""
        if not any(one.nonce == nonce and not one.settled for one in self.out):
            return self
        if self.is_ordered:
            after = nonce + 1 if outcome in _USED else nonce if outcome in _FREE else None
            refused = nonce if outcome is Outcome.REFUSED_NONCE else None
            return replace(self, nonce=after, out=(), refused=refused)
        marked = tuple(replace(one, settled=True) if one.nonce == nonce else one for one in self.out)
        return replace(self, out=_from_oldest(marked))

    def observed(self, next_nonce: int) -> Lane:
        """Return an ordered lane after the venue said which nonce comes next."""
        foreign = self.refused is not None and next_nonce > self.refused
        return replace(
            self, nonce=next_nonce, out=(), refused=None, foreign_moves=self.foreign_moves + (1 if foreign else 0)
        )

    @property
    def is_shared(self) -> bool:
        """Whether somebody else was seen to use the key too often to go on."""
        return self.foreign_moves >= FOREIGN_MAX

    def _living(self, now_ms: int) -> tuple[Out, ...]:
        dead = now_ms - GRACE_MS
        return _from_oldest(tuple(replace(one, settled=True) if one.expire_ms <= dead else one for one in self.out))


def _from_oldest(out: tuple[Out, ...]) -> tuple[Out, ...]:
    for index, one in enumerate(out):
        if not one.settled:
            return out[index:]
    return ()
