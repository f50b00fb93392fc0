"""Wires the execution room: `python -m services.execution`.

For its operator: `python -m services.execution halt SCOPE REASON`, `halt-and-cancel`, `resume SCOPE`, `halts`, `stuck`;
see docs/execution.md.
"""

from __future__ import annotations

import asyncio
import sys
import uuid
from dataclasses import dataclass
from typing import Final

from services.chassis import ids
from services.chassis.auth_feed import feed_of, start_feed
from services.chassis.client import Peer, PeerPolicy
from services.chassis.clock import SYSTEM, Clock
from services.chassis.metrics import METRICS
from services.chassis.migrate import require_current
from services.chassis.postgres import Database
from services.chassis.room import run_room, start_probes
from services.chassis.server import Server
from services.chassis.tasks import Supervisor
from services.chassis.telemetry import log
from services.chassis.valkey_bus import ValkeyBus
from services.domain.pages import Pager
from services.execution.app.attempts import Attempts
from services.execution.app.budgets import VenueBudgets
from services.execution.app.closing import Closer
from services.execution.app.deeds import Deeds
from services.execution.app.door import Door
from services.execution.app.gate import Gate
from services.execution.app.halting import Halts
from services.execution.app.hedging import Hedger
from services.execution.app.intake import Intake
from services.execution.app.leverage import Leverages
from services.execution.app.lines import Lines
from services.execution.app.pacing import Pacer
from services.execution.app.preparing import Preparer
from services.execution.app.previewing import Previewer
from services.execution.app.remedies import Remedies
from services.execution.app.replacing import Replacer
from services.execution.app.standing import LastSeen
from services.execution.app.switching import Switching
from services.execution.app.watcher import Watcher
from services.execution.app.worker import Worker
from services.execution.config import Config
from services.execution.model.deed import Deed
from services.execution.model.order import Order
from services.execution.peers.books import FollowedBooks
from services.execution.peers.routing import RoutingPeer
from services.execution.peers.vault import VaultPeer
from services.execution.peers.venues import ConfiguredVenues
from services.execution.ports import TradingAccount, Work
from services.execution.rpc.operator import OperatorRpc
from services.execution.rpc.scribe import ProtoScribe
from services.execution.rpc.service import ExecutionRpc
from services.execution.rpc.steering import Steering
from services.execution.store import operator
from services.execution.store.deeds import PostgresDeeds
from services.execution.store.halts import PostgresHalts
from services.execution.store.lists import PostgresLists
from services.execution.store.log import LogReader, Relay
from services.execution.store.orders import PostgresOrders
from services.execution.store.reports import PostgresReports, Reporter
from services.execution.store.standing import PostgresStanding
from services.execution.store.switches import PostgresSwitches
from services.execution.store.troubles import PostgresTroubles
from services.venues.hyperliquid import venue as hyperliquid
from services.venues.lighter import venue as lighter

ROOM = "execution"
PUBLIC: Final = "perpmesh.execution.v1.ExecutionService"
INTERNAL: Final = "perpmesh.execution.v1.OperatorService"
BACK_S: Final = 20.0
"""How long workers and watchers wait for a connection: they have no caller who waits, and go on where they stand."""
PEER_PATIENCE_S: Final = 4.0
"""How long a call waits for the vault or routing while that is restarted: longer than a start takes."""
LISTED_S: Final = 3.0
"""How long the start waits for what the venues list; without it no order is taken, and all else works."""
_URLS: Final = {
    ("hyperliquid", "mainnet"): hyperliquid.MAINNET_URL, ("hyperliquid", "testnet"): hyperliquid.TESTNET_URL,
    ("lighter", "mainnet"): lighter.MAINNET_URL, ("lighter", "testnet"): lighter.TESTNET_URL,
}  # fmt: skip


class _Chance:
    """The port `Chance` over the chassis."""

    def uuid(self) -> uuid.UUID:
        """Return a new id."""
        return ids.new_uuid()


async def main(config: Config, stop: asyncio.Event) -> None:
    """Wire the room, serve it, and drain when told to stop."""
    tls = config.chassis.server.tls
    database = await Database.open(ROOM, config.postgres)
    patient = PeerPolicy(patience_s=PEER_PATIENCE_S)
    vault = Peer(config.signer_address, patient, tls=tls, part="vault")
    routing = Peer(config.routing_address, patient, tls=tls, part="routing")
    address = config.market_data_address
    market_data = Peer(address, tls=tls, part="market_data") if address else None
    try:
        async with database.acquire() as connection:
            await require_current(connection, ROOM)
        async with ValkeyBus(config.bus) as bus:
            books = FollowedBooks(market_data, SYSTEM)
            await _serve(config, stop, database=database, vault=vault, routing=routing, bus=bus, books=books)
    finally:
        await vault.close()
        await routing.close()
        if market_data is not None:
            await market_data.close()
        await database.close()


async def _serve(
    config: Config, stop: asyncio.Event, *, database: Database, vault: Peer, routing: Peer, bus: ValkeyBus,
    books: FollowedBooks,
) -> None:  # fmt: skip
    clock, scribe, seen = SYSTEM, ProtoScribe(config.venues.upper()), LastSeen()
    keys = VaultPeer(vault, clock)
    venues = ConfiguredVenues(config.places(_URLS), clock, keys.token, config.granted.value())
    relay = Relay(database, config.bus, scribe, clock)
    reporter = Reporter(books, scribe, clock)
    front, back = (
        database.part(config.postgres.pool_max * 2 // 5),
        database.part(config.postgres.pool_max // 2, wait_s=BACK_S),
    )
    orders = PostgresOrders(back, scribe, clock, wake=relay.wake, reporter=reporter, front=front)
    door = Door(config.door(), orders, clock)
    care = await _care(config, database, orders, clock, keys, venues, seen, door)
    planner = RoutingPeer(routing)
    gate = Gate(
        stops=care.halts.stops, standing=PostgresStanding(front), venues=venues, clock=clock,
        monotonic_ns=clock.monotonic_ns, orders_per_minute=config.orders_per_minute,
        open_orders_max=config.open_orders_max,
    )  # fmt: skip
    intake = Intake(
        orders=orders, accounts=keys, planner=planner, venues=venues, clock=clock, chance=_Chance(),
        wake=care.worker.wake, gate=gate, books=books, standings=seen, door=door, workers=care.worker,
    )  # fmt: skip
    pacer = Pacer(
        intake=intake, orders=orders, accounts=keys, planner=planner, gate=gate, clock=clock, wake=care.worker.wake,
        tell_fault=_tell_pace,
    )  # fmt: skip
    remedies = Remedies(
        intake=intake, orders=orders, accounts=keys, venues=venues, gate=gate, books=books, clock=clock,
        wake=care.worker.wake, tell_fault=_tell_remedy,
    )  # fmt: skip
    hedger = Hedger(intake=intake, orders=orders, signer=keys, venues=venues, books=books, standings=seen, clock=clock)
    reader = LogReader(database)
    pager = Pager((config.page_secret or ids.token()).encode())
    steering = _steering(care, gate, orders, keys, venues)
    closer = Closer(intake=intake, orders=orders, accounts=keys, venues=venues)
    previewer = Previewer(intake=intake, planner=planner, signer=keys, books=books, standings=seen, clock=clock)
    preparer = Preparer(intake=intake, orders=orders, accounts=keys, signer=keys, clock=clock, wake=care.worker.wake)
    service = ExecutionRpc(
        steering=steering, preparer=preparer, intake=intake, hedger=hedger, closer=closer, pacer=pacer,
        lists=PostgresLists(database), reports=PostgresReports(database, reporter, scribe, orders.get),
        previewer=previewer, log=reader, bell=relay, pager=pager, clock=clock,
    )  # fmt: skip
    feed = feed_of(config.auth, config.chassis.server.tls.callers)
    server = Server(ROOM, config.chassis.server, ready=lambda: venues.waiting, verifier=feed.verifier if feed else None)
    server.add(PUBLIC, service)
    server.add(INTERNAL, OperatorRpc(reader, care.halts, PostgresTroubles(database), pager))
    probes = await start_probes(config.chassis.telemetry, lambda: venues.waiting)
    try:
        async with Supervisor() as tasks:
            start_feed(feed, tasks, bus)
            tasks.start("venues", venues.run)
            tasks.start("relay", relay.run)
            tasks.start("books", books.run)
            tasks.start("door", door.run)
            care.start(tasks)
            tasks.start("pacer", pacer.run)
            tasks.start("remedies", remedies.run)
            await venues.listed(LISTED_S)  # the edge holds calls meanwhile, which would be refused here
            await server.start()
            await tasks.wait(stop)
            service.drain()
            await server.stop()
    finally:
        await venues.close()
        if probes is not None:
            await probes.close()


def _steering(care: _Care, gate: Gate, orders: PostgresOrders, keys: VaultPeer, venues: ConfiguredVenues) -> Steering:
    """Return what sets, keeps and asks what stands around orders."""
    return Steering(
        leverages=Leverages(deeds=care.deeds, accounts=keys, venues=venues, clock=SYSTEM),
        replacer=Replacer(
            orders=orders,
            accounts=keys,
            venues=venues,
            chance=_Chance(),
            wake=care.worker.wake,
            stops=care.halts.stops,
            signer=keys,
        ),
        switching=care.switching,
        budgets=VenueBudgets(accounts=keys, venues=venues),
        gate=gate,
        clock=SYSTEM,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Care:
    """What goes on by itself: the work on legs, the listening to accounts, the kill switch, the count of attempts."""

    worker: Worker
    watcher: Watcher
    halts: Halts
    attempts: Attempts
    deeds: Deeds
    switching: Switching

    def start(self, tasks: Supervisor) -> None:
        """Start it all."""
        tasks.start("halts", self.halts.run)
        tasks.start("attempts", self.attempts.run)
        tasks.start("switches", self.switching.run)
        tasks.start("deeds", self.deeds.run)
        tasks.start("worker", self.worker.run)
        tasks.start("watcher", self.watcher.run)


async def _care(
    config: Config,
    database: Database,
    orders: PostgresOrders,
    clock: Clock,
    keys: VaultPeer,
    venues: ConfiguredVenues,
    seen: LastSeen,
    door: Door,
) -> _Care:
    """Make what goes on by itself, knowing what is halted and what failed before."""
    live: set[uuid.UUID] = set()
    attempts = _attempts(config, database, clock)
    due = asyncio.Event()
    halts = Halts(
        store=PostgresHalts(database), orders=orders, clock=clock, chance=_Chance(), wake=due.set,
        tell_fault=_tell_record,
    )  # fmt: skip
    await halts.look()
    await attempts.begin()
    lines = Lines()
    deeds = Deeds(
        store=PostgresDeeds(database, clock),
        signer=keys,
        accounts=keys,
        venues=venues,
        clock=clock,
        chance=_Chance(),
        attempts=attempts,
        lines=lines,
        tell_fault=_tell_deed,
    )
    worker = Worker(
        orders=orders,
        accounts=keys,
        signer=keys,
        venues=venues,
        clock=clock,
        tell_fault=_tell,
        hears=live.__contains__,
        attempts=attempts,
        stops=halts.stops,
        lines=lines,
        due=due,
        door=door,
        parallel=config.parallel,
    )
    watcher = Watcher(
        orders=orders,
        accounts=keys,
        venues=venues,
        clock=clock,
        live=live,
        seen=seen,
        wake=worker.wake,
        tell_fault=_tell_watch,
        attempts=attempts,
    )
    switching = Switching(
        deeds=deeds,
        switches=PostgresSwitches(database),
        accounts=keys,
        orders=orders,
        clock=clock,
        wake=worker.wake,
        tell_fault=_tell_record,
    )
    return _Care(worker=worker, watcher=watcher, halts=halts, attempts=attempts, deeds=deeds, switching=switching)


def _attempts(config: Config, database: Database, clock: Clock) -> Attempts:
    return Attempts(
        troubles=PostgresTroubles(database),
        clock=clock,
        chance=ids.seeded_random().random,
        table=config.retries.table(),
        show_stuck=METRICS.gauge("perpmesh_execution_stuck_works", "Works whose attempts are used up.").set,
        tell_fault=_tell_record,
    )


def _tell_deed(deed: Deed, error: Exception) -> None:
    log.warning("deed.again", deed_id=str(deed.deed_id), venue=deed.venue, kind=deed.kind.value, error=str(error)[:300])


def _tell_record(error: Exception) -> None:
    log.warning("record.again", error=str(error)[:300])


def _tell_watch(account: TradingAccount, error: Exception) -> None:
    log.warning("account.again", account_id=str(account.account_id), venue=account.venue, error=str(error)[:300])


def _tell_pace(order: Order, error: Exception) -> None:
    log.warning("slice.again", order_id=str(order.order_id), error=str(error)[:300])


def _tell_remedy(order: Order, error: Exception) -> None:
    log.warning("remedy.again", order_id=str(order.order_id), error=str(error)[:300])


def _tell(work: Work, error: Exception) -> None:
    log.warning(
        "leg.again",
        order_id=str(work.order.order_id),
        leg_id=str(work.leg.leg_id),
        venue=work.leg.venue,
        state=work.leg.state.value,
        error=error,
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        raise SystemExit(operator.command(sys.argv[1:], Config))
    raise SystemExit(run_room(ROOM, Config, main))
