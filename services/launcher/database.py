"""The embedded database before the rooms may see it: each room's role and schema, its migrations; and its backups.

Rooms start at once with everything else, and a refusal ends them. So what they need is made while the server listens on
another port of its socket folder, where nobody looks. A stamp says for what it was done, so that only the first start
and one after a change pay for it (about a second).
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from services.chassis.clock import SYSTEM
from services.chassis.config import ConfigError
from services.launcher import plan, process
from services.launcher.embedded import unprivileged_user, write_private
from services.launcher.plan import Ground, Room
from services.launcher.process import Guard, Process, last_line, run_once

HIDDEN_PORT = 5433
"""Names the socket while rooms must not connect; theirs is 5432."""
START_TIMEOUT_S = 60.0
_POLL_S = 0.02


def rooms_of(ground: Ground) -> list[Room]:
    """Return the rooms that keep state."""
    return [room for room in ground.rooms if room.uses_postgres or room.needs_postgres]


async def prepare_rooms(ground: Ground, guard: Guard) -> None:
    """Make every room's role and schema and bring it up to date, unless that was done for just these files before.

    Raises `ConfigError` with one sentence when it fails.
    """
    wanted = _stamp(ground)
    stamp = ground.postgres_home / "rooms"
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    async with hidden_server(ground, guard):
        rooms = rooms_of(ground)
        for room in rooms:
            await _make_role(ground, guard, room)
        migrations = [asyncio.ensure_future(_migrate(ground, guard, room)) for room in rooms]
        try:
            await asyncio.gather(*migrations)
        finally:  # the first that fails ends the others
            for migration in migrations:
                migration.cancel()
            await asyncio.gather(*migrations, return_exceptions=True)
    write_private(stamp, wanted)


@asynccontextmanager
async def hidden_server(ground: Ground, guard: Guard) -> AsyncIterator[None]:
    """Run the database for the time of a block, where no room finds it."""
    server = _server(ground)
    process.rotate(server.log)
    running = process.spawn(server, guard, user=unprivileged_user())
    try:
        deadline = SYSTEM.monotonic() + START_TIMEOUT_S
        while not _is_ready(server.ready, running.pid):
            if running.exited.done() or SYSTEM.monotonic() > deadline:
                raise ConfigError(f"PostgreSQL does not start ({last_line(server.log)}): see {server.log}.")
            await SYSTEM.sleep(_POLL_S)
        yield
    finally:
        await running.end(grace_s=10.0)


async def backup(ground: Ground, guard: Guard, target: Path, *, is_up: bool) -> None:
    """Write everything that the rooms keep into one file, while the mesh runs or not. Raises `ConfigError`."""
    part = target.with_name(f"{target.name}.part")
    part.touch(mode=0o600)
    schemas = [flag for room in rooms_of(ground) for flag in ("--schema", room.name)]
    if is_up:
        await _client(ground, guard, "pg_dump", "--format=custom", *schemas, "--file", str(part), port=5432)
    else:
        async with hidden_server(ground, guard):
            await _client(ground, guard, "pg_dump", "--format=custom", *schemas, "--file", str(part))
    part.replace(target)


async def restore(ground: Ground, guard: Guard, source: Path) -> None:
    """Put back what `backup` wrote, in place of what is there; the mesh must not run. Raises `ConfigError`.

    One transaction: a file that is damaged changes nothing.
    """
    async with hidden_server(ground, guard):
        for room in rooms_of(ground):
            await _make_role(ground, guard, room)
        flags = ("--clean", "--if-exists", "--exit-on-error", "--single-transaction", "--dbname", "postgres")
        await _client(ground, guard, "pg_restore", *flags, str(source))
    (ground.postgres_home / "rooms").unlink(missing_ok=True)  # an older backup may lack migrations


async def _migrate(ground: Ground, guard: Guard, room: Room) -> None:
    if not _migrations(ground, room):
        return
    env = {
        **_python_environ(ground),
        "PERPMESH_POSTGRES_URL": plan.room_postgres_url(ground, room.name, port=HIDDEN_PORT),
    }
    argv = (str(ground.programs.python), "-m", "services.chassis.migrate", room.name)
    await _run(ground, guard, argv, env, f"migrate.{room.name}")


async def _make_role(ground: Ground, guard: Guard, room: Room) -> None:
    script = ground.checkout / "deploy" / "postgres" / "room.sql"
    flags = ("--no-psqlrc", "--quiet", "-v", f"room={room.name}", "--file", str(script), "--dbname", "postgres")
    password = {"PERPMESH_ROOM_PASSWORD": ground.secrets[f"postgres.{room.name}"]}
    await _client(ground, guard, "psql", *flags, extra=password)


async def _client(
    ground: Ground,
    guard: Guard,
    program: str,
    *flags: str,
    port: int = HIDDEN_PORT,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Run one of PostgreSQL's own programs as the administrator."""
    env = {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
        "PGHOST": str(ground.postgres_sockets),
        "PGPORT": str(port),
        "PGUSER": "perpmesh",
        "PGDATABASE": "postgres",
        "PGPASSWORD": ground.secrets["postgres"],
        **(extra or {}),
    }
    await _run(ground, guard, (str(ground.programs.postgres / "bin" / program), *flags), env, program)


async def _run(ground: Ground, guard: Guard, argv: tuple[str, ...], env: Mapping[str, str], name: str) -> None:
    log = ground.layout.logs / f"{name}.log"
    log.unlink(missing_ok=True)
    if await run_once(argv, env, ground.checkout, log, guard, user=None) != 0:
        raise ConfigError(f"{name} failed ({last_line(log)}): see {log}.")


def _server(ground: Ground) -> Process:
    (server,) = (item for item in plan.plan(ground) if item.name == "postgres")
    return dataclasses.replace(server, argv=(*server.argv, "-c", f"port={HIDDEN_PORT}"))


def _is_ready(pid_file: object, pid: int) -> bool:
    assert isinstance(pid_file, Path)
    try:
        lines = pid_file.read_text().splitlines()
    except OSError:
        return False
    return lines[:1] == [str(pid)] and lines[-1].strip() == "ready"


def _python_environ(ground: Ground) -> dict[str, str]:
    roots = (ground.checkout, ground.checkout / "gen", ground.checkout / "clients" / "python")
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "PYTHONPATH": ":".join(str(root) for root in roots)}


def _migrations(ground: Ground, room: Room) -> list[Path]:
    return sorted((ground.checkout / "services" / room.name / "migrations").glob("*.sql"))


def _stamp(ground: Ground) -> str:
    """Return a digest of all that rooms' roles and schemas are made from."""
    digest = hashlib.sha256((ground.checkout / "deploy" / "postgres" / "room.sql").read_bytes())
    for room in rooms_of(ground):
        digest.update(f"\0{room.name}\0{ground.secrets[f'postgres.{room.name}']}".encode())
        for path in _migrations(ground, room):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
