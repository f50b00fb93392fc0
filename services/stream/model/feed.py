"""Where a subject stands upstream, and how long to wait before asking again."""

from __future__ import annotations

import random
from enum import Enum

from services.domain.errors import Reason

BACKOFF_FIRST_S = 0.1
BACKOFF_MAX_S = 5.0

GROUP_MAX = {"prices": 100, "trades": 100, "funding": 100, "candles": 20, "book": 1}
"""How many markets one Watch call may name, by kind (source: the contract of market_data)."""

_FINAL = frozenset(
    {
        Reason.MARKET_UNKNOWN,
        Reason.FIELD_INVALID,
        Reason.REQUEST_UNREADABLE,
        Reason.CALL_UNKNOWN,
        Reason.CALL_NOT_SERVED,
        Reason.TOKEN_MISSING,
        Reason.TOKEN_INVALID,
        Reason.PERMISSION_DENIED,
    }
)
_CURSOR = frozenset({Reason.CURSOR_EXPIRED, Reason.CURSOR_INVALID})


class Stand(Enum):
    """Where a subject stands upstream."""

    OPENING = "opening"
    """Asked for, not answered yet."""
    PRESENTING = "presenting"
    """Answered; the present is being said."""
    LIVE = "live"
    """The present has all been said."""
    INTERRUPTED = "interrupted"
    """Cut off; it will be asked for again."""


class Remedy(Enum):
    """What to do when a Watch stream ends with a reason."""

    REFUSE = "refuse"
    """Asking again would be answered the same."""
    START_ANEW = "start anew"
    """Ask again, without the cursor."""
    RESUME = "resume"
    """Ask again, with the cursor."""


def remedy(reason: Reason, *, resuming: bool) -> Remedy:
    """Return what to do after a stream ended with `reason`; `resuming` tells whether a cursor was given."""
    if reason is Reason.INTERNAL:
        return Remedy.START_ANEW  # the message that broke us would come again
    if resuming and (reason in _CURSOR or reason is Reason.FIELD_INVALID):
        return Remedy.START_ANEW
    return Remedy.REFUSE if reason in _FINAL else Remedy.RESUME


def backoff_s(attempt: int, chance: random.Random) -> float:
    """Return how long to wait before asking again for the `attempt`th time: doubling, at most 5 s, half chance."""
    ceiling = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(attempt - 1, 16))
    return ceiling * (0.5 + chance.random() / 2)
