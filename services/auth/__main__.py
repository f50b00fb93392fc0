"""Wires the auth room: `python -m services.auth`.

`python -m services.auth withdraw-keys` withdraws every signing key at once, after a compromise: verifiers refuse their
tokens as soon as they hear of it, rooms within a second and the edge within its key set's minute.
"""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

import aiohttp

from services.auth.app.account import Account
from services.auth.app.api_tokens import ApiTokenDesk
from services.auth.app.ended import EndedList
from services.auth.app.issuing import Issuer
from services.auth.app.sessions import SessionDesk
from services.auth.app.sign_in import SignIn
from services.auth.config import Config
from services.auth.model.challenge import Site
from services.auth.model.keyring import Schedule
from services.auth.model.session import Lifetimes
from services.auth.peers.contract_wallet import RpcChain
from services.auth.peers.prover import WalletProver
from services.auth.rpc import limits
from services.auth.rpc.page import VerificationPage
from services.auth.rpc.service import AuthRpc
from services.auth.store.api_tokens import PostgresApiTokens
from services.auth.store.challenges import ValkeyChallenges
from services.auth.store.ended import PostgresEnded
from services.auth.store.keys import PostgresKeys, read_sealing_secret
from services.auth.store.sessions import PostgresSessions
from services.auth.store.tally import ValkeyTally
from services.auth.store.users import PostgresUsers
from services.chassis import ids
from services.chassis.auth_feed import CHANNEL, AuthFeed
from services.chassis.clock import SYSTEM
from services.chassis.config import ConfigError, load
from services.chassis.migrate import require_current
from services.chassis.postgres import Database
from services.chassis.room import run_room, start_probes
from services.chassis.server import Server
from services.chassis.shield import shield
from services.chassis.tasks import Supervisor
from services.chassis.valkey_bus import ValkeyBus
from services.chassis.verifier import AuthConfig
from services.domain.pages import Pager

ROOM = "auth"
SERVICE = "perpmesh.auth.v1.AuthService"


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
    shield()  # the keys that sign tokens are in its memory
    secret = read_sealing_secret(config.key_secret)
    database = await Database.open(ROOM, config.postgres)
    challenges, tally = ValkeyChallenges(config.bus.url), ValkeyTally(config.bus.url, config.allowance)
    bus = ValkeyBus(config.bus)
    try:
        async with database.acquire() as connection:
            await require_current(connection, ROOM)
        async with bus, aiohttp.ClientSession(auto_decompress=False) as http:
            inside = _Inside(database=database, challenges=challenges, tally=tally, bus=bus, http=http)
            await _serve(config, stop, secret, inside)
    finally:
        await challenges.close()
        await tally.close()
        await database.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inside:
    """The connections."""

    database: Database
    challenges: ValkeyChallenges
    tally: ValkeyTally
    bus: ValkeyBus
    http: aiohttp.ClientSession


async def _serve(config: Config, stop: asyncio.Event, secret: bytes, inside: _Inside) -> None:
    clock, chance = SYSTEM, _Chance()
    database, bus = inside.database, inside.bus
    keys = PostgresKeys(database, secret=secret, algorithm=config.algorithm, chance=chance)
    issuer = Issuer(
        keys,
        chance,
        clock,
        issuer=config.auth.issuer,
        audience=config.auth.audience,
        lifetime=timedelta(seconds=config.access_s),
        schedule=Schedule(ahead=timedelta(seconds=config.key_ahead_s), period=timedelta(seconds=config.key_period_s)),
    )

    def spread(ended: Collection[uuid.UUID]) -> None:
        bus.publish(CHANNEL, ",".join(str(one) for one in ended).encode())

    ended = EndedList(PostgresEnded(database), clock, epoch=ids.token(16), spread=spread)
    page = VerificationPage(issuer, ended)
    await issuer.refresh()
    await ended.look(timedelta(minutes=20))
    await page.page.start(config.page_address[1], config.page_address[0])
    host = config.page_address[0]
    # This room verifies as every other does, from its own page: one path, proven by every test.
    feed = AuthFeed(
        AuthConfig(
            url=f"http://{host}:{page.page.port}",
            issuer=config.auth.issuer,
            audience=config.auth.audience,
        ),
        callers=config.chassis.server.tls.callers,
    )
    await feed.look()
    service = make_service(
        config,
        database=database,
        challenges=inside.challenges,
        bus=bus,
        http=inside.http,
        issuer=issuer,
        ended=_Both(ended, feed),
    )

    def ready() -> str | None:
        return None if feed.verifier.ready and ended.complete else "the record was not read yet"

    server = Server(ROOM, config.chassis.server, ready=ready, verifier=feed.verifier)
    server.add(SERVICE, service)
    server.add_foreign(limits.PATH, limits.Limits(inside.tally, config.allowance).should_rate_limit)
    probes = await start_probes(config.chassis.telemetry, ready)
    try:
        async with Supervisor() as tasks:
            tasks.start("keys", issuer.run)
            tasks.start("ended", ended.run)
            tasks.start("auth_feed", feed.run)
            tasks.start("auth_channel", lambda: feed.listen(bus))
            await server.start(run={"page_port": page.page.port})
            await tasks.wait(stop)
            await server.stop()
    finally:
        await page.page.close()
        if probes is not None:
            await probes.close()


class _Both:
    """Tells the list, and this room's own verifier without a detour."""

    def __init__(self, ended: EndedList, feed: AuthFeed) -> None:
        self._ended = ended
        self._feed = feed

    def tell(self, ids: Collection[uuid.UUID]) -> None:
        """Spread the word; the record stays the truth."""
        self._ended.tell(ids)
        self._feed.verifier.set_ended([str(one) for one in ids], whole=False)


def make_service(
    config: Config,
    *,
    database: Database,
    challenges: ValkeyChallenges,
    bus: ValkeyBus,
    http: aiohttp.ClientSession,
    issuer: Issuer,
    ended: _Both,
) -> AuthRpc:
    """Wire the use cases."""
    clock, chance = SYSTEM, _Chance()
    lifetimes = Lifetimes(
        access=timedelta(seconds=config.access_s),
        idle=timedelta(seconds=config.session_idle_s),
        longest=timedelta(seconds=config.session_longest_s),
        contract=timedelta(seconds=config.session_contract_s),
    )
    users = PostgresUsers(database)
    sign_in = SignIn(
        site=Site(origins=config.origins, chains=frozenset(int(chain) for chain in config.chains)),
        pending=challenges,
        prover=WalletProver({chain: RpcChain(chain, url, http) for chain, url in config.rpc_by_chain.items()}),
        users=users,
        issuer=issuer,
        chance=chance,
        clock=clock,
        lifetimes=lifetimes,
    )
    desk = SessionDesk(
        sessions=PostgresSessions(database, bus),
        issuer=issuer,
        herald=ended,
        chance=chance,
        clock=clock,
        lifetimes=lifetimes,
    )
    tokens = PostgresApiTokens(database)
    return AuthRpc(
        sign_in=sign_in,
        sessions=desk,
        account=Account(users=users, sign_in=sign_in, herald=ended, clock=clock),
        api_tokens=ApiTokenDesk(tokens=tokens, issuer=issuer, herald=ended, chance=chance, clock=clock),
        issuer=issuer,
        pager=Pager((config.page_secret or ids.token()).encode()),
    )


async def _withdraw(config: Config) -> int:
    database = await Database.open(ROOM, config.postgres)
    try:
        secret = read_sealing_secret(config.key_secret)
        keys = PostgresKeys(database, secret=secret, algorithm=config.algorithm, chance=_Chance())
        return await keys.withdraw(SYSTEM.now())
    finally:
        await database.close()


def withdraw_keys() -> int:
    """Withdraw every signing key; return the exit code."""
    try:
        count = asyncio.run(_withdraw(load(Config, os.environ)))
    except ConfigError as error:
        sys.stderr.write(f"auth: {error}\n")
        return 2
    sys.stdout.write(f"withdrew {count} signing keys; a new one signs within {30} s\n")
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["withdraw-keys"]:
        raise SystemExit(withdraw_keys())
    raise SystemExit(run_room(ROOM, Config, main))
