"""Trades that a private stream did not tell, found by what they did: sizes moved by more than the trades told.

A venue's stream may lose a trade and go on. Reconciling the stream finds it minutes later; the account as a whole is
asked for every few seconds anyway, so its sizes are compared with the last ones and the trades told since. Where they
differ, trades are asked for at once. A trade told in the very moment costs one needless question, and no more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.execution.model.evidence import trades_of
from services.execution.ports import Clock, Orders, TradingAccount
from services.venues.account import AccountState, Fill
from services.venues.actions import Side
from services.venues.port import VenueError
from services.venues.trading import TradingVenue

OVERLAP_MS: Final = 60_000
"""How far before the last state trades are asked for: venues' clocks are not ours. Those known count once."""


@dataclass(slots=True)
class _Expected:
    """What the next state should show."""

    sizes: defaultdict[str, Decimal]
    since_ms: int


class Unheard:
    """Looks for them, account by account."""

    def __init__(self, orders: Orders, clock: Clock) -> None:
        self._orders = orders
        self._clock = clock
        self._expected: dict[UUID, _Expected] = {}

    def forget(self, account_id: UUID) -> None:
        """Forget an account that is gone, or of which nothing was told for a while."""
        self._expected.pop(account_id, None)

    def heard(self, account_id: UUID, fills: Iterable[Fill]) -> None:
        """Count trades that the stream told."""
        expected = self._expected.get(account_id)
        if expected is None:
            return
        for fill in fills:
            if fill.market and fill.time_ms > expected.since_ms:
                expected.sizes[fill.symbol] += fill.size if fill.side is Side.BUY else -fill.size

    async def look(self, account: TradingAccount, venue: TradingVenue, state: AccountState) -> None:
        """Ask for trades where a state shows other sizes than it should, and keep them."""
        sizes: defaultdict[str, Decimal] = defaultdict(Decimal)
        sizes.update((one.symbol, one.size) for one in state.positions)
        now = self._clock.now()
        expected = self._expected.get(account.account_id)
        if expected is not None and _differ(expected.sizes, sizes):
            try:
                fills = await venue.fills(account.ref, since_ms=max(0, expected.since_ms - OVERLAP_MS))
            except VenueError:
                return  # the next state asks again
            await self._orders.record(account, trades_of(account.account_id, account.venue, fills, now))
        self._expected[account.account_id] = _Expected(sizes, int(now.timestamp() * 1_000))


def _differ(one: defaultdict[str, Decimal], other: defaultdict[str, Decimal]) -> bool:
    return any(one[symbol] != other[symbol] for symbol in one.keys() | other.keys())
