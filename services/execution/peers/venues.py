"""The venues that a configuration names, each made when it is first traded at."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from services.chassis.clock import Clock
from services.chassis.ids import seeded_random
from services.chassis.telemetry import log
from services.domain.errors import DomainError, Reason
from services.domain.market import HYPERLIQUID
from services.venues.circuit import REST, SOCKET, Circuit
from services.venues.hyperliquid.budgets import TRADING_WEIGHT, HyperliquidBudgets
from services.venues.hyperliquid.trader import HyperliquidTrader
from services.venues.hyperliquid.trader import TraderConfig as HyperliquidConfig
from services.venues.lighter.budgets import KIND_PER_MINUTE, SENDS_PER_MINUTE, LighterBudgets
from services.venues.lighter.http import REQUESTS_PER_MINUTE
from services.venues.lighter.tokens import TokenSource
from services.venues.lighter.trader import LighterTrader
from services.venues.lighter.trader import TraderConfig as LighterConfig
from services.venues.port import VenueError
from services.venues.trading import TradingVenue

LOAD_S: Final = 60.0
RECONCILE_S: Final = 180.0
"""How often an account is reconciled while its stream tells; after each reconnect it is at once."""
BOOT_S: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What the venues grant our network address and its accounts, and how many requests are out at a time."""

    hyperliquid_weight: int = TRADING_WEIGHT
    lighter_requests: int = REQUESTS_PER_MINUTE
    lighter_sends: int = SENDS_PER_MINUTE
    lighter_sends_of_a_kind: int = KIND_PER_MINUTE
    connections: int = 64


class ConfiguredVenues:
    """The port `Venues`."""

    def __init__(
        self, places: Mapping[tuple[str, str], str], clock: Clock, tokens: TokenSource, granted: Granted
    ) -> None:
        self._clock = clock
        self._venues = {place: _make(place[0], url, clock, tokens, granted) for place, url in places.items()}
        self._loaded: set[tuple[str, str]] = set()
        self._tried: set[tuple[str, str]] = set()
        self._asked = asyncio.Event()

    def at(self, venue: str, environment: str) -> TradingVenue:
        """Return a venue. Raises VENUE_UNKNOWN, or VENUE_UNAVAILABLE while what it lists was not read."""
        found = self._venues.get((venue, environment))
        if found is None:
            raise DomainError(
                Reason.VENUE_UNKNOWN,
                f"This mesh does not trade {environment.lower()} accounts at {venue}.",
                metadata={"venue": venue, "environment": environment},
            )
        if (venue, environment) not in self._loaded:
            raise DomainError(
                Reason.VENUE_UNAVAILABLE,
                f"What {venue} lists was not read yet: try again in a moment.",
                metadata={"venue": venue},
                retry_after_s=BOOT_S,
            )
        return found

    @property
    def waiting(self) -> str | None:
        """Say what was not asked for yet; None when all was: a venue that is away takes no other with it."""
        missing = sorted(name for name, _ in set(self._venues) - self._tried)
        return f"what {', '.join(missing)} lists was not read yet" if missing else None

    async def listed(self, within_s: float) -> None:
        """Wait until every venue was asked what it lists, at most so long."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._asked.wait(), within_s)

    async def run(self) -> None:
        """Keep what is listed fresh until canceled."""
        while True:
            for place, venue in self._venues.items():
                try:
                    await venue.load()
                    self._loaded.add(place)
                except VenueError as error:
                    log.warning("execution.venue_silent", venue=place[0], error=str(error)[:300])
                self._tried.add(place)
            self._asked.set()
            await self._clock.sleep(LOAD_S if self._loaded == set(self._venues) else BOOT_S)

    async def close(self) -> None:
        """Give the sockets back."""
        for venue in self._venues.values():
            await venue.close()


def _make(
    venue: str, url: str, clock: Clock, tokens: TokenSource, granted: Granted
) -> HyperliquidTrader | LighterTrader:
    rest, socket = Circuit(f"execution.{venue}", REST, clock=clock), Circuit(f"execution.{venue}", SOCKET, clock=clock)
    if venue == HYPERLIQUID:
        return HyperliquidTrader(
            HyperliquidConfig(base_url=url, reconcile_every_s=RECONCILE_S, connections_max=granted.connections),
            clock=clock,
            rng=seeded_random(),
            rest_breaker=rest,
            socket_breaker=socket,
            budgets=HyperliquidBudgets(weight_per_minute=granted.hyperliquid_weight),
        )
    return LighterTrader(
        LighterConfig(base_url=url, reconcile_every_s=RECONCILE_S, connections_max=granted.connections),
        clock=clock,
        rng=seeded_random(),
        rest_breaker=rest,
        socket_breaker=socket,
        tokens=tokens,
        budgets=LighterBudgets(
            requests_per_minute=granted.lighter_requests,
            sends_per_minute=granted.lighter_sends,
            kind_per_minute=granted.lighter_sends_of_a_kind,
        ),
    )
