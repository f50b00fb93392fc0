"""Wires the routing room: `python -m services.routing`."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

from services.chassis import ids
from services.chassis.auth_feed import feed_of, start_feed
from services.chassis.client import Peer
from services.chassis.clock import SYSTEM
from services.chassis.migrate import require_current
from services.chassis.postgres import Database
from services.chassis.room import run_room, start_probes
from services.chassis.server import Server
from services.chassis.tasks import Supervisor
from services.chassis.valkey_bus import ValkeyBus
from services.routing.app.desk import Desk
from services.routing.config import Config
from services.routing.peers.market_data import MarketDataBooks
from services.routing.peers.standings import PortfolioStandings
from services.routing.rpc.service import RoutingRpc
from services.routing.store.quotes import PostgresQuotes
from services.routing.store.routes import RecentRoutes

ROOM = "routing"
PUBLIC = "perpmesh.routing.v1.RoutingService"
INTERNAL = "perpmesh.routing.v1.PlannerService"


class _Chance:
    """The port `Chance` over the chassis."""

    def uuid(self) -> uuid.UUID:
        """Return a new id."""
        return ids.new_uuid()


async def main(config: Config, stop: asyncio.Event) -> None:
    """Wire the room, serve it, and drain when told to stop."""
    database = await Database.open(ROOM, config.postgres)
    market_data = Peer(config.market_data_address, tls=config.chassis.server.tls, part="market_data")
    portfolio = None
    if config.portfolio_address:
        portfolio = Peer(config.portfolio_address, tls=config.chassis.server.tls, part="portfolio")
    try:
        async with database.acquire() as connection:
            await require_current(connection, ROOM)
        async with ValkeyBus(config.bus) as bus:
            await _serve(config, stop, database=database, market_data=market_data, portfolio=portfolio, bus=bus)
    finally:
        for peer in (market_data, portfolio):
            if peer is not None:
                await peer.close()
        await database.close()


async def _serve(
    config: Config,
    stop: asyncio.Event,
    *,
    database: Database,
    market_data: Peer,
    portfolio: Peer | None,
    bus: ValkeyBus,
) -> None:
    clock = SYSTEM
    books = MarketDataBooks(market_data, clock)
    quotes = PostgresQuotes(database, clock, kept=timedelta(days=config.kept_days))
    desk = Desk(
        books=books,
        standings=PortfolioStandings(portfolio, clock),
        clock=clock,
        chance=_Chance(),
        life_min_ns=round(config.life_min_s * 1e9),
        life_max_ns=round(config.life_max_s * 1e9),
    )
    routes = RecentRoutes(bus, clock)
    service = RoutingRpc(desk=desk, quotes=quotes, routes=routes, clock=clock)
    feed = feed_of(config.auth, config.chassis.server.tls.callers)
    server = Server(ROOM, config.chassis.server, verifier=feed.verifier if feed else None)
    server.add(PUBLIC, service)
    server.add(INTERNAL, service)
    probes = await start_probes(config.chassis.telemetry, lambda: None)
    try:
        async with Supervisor() as tasks:
            start_feed(feed, tasks, bus)
            tasks.start("books", books.run)
            tasks.start("quotes", quotes.run)
            tasks.start("routes", routes.run)
            tasks.start("quotes_sweep", quotes.sweep)
            await server.start()
            await tasks.wait(stop)
            service.drain()
            await server.stop()
    finally:
        if probes is not None:
            await probes.close()


if __name__ == "__main__":
    raise SystemExit(run_room(ROOM, Config, main))
