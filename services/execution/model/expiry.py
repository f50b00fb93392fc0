"""When an order may end by itself. Pure.

Lighter's orders have an expiry, from 5 minutes to 30 days ahead: the venue ends them, whether we run or not.
Hyperliquid has none for what rests (its `expiresAfter` is of the bytes), so there we take an order down when its time
comes, and at the next start where we were away.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from services.domain.market import LIGHTER
from services.domain.refusal import Refusal, RefusalReason
from services.execution.model.order import mesh_says_no

LIGHTER_MIN: Final = timedelta(minutes=5)
LIGHTER_MAX: Final = timedelta(days=30)
MARGIN: Final = timedelta(minutes=1)
"""How far within the venue's range the value lies that is said to pass, since it is sent later."""


def judge(until: datetime | None, venue: str, now: datetime) -> Refusal | None:
    """Say why an order cannot end then; None where it can, or has no time."""
    if until is None:
        return None
    if venue == LIGHTER and not now + LIGHTER_MIN <= until <= now + LIGHTER_MAX:
        near = now + (LIGHTER_MIN + MARGIN if until < now + LIGHTER_MIN else LIGHTER_MAX - MARGIN)
        return _no(until, "Lighter's orders live from 5 minutes to 30 days.", near, venue)
    if until <= now:
        return _no(until, "The order would have ended before it was placed.", now + MARGIN, venue)
    return None


def _no(until: datetime, message: str, near: datetime, venue: str) -> Refusal:
    return mesh_says_no(
        RefusalReason.EXPIRED,
        message,
        "Take a time within the range, or leave it out.",
        field="expire_time",
        given=_text(until),
        venue=venue,
        passing=_text(near),
    )


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
