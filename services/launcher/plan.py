"""What runs: which processes, with which environment, after what, and how each is ended. Pure.

A room is added here once it is built: one `Room`. Everything else follows: its port, its addresses for its peers, its
cluster at the edge. Nothing waits for anything it could be told beforehand: ports are reserved before the first
process starts, so that all start at once and a room that is restarted comes back where its peers expect it.
"""

from __future__ import annotations

import enum
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.chassis.tls import EDGE
from services.launcher import certificates
from services.launcher.config import Config, Layout
from services.launcher.edge import Edge, EdgeTls, Upstream

LOOPBACK = "127.0.0.1"


class Kind(enum.Enum):
    """How a process is treated when it dies."""

    SERVER = "server"
    """Somebody else's program: three deaths in a row end the mesh."""
    ROOM = "room"
    """One of ours: restarted with backoff for as long as it was ready once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of the mesh."""

    name: str
    kind: Kind
    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready: Path | Upstream
    """Ready when this file holds the answer (a run file, a socket, a pid file) or this address answers /healthz."""
    ready_text: str = ""
    """What the file must contain; empty for its mere presence. A socket must accept."""
    ready_names_pid: bool = False
    """Whether the file's first line must be the process's own id, since an earlier one may have left the file."""
    holds_up: bool = True
    """Whether the mesh counts as ready only with it."""
    stop_signal: signal.Signals = signal.SIGTERM
    hurry_signal: signal.Signals = signal.SIGKILL
    """What ends it at the second Ctrl-C."""
    stop_round: int = 0
    """Processes of a lower round are ended before those of a higher one."""
    unprivileged: bool = False
    """Whether it must not run as root; as root it runs as `nobody`."""
    cwd: Path
    log: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """A room that can be started with `python -m services.<name>`."""

    name: str
    services: tuple[str, ...] = ()
    """The public gRPC services it serves at the edge."""
    answers_for_all: bool = False
    """Whether it answers health and reflection for the whole mesh."""
    web: bool = False
    """Whether it serves the page and the WebSocket door over HTTP/1.1."""
    peers: Mapping[str, str] = field(default_factory=dict)
    """The variable that takes the address of a peer, by the peer's name."""
    optional_peers: frozenset[str] = frozenset()
    """Those of the peers that it can start and serve without."""
    uses_venues: bool = False
    uses_valkey: bool = False
    uses_postgres: bool = False
    needs_postgres: bool = False
    """Whether it is no use without PostgreSQL, so that the mesh is ready only with it."""
    has_page: bool = False
    """Whether it tells keys and revocations on a private page, for the edge and for every room."""
    secrets: Mapping[str, str] = field(default_factory=dict)
    """The variable that takes a secret which outlives restarts, by the secret's name."""


ROOMS = (
    Room(
        name="market_data",
        services=("perpmesh.marketdata.v1.MarketDataService",),
        answers_for_all=True,
        uses_venues=True,
        uses_valkey=True,
        uses_postgres=True,
        secrets={"page": "PERPMESH_PAGE_SECRET"},
    ),
    Room(
        name="auth",
        services=("perpmesh.auth.v1.AuthService",),
        has_page=True,
        uses_valkey=True,
        needs_postgres=True,
        secrets={"page": "PERPMESH_PAGE_SECRET", "auth_keys": "PERPMESH_AUTH_KEY_SECRET"},
    ),
    Room(
        name="portfolio",
        services=("perpmesh.portfolio.v1.PortfolioService",),
        uses_valkey=True,
        needs_postgres=True,
        peers={"market_data": "PERPMESH_MARKET_DATA_ADDRESS", "execution": "PERPMESH_EXECUTION_ADDRESS"},
        optional_peers=frozenset({"execution"}),
        secrets={"page": "PERPMESH_PAGE_SECRET"},
    ),
    Room(name="stream", web=True, uses_valkey=True, peers={"market_data": "PERPMESH_MARKET_DATA_ADDRESS"}),
)
"""Every room the launcher can start; those that are not built are left out."""
AUTH_PAGE = "auth.page"
"""The port of auth's page."""
SIMULATOR = "simulator"
FACES = ("hyperliquid", "lighter", "control")
"""What the simulator listens as: each venue, and its own control page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """Where the programs are that we start."""

    python: Path
    postgres: Path
    """The folder with `bin/postgres` and `bin/initdb`."""
    valkey: Path
    envoy: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """All that a plan is made from."""

    config: Config
    layout: Layout
    programs: Programs
    checkout: Path
    postgres_home: Path
    """The folder of the database; inside the state folder wherever the database may enter it."""
    postgres_sockets: Path
    """The folder of its socket."""
    environ: Mapping[str, str]
    """What every room inherits."""
    rooms: tuple[Room, ...]
    """The rooms that are built."""
    simulator: bool
    """Whether the simulator is built and wanted."""
    ports: Mapping[str, int]
    """A reserved port for each of `port_names`, on loopback."""
    secrets: Mapping[str, str]
    """The passwords of `valkey` and `postgres`, of each room's role as `postgres.<room>`, and rooms' own secrets."""


def built(rooms: Iterable[Room], checkout: Path) -> tuple[Room, ...]:
    """Return those of `rooms` that the checkout can start, their peers included."""
    here = {room.name for room in rooms if is_built(room.name, checkout)}
    return tuple(
        room for room in rooms if room.name in here and here.issuperset(room.peers.keys() - room.optional_peers)
    )


def is_built(name: str, checkout: Path) -> bool:
    """Return whether `python -m services.<name>` exists."""
    return (checkout / "services" / name / "__main__.py").is_file()


def wants_simulator(config: Config) -> bool:
    """Return whether some venue is to be simulated."""
    return config.venues == "simulated" and not (config.hyperliquid_url and config.lighter_url)


def port_names(rooms: Iterable[Room], *, simulator: bool) -> tuple[str, ...]:
    """Return the names of the ports to reserve, beside the edge's two."""
    every = tuple(rooms)
    pages = (f"{room.name}.page" for room in every if room.has_page)
    return (*(room.name for room in every), *pages, *(f"{SIMULATOR}.{face}" for face in FACES if simulator))


def valkey_url(ground: Ground) -> str:
    """Return the address of Valkey for redis-py: a Unix socket, so that no port is taken."""
    return f"unix://:{ground.secrets['valkey']}@{ground.layout.sockets / 'valkey.sock'}"


def postgres_url(ground: Ground) -> str:
    """Return the address of PostgreSQL for its administrator, for asyncpg and psql: a Unix socket as well."""
    return _postgres_url(ground, "perpmesh", ground.secrets["postgres"])


def room_postgres_url(ground: Ground, room: str, *, port: int = 5432) -> str:
    """Return the address of PostgreSQL for a room, which has a role of its own and sees its own schema."""
    return _postgres_url(ground, room, ground.secrets[f"postgres.{room}"]) + (f"&port={port}" if port != 5432 else "")


def _postgres_url(ground: Ground, user: str, password: str) -> str:
    folder = str(ground.postgres_sockets).replace("/", "%2F")
    return f"postgresql://{user}:{password}@/postgres?host={folder}"


def secret_names(rooms: Iterable[Room]) -> tuple[str, ...]:
    """Return the names of all secrets that a mesh of `rooms` needs."""
    every = tuple(rooms)
    roles = (f"postgres.{room.name}" for room in every if room.uses_postgres or room.needs_postgres)
    return ("valkey", "postgres", *roles, *dict.fromkeys(name for room in every for name in room.secrets))


def plan(ground: Ground) -> tuple[Process, ...]:
    """Return the processes in the order in which they are spawned: what takes longest to come up goes first."""
    rooms = [_room(ground, room) for room in ground.rooms]
    simulator = [_simulator(ground)] if ground.simulator else []
    return (*simulator, *rooms, _valkey(ground), _envoy(ground), _postgres(ground))


def edge_of(ground: Ground) -> Edge:
    """Return what the edge of this mesh is rendered from."""
    here = {room.name: (Upstream(host=LOOPBACK, port=ground.ports[room.name]),) for room in ground.rooms}
    if AUTH_PAGE in ground.ports:
        here[AUTH_PAGE] = (Upstream(host=LOOPBACK, port=ground.ports[AUTH_PAGE]),)
    descriptors = ground.checkout / "gen" / "perpmesh.binpb"
    tls = ground.layout.certificates
    return edge_for(
        ground.config,
        here,
        descriptors=descriptors,
        access_log=ground.layout.logs / "access.log",
        tls=EdgeTls(
            cert=certificates.cert_of(tls, EDGE),
            key=certificates.key_of(tls, EDGE),
            authority=tls / certificates.AUTHORITY,
        )
        if ground.config.mesh_tls
        else None,
    )


def upstreams_of(config: Config) -> dict[str, tuple[Upstream, ...]]:
    """Return the addresses of rooms that run elsewhere, as the settings name them."""
    found: dict[str, tuple[Upstream, ...]] = {}
    for upstream in config.edge_upstreams:
        room, _, address = upstream.partition("=")
        host, _, port = address.rpartition(":")
        found[room] = (*found.get(room, ()), Upstream(host=host, port=int(port)))
    return found


def edge_for(
    config: Config,
    upstreams: Mapping[str, tuple[Upstream, ...]],
    *,
    descriptors: Path,
    access_log: Path,
    tls: EdgeTls | None = None,
) -> Edge:
    """Return what an edge is rendered from whose rooms are at `upstreams`."""
    rooms = [room for room in ROOMS if room.name in upstreams]
    return Edge(
        host=config.edge_host,
        port=config.edge_port,
        admin_port=config.admin_port,
        descriptors=descriptors,
        access_log=access_log,
        services={service: upstreams[room.name] for room in rooms for service in room.services},
        answers_for_all=next((upstreams[room.name] for room in rooms if room.answers_for_all), ()),
        web=next((upstreams[room.name] for room in rooms if room.web), ()),
        keys=upstreams.get(AUTH_PAGE, ()),
        tls=tls,
        parts={
            room.name: (*room.services, *(["mesh"] if room.answers_for_all else []), *(["web"] if room.web else []))
            for room in rooms
        },
        issuer=config.auth_issuer,
        audience=config.auth_audience,
        sign_ins_per_minute=config.sign_ins_per_minute,
        user_requests_per_s=config.user_requests_per_s,
        cors_origins=config.cors_origins,
        ip_requests_per_s=config.ip_requests_per_s,
        streams_per_connection_max=config.streams_per_connection_max,
    )


def _room(ground: Ground, room: Room) -> Process:
    """Give a room what it reads, and nothing it would refuse as unknown to it."""
    config, ports = ground.config, ground.ports
    env = {"PERPMESH_LISTEN": f"{LOOPBACK}:{ports[room.name]}"}
    env |= _identity(ground, room)
    env |= {variable: f"{LOOPBACK}:{ports[peer]}" for peer, variable in room.peers.items() if peer in ports}
    if room.uses_valkey:
        env["PERPMESH_VALKEY_URL"] = valkey_url(ground)
    if room.uses_postgres or room.needs_postgres:
        env["PERPMESH_POSTGRES_URL"] = room_postgres_url(ground, room.name)
    if AUTH_PAGE in ports:
        env |= {"PERPMESH_AUTH_ISSUER": config.auth_issuer, "PERPMESH_AUTH_AUDIENCE": config.auth_audience}
        if room.has_page:
            env["PERPMESH_AUTH_PAGE_LISTEN"] = f"{LOOPBACK}:{ports[AUTH_PAGE]}"
            env["PERPMESH_AUTH_ORIGINS"] = ground.environ.get("PERPMESH_AUTH_ORIGINS") or _origins(config)
        else:
            env["PERPMESH_AUTH_URL"] = f"http://{LOOPBACK}:{ports[AUTH_PAGE]}"
    env |= {variable: ground.secrets[name] for name, variable in room.secrets.items()}
    if room.answers_for_all:
        env["PERPMESH_DESCRIBED_SERVICES"] = ",".join(name for one in ground.rooms for name in one.services)
    if room.web:
        env["PERPMESH_STREAM_WEB_ROOT"] = str(ground.checkout / "clients" / "web" / "dist")
        env["PERPMESH_CORS_ORIGINS"] = ",".join(config.cors_origins)
    if room.uses_venues:
        env["PERPMESH_VENUES"] = config.venues
        for venue, url in (("hyperliquid", config.hyperliquid_url), ("lighter", config.lighter_url)):
            if url is not None:
                env[f"PERPMESH_{venue.upper()}_URL"] = url
            elif ground.simulator:
                env[f"PERPMESH_{venue.upper()}_URL"] = f"http://{LOOPBACK}:{ports[f'{SIMULATOR}.{venue}']}"
    return _python_process(ground, room.name, env, stop_round=0)


def _identity(ground: Ground, room: Room) -> dict[str, str]:
    """Return what a room proves itself with, and whom it lets in: the edge, and the rooms it is a peer of."""
    if not ground.config.mesh_tls:
        return {"PERPMESH_ALLOW_PLAINTEXT": "true"}
    folder = ground.layout.certificates
    return {
        "PERPMESH_TLS_CERT": str(certificates.cert_of(folder, room.name)),
        "PERPMESH_TLS_KEY": str(certificates.key_of(folder, room.name)),
        "PERPMESH_TLS_CA": str(folder / certificates.AUTHORITY),
        "PERPMESH_CALLERS": ",".join([EDGE, *(one.name for one in ground.rooms if room.name in one.peers)]),
    }


def _origins(config: Config) -> str:
    """Return where people sign in when nothing else is said: the edge on this machine, and the pages that may call."""
    here = [f"http://{host}:{config.edge_port}" for host in (LOOPBACK, "localhost")]
    return ",".join(dict.fromkeys([*here, *(one for one in config.cors_origins if one.startswith("https://"))]))


def _simulator(ground: Ground) -> Process:
    env = {f"PERPMESH_SIMULATOR_{face.upper()}_PORT": str(ground.ports[f"{SIMULATOR}.{face}"]) for face in FACES}
    return _python_process(ground, SIMULATOR, env, stop_round=1)


def _python_process(ground: Ground, name: str, env: Mapping[str, str], *, stop_round: int) -> Process:
    checkout = ground.checkout
    roots = (checkout, checkout / "gen", checkout / "clients" / "python")
    shared = {
        "PYTHONPATH": ":".join(str(root) for root in roots),
        "PYTHONUNBUFFERED": "1",
        "PERPMESH_RUN_FILE": str(_run_file(ground, name)),
    }
    return Process(
        name=name,
        kind=Kind.ROOM,
        argv=(str(ground.programs.python), "-m", f"services.{name}"),
        env={**ground.environ, **shared, **env},
        ready=_run_file(ground, name),
        ready_text="}",
        stop_round=stop_round,
        cwd=checkout,
        log=ground.layout.logs / f"{name}.log",
    )


def _run_file(ground: Ground, name: str) -> Path:
    return ground.layout.sockets / f"{name}.json"


def _valkey(ground: Ground) -> Process:
    return Process(
        name="valkey",
        kind=Kind.SERVER,
        argv=(str(ground.programs.valkey), str(ground.layout.state / "valkey.conf")),
        env={"PATH": "/usr/bin:/bin"},
        ready=ground.layout.sockets / "valkey.sock",
        stop_round=2,
        cwd=ground.layout.state,
        log=ground.layout.logs / "valkey.log",
    )


def _envoy(ground: Ground) -> Process:
    config = ground.config
    host = LOOPBACK if config.edge_host in ("0.0.0.0", "") else config.edge_host
    flags = ("--disable-hot-restart", "--log-level", "warning", "--concurrency", str(config.edge_workers))
    return Process(
        name="envoy",
        kind=Kind.SERVER,
        argv=(str(ground.programs.envoy), "-c", str(ground.layout.edge), *flags),
        env={"PATH": "/usr/bin:/bin"},
        ready=Upstream(host=host, port=config.edge_port),
        stop_round=1,
        cwd=ground.layout.state,
        log=ground.layout.logs / "envoy.log",
    )


def _postgres(ground: Ground) -> Process:
    home = ground.postgres_home
    settings = {
        "listen_addresses": "",
        "unix_socket_directories": str(ground.postgres_sockets),
        "shared_buffers": "128MB",
        "max_connections": "60",
        "dynamic_shared_memory_type": "posix",
        "timezone": "UTC",
    }
    flags = tuple(part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
    return Process(
        name="postgres",
        kind=Kind.SERVER,
        argv=(str(ground.programs.postgres / "bin" / "postgres"), "-D", str(home / "data"), *flags),
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        ready=home / "data" / "postmaster.pid",
        ready_text="ready",
        ready_names_pid=True,
        holds_up=any(room.needs_postgres for room in ground.rooms),
        stop_signal=signal.SIGINT,  # ends sessions; SIGTERM would wait for clients to leave
        hurry_signal=signal.SIGQUIT,
        stop_round=2,
        unprivileged=True,
        cwd=Path("/"),
        log=ground.layout.logs / "postgres.log",
    )
