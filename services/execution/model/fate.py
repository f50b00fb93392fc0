"""What became of a signed action, as the vault must hear it to give out the next nonce."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from services.venues.trading import Accepted, NonceFate, Outcome


class Fate(StrEnum):
    """The contract's names (`ReportOutcomeRequest.Outcome`)."""

    ACCEPTED = "ACCEPTED"
    REFUSED_NONCE_USED = "REFUSED_NONCE_USED"
    REFUSED_NONCE_FREE = "REFUSED_NONCE_FREE"
    REFUSED_NONCE = "REFUSED_NONCE"
    NOT_SENT = "NOT_SENT"
    NEVER_LANDED = "NEVER_LANDED"
    KEY_UNKNOWN = "KEY_UNKNOWN"


_FATES: Final = {
    NonceFate.FREE: Fate.REFUSED_NONCE_FREE,
    NonceFate.REFUSED: Fate.REFUSED_NONCE,
    NonceFate.KEY_UNKNOWN: Fate.KEY_UNKNOWN,
    NonceFate.NOT_SENT: Fate.NOT_SENT,
}


def fate_of(nonce: NonceFate, outcome: Outcome) -> Fate | None:
    """Return what a submission settles; None while it is not known."""
    if nonce is NonceFate.UNKNOWN:
        return None
    if nonce is NonceFate.USED:
        return Fate.ACCEPTED if isinstance(outcome, Accepted) else Fate.REFUSED_NONCE_USED
    return _FATES[nonce]
