"""The price cache that other rooms and replicas read: `prices:{market}` in Valkey.

A cache and nothing more: what it holds is the last serialized price, for `TTL_MS`, refreshed while a venue of the
market is LIVE and someone asks for the market. Deleting it costs latency only; a missing key says "ask market_data".
Writes go out in one pipeline every `FLUSH_S`, and are dropped and counted when the server is away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from services.chassis.clock import Clock

TTL_MS: Final = 100
FLUSH_S: Final = 0.02
REFRESH_S: Final = 0.06
"""Under the TTL, so that a LIVE price does not lapse between two refreshes."""


class Values(Protocol):
    """What the cache needs of the bus: one pipelined write."""

    async def put_many(self, values: Mapping[str, bytes], *, ttl_ms: int) -> bool:
        """Set every key, each to lapse after `ttl_ms`. False when the server was away."""
        ...


def key_of(market: str) -> str:
    """Return the key of a market's price."""
    return f"prices:{market}"


class PriceCache:
    """Keeps the latest price of every market, and writes what is asked for."""

    def __init__(self, values: Values, clock: Clock, *, is_wanted: Callable[[str], bool]) -> None:
        self._values = values
        self._clock = clock
        self._is_wanted = is_wanted
        self._latest: dict[str, bytes] = {}
        self._live: set[str] = set()
        self._changed: set[str] = set()
        self._written_s: dict[str, float] = {}
        self.is_ours: Callable[[], bool] = lambda: True
        """Whether this replica writes; one of several does."""
        self.writes = 0
        self.lost_writes = 0

    def keep(self, market: str, payload: bytes, is_live: bool) -> None:
        """Take the newest price of a market."""
        self._latest[market] = payload
        self._changed.add(market)
        if is_live:
            self._live.add(market)
        else:
            self._live.discard(market)

    async def run(self) -> None:
        """Write what is due, until canceled."""
        while True:
            await self._clock.sleep(FLUSH_S)
            due = self._due(self._clock.monotonic())
            if due and self.is_ours():
                written = await self._values.put_many(due, ttl_ms=TTL_MS)
                self.writes += len(due)
                self.lost_writes += 0 if written else len(due)

    def _due(self, now_s: float) -> dict[str, bytes]:
        changed, self._changed = self._changed, set()
        due = {}
        for market in self._live:
            stale = now_s - self._written_s.get(market, 0.0) >= REFRESH_S
            if (market in changed or stale) and self._is_wanted(market):
                due[key_of(market)] = self._latest[market]
                self._written_s[market] = now_s
        return due
