"""Which markets there are, so that a name that nobody lists is refused without asking upstream each time."""

from __future__ import annotations

import asyncio

from services.domain.errors import DomainError
from services.stream.model.topic import market_unknown
from services.stream.ports import Clock, MarketData

FRESH_S = 5.0
"""A name that is missing makes the list be asked for again, no more often than this."""
RETRY_S = 1.0


class Catalog:
    """The names of the markets, as last heard."""

    def __init__(self, market_data: MarketData, clock: Clock) -> None:
        self._market_data = market_data
        self._clock = clock
        self._names: frozenset[str] = frozenset()
        self._asked_s: float | None = None
        self._lock = asyncio.Lock()
        self.known = False
        """Whether the list was ever heard."""

    async def check(self, market: str) -> None:
        """Raise a `DomainError` when no venue lists the market. While nobody can say, every name passes."""
        if market in self._names:
            return
        async with self._lock:
            if market not in self._names and self._old():
                await self._ask()
        if market not in self._names and self.known:
            raise market_unknown(market, self._names)

    async def learn(self) -> None:
        """Ask until the list has been heard once."""
        while not self.known:
            async with self._lock:
                if not self.known:
                    await self._ask()
            if not self.known:
                await self._clock.sleep(RETRY_S)

    def _old(self) -> bool:
        return self._asked_s is None or self._clock.monotonic() - self._asked_s >= FRESH_S

    async def _ask(self) -> None:
        self._asked_s = self._clock.monotonic()
        try:
            self._names = await self._market_data.markets()
        except DomainError:
            return
        self.known = True
