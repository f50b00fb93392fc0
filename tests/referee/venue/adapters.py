"""The adapters the referee judges: how to make each on a simulator. A new venue adds one entry to `ADAPTERS`."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from services.chassis.clock import SYSTEM
from services.domain.market import HYPERLIQUID, LIGHTER
from services.venues.circuit import REST, SOCKET, Circuit
from services.venues.hyperliquid.venue import HyperliquidConfig, HyperliquidVenue
from services.venues.lighter.venue import LighterConfig, LighterVenue
from services.venues.port import Venue
from tests.support.simulator import Simulator


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One venue's adapter, and where a simulator serves its dialect."""

    name: str
    make: Callable[[str], Venue]
    """Takes the REST address."""
    address: Callable[[Simulator], str]
    book_depth: int
    """How many levels per side of its books are compared with the true ones."""
    exact_after_s: float
    """How long after the market stands still its far levels may take to be the true ones."""


def _lighter(url: str) -> Venue:
    return LighterVenue(
        LighterConfig(base_url=url),
        clock=SYSTEM,
        rng=random.Random(1),
        rest_breaker=Circuit(LIGHTER, REST, clock=SYSTEM),
        socket_breaker=Circuit(LIGHTER, SOCKET, clock=SYSTEM),
    )


def _hyperliquid(url: str) -> Venue:
    return HyperliquidVenue(
        HyperliquidConfig(base_url=url),
        clock=SYSTEM,
        rng=random.Random(1),
        rest_breaker=Circuit(HYPERLIQUID, REST, clock=SYSTEM),
        socket_breaker=Circuit(HYPERLIQUID, SOCKET, clock=SYSTEM),
    )


ADAPTERS = (
    Adapter(
        name=LIGHTER,
        make=_lighter,
        address=lambda simulator: simulator.lighter_http,
        book_depth=200,
        exact_after_s=2.0,
    ),
    Adapter(
        name=HYPERLIQUID,
        make=_hyperliquid,
        address=lambda simulator: simulator.hyperliquid_http,
        book_depth=20,
        exact_after_s=7.0,
    ),
)
