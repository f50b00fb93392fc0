"""The market data room as a process: `python -m services.market_data`."""

from __future__ import annotations

import asyncio

from services.chassis import ids
from services.chassis.breaker import BreakerPolicy
from services.chassis.clock import SYSTEM, Clock
from services.chassis.metrics import METRICS
from services.chassis.room import run_room, start_probes
from services.chassis.server import Server
from services.chassis.tasks import Supervisor
from services.chassis.valkey_bus import ValkeyBus
from services.domain.errors import Reason
from services.domain.feed import FeedState
from services.domain.market import Source
from services.domain.pages import Pager
from services.market_data.app.audit import Auditor
from services.market_data.app.demand import Demand
from services.market_data.app.engine import Engine
from services.market_data.app.view import View
from services.market_data.config import Config
from services.market_data.rpc.publisher import StreamPublisher
from services.market_data.rpc.service import MarketDataService
from services.market_data.store import PriceCache
from services.venues import circuit
from services.venues.circuit import Circuit
from services.venues.hyperliquid import venue as hyperliquid
from services.venues.lighter import venue as lighter
from services.venues.port import FeedLevel, Venue

SERVICE = "perpmesh.marketdata.v1.MarketDataService"
OFF = "off"


async def main(config: Config, stop: asyncio.Event) -> None:
    """Wire the room, feed it, serve it, and drain when told to stop."""
    clock = SYSTEM
    venues = make_venues(config, clock)
    sources = {venue.name: Source(config.venues) for venue in venues}
    demand = Demand(dict.fromkeys(config.markets, FeedLevel.BOOK), clock)
    bus = ValkeyBus(config.bus)
    cache = PriceCache(bus, clock, is_wanted=demand.is_wanted)
    publisher = StreamPublisher(
        sources=sources,
        epoch=ids.new_seed() & 0xFFFFFFFF,
        clock=clock,
        keep_price=cache.keep,
        streams_max=config.streams_max,
    )
    engine = Engine(venues=venues, publisher=publisher, demand=demand, clock=clock)
    service = MarketDataService(
        view=View(engine, clock),
        demand=demand,
        publisher=publisher,
        sources=sources,
        pager=Pager((config.page_secret or ids.token()).encode()),
        clock=clock,
    )

    def ready() -> str | None:
        if any(venue.status().state is FeedState.LIVE for venue in venues):
            return None
        return "no venue is live, so there are no prices"

    server = Server("market_data", config.chassis.server, ready=ready)
    server.add(SERVICE, service)
    probes = await start_probes(config.chassis.telemetry, ready)
    measure(engine, publisher, cache)
    try:
        async with bus, Supervisor() as tasks:
            tasks.start("engine", engine.run)
            tasks.start("cache", cache.run)
            tasks.start("publisher", publisher.run)
            tasks.start("audit", Auditor(engine, clock, interval_s=config.audit_interval_s).run)
            for venue in venues:
                tasks.start(f"venue.{venue.name}", lambda venue=venue: venue.run(engine.intake.emit))  # type: ignore[misc]
            await server.start()
            await tasks.wait(stop)
            publisher.close(Reason.DRAINING, "this room is stopping; connect again and resume from the last cursor")
            await server.stop()
    finally:
        if probes is not None:
            await probes.close()


def make_venues(config: Config, clock: Clock) -> list[Venue]:
    """Return the venues that the configuration names, each with its own breakers."""
    source = Source(config.venues)
    venues: list[Venue] = []
    address = config.hyperliquid_url or {
        Source.MAINNET: hyperliquid.MAINNET_URL,
        Source.TESTNET: hyperliquid.TESTNET_URL,
    }.get(source, OFF)
    if address != OFF:
        rest, socket = _circuits("hyperliquid", config, clock)
        venues.append(
            hyperliquid.HyperliquidVenue(
                hyperliquid.HyperliquidConfig(source=source, base_url=address),
                clock=clock,
                rng=ids.seeded_random(),
                rest_breaker=rest,
                socket_breaker=socket,
            )
        )
    address = config.lighter_url or {Source.MAINNET: lighter.MAINNET_URL, Source.TESTNET: lighter.TESTNET_URL}.get(
        source, OFF
    )
    if address != OFF:
        rest, socket = _circuits("lighter", config, clock)
        venues.append(
            lighter.LighterVenue(
                lighter.LighterConfig(source=source, base_url=address, chain=config.lighter_chain),
                clock=clock,
                rng=ids.seeded_random(),
                rest_breaker=rest,
                socket_breaker=socket,
            )
        )
    return venues


def _circuits(venue: str, config: Config, clock: Clock) -> tuple[Circuit, Circuit]:
    """Return the breakers of a venue's REST interface and of its WebSocket."""
    settings = config.breaker

    def policy(open_s: float) -> BreakerPolicy:
        return BreakerPolicy(
            failures_max=settings.failures_max, window_s=settings.window_s, open_s=open_s, probes=settings.probes
        )

    return (
        Circuit(venue, circuit.REST, clock=clock, policy=policy(settings.rest_open_s)),
        Circuit(venue, circuit.SOCKET, clock=clock, policy=policy(settings.socket_open_s)),
    )


def measure(engine: Engine, publisher: StreamPublisher, cache: PriceCache) -> None:
    """Show the room's own figures among the metrics."""
    streams = METRICS.gauge("perpmesh_streams", "Open streams.", ("kind",))
    for kind in publisher.stream_counts():
        streams.labels(kind).set_function(lambda kind=kind: float(publisher.stream_counts()[kind]))  # type: ignore[misc]
    markets = METRICS.gauge("perpmesh_markets", "Markets known.")
    markets.set_function(lambda: float(len(engine.markets)))
    lost = METRICS.gauge("perpmesh_price_cache_writes_lost", "Prices not cached because Valkey was away.")
    lost.set_function(lambda: float(cache.lost_writes))
    dropped = METRICS.gauge("perpmesh_events_dropped", "Events refused because the room was behind.", ("venue",))
    for name in engine.venues:
        dropped.labels(name).set_function(lambda name=name: float(engine.intake.dropped[name]))  # type: ignore[misc]


if __name__ == "__main__":
    raise SystemExit(run_room("market_data", Config, main))
