"""Wires the portfolio room: `python -m services.portfolio`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

from services.chassis import ids
from services.chassis.auth_feed import feed_of, start_feed
from services.chassis.client import Peer
from services.chassis.clock import SYSTEM
from services.chassis.metrics import METRICS, Metrics
from services.chassis.migrate import require_current
from services.chassis.postgres import Database, UnreachableError
from services.chassis.room import install_decimal_context, run_room, start_probes
from services.chassis.server import Server
from services.chassis.tasks import ONCE, Supervisor
from services.chassis.telemetry import log
from services.chassis.valkey_bus import ValkeyBus
from services.domain.errors import DomainError, Reason
from services.domain.pages import Pager
from services.portfolio.app.analytics import AnalyticsDesk, Cache, Sampler
from services.portfolio.app.desk import Desk
from services.portfolio.app.follower import Follower
from services.portfolio.app.live import Live
from services.portfolio.app.risk import RiskDesk
from services.portfolio.config import Config
from services.portfolio.model.values import LogEntry
from services.portfolio.peers.log import OperatorLog, Unread, ValkeyTail
from services.portfolio.peers.market_data import MarketDataPeer
from services.portfolio.ports import LogSource
from services.portfolio.rpc.account_state import AccountStateRpc
from services.portfolio.rpc.analytics import AnalyticsRpc
from services.portfolio.rpc.service import PortfolioRpc
from services.portfolio.rpc.watch import Streams
from services.portfolio.store.history import PostgresHistory
from services.portfolio.store.reader import PostgresReader

ROOM = "portfolio"
PUBLIC = "perpmesh.portfolio.v1.PortfolioService"
ANALYTICS = "perpmesh.portfolio.v1.AnalyticsService"
INTERNAL = "perpmesh.portfolio.v1.AccountStateService"


class NoSource:
    """The port `LogSource` where execution's address is not known."""

    async def read_from(self, sequence: int) -> tuple[Sequence[LogEntry], int]:
        """Refuse."""
        raise DomainError(
            Reason.PEER_UNAVAILABLE,
            "PERPMESH_EXECUTION_ADDRESS is not set, so the log cannot be read.",
            metadata={"peer": "execution"},
        )


async def main(config: Config, stop: asyncio.Event) -> None:
    """Wire the room, serve it, and drain when told to stop."""
    install_decimal_context()
    tls = config.chassis.server.tls
    database = await Database.open(ROOM, config.postgres)
    market_data = Peer(config.market_data_address, tls=tls, part="market_data")
    execution = Peer(config.execution_address, tls=tls, part="execution") if config.execution_address else None
    try:
        async with database.acquire() as connection:
            await require_current(connection, ROOM)
        await _serve(config, stop, database=database, market_data=market_data, execution=execution)
    finally:
        await market_data.close()
        if execution is not None:
            await execution.close()
        await database.close()


async def _serve(
    config: Config, stop: asyncio.Event, *, database: Database, market_data: Peer, execution: Peer | None
) -> None:
    clock, unread = SYSTEM, Unread()
    ledger = PostgresReader(database)
    markets = MarketDataPeer(market_data, clock)
    live = Live(ledger, markets, clock)
    desk = Desk(ledger, markets)
    streams = Streams(live, ledger, clock)
    tail = ValkeyTail(config.bus, unread, after=await ledger.cursor(), clock=clock)
    source: LogSource = OperatorLog(execution, unread) if execution is not None else NoSource()
    follower = Follower(
        ledger=ledger, tail=tail, source=source, markets=markets, clock=clock, watched=live.watched,
        applied=live.applied,
    )  # fmt: skip
    history = PostgresHistory(database, clock, lag_max_s=config.replica_lag_max_s, applied=lambda: follower.cursor)
    feed = feed_of(config.auth, config.chassis.server.tls.callers)

    def ready() -> str | None:
        return follower.behind if follower.last > follower.cursor and follower.behind else None

    server = Server(ROOM, config.chassis.server, ready=ready, verifier=feed.verifier if feed else None)
    pager = Pager((config.page_secret or ids.token()).encode())
    server.add(
        PUBLIC, PortfolioRpc(desk=desk, risk=RiskDesk(desk, ledger, clock), streams=streams, pager=pager, clock=clock)
    )
    server.add(ANALYTICS, AnalyticsRpc(AnalyticsDesk(desk, history, clock), Cache(ledger, clock)))
    server.add(INTERNAL, AccountStateRpc(desk, clock))
    probes = await start_probes(config.chassis.telemetry, ready)
    measure(follower, live)
    bus = ValkeyBus(config.bus)
    try:
        async with bus, Supervisor() as tasks:
            start_feed(feed, tasks, bus)
            tasks.start("follower", follower.run)
            tasks.start("marks", live.run)
            tasks.start("samples", Sampler(desk, history, history.held_markets, clock).run)
            if config.replica_url:
                tasks.start("replica", lambda: use_replica(config, history), ONCE)
            await server.start()
            await tasks.wait(stop)
            streams.close()
            await server.stop()
    finally:
        await tail.close()
        if probes is not None:
            await probes.close()


async def use_replica(config: Config, history: PostgresHistory) -> None:
    """Connect to the read replica, waiting for it as long as it takes, and let it answer."""
    settings = dataclasses.replace(config.postgres, url=config.replica_url)
    while True:
        try:
            history.use_replica(await Database.open(ROOM, settings, metrics=Metrics()))
        except UnreachableError as error:
            log.warning("replica.unreachable", error=str(error))
            await SYSTEM.sleep(1.0)
        else:
            return


def measure(follower: Follower, live: Live) -> None:
    """Show the room's own figures among the metrics."""
    applied = METRICS.gauge("perpmesh_portfolio_log_applied", "The number of the last log event applied.")
    applied.set_function(lambda: float(follower.cursor))
    behind = METRICS.gauge("perpmesh_portfolio_log_behind", "Log events known to exist and not applied yet.")
    behind.set_function(lambda: float(max(0, follower.last - follower.cursor)))
    watching = METRICS.gauge("perpmesh_portfolio_streams", "Open streams of positions and balances.")
    watching.set_function(lambda: float(live.watchers))


if __name__ == "__main__":
    raise SystemExit(run_room(ROOM, Config, main))
