"""Other people's programs, as processes of the plan: Valkey, Envoy, PostgreSQL. Pure."""

from __future__ import annotations

import signal
from pathlib import Path

from services.launcher.config import Config, Layout
from services.launcher.edge import Upstream
from services.launcher.process import Kind, Process

VALKEY_ADMIN = "perpmesh"
"""Valkey's one user that may do everything; rooms have users of their own."""
POSTGRES_SESSIONS = 12
"""Connections that a replica of a room may open: its pool and two beside it."""
_POSTGRES_SPARE = 20
"""Connections for people, backups and the launcher itself."""


def valkey(program: Path, layout: Layout) -> Process:
    """Return Valkey, which keeps nothing on disk."""
    return Process(
        name="valkey",
        kind=Kind.SERVER,
        argv=(str(program), str(layout.state / "valkey.conf")),
        env={"PATH": "/usr/bin:/bin"},
        ready=layout.sockets / "valkey.sock",
        stop_round=2,
        cwd=layout.state,
        log=layout.logs / "valkey.log",
    )


def envoy(program: Path, layout: Layout, config: Config) -> Process:
    """Return the edge."""
    host = "127.0.0.1" if config.edge_host in ("0.0.0.0", "") else config.edge_host
    flags = ("--disable-hot-restart", "--log-level", "warning", "--concurrency", str(config.edge_workers))
    return Process(
        name="envoy",
        kind=Kind.SERVER,
        argv=(str(program), "-c", str(layout.edge), *flags),
        env={"PATH": "/usr/bin:/bin"},
        ready=Upstream(host=host, port=config.edge_port),
        stop_round=1,
        cwd=layout.state,
        log=layout.logs / "envoy.log",
    )


def postgres(
    home_of_program: Path, layout: Layout, *, home: Path, sockets: Path, sessions_max: int, holds_up: bool
) -> Process:
    """Return PostgreSQL, which listens on a socket alone."""
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(sockets),
        "shared_buffers": "128MB",
        "max_connections": str(_POSTGRES_SPARE + sessions_max),
        "dynamic_shared_memory_type": "posix",
        "timezone": "UTC",
    }
    flags = tuple(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
    return Process(
        name="postgres",
        kind=Kind.SERVER,
        argv=(str(home_of_program / "bin" / "postgres"), "-D", str(home / "data"), *flags),
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        ready=home / "data" / "postmaster.pid",
        ready_text="ready",
        ready_names_pid=True,
        holds_up=holds_up,
        stop_signal=signal.SIGINT,  # ends sessions; SIGTERM would wait for clients to leave
        hurry_signal=signal.SIGQUIT,
        stop_round=2,
        unprivileged=True,
        cwd=Path("/"),
        log=layout.logs / "postgres.log",
    )
