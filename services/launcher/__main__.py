"""`python -m services.launcher`: `up` starts the mesh; the other commands are its small companions."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import os
import resource
import shutil
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path

from services.chassis.clock import SYSTEM
from services.chassis.config import ConfigError
from services.launcher import certificates, database, edge_plan, embedded, plan, rolling
from services.launcher import config as settings
from services.launcher.config import CHECKOUT, Config, Layout
from services.launcher.edge import EdgeError
from services.launcher.lock import LockedError, StateLock, port_holder
from services.launcher.process import Guard
from services.launcher.screen import Screen
from services.launcher.supervisor import MeshError, Supervisor

USAGE = """Usage: python -m services.launcher up | roll [ROOM...] | reset | backup FILE | restore FILE | edge FOLDER
       | certificates FOLDER

  up      start the whole mesh in the foreground; Ctrl-C ends it
  roll    restart every room of the running mesh, one replica after another
  reset   empty the state folder
  backup  write everything the rooms keep in PostgreSQL into FILE, while the mesh runs or not
  restore put back what `backup` wrote, in place of what is there; refuses while the mesh runs
  edge    write edge.json and perpmesh.binpb for an Envoy elsewhere into FOLDER, where that Envoy reads them
  certificates
          write a certificate for the edge and each room, and their authority's, into FOLDER/<part>, unless they are
          there and live"""


def main(arguments: list[str]) -> int:
    """Run one command; returns the exit code. Every failure is one sentence that says what to do."""
    started = SYSTEM.monotonic()
    screen = Screen()
    try:
        match arguments:
            case ["up"]:
                return up(screen, started)
            case ["roll", *rooms]:
                asyncio.run(rolling.roll(Layout.at(settings.read(os.environ)), screen.say, rooms))
                return 0
            case ["reset"]:
                return reset(screen)
            case ["backup", file]:
                return backup(screen, Path(file))
            case ["restore", file]:
                return restore(screen, Path(file))
            case ["edge", folder]:
                return edge(Path(folder))
            case ["certificates", folder]:
                return write_certificates(Path(folder), screen)
            case _:
                screen.failed(USAGE)
                return 2
    except (ConfigError, MeshError, LockedError, EdgeError) as error:
        screen.failed(str(error))
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        screen.failed("The disk is full: free some space, or name another folder with PERPMESH_STATE_DIR.")
        return 1
    except KeyboardInterrupt:  # before the supervisor took over: nothing was started yet
        return 130


def up(screen: Screen, started: float) -> int:
    """Start the mesh and keep it until it is asked to stop."""
    config = settings.read(os.environ)
    layout = Layout.at(config)
    layout.prepare()
    with StateLock(layout, screen) as lock:
        embedded.check_space(layout.state)
        guard = Guard()
        try:
            lock.name_holder(os.getpid())
            with _reserved(config) as (config_with_ports, ports):
                screen.starting(layout, config)
                ground = _ground(config_with_ports, layout, ports)
                certificates.make(layout.certificates, plan.part_names(ground.rooms))
                _raise_file_limit()
                supervisor = asyncio.run(_supervise(ground, guard, screen, started))
        finally:
            guard.close()
    return supervisor


async def _supervise(ground: plan.Ground, guard: Guard, screen: Screen, started: float) -> int:
    await Supervisor(ground, guard, screen, SYSTEM, started=started).run()
    screen.say("Stopped; nothing is left running.")
    return 0


def reset(screen: Screen) -> int:
    """Remove what the mesh wrote, and nothing that is not its own; refuses while a mesh uses the folder."""
    layout = Layout.at(settings.read(os.environ))
    if not layout.state.exists():
        screen.say(f"{layout.state} is empty already.")
        return 0
    with StateLock(layout, screen, wait=False):
        for entry in {*layout.owned(), embedded.postgres_home(layout)}:
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink(missing_ok=True)
    left = sorted(entry.name for entry in layout.state.iterdir() if entry != layout.lock)
    screen.say(f"Emptied {layout.state}" + (f"; left alone: {', '.join(left)}." if left else "."))
    return 0


def backup(screen: Screen, target: Path) -> int:
    """Write what the rooms keep into a file; returns when it is whole."""
    config, layout = _stateful()
    if not target.parent.is_dir():
        raise ConfigError(f"{target.parent} is no folder: name a file in one that exists.")
    if layout.mesh.exists():
        _with_database(config, layout, lambda ground, guard: database.backup(ground, guard, target, is_up=True))
    else:
        with StateLock(layout, screen, wait=False):
            _with_database(config, layout, lambda ground, guard: database.backup(ground, guard, target, is_up=False))
    screen.say(f"Wrote {target} ({target.stat().st_size} bytes); keep it private, as it holds everything.")
    return 0


def restore(screen: Screen, source: Path) -> int:
    """Put back what a backup holds; refuses while a mesh uses the state folder."""
    if not source.is_file():
        raise ConfigError(f"{source} is no file: name one that `backup` wrote.")
    config = settings.read(os.environ)
    layout = Layout.at(config)
    layout.prepare()
    with StateLock(layout, screen, wait=False):

        async def work(ground: plan.Ground, guard: Guard) -> None:
            await embedded.prepare_postgres(ground, guard)
            await database.restore(ground, guard, source)

        _with_database(config, layout, work)
    screen.say(f"Restored {source}; `make up` brings it up to date and goes on from there.")
    return 0


def _stateful() -> tuple[Config, Layout]:
    config = settings.read(os.environ)
    layout = Layout.at(config)
    if not (embedded.postgres_home(layout) / "data").is_dir():
        raise ConfigError(f"There is no database in {layout.state}: start the mesh once, or set PERPMESH_STATE_DIR.")
    layout.prepare()
    return config, layout


def _with_database(
    config: Config, layout: Layout, work: Callable[[plan.Ground, Guard], Coroutine[None, None, None]]
) -> None:
    """Run something that starts processes of the database, under the guard that ends them with us."""
    guard = Guard()
    try:
        asyncio.run(work(_ground(config, layout, _no_ports(config)), guard))
    finally:
        guard.close()


def _no_ports(config: Config) -> dict[str, int]:
    """Return what stands for the ports where nothing listens on one."""
    return dict.fromkeys(plan.port_names(plan.ROOMS, simulator=False, scale=config.scale), 0)


def edge(folder: Path) -> int:
    """Write what an Envoy elsewhere is given, with the rooms where PERPMESH_EDGE_UPSTREAMS says."""
    from services.launcher import edge as renderer
    from services.launcher import reference

    config = settings.read(os.environ)
    upstreams = edge_plan.upstreams_of(config)
    if not upstreams:
        raise ConfigError("Set PERPMESH_EDGE_UPSTREAMS to where the rooms are, such as market_data=market-data:7001.")
    if unknown := set(upstreams) - {room.name for room in plan.ROOMS} - {plan.AUTH_PAGE}:
        names = ", ".join(room.name for room in plan.ROOMS)
        raise ConfigError(
            f"PERPMESH_EDGE_UPSTREAMS names {sorted(unknown)[0]!r}, which is none of {names}: correct it."
        )
    folder.mkdir(parents=True, exist_ok=True)
    descriptors = folder / "perpmesh.binpb"
    shutil.copyfile(CHECKOUT / "gen" / "perpmesh.binpb", descriptors)
    tls = edge_plan.edge_tls(config.edge_certificates) if config.edge_certificates is not None else None
    told = edge_plan.edge_for(
        config, upstreams, descriptors=descriptors, access_log=Path("/dev/stdout"), reference=folder, tls=tls
    )
    reference.write(CHECKOUT / "gen", folder, told.services)
    (folder / "edge.json").write_text(renderer.render((CHECKOUT / "envoy" / "edge.yaml").read_text(), told))
    return 0


def write_certificates(folder: Path, screen: Screen) -> int:
    """Write what the parts of a mesh elsewhere prove themselves with."""
    made = certificates.make_apart(folder, plan.part_names(plan.built(plan.ROOMS, CHECKOUT)))
    screen.say(f"Wrote certificates into {folder}: start every part again." if made else "The certificates live on.")
    return 0


def _ground(config: Config, layout: Layout, ports: dict[str, int]) -> plan.Ground:
    rooms = plan.built(plan.ROOMS, CHECKOUT)
    programs = embedded.find_programs()
    home = embedded.postgres_home(layout)
    return plan.Ground(
        config=config,
        layout=layout,
        programs=dataclasses.replace(programs, postgres=embedded.reachable_postgres(programs.postgres, home)),
        checkout=CHECKOUT,
        postgres_home=home,
        postgres_sockets=embedded.postgres_sockets(layout, home),
        environ=settings.passed_on(os.environ),
        rooms=rooms,
        simulator=any(name.startswith(plan.SIMULATOR) for name in ports),
        ports=ports,
        secrets=embedded.read_secrets(layout, plan.secret_names(rooms)),
    )


@contextlib.contextmanager
def _reserved(config: Config) -> Iterator[tuple[Config, dict[str, int]]]:
    """Hold every port that the mesh will use, and give the settings with the edge's two filled in.

    A port bound and not listened on is given to nobody else by the system, while its room, which sets SO_REUSEADDR as
    every server does, may listen on it, now and again after a restart.
    """
    simulator = plan.wants_simulator(config) and plan.is_built(plan.SIMULATOR, CHECKOUT)
    with contextlib.ExitStack() as held:
        edge_port = _reserve(held, config.edge_host, config.edge_port, "PERPMESH_EDGE_PORT")
        admin_port = _reserve(held, plan.LOOPBACK, config.admin_port, "PERPMESH_ADMIN_PORT")
        names = plan.port_names(plan.built(plan.ROOMS, CHECKOUT), simulator=simulator, scale=config.scale)
        ports = {name: _reserve(held, plan.LOOPBACK, 0, "") for name in names}
        yield dataclasses.replace(config, edge_port=edge_port, admin_port=admin_port), ports


def _reserve(held: contextlib.ExitStack, host: str, port: int, setting: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = held.enter_context(socket.socket(family))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reserved.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise ConfigError(
                f"Port {port} is in use{port_holder(port)}: stop that, or choose another, as in "
                f"`{setting}={port + 1 if port < 65535 else 8080} make up`."
            ) from None
        name = "PERPMESH_EDGE_HOST" if setting == "PERPMESH_EDGE_PORT" and error.errno != errno.EACCES else setting
        raise ConfigError(f"{host}:{port} cannot be used ({error.strerror}): change {name}.") from None
    return int(reserved.getsockname()[1])


def _raise_file_limit() -> None:
    """Let the edge have as many connections as the system allows us; a soft limit of 1,024 is common."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
