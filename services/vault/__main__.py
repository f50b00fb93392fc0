"""Wires the vault: `python -m services.vault`.

For its operator: `python -m services.vault freeze-all [reason]`, `unfreeze-all`, `rotate-master-key`, `rewrap`,
`drop-master-keys`, `verify-audit`; see docs/vault.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
import uuid
from typing import Final

import aiohttp

from services.chassis import ids
from services.chassis.auth_feed import feed_of, start_feed
from services.chassis.clock import SYSTEM
from services.chassis.migrate import require_current
from services.chassis.postgres import Database
from services.chassis.room import run_room, start_probes
from services.chassis.server import Server
from services.chassis.shield import shield
from services.chassis.tasks import Supervisor
from services.chassis.tls import check_listening
from services.chassis.valkey_bus import ValkeyBus
from services.chassis.verifier import TokenVerifier
from services.domain.pages import Pager
from services.vault.app.accounts import AccountDesk
from services.vault.app.directory import Directory
from services.vault.app.setups import KeyDesk
from services.vault.app.signer import Ground, Signer
from services.vault.config import Config
from services.vault.model.account import Environment
from services.vault.peers.hyperliquid.venue import HyperliquidVenue
from services.vault.peers.lighter.venue import LighterVenue
from services.vault.peers.venues import ConfiguredVenues, OneVenue, SimulatorFaucet
from services.vault.rpc.signer import SignerRpc
from services.vault.rpc.vault import VaultRpc
from services.vault.store import operator
from services.vault.store.accounts import PostgresAccounts
from services.vault.store.chain import Chain
from services.vault.store.keys import PostgresKeys
from services.vault.store.leases import Lease
from services.vault.store.master_keys import MasterKeys
from services.vault.store.sealing import Sealer
from services.vault.store.signing import PostgresSigning
from services.vault.store.upkeep import Upkeep
from services.venues.budget import Allowance, Budget
from services.venues.circuit import REST, Circuit
from services.venues.hyperliquid import venue as hyperliquid
from services.venues.hyperliquid.budgets import KEYS_WEIGHT
from services.venues.lighter import venue as lighter
from services.venues.rest import Rest, RestConfig

ROOM = "vault"
PUBLIC: Final = "perpmesh.vault.v1.VaultService"
INTERNAL: Final = "perpmesh.vault.v1.SignerService"
_URLS: Final = {
    ("hyperliquid", "mainnet"): hyperliquid.MAINNET_URL, ("hyperliquid", "testnet"): hyperliquid.TESTNET_URL,
    ("lighter", "mainnet"): lighter.MAINNET_URL, ("lighter", "testnet"): lighter.TESTNET_URL,
}  # fmt: skip
_CHAINS: Final = {Environment.TESTNET: 300}
"""Lighter's chain ids; 304 where nothing else is said."""
FIRST_LOOK_S: Final = 3.0
"""How long the start waits for the venues; without them nothing is signed, and all else works."""
_WEIGHT: Final = {"hyperliquid": KEYS_WEIGHT, "lighter": 30}
"""What the vault may ask of a venue in a minute: a part of the address's budget, the rest is the other rooms'."""


class _Chance:
    """The port `Chance` over the chassis."""

    def uuid(self) -> uuid.UUID:
        """Return a new id."""
        return ids.new_uuid()

    def secret(self, size_bytes: int) -> bytes:
        """Return random bytes that nobody can guess."""
        return ids.secret(size_bytes)


async def main(config: Config, stop: asyncio.Event) -> None:
    """Wire the room, serve it, and drain when told to stop."""
    shield()
    check_listening(config.chassis.server.tls, config.signer_listen)
    database = await Database.open(ROOM, config.postgres)
    try:
        async with database.acquire() as connection:
            await require_current(connection, ROOM)
        async with ValkeyBus(config.bus) as bus, aiohttp.ClientSession(auto_decompress=False) as http:
            masters = await operator.master_keys(config.master, database, _Chance(), http)
            await _serve(config, stop, database=database, bus=bus, http=http, masters=masters)
    finally:
        await database.close()


async def _serve(
    config: Config,
    stop: asyncio.Event,
    *,
    database: Database,
    bus: ValkeyBus,
    http: aiohttp.ClientSession,
    masters: MasterKeys,
) -> None:
    clock, chance = SYSTEM, _Chance()
    sealer = Sealer(masters, chance, clock)
    chain = Chain(sealer, clock)
    accounts, keys = PostgresAccounts(database, sealer, chain, clock), PostgresKeys(database, chain, clock)
    lease = Lease(database, config.postgres.url, chance.uuid(), clock, lease_s=config.lease_s)
    signing = PostgresSigning(database, sealer, lease, clock)
    rests = make_rests(config)
    venues = make_venues(config, rests)
    ground = Ground(signing=signing, accounts=accounts, keys=keys, secrets=sealer, venues=venues, clock=clock)
    desk = AccountDesk(
        accounts=accounts, keys=keys, venues=venues, faucet=SimulatorFaucet(config.control_url, http), clock=clock,
        chance=chance,
    )  # fmt: skip
    key_desk = KeyDesk(
        accounts=accounts, desk=desk, keys=keys, secrets=sealer, venues=venues, clock=clock, chance=chance
    )
    pager = Pager((config.page_secret or ids.token()).encode())
    signer_rpc = SignerRpc(signer=Signer(ground), directory=Directory(accounts, keys, desk), pager=pager, clock=clock)

    def ready() -> str | None:
        return venues.waiting

    feed = feed_of(config.auth, config.chassis.server.tls.callers)
    public = Server(ROOM, config.chassis.server, ready=ready, verifier=feed.verifier if feed else None)
    public.add(PUBLIC, VaultRpc(accounts=desk, keys=key_desk, pager=pager))
    inner = make_signer_server(config, signer_rpc)
    probes = await start_probes(config.chassis.telemetry, ready)
    await lease.begin()
    try:
        async with Supervisor() as tasks:
            start_feed(feed, tasks, bus)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FIRST_LOOK_S):
                    await venues.look()
            tasks.start("lease", lease.run)
            tasks.start("venues", venues.run)
            tasks.start("upkeep", Upkeep(keys, signing, clock).run)
            signer_port = await inner.start()
            await public.start(run={"signer_port": signer_port})
            await tasks.wait(stop)
            await public.stop()
            await inner.stop()
    finally:
        await lease.end()
        await venues.close()
        for rest in rests.values():
            await rest.close()
        if probes is not None:
            await probes.close()


def make_signer_server(config: Config, servicer: SignerRpc) -> Server:
    """Return the server that signs: a listener of its own, for the callers of its own list."""
    tls = dataclasses.replace(config.chassis.server.tls, callers=config.signer_callers)
    settings = dataclasses.replace(
        config.chassis.server, listen=config.signer_listen, tls=tls, run_file=None, reflection=False
    )
    verifier = TokenVerifier(issuer=config.auth.issuer, audience=config.auth.audience, callers=config.signer_callers)
    server = Server("vault.signer", settings, verifier=verifier)
    server.add(INTERNAL, servicer)
    return server


def make_rests(config: Config) -> dict[tuple[str, Environment], Rest]:
    """Return the REST client of every venue in every environment."""
    found = {}
    for (venue, environment), url in config.places(_URLS).items():
        units = _WEIGHT[venue] if not environment.is_ours else 100_000
        found[venue, environment] = Rest(
            base_url=url,
            budget=Budget(Allowance(units=units, seconds=60, reserve=units // 3)),
            breaker=Circuit(f"vault.{venue}", REST, clock=SYSTEM),
            clock=SYSTEM,
            config=RestConfig(connections_max=8),
        )
    return found


def make_venues(config: Config, rests: dict[tuple[str, Environment], Rest]) -> ConfiguredVenues:
    """Return the venues that the configuration names."""
    made: dict[tuple[str, Environment], OneVenue] = {}
    for (venue, environment), rest in rests.items():
        if venue == "hyperliquid":
            made[venue, environment] = HyperliquidVenue(
                environment, rest, clock=SYSTEM, chance=_Chance(), builder=config.builder.lower()
            )
        else:
            chain_id = _CHAINS.get(environment, 304)
            made[venue, environment] = LighterVenue(rest, clock=SYSTEM, chain_id=chain_id, integrator=config.integrator)
    return ConfiguredVenues(made, SYSTEM, every_s=config.marks_s)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        raise SystemExit(operator.command(sys.argv[1:], Config, _Chance()))
    raise SystemExit(run_room(ROOM, Config, main))
