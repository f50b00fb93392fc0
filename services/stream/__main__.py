"""Starts the stream room: `python -m services.stream`."""

from __future__ import annotations

import asyncio
import os

from services.chassis.auth_feed import AuthFeed, feed_of, start_feed
from services.chassis.client import Peer
from services.chassis.clock import SYSTEM
from services.chassis.config import ConfigError
from services.chassis.ids import new_id, seeded_random
from services.chassis.room import run_room, start_probes
from services.chassis.server import write_run_file
from services.chassis.tasks import Supervisor
from services.chassis.telemetry import log
from services.chassis.tls import server_context
from services.chassis.valkey_bus import ValkeyBus
from services.stream.app.door import Door, DoorBounds
from services.stream.app.hub import HubBounds
from services.stream.config import Config
from services.stream.model.limits import Limits
from services.stream.peers.callers import VerifiedCallers
from services.stream.peers.market_data import MarketDataPeer
from services.stream.peers.private import PrivatePeers
from services.stream.store import ValkeyPresence
from services.stream.ws.measures import DoorMeasures
from services.stream.ws.server import DoorServer, Entrance
from services.stream.ws.site import Site, SiteError


async def main(config: Config, stop: asyncio.Event) -> None:
    """Wire the room, serve until `stop` is set, and drain."""
    bounds = DoorBounds(
        connections_max=config.connections_max,
        limits=Limits(
            topics_max=config.topics_max,
            batch_interval_s=config.batch_interval_s,
            stall_timeout_s=config.stall_timeout_s,
        ),
        hub=HubBounds(linger_s=config.linger_s),
    )
    try:
        site = Site(config.web_root)
    except (OSError, SiteError) as error:
        raise ConfigError(str(error)) from None
    tls = config.chassis.server.tls
    market_data = Peer(config.market_data_address, tls=tls, part="market_data")
    own = _own(config)
    feed = feed_of(config.auth)
    presence = ValkeyPresence(config.bus, SYSTEM)
    bus = ValkeyBus(config.bus)
    measures = DoorMeasures()
    door = Door(
        callers=VerifiedCallers(feed.verifier if feed is not None else None),
        presence=presence,
        rooms=PrivatePeers(*own),
        market_data=MarketDataPeer(market_data),
        clock=SYSTEM,
        new_id=new_id,
        chance=seeded_random(),
        measures=measures,
        bounds=bounds,
    )
    measures.watch(door.stalls)
    entrance = Entrance(
        origins=config.origins,
        per_address_max=config.connections_per_address_max,
        trust_forwarded=config.trust_forwarded,
    )
    server = DoorServer(door, site, limits=bounds.limits, entrance=entrance, new_id=new_id, tls=server_context(tls))
    running = asyncio.create_task(_run(door, presence, feed, bus))
    probes = None
    try:
        port = await _listen(server, config)
        probes = await start_probes(config.chassis.telemetry, door.not_ready)
        facts = {"room": "stream", "pid": os.getpid(), "port": port}
        if probes is not None:
            facts["metrics_port"] = probes.port
        run_file = config.chassis.server.run_file
        if run_file is not None:
            write_run_file(run_file, facts)
        log.event("stream.started", port=port, files=len(site))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await server.stop()
        if run_file is not None:
            run_file.unlink(missing_ok=True)
        if running.done():
            running.result()  # only a fault ends it before it is cancelled
    finally:
        await server.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if probes is not None:
            await probes.close()
        for peer in (market_data, *own):
            if peer is not None:
                await peer.close()


def _own(config: Config) -> list[Peer | None]:
    """Return the rooms that own what belongs to callers: execution and portfolio, where they are."""
    tls = config.chassis.server.tls
    return [
        Peer(address, tls=tls, part=part) if address else None
        for part, address in (("execution", config.execution_address), ("portfolio", config.portfolio_address))
    ]


async def _run(door: Door, presence: ValkeyPresence, feed: AuthFeed | None, bus: ValkeyBus) -> None:
    """Run what the door needs; a fault of the door itself ends it."""
    async with bus, Supervisor() as tasks:
        tasks.start("presence", presence.run)
        start_feed(feed, tasks, bus)
        await door.run()


async def _listen(server: DoorServer, config: Config) -> int:
    try:
        return await server.start(config.host, config.port)
    except OSError as error:
        raise ConfigError(
            f"The stream room cannot listen on {config.host}:{config.port} ({error.strerror}): set PERPMESH_LISTEN to "
            "a free host:port, or to port 0 to let the system choose."
        ) from None


if __name__ == "__main__":
    raise SystemExit(run_room("stream", Config, main))
