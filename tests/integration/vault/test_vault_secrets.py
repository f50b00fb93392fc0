"""What is secret stays so: every ciphertext swapped or flipped is refused, and no byte of a key is anywhere."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from perpmesh.vault.v1 import key_pb2
from perpmesh.vault.v1 import vault_service_pb2 as pb

from services.chassis import ids
from services.chassis.clock import SYSTEM
from services.domain.errors import DomainError, Reason
from services.vault.model.key import Sealed, binding
from services.vault.store.master_keys import FileRing, Ring
from services.vault.store.rows import KEY_COLUMNS, key_of
from services.vault.store.sealing import Sealer
from tests.support.auth import refusal
from tests.support.crash import CrashingRoom
from tests.support.postgres import PASSWORD
from tests.support.signers import Wallet as VenueWallet
from tests.support.vault import Owner, middle, new_id, order, report_request, sign_request
from tests.support.vault_room import Client, Grounds

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.asyncio(loop_scope="session")


class Chance:
    """The port over the chassis."""

    def uuid(self) -> uuid.UUID:
        """Return a new id."""
        return ids.new_uuid()

    def secret(self, size_bytes: int) -> bytes:
        """Return random bytes."""
        return ids.secret(size_bytes)


def sealer() -> Sealer:
    return Sealer(Ring([ids.secret(32)], Chance()), Chance(), SYSTEM)


ABOUT = {
    name: binding("vault.keys", *parts)
    for name, parts in {
        "right": ("key", "user", "account", "lighter", "SIMULATED", "sign"),
        "key": ("other", "user", "account", "lighter", "SIMULATED", "sign"),
        "user": ("key", "other", "account", "lighter", "SIMULATED", "sign"),
        "account": ("key", "user", "other", "lighter", "SIMULATED", "sign"),
        "venue": ("key", "user", "account", "hyperliquid", "SIMULATED", "sign"),
        "environment": ("key", "user", "account", "lighter", "MAINNET", "sign"),
        "purpose": ("key", "user", "account", "lighter", "SIMULATED", "other"),
    }.items()
}


async def opened(box: Sealer, sealed: Sealed, about: bytes) -> bytes:
    async with box.opened(sealed, about) as raw:
        return bytes(raw)


async def test_a_secret_opens_where_it_belongs_and_nowhere_else() -> None:
    box, secret = sealer(), ids.secret(32)
    sealed = await box.seal(secret, ABOUT["right"])
    assert await opened(box, sealed, ABOUT["right"]) == secret
    for name, about in ABOUT.items():
        if name != "right":
            with pytest.raises(DomainError) as told:
                await opened(box, sealed, about)
            assert told.value.reason is Reason.KEY_SEALED, name


async def test_every_flipped_bit_is_refused() -> None:
    box, secret = sealer(), ids.secret(40)
    sealed = await box.seal(secret, ABOUT["right"])
    for part in ("secret", "wrapped_key"):
        whole = getattr(sealed, part)
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            spoiled = Sealed(**{
                "secret": sealed.secret, "wrapped_key": sealed.wrapped_key, "master_key_id": sealed.master_key_id,
                part: bytes(flipped),
            })  # fmt: skip
            with pytest.raises(DomainError) as told:
                await opened(box, spoiled, ABOUT["right"])
            assert told.value.reason is Reason.KEY_SEALED
    for short in (b"", sealed.secret[:11], sealed.secret[:-1]):
        with pytest.raises(DomainError):
            await opened(box, Sealed(short, sealed.wrapped_key, sealed.master_key_id), ABOUT["right"])


async def ready(mesh: Client, venue: str) -> tuple[Owner, Any, str]:
    owner = await mesh.owner(venue)
    key = await owner.ready()
    ground = mesh.grounds
    price = int(await middle(ground.http, ground.face(venue), venue)) * 95 // 100
    return owner, key, str(price)


async def altered(database: Any, account_ids: list[str], statement: str, *values: object) -> None:
    """Change rows as a thief with the database would, and have the vault read them anew."""
    await database.execute(statement, *values)
    await database.execute("UPDATE accounts SET version = version + 1 WHERE account_id = ANY($1::uuid[])", account_ids)


async def test_rows_swapped_between_users_and_venues_sign_nothing(mesh: Client) -> None:
    owners = [await ready(mesh, venue) for venue in ("hyperliquid", "hyperliquid", "lighter", "lighter")]
    accounts = [owner.account_id for owner, _, _ in owners]
    database = await mesh.grounds.connection()
    columns = "sealed_secret, wrapped_key, master_key_id"
    try:
        rows = {
            key.key_id: await database.fetchrow(f"SELECT {columns} FROM keys WHERE key_id = $1", uuid.UUID(key.key_id))
            for _, key, _ in owners
        }
        for owner, key, price in owners:
            for _, other, _ in owners:
                if other.key_id == key.key_id:
                    continue
                for whole in (True, False):
                    put = rows[other.key_id] if whole else (rows[other.key_id][0], *tuple(rows[key.key_id])[1:])
                    await altered(
                        database, accounts, "UPDATE keys SET sealed_secret = $2, wrapped_key = $3, master_key_id = $4 "
                        "WHERE key_id = $1", uuid.UUID(key.key_id), *put,
                    )  # fmt: skip
                    request = sign_request(owner.account_id, order(owner.account.venue, price=price))
                    told = await refusal(mesh.signer.Sign(request, timeout=20))
                    assert told.reason in (Reason.KEY_SEALED, Reason.PEER_UNAVAILABLE), told
            await altered(
                database, accounts, "UPDATE keys SET sealed_secret = $2, wrapped_key = $3, master_key_id = $4 "
                "WHERE key_id = $1", uuid.UUID(key.key_id), *rows[key.key_id],
            )  # fmt: skip
            request = sign_request(owner.account_id, order(owner.account.venue, price=price))
            assert (await mesh.signer.Sign(request, timeout=20)).HasField("signed_action"), "put back, it works again"
    finally:
        await database.close()


async def test_signed_bytes_of_another_row_are_not_given(mesh: Client) -> None:
    owner, _, price = await ready(mesh, "hyperliquid")
    requests = [sign_request(owner.account_id, order("hyperliquid", price=price)) for _ in range(2)]
    for request in requests:
        await mesh.signer.Sign(request)
    database = await mesh.grounds.connection()
    try:
        await database.execute(
            "UPDATE signed_actions SET sealed_body = (SELECT sealed_body FROM signed_actions WHERE leg_id = $2) "
            "WHERE leg_id = $1",
            uuid.UUID(requests[0].leg_id),
            uuid.UUID(requests[1].leg_id),
        )
    finally:
        await database.close()
    assert (await refusal(mesh.signer.Sign(requests[0]))).reason is Reason.KEY_SEALED
    assert (await mesh.signer.Sign(requests[1])).HasField("signed_action")


def forms(secret: bytes) -> list[bytes]:
    """Return a secret as it might be written: raw, hex in both cases, base64 in both alphabets."""
    texts = [secret.hex(), secret.hex().upper()]
    texts += [encode(secret).decode() for encode in (base64.b64encode, base64.urlsafe_b64encode)]
    return [secret, *(text.rstrip("=").encode() for text in texts)]


async def test_a_canary_is_nowhere(mesh: Client, ground: Grounds, tmp_path: Path) -> None:
    owner = await mesh.owner("hyperliquid")
    await owner.fund()
    agent = VenueWallet(int.from_bytes(ids.secret(31)))
    canary = bytes(agent.account.key)
    master = VenueWallet(int.from_bytes(owner.wallet.secret))
    body = master.approve_agent(agent, SYSTEM.time_ns() // 1_000_000, "canary")
    async with ground.http.post(f"{ground.face('hyperliquid')}/exchange", json=body) as answer:
        assert (await answer.json())["status"] == "ok"
    for spoiled in (canary.hex()[:-1], canary.hex() + "0000", "z" * 64):
        request = pb.ImportKeyRequest(account_id=owner.account_id, request_id=new_id(), private_key=spoiled)
        told = await refusal(owner.vault.ImportKey(request, metadata=owner.metadata))
        assert canary.hex()[:16] not in f"{told.message} {told.metadata} {told.fields}"
    for wrong in (owner.wallet.secret, ids.secret(32)):
        request = pb.ImportKeyRequest(account_id=owner.account_id, request_id=new_id(), private_key=wrong.hex())
        told = await refusal(owner.vault.ImportKey(request, metadata=owner.metadata))
        assert told.reason in (Reason.FIELD_INVALID, Reason.STATE_FORBIDS)
    request = pb.ImportKeyRequest(account_id=owner.account_id, request_id=new_id(), private_key="0x" + canary.hex())
    key = (await owner.vault.ImportKey(request, metadata=owner.metadata)).key
    assert (key.state, key.origin) == (key_pb2.Key.STATE_ACTIVE, key_pb2.Key.ORIGIN_IMPORTED)
    price = str(int(await middle(ground.http, ground.face("hyperliquid"), "hyperliquid")) * 95 // 100)
    signed = sign_request(owner.account_id, order("hyperliquid", price=price))
    assert (await mesh.signer.Sign(signed)).HasField("signed_action")
    await mesh.signer.ReportOutcome(report_request(signed, "NOT_SENT"))
    seen = (await owner.get()).SerializeToString()
    listed = await owner.vault.ListKeys(pb.ListKeysRequest(account_id=owner.account_id), metadata=owner.metadata)
    dump = tmp_path / "dump.sql"
    command = [ground.postgres.program("pg_dump"), "--inserts", "-d", ground.postgres.url(), "-f", str(dump)]
    ran = await asyncio.to_thread(subprocess.run, command, env={"PATH": "/usr/bin:/bin", "PGPASSWORD": PASSWORD})
    assert ran.returncode == 0
    places = {
        "answers": seen + listed.SerializeToString(),
        "database": dump.read_bytes(),
        "log": b"".join(path.read_bytes() for path in ground.folder.glob("*.log")),
        "files": b"".join(path.read_bytes() for path in ground.folder.rglob("*") if path.is_file()),
    }
    for place, content in places.items():
        assert content, place
        for form in forms(canary):
            assert form not in content, f"the canary is in {place}"


def memory_of(pid: int) -> dict[str, bytes]:
    """Return what a process can write of its memory, by region, as root may read it."""
    parts = {}
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            found = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
            if found is None:
                continue
            start, end = (int(part, 16) for part in found.groups())
            try:
                memory.seek(start)
                parts[line.strip()] = memory.read(end - start)
            except (OSError, ValueError, OverflowError):
                continue
    return parts


SIGNATURES = 40


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read another process's memory")
async def test_signing_leaves_no_trail_of_copies(mesh: Client, ground: Grounds, room: CrashingRoom) -> None:
    """What we opened is overwritten. Blocks that a library gave back keep a copy until they are used again, the more of
    them the more fragmented the heap; what grew with every use would be a trail of ours."""
    owner, key, price = await ready(mesh, "hyperliquid")
    database = await ground.connection()
    row = await database.fetchrow(f"SELECT {KEY_COLUMNS} FROM keys WHERE key_id = $1", uuid.UUID(key.key_id))
    await database.close()
    found = key_of(row)
    assert found.sealed is not None
    box = Sealer(FileRing(ground.folder / "master-keys", Chance()), Chance(), SYSTEM)
    secret = await opened(box, found.sealed, found.about)

    async def copies() -> int:
        """Return how many copies are in the room's memory after so many signatures more."""
        nonlocal memory
        for _ in range(SIGNATURES):
            request = sign_request(owner.account_id, order("hyperliquid", price=price))
            assert (await mesh.signer.Sign(request)).HasField("signed_action")
            await mesh.signer.ReportOutcome(report_request(request, "NOT_SENT"))
        memory = await asyncio.to_thread(memory_of, room.pid)
        return sum(part.count(secret) for part in memory.values())

    memory: dict[str, bytes] = {}
    first, second = await copies(), await copies()
    print(f"{first} copies after {SIGNATURES} signatures, {second} after {2 * SIGNATURES}")
    assert any(key.public_key.encode() in part for part in memory.values()), "what is not secret is found"
    assert second < SIGNATURES
    assert second - first < SIGNATURES // 4
    for form in forms(secret)[1:]:
        assert not any(form in part for part in memory.values()), "and never as text"
