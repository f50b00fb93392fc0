"""A deed: what is asked of a venue for an account rather than for an order, and the table that moves it.

It is absolute (a leverage, a time), so that to do it again is safe. Its bytes and its nonce are treated as a leg's are:
what was signed is never forgotten, unknown is a state of its own, and only evidence ends it. Where a venue never says
whether it landed, it ends LAPSED when its bytes are dead: then it may have been done, and nothing more can come of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.domain.refusal import Refusal
from services.venues.actions import ScheduleCancel, SetLeverage

DeedAction = SetLeverage | ScheduleCancel


class DeedKind(StrEnum):
    """What is done."""

    LEVERAGE = "LEVERAGE"
    SWITCH = "SWITCH"


class DeedState(StrEnum):
    """Where a deed stands."""

    PREPARED = "PREPARED"
    SENT = "SENT"
    DONE = "DONE"
    REFUSED = "REFUSED"
    FAILED = "FAILED"
    """It is proven that the venue never acted on it."""
    LAPSED = "LAPSED"

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return self not in (DeedState.PREPARED, DeedState.SENT)


class Heard(StrEnum):
    """What can happen to a deed."""

    SEND = "SEND"
    ACCEPT = "ACCEPT"
    REFUSE = "REFUSE"
    NEVER_LAND = "NEVER_LAND"
    LAPSE = "LAPSE"


_S, _H = DeedState, Heard
TABLE: Final[dict[DeedState, dict[Heard, DeedState]]] = {
    _S.PREPARED: {_H.SEND: _S.SENT, _H.REFUSE: _S.REFUSED, _H.NEVER_LAND: _S.FAILED},
    _S.SENT: {
        _H.SEND: _S.SENT,
        _H.ACCEPT: _S.DONE,
        _H.REFUSE: _S.REFUSED,
        _H.NEVER_LAND: _S.FAILED,
        _H.LAPSE: _S.LAPSED,
    },
    _S.DONE: {},
    _S.REFUSED: {},
    _S.FAILED: {},
    _S.LAPSED: {},
}
"""(state, what is heard) to the state after it; what is missing changes nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """A deed as it stands."""

    deed_id: UUID
    user_id: UUID
    account_id: UUID
    venue: str
    kind: DeedKind
    subject: str
    """What of the account it changes: the market, or empty."""
    request_id: UUID | None
    action: DeedAction
    state: DeedState = DeedState.PREPARED
    refusal: Refusal | None = None
    is_acknowledged: bool = False
    """Whether the venue said that it has it; at Lighter it is then not yet acted on."""
    is_settled: bool = False
    """Whether the vault knows what became of its nonce."""
    nonce: int = 0
    key_index: int = 0
    expire_ms: int = 0
    transaction_hash: str = ""
    send_count: int = 0
    create_time: datetime
    update_time: datetime
    fence: int = 0

    @property
    def is_over(self) -> bool:
        """Whether it has ended and nothing of it waits."""
        return self.state.is_final and (self.is_settled or self.send_count == 0 or self.state is DeedState.LAPSED)


def hear(deed: Deed, heard: Heard, now: datetime, *, refusal: Refusal | None = None) -> Deed:
    """Return the deed after something was heard of it; the same one where that changes nothing."""
    state = TABLE[deed.state].get(heard)
    if state is None:
        return deed
    sends = deed.send_count + (1 if heard is Heard.SEND else 0)
    return replace(deed, state=state, refusal=refusal or deed.refusal, send_count=sends, update_time=now)
