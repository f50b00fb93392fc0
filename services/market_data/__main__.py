"""The market data room as a process: `python -m services.market_data`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from services.chassis import ids
from services.chassis.auth_feed import feed_of, start_feed
from services.chassis.breaker import BreakerPolicy
from services.chassis.clock import SYSTEM, Clock
from services.chassis.metrics import METRICS
from services.chassis.room import run_room, start_probes
from services.chassis.server import Server
from services.chassis.tasks import Supervisor
from services.chassis.telemetry import log
from services.chassis.valkey_bus import ValkeyBus
from services.domain.errors import Reason
from services.domain.feed import FeedState
from services.domain.market import Source
from services.domain.pages import Pager
from services.market_data.app.archive import Archive
from services.market_data.app.audit import Auditor
from services.market_data.app.backfill import Backfill
from services.market_data.app.demand import Demand
from services.market_data.app.engine import Engine
from services.market_data.app.gate import Gate
from services.market_data.app.recorder import Recorder
from services.market_data.app.relay import Relay
from services.market_data.app.relayed_venue import RelayedVenue
from services.market_data.app.view import View
from services.market_data.config import Config
from services.market_data.peers.replicas import ValkeyReplicas
from services.market_data.ports import HistorySink
from services.market_data.rpc.history_calls import HistoryCalls
from services.market_data.rpc.measures import measure, measure_history
from services.market_data.rpc.publisher import StreamPublisher
from services.market_data.rpc.service import MarketDataService
from services.market_data.store.history import History
from services.market_data.store.price_cache import PriceCache
from services.venues import circuit
from services.venues.circuit import Circuit
from services.venues.hyperliquid import venue as hyperliquid
from services.venues.lighter import venue as lighter
from services.venues.port import FeedLevel, Venue

SERVICE = "perpmesh.marketdata.v1.MarketDataService"
OFF = "off"
PAUSE_S = 10.0
"""How long every venue may be away before the room says that it is not ready: longer than a change of the feeder takes
on a busy machine, since who is passed over then leaves its callers with nobody."""
AGAIN_NS = 10_000_000_000
"""Prints this recent are recorded once more by a replica that begins to feed: they may have died with the last one."""


async def main(config: Config, stop: asyncio.Event) -> None:
    """Wire the room, feed it, serve it, and drain when told to stop."""
    clock = SYSTEM
    history = make_history(config, clock)
    makers = make_venues(config, clock)
    relayed = [RelayedVenue(make, clock, store=history.store) for make in makers.values()] if config.relay else []
    venues: list[Venue] = list(relayed) or [make() for make in makers.values()]
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
    gate = Gate(history.writer)
    recorder = make_recorder(config, engine, gate, publisher, clock)
    engine.follow(recorder)
    relay = make_relay(config, relayed, engine, gate, recorder, bus, clock) if relayed else None
    cache.is_ours = lambda: gate.is_open()
    backfills = [make_backfill(venue, recorder, history, gate, config, clock, engine) for venue in venues]
    service = make_service(config, clock, engine, publisher, sources, recorder, history)

    ready = Readiness(venues, clock, relay)
    feed = feed_of(config.auth, config.chassis.server.tls.callers)
    server = Server("market_data", config.chassis.server, ready=ready, verifier=feed.verifier if feed else None)
    server.add(SERVICE, service)
    probes = await start_probes(config.chassis.telemetry, ready)
    measure(engine, publisher, lambda: cache.lost_writes, clock)
    measure_history(recorder, backfills)
    try:
        async with bus, Supervisor() as tasks:
            start_feed(feed, tasks, bus)
            for name, work in (("engine", engine.run), ("cache", cache.run), ("publisher", publisher.run)):
                tasks.start(name, work)
            if relay is not None:
                tasks.start("relay", relay.run)
            tasks.start("audit", Auditor(engine, clock, interval_s=config.audit_interval_s).run)
            for venue in venues:
                tasks.start(f"venue.{venue.name}", lambda venue=venue: venue.run(engine.intake.emit))  # type: ignore[misc]
            tasks.start("recorder", recorder.run)
            for backfill in backfills:
                tasks.start(f"backfill.{backfill.name}", backfill.run)
            history.start(tasks)
            if relay is not None:
                await relay.known()
            await server.start()
            await tasks.wait(stop)
            if relay is not None:
                await relay.leave()
            await server.notice()
            publisher.close(Reason.DRAINING, "this room is stopping; connect again and resume from the last cursor")
            await server.stop()
            await history.writer.drain()
    finally:
        await history.close()
        if probes is not None:
            await probes.close()


class Readiness:
    """Whether the room has prices. A pause of every venue, such as a change of the feeder, must last to count."""

    def __init__(self, venues: list[Venue], clock: Clock, relay: Relay | None) -> None:
        self._venues = venues
        self._clock = clock
        self._relay = relay
        self._live_s = -PAUSE_S

    def __call__(self) -> str | None:
        """Return why there are no prices, or None."""
        if self._relay is not None and self._relay.missing:
            return "this replica has not heard yet what the one that feeds knows"
        now_s = self._clock.monotonic()
        if any(venue.status().state is FeedState.LIVE for venue in self._venues):
            self._live_s = now_s
        if now_s - self._live_s < PAUSE_S:
            return None
        return "no venue is live, so there are no prices"


def make_recorder(
    config: Config, engine: Engine, sink: HistorySink, publisher: StreamPublisher, clock: Clock
) -> Recorder:
    """Return what makes history of what the engine sees."""
    return Recorder(
        engine,
        sink,
        publisher.candles,
        clock,
        markets=config.history.markets or config.markets,
        sample_interval_s=config.history.sample_interval_s,
    )


def make_service(
    config: Config,
    clock: Clock,
    engine: Engine,
    publisher: StreamPublisher,
    sources: dict[str, Source],
    recorder: Recorder,
    history: History,
) -> MarketDataService:
    """Return the room's inward face."""
    view = View(engine, clock)
    pager = Pager((config.page_secret or ids.token()).encode())
    return MarketDataService(
        view=view,
        demand=engine.demand,
        publisher=publisher,
        sources=sources,
        pager=pager,
        clock=clock,
        history=HistoryCalls(
            archive=Archive(view, recorder, history.store),
            recorder=recorder,
            hubs=publisher.candles,
            view=view,
            pager=pager,
            clock=clock,
        ),
    )


def make_history(config: Config, clock: Clock) -> History:
    """Return the room's database, not yet connected."""
    return History(
        config.postgres,
        clock,
        retention_days=config.history.retention_days,
        buffer_rows_max=config.history.buffer_rows_max,
        flush_s=config.history.flush_s,
        replica_url=config.history.replica_url,
        replica_lag_max_s=config.history.replica_lag_max_s,
    )


def make_backfill(
    venue: Venue, recorder: Recorder, history: History, sink: Gate, config: Config, clock: Clock, engine: Engine
) -> Backfill:
    """Return what asks one venue for its past."""
    return Backfill(
        venue,
        recorder,
        sink,
        history.store,
        clock,
        interval_s_of=lambda market, name: engine.markets[market].venues[name].listing.funding_interval_s,
        pause_s=config.history.backfill_pause_s,
        depth=config.history.backfill_candles,
        funding_days=config.history.backfill_funding_days,
        tell=lambda venue, why: log.warning("backfill.failed", venue=venue, error=why) if sink.is_open() else None,
    )


def make_venues(config: Config, clock: Clock) -> dict[str, Callable[[], Venue]]:
    """Return what makes each venue that the configuration names, with breakers that outlive it."""
    source = Source(config.venues)
    venues: dict[str, Callable[[], Venue]] = {}
    first = config.hyperliquid_url or {
        Source.MAINNET: hyperliquid.MAINNET_URL,
        Source.TESTNET: hyperliquid.TESTNET_URL,
    }.get(source, OFF)
    if first != OFF:
        rest, socket = _circuits("hyperliquid", config, clock)
        venues["hyperliquid"] = lambda: hyperliquid.HyperliquidVenue(
            hyperliquid.HyperliquidConfig(source=source, base_url=first),
            clock=clock,
            rng=ids.seeded_random(),
            rest_breaker=rest,
            socket_breaker=socket,
        )
    second = config.lighter_url or {Source.MAINNET: lighter.MAINNET_URL, Source.TESTNET: lighter.TESTNET_URL}.get(
        source, OFF
    )
    if second != OFF:
        lighter_rest, lighter_socket = _circuits("lighter", config, clock)
        venues["lighter"] = lambda: lighter.LighterVenue(
            lighter.LighterConfig(source=source, base_url=second, chain=config.lighter_chain),
            clock=clock,
            rng=ids.seeded_random(),
            rest_breaker=lighter_rest,
            socket_breaker=lighter_socket,
        )
    return venues


def make_relay(
    config: Config,
    venues: list[RelayedVenue],
    engine: Engine,
    gate: Gate,
    recorder: Recorder,
    bus: ValkeyBus,
    clock: Clock,
) -> Relay:
    """Return what lets replicas share one set of sockets; only the one that feeds records."""
    me = ids.new_id()

    def on_lead() -> None:
        log.event("relay.leads", turn=relay.turns)
        recorder.again(clock.time_ns() - AGAIN_NS)

    relay = Relay(
        me,
        venues=venues,
        engine=engine,
        demand=engine.demand,
        replicas=ValkeyReplicas(me, bus, config.bus, [venue.name for venue in venues]),
        clock=clock,
        on_lead=on_lead,
    )
    gate.is_open = lambda: relay.leading
    feeding = METRICS.gauge("perpmesh_relay_feeding", "Whether this replica feeds the others.")
    feeding.set_function(lambda: float(relay.leading))
    METRICS.gauge("perpmesh_relay_fed", "Replicas fed by this one.").set_function(lambda: float(relay.asker_count))
    turns = METRICS.gauge("perpmesh_relay_turns", "How often this replica began to feed.")
    turns.set_function(lambda: float(relay.turns))
    return relay


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


if __name__ == "__main__":
    raise SystemExit(run_room("market_data", Config, main))
