"""Money that came to an account and left it otherwise than by trading: when its venue is asked, and what is news.

A ledger is asked for on a timer, and at once where the money of an account changed and none of its positions did: that
is a deposit, a withdrawal, a transfer, or the hour's funding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.execution.ports import Clock, Orders, TradingAccount
from services.venues.account import AccountState, Transfer
from services.venues.port import VenueError
from services.venues.trading import TradingVenue

EVERY_S: Final = 60.0
EACH_S: Final = {"hyperliquid": 16.0, "lighter": 30.0}
"""How many seconds each account of a venue adds to the timer, so that a tenth of the address's budget is spent here at
most: a look weighs 20 of trading's 750 a minute at Hyperliquid, and is three of Lighter's 60 requests."""
NEWS_SHARE: Final = 6
"""What part of the timer must have passed for a look that is made because money moved."""
NEWS_MIN: Final = Decimal("0.01")
"""How much must have moved: less is how venues round."""
OVERLAP_MS: Final = 7 * 86_400_000
"""How far back beyond the last transfer written a venue is asked: what was withdrawn may come back days later, under
its old time. What is told again after a restart counts once, by its id."""
TOLD_MAX: Final = 10_000
"""Transfers remembered for one account; beyond it all are forgotten, and told again."""


@dataclass(slots=True)
class _Looked:
    """What is known of one account's ledger."""

    at_ns: int
    money: Decimal | None = None
    sizes: frozenset[tuple[str, Decimal]] = frozenset()
    moved: bool = False
    """Whether money has moved since it was looked at."""
    told: set[str] = field(default_factory=set)


class Transfers:
    """Every account's transfers."""

    def __init__(self, orders: Orders, clock: Clock) -> None:
        self._orders = orders
        self._clock = clock
        self._looked: dict[UUID, _Looked] = {}

    def forget(self, account_id: UUID) -> None:
        """Forget an account that is gone."""
        self._looked.pop(account_id, None)

    def note(self, account: TradingAccount, state: AccountState) -> None:
        """Take what a venue said of an account: the more often, the fewer trades hide that money moved."""
        known = self._looked.get(account.account_id)
        if known is not None:
            known.moved |= _has_moved(known, state)
            known.money, known.sizes = _money(state), _sizes(state)

    async def look(
        self, account: TradingAccount, venue: TradingVenue, state: AccountState, *, accounts: int
    ) -> tuple[Transfer, ...]:
        """Return transfers not told before, where it is time to ask; `accounts` is how many the venue has here."""
        self.note(account, state)
        known = self._looked.get(account.account_id)
        now_ns = self._clock.time_ns()
        pause_s = max(EVERY_S, EACH_S.get(account.venue, 0.0) * accounts)
        if known and now_ns - known.at_ns < (pause_s / NEWS_SHARE if known.moved else pause_s) * 1e9:
            return ()
        last_ms = await self._orders.last_transfer_ms(account.account_id)
        try:
            found = await venue.transfers(account.ref, since_ms=max(0, last_ms - OVERLAP_MS))
        except VenueError:
            return ()  # the next state asks again
        if known is None:
            known = self._looked[account.account_id] = _Looked(now_ns, _money(state), _sizes(state))
        known.at_ns, known.moved = now_ns, False
        return tuple(one for one in found if one.transfer_id not in known.told)

    def told(self, account: TradingAccount, transfers: tuple[Transfer, ...]) -> None:
        """Remember transfers that were written."""
        known = self._looked.get(account.account_id)
        if known is None:
            return
        if len(known.told) + len(transfers) > TOLD_MAX:
            known.told.clear()
        known.told.update(one.transfer_id for one in transfers)


def _has_moved(before: _Looked, state: AccountState) -> bool:
    if before.money is None or before.sizes != _sizes(state):
        return False
    return abs(before.money - _money(state)) >= NEWS_MIN


def _money(state: AccountState) -> Decimal:
    """Return all the account holds, unrealized profit left out."""
    cash = state.margin.equity - sum((one.unrealized_pnl for one in state.positions), Decimal(0))
    return cash + sum((one.total for one in state.balances), Decimal(0))


def _sizes(state: AccountState) -> frozenset[tuple[str, Decimal]]:
    return frozenset((one.symbol, one.size) for one in state.positions)
