"""What is wanted of each market, and what was a moment ago. Pure.

Clients come and go faster than a venue's message limit allows subscriptions to. So what is no longer wanted lingers
where there is room: it stays subscribed for a while, is shown to nobody, and costs nothing when it is wanted again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from services.venues.hyperliquid.plan import Limits, Plan, plan
from services.venues.port import FeedLevel

LINGER_NS: Final = 20_000_000_000
"""How long what is no longer wanted stays subscribed."""


class Wishes:
    """The wanted level of each canonical market, in the order given."""

    def __init__(self) -> None:
        self._wanted: dict[str, FeedLevel] = {}
        self._lingering: dict[str, tuple[FeedLevel, int]] = {}

    def level(self, market: str) -> FeedLevel:
        """Return what is wanted of `market`."""
        return self._wanted.get(market, FeedLevel.CONTEXT)

    def replace(self, levels: Mapping[str, FeedLevel], now_ns: int) -> None:
        """Take what is wanted from now on."""
        for market, level in self._wanted.items():
            if level > levels.get(market, FeedLevel.CONTEXT):
                self._lingering[market] = (level, now_ns + LINGER_NS)
        for market, level in levels.items():
            if level >= self._lingering.get(market, (FeedLevel.CONTEXT, 0))[0]:
                self._lingering.pop(market, None)
        self._wanted = dict(levels)

    def expire(self, now_ns: int) -> bool:
        """Forget what has lingered long enough; whether there was any."""
        over = [market for market, (_, until_ns) in self._lingering.items() if until_ns <= now_ns]
        for market in over:
            del self._lingering[market]
        return bool(over)

    def books(self, symbols: Mapping[str, str]) -> set[str]:
        """Return the coins whose books are wanted now, by the venue's `symbols` of the markets."""
        return {symbols[m] for m, level in self._wanted.items() if level is FeedLevel.BOOK and m in symbols}

    def plan(self, live: Sequence[str], symbols: Mapping[str, str], before: Plan, limits: Limits) -> Plan:
        """Return what to subscribe: what is wanted, and what lingers unless it would take anything from others."""
        wanted = [(symbols[market], level) for market, level in self._wanted.items() if market in symbols]
        plain = plan(live, wanted, before, limits)
        past = {symbols[market]: level for market, (level, _) in self._lingering.items() if market in symbols}
        if not past:
            return plain
        both = [(coin, max(level, past.pop(coin, level))) for coin, level in wanted]
        extended = plan(live, [*both, *past.items()], before, limits)
        takes = any(extended.levels.get(coin, FeedLevel.CONTEXT) < level for coin, level in plain.levels.items())
        return plain if takes else extended
