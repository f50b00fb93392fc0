"""How often, and how soon, what failed is tried again: a table by what went wrong, and the rule that reads it.

Work whose attempts are used up is *stuck*: an operator sees it. It is not given up for that: it goes on at the longest
pause, so that it settles by itself once what stood in its way is gone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Final

from services.domain.errors import DomainError, Reason

PAUSE_MAX_S: Final = 25.0
"""The longest pause: it must end before a lease does, or a cancel would wait for it."""


class Trouble(StrEnum):
    """What went wrong."""

    PEER_AWAY = "PEER_AWAY"
    """The vault, routing or the database did not answer; nothing was sent."""
    VENUE_AWAY = "VENUE_AWAY"
    """The venue did not answer a question, or its breaker kept bytes from being sent."""
    BUDGET = "BUDGET"
    """A limit is used up: the venue's, or the vault's."""
    UNDECIDED = "UNDECIDED"
    """The venue answered, and does not say yet what became of signed bytes."""
    STANDING = "STANDING"
    """The venue took a cancel, and the order still stands."""
    DEAF = "DEAF"
    """An account's private stream could not be opened, or broke."""
    FAULT = "FAULT"
    """None of these: a mistake of ours, or an account that is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """The pause after the first failure grows by a factor with each one more, up to a longest."""

    first_s: float
    backoff_multiplier: float
    max_backoff_s: float
    jitter: float
    """The share by which a pause is made longer or shorter by chance, from 0 to 1."""
    max_attempts: int
    """After so many failures in a row the work is stuck; 0 for never."""

    def pause_s(self, attempts: int, chance: float = 0.5) -> float:
        """Return the pause after so many failures in a row; `chance` is from 0 to 1."""
        grown = self.first_s * self.backoff_multiplier ** min(max(0, attempts - 1), 64)
        return min(PAUSE_MAX_S, min(self.max_backoff_s, grown) * (1 + self.jitter * (2 * chance - 1)))


TABLE: Final[Mapping[Trouble, Retry]] = {
    Trouble.PEER_AWAY: Retry(first_s=0.5, backoff_multiplier=1.5, max_backoff_s=10, jitter=0.2, max_attempts=20),
    Trouble.VENUE_AWAY: Retry(first_s=0.5, backoff_multiplier=1.5, max_backoff_s=15, jitter=0.2, max_attempts=20),
    Trouble.BUDGET: Retry(first_s=1, backoff_multiplier=1.5, max_backoff_s=15, jitter=0.2, max_attempts=30),
    Trouble.UNDECIDED: Retry(first_s=1, backoff_multiplier=1.3, max_backoff_s=10, jitter=0.1, max_attempts=120),
    Trouble.STANDING: Retry(first_s=0.5, backoff_multiplier=2, max_backoff_s=25, jitter=0, max_attempts=10),
    Trouble.DEAF: Retry(first_s=2, backoff_multiplier=1.5, max_backoff_s=20, jitter=0.2, max_attempts=20),
    Trouble.FAULT: Retry(first_s=1, backoff_multiplier=2, max_backoff_s=20, jitter=0.2, max_attempts=5),
}
"""UNDECIDED lasts beyond the ten minutes after which Lighter's bytes are proven dead."""

ADVICE: Final[Mapping[Trouble, str]] = {
    Trouble.PEER_AWAY: "Look at the vault and the database; the work goes on by itself when they answer.",
    Trouble.VENUE_AWAY: "Look at the venue and its breaker (ListVenues); the work goes on by itself when it answers.",
    Trouble.BUDGET: "Look at GetVenueBudget: fewer accounts on one address, or a higher tier, free it.",
    Trouble.UNDECIDED: "Ask the venue by the leg's venue_client_id; nothing is sent anew until it is proven.",
    Trouble.STANDING: "Cancel the order at the venue by hand; what comes of it is seen and kept.",
    Trouble.DEAF: "Look at the account's key and the venue's sockets; fills are found by look-ups meanwhile.",
    Trouble.FAULT: "Report the error with the log; the work is taken up again by itself.",
}
"""What an operator can do about work that is stuck."""

_REASONS: Final = {
    Reason.LIMIT_REACHED: Trouble.BUDGET,
    Reason.VENUE_UNAVAILABLE: Trouble.VENUE_AWAY,
    Reason.PEER_UNAVAILABLE: Trouble.PEER_AWAY,
    Reason.DRAINING: Trouble.PEER_AWAY,
    Reason.DEADLINE_EXCEEDED: Trouble.PEER_AWAY,
    Reason.KEY_SEALED: Trouble.PEER_AWAY,
    Reason.FENCED: Trouble.PEER_AWAY,
}
_PART: Final = re.compile(r"([a-z_]+)=([0-9]+(?:\.[0-9]+)?)")


def trouble_of(error: Exception) -> Trouble:
    """Return what went wrong where a room or the database said so."""
    return _REASONS.get(error.reason, Trouble.FAULT) if isinstance(error, DomainError) else Trouble.FAULT


def parse(text: str, default: Retry) -> Retry:
    """Return a rule out of words such as `first_s=1 max_attempts=5`; what is not named stays. Raises ValueError."""
    found = dict[str, float]()
    for word in text.split():
        match = _PART.fullmatch(word)
        if match is None or match[1] not in {field.name for field in fields(Retry)}:
            names = ", ".join(field.name for field in fields(Retry))
            raise ValueError(f"{word!r} is not one of {names} with = and a number")
        found[match[1]] = float(match[2])
    if found.get("max_backoff_s", 1.0) > PAUSE_MAX_S:
        raise ValueError(f"max_backoff_s is at most {PAUSE_MAX_S:g}")
    if found.get("jitter", 0.0) > 1 or found.get("backoff_multiplier", 1.0) < 1 or found.get("first_s", 1.0) <= 0:
        raise ValueError("jitter is at most 1, backoff_multiplier at least 1, first_s above 0")
    attempts = int(found.pop("max_attempts", default.max_attempts))
    return replace(default, max_attempts=attempts, **found)


def show(retry: Retry) -> str:
    """Return a retry rule in the words that `parse` reads."""
    return " ".join(f"{field.name}={getattr(retry, field.name):g}" for field in fields(Retry))
