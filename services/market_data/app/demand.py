"""What clients watch, turned into what venues are asked to feed.

A configured set is always fed. Beyond it a market is fed while someone watches it, and for a while after
(`LINGER_S`), so that a page reload or a caller that polls costs the venues nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from services.domain.errors import DomainError, Reason
from services.market_data.ports import Clock
from services.venues.port import FeedLevel

LINGER_S: Final = 30.0
"""How long a market stays fed after its last watcher."""
MARKETS_MAX: Final = 400
"""How many markets beyond the configured ones may be fed for watchers at once."""


class Demand:
    """Who wants what."""

    def __init__(self, always: dict[str, FeedLevel], clock: Clock) -> None:
        self._always = dict(always)
        self._clock = clock
        self._held: dict[tuple[str, FeedLevel], int] = {}
        self._until: dict[tuple[str, FeedLevel], float] = {}
        self.version = 0

    @contextmanager
    def watching(self, markets: Iterable[str], level: FeedLevel) -> Iterator[None]:
        """Hold `markets` at `level`. Raises LIMIT_REACHED when too many are fed already."""
        keys = [(market, level) for market in markets]
        self._admit(keys)
        for key in keys:
            if self._held.setdefault(key, 0) == 0 and self._until.pop(key, None) is None:
                self.version += 1
            self._held[key] += 1
        try:
            yield
        finally:
            for key in keys:
                self._held[key] -= 1
                if self._held[key] == 0:
                    del self._held[key]
                    self._until[key] = self._clock.monotonic() + LINGER_S

    def touch(self, market: str, level: FeedLevel) -> bool:
        """Hold `market` at `level` for the linger time. True when it was not held before."""
        key = (market, level)
        if key in self._held or self._always.get(market, FeedLevel.CONTEXT) >= level:
            return False
        self._admit([key])
        is_new = key not in self._until
        if is_new:
            self.version += 1
        self._until[key] = self._clock.monotonic() + LINGER_S
        return is_new

    def expire(self) -> None:
        """Let go of what has lingered long enough."""
        now_s = self._clock.monotonic()
        for key in [key for key, until_s in self._until.items() if until_s <= now_s]:
            del self._until[key]
            self.version += 1

    def levels(self) -> dict[str, FeedLevel]:
        """Return what is wanted of each market: the configured first, then the watched, then the lingering."""
        wanted = dict(self._always)
        for market, level in [*self._held, *self._until]:
            wanted[market] = max(level, wanted.get(market, FeedLevel.CONTEXT))
        return wanted

    def is_wanted(self, market: str) -> bool:
        """Return whether `market` is configured or anyone asks for it now."""
        return market in self._always or any(name == market for name, _ in [*self._held, *self._until])

    def book_watched(self) -> frozenset[str]:
        """Return the markets whose books anyone watches now, or did a moment ago."""
        return frozenset(name for name, level in [*self._held, *self._until] if level is FeedLevel.BOOK)

    def _admit(self, keys: list[tuple[str, FeedLevel]]) -> None:
        markets = {market for market, _ in [*self._held, *self._until, *keys]} - self._always.keys()
        if len(markets) > MARKETS_MAX:
            raise DomainError(
                Reason.LIMIT_REACHED,
                f"{MARKETS_MAX} markets are fed for watchers, all this service takes; watch fewer or try again later",
                metadata={"limit": "fed_markets", "allowed": str(MARKETS_MAX)},
                retry_after_s=LINGER_S,
            )
