"""Master keys: a wrong or missing one is a clear error and loses nothing; a rotation is not felt."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.chassis import ids
from services.chassis.clock import SYSTEM
from services.chassis.config import ConfigError, load
from services.chassis.postgres import Database, PostgresConfig
from services.domain.errors import DomainError, Reason
from services.vault.config import Config
from services.vault.model.key import binding
from services.vault.store import operator
from services.vault.store.master_keys import FileRing, Ring, id_of, make_ring_file, read_ring
from services.vault.store.sealing import Sealer
from services.vault.store.transit import Transit
from tests.integration.vault.test_vault_secrets import Chance, ready
from tests.support.auth import refusal
from tests.support.vault import order, report_request, sign_request
from tests.support.vault_room import Client, Grounds

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def run(ground: Grounds, *arguments: str, **settings: object) -> tuple[int, str]:
    """Run `python -m services.vault` and return its exit code and what it said."""
    environ = ground.environ(ground.folder / "command.json", **settings)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.vault",
        *arguments,
        env={**environ, "PATH": os.environ["PATH"], "PYTHONPATH": "gen:."},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode is not None
    return process.returncode, out.decode()


async def signs(mesh: Client, owner: Any, price: str) -> bool:
    request = sign_request(owner.account_id, order(owner.account.venue, price=price))
    answer = await mesh.signer.Sign(request, timeout=20)
    await mesh.signer.ReportOutcome(report_request(request, "NOT_SENT"), timeout=20)
    return bool(answer.HasField("signed_action"))


async def test_without_its_master_key_the_vault_says_so_and_keeps_everything(
    mesh: Client, ground: Grounds, tmp_path: Path
) -> None:
    owner, _, price = await ready(mesh, "hyperliquid")
    code, said = await run(ground, vault_master_key_store=tmp_path / "nowhere" / "keys")
    assert code == 2
    assert "restore the file" in said
    assert "Nothing is lost" in said
    assert not (tmp_path / "nowhere").exists(), "no new key in the place of the lost one"
    other = tmp_path / "other"
    make_ring_file(other, Chance())
    code, said = await run(ground, vault_master_key_store=other)
    (wanted,) = {id_of(key) for key in read_ring((ground.folder / "master-keys").read_text(), "")} or {""}
    assert code == 2
    assert f"The master key {wanted} is not here" in said
    assert await signs(mesh, owner, price), "the right key opens them again"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"vault_master_key_store": ""}, "exactly one"),
        ({"vault_master_key": "ab" * 32}, "exactly one"),
        ({"vault_master_key_store": "", "vault_master_key": "ab" * 32}, "not regular"),
        ({"vault_master_key_store": "", "vault_master_key": "short"}, "32 random bytes"),
    ],
)
async def test_a_master_key_that_is_none_is_refused_by_name(ground: Grounds, settings: Any, words: str) -> None:
    def read() -> None:
        config = load(Config, ground.environ(ground.folder / "unused.json", **settings))
        read_ring(config.master.keys, "PERPMESH_VAULT_MASTER_KEY")

    with pytest.raises(ConfigError, match=words) as told:
        read()
    assert "PERPMESH_VAULT_MASTER_KEY" in str(told.value)


async def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    make_ring_file(path, Chance())
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        FileRing(path, Chance())


async def test_what_is_wrapped_under_a_key_that_is_gone_names_it(mesh: Client, ground: Grounds) -> None:
    owner, key, price = await ready(mesh, "hyperliquid")
    database = await ground.connection()
    change = "UPDATE keys SET master_key_id = $2 WHERE key_id = $1"
    bump = "UPDATE accounts SET version = version + 1 WHERE account_id = $1"
    account, name = uuid.UUID(owner.account_id), uuid.UUID(key.key_id)
    before = await database.fetchval("SELECT master_key_id FROM keys WHERE key_id = $1", name)
    await database.execute(change, name, "mk-0123456789abcdef")
    await database.execute(bump, account)
    request = sign_request(owner.account_id, order("hyperliquid", price=price))
    told = await refusal(mesh.signer.Sign(request, timeout=20))
    assert (told.reason, told.metadata["master_key_id"]) == (Reason.KEY_SEALED, "mk-0123456789abcdef")
    await database.execute(change, name, before)
    await database.execute(bump, account)
    await database.close()
    assert (await mesh.signer.Sign(request, timeout=20)).HasField("signed_action")


async def test_a_rotation_is_not_felt(mesh: Client, ground: Grounds) -> None:
    owners = [await ready(mesh, venue) for venue in ("hyperliquid", "lighter")]
    stop, counts = asyncio.Event(), [0, 0]

    async def load(number: int) -> None:
        owner, _, price = owners[number]
        while not stop.is_set():
            assert await signs(mesh, owner, price)
            counts[number] += 1

    tasks = [asyncio.create_task(load(number)) for number in range(2)]
    path = ground.folder / "master-keys"
    before = [id_of(key) for key in read_ring(path.read_text(), "")]
    code, said = await run(ground, "rotate-master-key")
    assert code == 0, said
    after = [id_of(key) for key in read_ring(path.read_text(), "")]
    assert after[1:] == before
    database = await ground.connection()
    ids_used = {
        row[0] for row in await database.fetch("SELECT DISTINCT master_key_id FROM keys WHERE wrapped_key IS NOT NULL")
    }
    await database.close()
    assert ids_used == {after[0]}
    fresh, _, price = await ready(mesh, "lighter")
    assert await signs(mesh, fresh, price)
    code, said = await run(ground, "rewrap")
    assert code == 0
    code, said = await run(ground, "drop-master-keys")
    assert (code, "wait 60 s" in said) == (2, True)
    about = path.stat()
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns - 61 * 10**9))
    code, said = await run(ground, "drop-master-keys")
    assert before[0] in said
    stop.set()
    await asyncio.gather(*tasks)
    assert min(counts) > 3, "signing went on all the time"
    assert path.stat().st_mode & 0o777 == 0o600


class Failing(Ring):
    """Wraps a few times and then dies, as a process does that is killed in the midst of it."""

    def __init__(self, path: Path, wraps: int) -> None:
        super().__init__(read_ring(path.read_text(), ""), Chance())
        self._left = wraps

    async def wrap(self, data_key: bytes, about: bytes) -> tuple[str, bytes]:
        """Wrap a data key, while it lives."""
        if self._left == 0:
            raise KeyboardInterrupt
        self._left -= 1
        return await super().wrap(data_key, about)


async def test_a_rewrap_that_dies_anywhere_loses_nothing(mesh: Client, ground: Grounds) -> None:
    owner, _, price = await ready(mesh, "hyperliquid")
    path = ground.folder / "master-keys"
    FileRing(path, Chance()).add()
    database = await Database.open("vault", PostgresConfig(url=ground.postgres.url()))
    try:
        for wraps in (0, 1, 2, 5):
            with pytest.raises(KeyboardInterrupt):
                await operator.rewrap(database, Failing(path, wraps), Chance())
            assert await signs(mesh, owner, price)
        masters = Ring(read_ring(path.read_text(), ""), Chance())
        assert await operator.rewrap(database, masters, Chance()) > 0
        assert await operator.rewrap(database, masters, Chance()) == 0
        assert await signs(mesh, owner, price)
    finally:
        await database.close()


async def test_the_audit_shows_who_tampered(mesh: Client, ground: Grounds) -> None:
    owner, _, price = await ready(mesh, "lighter")
    assert await signs(mesh, owner, price)
    code, said = await run(ground, "verify-audit")
    assert (code, said) == (0, "every audit chain holds\n")
    database = await ground.connection()
    account = uuid.UUID(owner.account_id)
    kinds = [
        row[0] for row in await database.fetch("SELECT kind FROM audit WHERE account_id = $1 ORDER BY seq", account)
    ]
    assert kinds[0] == "account.added"
    assert kinds[-2:] == ["action.signed", "action.settled"]
    for statement in ("UPDATE audit SET kind = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(Exception, match="never changed or removed"):
            await database.execute(statement)
    await database.execute("ALTER TABLE audit DISABLE TRIGGER USER")  # who owns the table can do that
    await database.execute(
        "UPDATE audit SET detail = replace(detail, 'NOT_SENT', 'ACCEPTED') WHERE account_id = $1", account
    )
    code, said = await run(ground, "verify-audit")
    assert code == 1
    assert owner.account_id in said
    await database.execute(
        "UPDATE audit SET detail = replace(detail, 'ACCEPTED', 'NOT_SENT') WHERE account_id = $1", account
    )
    await database.execute("ALTER TABLE audit ENABLE TRIGGER USER")
    await database.close()
    assert (await run(ground, "verify-audit"))[0] == 0


class TransitServer:
    """What a key management service does with a transit key."""

    def __init__(self) -> None:
        self.keys = {1: AESGCM(ids.secret(32))}
        self.is_up = True

    def app(self) -> web.Application:
        """Return the application."""
        made = web.Application()
        made.router.add_get("/v1/transit/keys/mesh", self._keys)
        made.router.add_post("/v1/transit/encrypt/mesh", self._encrypt)
        made.router.add_post("/v1/transit/decrypt/mesh", self._decrypt)
        return made

    def _check(self, request: web.Request) -> None:
        if not self.is_up:
            raise web.HTTPServiceUnavailable
        if request.headers.get("X-Vault-Token") != "t":
            raise web.HTTPForbidden

    async def _keys(self, request: web.Request) -> web.Response:
        self._check(request)
        versions = {str(number): 1 for number in self.keys}
        return web.json_response({"data": {"latest_version": max(self.keys), "keys": versions}})

    async def _encrypt(self, request: web.Request) -> web.Response:
        self._check(request)
        body, version, nonce = await request.json(), max(self.keys), ids.secret(12)
        plain, about = (base64.b64decode(body[name]) for name in ("plaintext", "associated_data"))
        sealed = base64.b64encode(nonce + self.keys[version].encrypt(nonce, plain, about)).decode()
        return web.json_response({"data": {"ciphertext": f"vault:v{version}:{sealed}"}})

    async def _decrypt(self, request: web.Request) -> web.Response:
        self._check(request)
        body = await request.json()
        _, version, sealed = body["ciphertext"].split(":")
        raw, about = base64.b64decode(sealed), base64.b64decode(body["associated_data"])
        try:
            plain = self.keys[int(version[1:])].decrypt(raw[:12], raw[12:], about)
        except (InvalidTag, KeyError):
            raise web.HTTPBadRequest(text=json.dumps({"errors": ["cipher: message authentication failed"]})) from None
        return web.json_response({"data": {"plaintext": base64.b64encode(plain).decode()}})


@pytest_asyncio.fixture(loop_scope="session")
async def transit() -> AsyncIterator[tuple[TransitServer, Transit]]:
    server = TransitServer()
    runner = web.AppRunner(server.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    async with aiohttp.ClientSession() as http:
        yield server, Transit(f"http://127.0.0.1:{port}/v1/transit", "mesh", "t", http)
    await runner.cleanup()


async def test_a_key_management_service_wraps_and_unwraps(transit: tuple[TransitServer, Transit]) -> None:
    server, masters = transit
    box, secret = Sealer(masters, Chance(), SYSTEM), ids.secret(32)
    about = binding("vault.keys", "a")
    sealed = await box.seal(secret, about)
    assert sealed.master_key_id == "transit-mesh-v1" == await masters.current()
    async with box.opened(sealed, about) as raw:
        assert bytes(raw) == secret
    with pytest.raises(DomainError) as told:
        async with box.opened(sealed, binding("vault.keys", "b")):
            pass
    assert told.value.reason is Reason.KEY_SEALED
    server.keys[2] = AESGCM(ids.secret(32))
    assert await masters.current() == "transit-mesh-v2"
    moved = await box.rewrapped(sealed.master_key_id, sealed.wrapped_key, about)
    assert moved[0] == "transit-mesh-v2"
    assert await masters.opens("transit-mesh-v1")
    assert not await masters.opens("transit-mesh-v3")
    server.is_up = False
    with pytest.raises(DomainError) as told:
        async with box.opened(sealed, about):
            pass
    assert told.value.reason is Reason.PEER_UNAVAILABLE
