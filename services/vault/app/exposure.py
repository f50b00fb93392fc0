"""The limits that need the account's own state: the largest position, and the largest loss of a day.

The venue is asked, at most every `LOOK_S` seconds and only for accounts with such a limit. What was signed since counts
as if it had filled. The day's equity is the first that is seen on the day; money that is moved in or out counts as gain
or loss. Where the venue does not answer, nothing that opens is signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.domain.refusal import Refusal
from services.vault.model import limits
from services.vault.model.account import Account
from services.vault.model.limits import Exposure
from services.vault.ports import Clock, Desk, Signing
from services.vault.ports.venues import Venue
from services.venues.actions import Action, Modify, OrderTerms, Place

LOOK_S: Final = 2.0
SETTLE_S: Final = 2.0
"""How long a venue may take to show what was signed."""
REMEMBERED_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Look:
    time: float
    exposure: Exposure


class Exposures:
    """Looks at accounts, and remembers what was signed since."""

    def __init__(self, signing: Signing, clock: Clock) -> None:
        self._signing = signing
        self._clock = clock
        self._looks: dict[UUID, _Look] = {}
        self._signed: dict[UUID, list[tuple[float, str, Decimal]]] = {}
        self._days: dict[UUID, tuple[date, Decimal]] = {}

    async def judge(self, desk: Desk, venue: Venue, action: Action) -> Refusal | None:
        """Say why an action is beyond the limits on position and loss. Raises VENUE_UNAVAILABLE."""
        account, opening = desk.account, _opening(action)
        if not opening or not account.limits.needs_exposure:
            return None
        now = self._clock.monotonic()
        look = self._looks.get(account.account_id)
        if look is None or now - look.time > LOOK_S:
            look = _Look(now, await venue.exposure(account))
            self._forget_old()
            self._looks[account.account_id] = look
            signed = self._signed.get(account.account_id, [])
            self._signed[account.account_id] = [one for one in signed if one[0] > now - SETTLE_S]
        start = await self._day_equity(account, look.exposure.equity)
        since: dict[str, Decimal] = {}
        for _, market, worth in self._signed.get(account.account_id, []):
            since[market] = since.get(market, Decimal(0)) + worth
        return limits.judge_exposure(opening, account.limits, look.exposure, since, start, venue.marks())

    def signed(self, desk: Desk, venue: Venue, action: Action) -> None:
        """Count an action that was signed."""
        if not desk.account.limits.needs_exposure:
            return
        held = self._signed.setdefault(desk.account.account_id, [])
        for terms in _opening(action):
            worth = limits.notional_of(terms, venue.marks().get(terms.market)) * terms.side.sign
            held.append((self._clock.monotonic(), terms.market, worth))

    async def _day_equity(self, account: Account, equity: Decimal) -> Decimal:
        today = self._clock.now().date()
        known = self._days.get(account.account_id)
        if known is None or known[0] != today:
            kept = await self._signing.day_equity(account.account_id, today, equity)
            known = self._days[account.account_id] = (today, kept)
        return known[1]

    def _forget_old(self) -> None:
        if len(self._looks) >= REMEMBERED_MAX:
            self._looks.clear()
            self._signed.clear()
            self._days.clear()


def _opening(action: Action) -> tuple[OrderTerms, ...]:
    orders = action.orders if isinstance(action, Place) else (action.terms,) if isinstance(action, Modify) else ()
    return tuple(terms for terms in orders if not terms.reduce_only)
