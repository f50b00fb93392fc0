"""What runs: which processes, with which environment, after what, and how each is ended. Pure.

A room is added here once it is built: one `Room`. Everything else follows: its port, its addresses for its peers, its
cluster at the edge. Nothing waits for anything it could be told beforehand: ports are reserved before the first
process starts, so that all start at once and a room that is restarted comes back where its peers expect it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.chassis.tls import EDGE
from services.launcher import certificates, servers
from services.launcher.config import Config, Layout
from services.launcher.edge import Upstream
from services.launcher.process import Kind, Process

LOOPBACK = "127.0.0.1"
_START_TIMEOUT = "PERPMESH_POSTGRES_START_TIMEOUT_S"
DATABASE_PATIENCE_S = "120"
"""How long rooms wait for the database, which is made at the first start: on a busy machine that takes a while."""
DRAIN_NOTICE_S = "2.5"
"""How long a replica that stops goes on taking calls: the edge's health checks have seen it by then."""


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
    listeners: Mapping[str, str] = field(default_factory=dict)
    """The variable that takes the address of a further listener, by its name; a peer names it `room.listener`."""
    keeps_master_keys: bool = False
    """Whether it keeps master keys in a file of its own in the state folder, and gives test funds."""
    scales: bool = False
    """Whether several of it may run side by side: as many as PERPMESH_SCALE says."""
    relays: bool = False
    """Whether one of several replicas feeds the others, over Valkey."""
    may_touch: tuple[str, ...] = ("~*", "&*")
    """The keys (`~`) and channels (`&`) of Valkey that it may touch, as patterns of Valkey's own."""


ROOMS = (
    Room(
        name="market_data",
        services=("perpmesh.marketdata.v1.MarketDataService",),
        answers_for_all=True,
        uses_venues=True,
        uses_valkey=True,
        uses_postgres=True,
        secrets={"page": "PERPMESH_PAGE_SECRET"},
        scales=True,
        relays=True,
        may_touch=("~prices:*", "~market_data:*", "&market_data:*", "&auth:ended"),
    ),
    Room(
        name="auth",
        services=("perpmesh.auth.v1.AuthService",),
        has_page=True,
        uses_valkey=True,
        needs_postgres=True,
        secrets={"page": "PERPMESH_PAGE_SECRET", "auth_keys": "PERPMESH_AUTH_KEY_SECRET"},
        scales=True,
        may_touch=("~auth:*", "~sessions:*", "&auth:ended"),
    ),
    Room(
        name="stream",
        web=True,
        uses_valkey=True,
        peers={
            "market_data": "PERPMESH_MARKET_DATA_ADDRESS",
            "execution": "PERPMESH_EXECUTION_ADDRESS",
            "portfolio": "PERPMESH_PORTFOLIO_ADDRESS",
        },
        optional_peers=frozenset({"execution", "portfolio"}),
        scales=True,
        may_touch=("~connections:*", "&auth:ended"),
    ),
    Room(
        name="routing",
        services=("perpmesh.routing.v1.RoutingService",),
        peers={"market_data": "PERPMESH_MARKET_DATA_ADDRESS", "portfolio": "PERPMESH_PORTFOLIO_ADDRESS"},
        optional_peers=frozenset({"portfolio"}),
        uses_valkey=True,
        needs_postgres=True,
        scales=True,
        may_touch=("~routes:*", "&auth:ended"),
    ),
    Room(
        name="vault",
        services=("perpmesh.vault.v1.VaultService",),
        listeners={"signer": "PERPMESH_SIGNER_LISTEN"},
        uses_venues=True,
        uses_valkey=True,
        needs_postgres=True,
        keeps_master_keys=True,
        secrets={"page": "PERPMESH_PAGE_SECRET"},
        may_touch=("&auth:ended",),
    ),
    Room(
        name="execution",
        services=("perpmesh.execution.v1.ExecutionService",),
        peers={
            "vault.signer": "PERPMESH_SIGNER_ADDRESS",
            "routing": "PERPMESH_ROUTING_ADDRESS",
            "market_data": "PERPMESH_MARKET_DATA_ADDRESS",
        },
        uses_venues=True,
        uses_valkey=True,
        needs_postgres=True,
        secrets={"page": "PERPMESH_PAGE_SECRET"},
        may_touch=("~log:execution", "&auth:ended"),
    ),
    Room(
        name="portfolio",
        services=("perpmesh.portfolio.v1.PortfolioService", "perpmesh.portfolio.v1.AnalyticsService"),
        uses_valkey=True,
        needs_postgres=True,
        peers={"market_data": "PERPMESH_MARKET_DATA_ADDRESS", "execution": "PERPMESH_EXECUTION_ADDRESS"},
        optional_peers=frozenset({"execution"}),
        secrets={"page": "PERPMESH_PAGE_SECRET"},
        may_touch=("~log:execution", "&auth:ended"),
    ),
)
"""Every room the launcher can start; those that are not built are left out."""
AUTH_PAGE = "auth.page"
"""The name of auth's page at the edge, and of its first replica's port."""
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
        room
        for room in rooms
        if room.name in here
        and here.issuperset(peer.partition(".")[0] for peer in room.peers.keys() - room.optional_peers)
    )


def is_built(name: str, checkout: Path) -> bool:
    """Return whether `python -m services.<name>` exists."""
    return (checkout / "services" / name / "__main__.py").is_file()


def wants_simulator(config: Config) -> bool:
    """Return whether some venue is to be simulated."""
    return config.venues == "simulated" and not (config.hyperliquid_url and config.lighter_url)


def instances(room: Room, scale: int) -> tuple[str, ...]:
    """Return the names of a room's replicas: its own for the first, `<room>.2` and so on for the others."""
    return (room.name, *(f"{room.name}.{number}" for number in range(2, scale + 1) if room.scales))


def port_names(rooms: Iterable[Room], *, simulator: bool, scale: int = 1) -> tuple[str, ...]:
    """Return the names of the ports to reserve, beside the edge's two."""
    every = [(room, name) for room in rooms for name in instances(room, scale)]
    pages = (f"{name}.page" for room, name in every if room.has_page)
    inner = (f"{name}.{listener}" for room, name in every for listener in room.listeners)
    metrics = (f"{name}.metrics" for _, name in every)
    faces = (f"{SIMULATOR}.{face}" for face in FACES if simulator)
    return (*(name for _, name in every), *pages, *inner, *metrics, *faces)


SIGNER_CALLER = "execution"
"""The one part that the vault signs for; it has a certificate wherever the vault runs."""


def part_names(rooms: Iterable[Room]) -> tuple[str, ...]:
    """Return the parts that get a certificate."""
    names = [EDGE, *(room.name for room in rooms)]
    return tuple(dict.fromkeys([*names, *([SIGNER_CALLER] if "vault" in names else [])]))


def valkey_url(ground: Ground) -> str:
    """Return the address of Valkey for its administrator, for redis-py: a Unix socket, so that no port is taken."""
    return _valkey_url(ground, servers.VALKEY_ADMIN, ground.secrets["valkey"])


def room_valkey_url(ground: Ground, room: str) -> str:
    """Return the address of Valkey for a room, which is a user of its own there and touches its own keys alone."""
    return _valkey_url(ground, room, ground.secrets[f"valkey.{room}"])


def _valkey_url(ground: Ground, user: str, password: str) -> str:
    return f"unix://{user}:{password}@{ground.layout.sockets / 'valkey.sock'}"


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
    users = (f"valkey.{room.name}" for room in every if room.uses_valkey)
    return ("valkey", "postgres", *roles, *users, *dict.fromkeys(name for room in every for name in room.secrets))


def plan(ground: Ground) -> tuple[Process, ...]:
    """Return the processes in the order in which they are spawned: what takes longest to come up goes first."""
    scale = ground.config.scale
    rooms = [
        _room(ground, room, name, number) for room in ground.rooms for number, name in enumerate(instances(room, scale))
    ]
    simulator = [_simulator(ground)] if ground.simulator else []
    keepers = [room for room in ground.rooms if room.uses_postgres or room.needs_postgres]
    return (
        *simulator,
        *rooms,
        servers.valkey(ground.programs.valkey, ground.layout),
        servers.envoy(ground.programs.envoy, ground.layout, ground.config),
        servers.postgres(
            ground.programs.postgres,
            ground.layout,
            home=ground.postgres_home,
            sockets=ground.postgres_sockets,
            sessions_max=servers.POSTGRES_SESSIONS * sum(len(instances(room, scale)) for room in keepers),
            holds_up=any(room.needs_postgres for room in keepers),
        ),
    )


def upstreams(ground: Ground, room: Room, suffix: str = "") -> tuple[Upstream, ...]:
    """Return where the replicas of a room are, or their further listeners of a name (`suffix`)."""
    names = (f"{name}{suffix}" for name in instances(room, ground.config.scale))
    return tuple(Upstream(host=LOOPBACK, port=ground.ports[name]) for name in names)


def _room(ground: Ground, room: Room, name: str, number: int) -> Process:
    """Give a replica of a room what it reads, and nothing it would refuse as unknown to it."""
    config, ports = ground.config, ground.ports
    env = {
        "PERPMESH_LISTEN": f"{LOOPBACK}:{ports[name]}",
        "PERPMESH_METRICS_PORT": str(ports[f"{name}.metrics"]),
    }
    if config.traces_endpoint:
        env |= {"PERPMESH_TRACES_ENDPOINT": config.traces_endpoint, "PERPMESH_TRACES_RATIO": str(config.traces_ratio)}
    env |= _identity(ground, room)
    others = {one.name: one for one in ground.rooms}
    env |= {
        variable: _addresses(ground, others[peer], number) for peer, variable in room.peers.items() if peer in others
    }
    env |= {variable: f"{LOOPBACK}:{ports[peer]}" for peer, variable in room.peers.items() if "." in peer}
    if room.uses_valkey:
        env["PERPMESH_VALKEY_URL"] = room_valkey_url(ground, room.name)
    if room.scales and config.scale > 1:
        env["PERPMESH_DRAIN_NOTICE_S"] = ground.environ.get("PERPMESH_DRAIN_NOTICE_S") or DRAIN_NOTICE_S
    if room.relays and config.scale > 1:
        env["PERPMESH_RELAY"] = "true"
    if room.uses_postgres or room.needs_postgres:
        env["PERPMESH_POSTGRES_URL"] = room_postgres_url(ground, room.name)
        env[_START_TIMEOUT] = ground.environ.get(_START_TIMEOUT) or DATABASE_PATIENCE_S
    if AUTH_PAGE in ports:
        env |= {"PERPMESH_AUTH_ISSUER": config.auth_issuer, "PERPMESH_AUTH_AUDIENCE": config.auth_audience}
        if room.has_page:
            env["PERPMESH_AUTH_PAGE_LISTEN"] = f"{LOOPBACK}:{ports[f'{name}.page']}"
            env["PERPMESH_USER_REQUESTS_PER_S"] = str(config.user_requests_per_s)
            env["PERPMESH_AUTH_ORIGINS"] = ground.environ.get("PERPMESH_AUTH_ORIGINS") or _origins(config)
        else:
            pages = [port for page, port in ports.items() if page.startswith("auth.") and page.endswith(".page")]
            env["PERPMESH_AUTH_URL"] = f"http://{LOOPBACK}:{pages[number % len(pages)]}"
    env |= {variable: ground.secrets[name] for name, variable in room.secrets.items()}
    env |= {variable: f"{LOOPBACK}:{ports[f'{name}.{inner}']}" for inner, variable in room.listeners.items()}
    if room.keeps_master_keys:
        env["PERPMESH_VAULT_MASTER_KEY_STORE"] = str(ground.layout.master_keys)
        if ground.simulator:
            env["PERPMESH_SIMULATOR_CONTROL_URL"] = f"http://{LOOPBACK}:{ports[f'{SIMULATOR}.control']}"
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
    return _python_process(ground, name, env, module=room.name, stop_round=0)


def _addresses(ground: Ground, peer: Room, number: int) -> str:
    """Return where a peer's replicas are, each caller's own first: one is called, the next when that one goes."""
    found = [f"{one.host}:{one.port}" for one in upstreams(ground, peer)]
    at = number % len(found)
    return ",".join(itertools.chain(found[at:], found[:at]))


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
    return _python_process(ground, SIMULATOR, env, module=SIMULATOR, stop_round=1)


def _python_process(ground: Ground, name: str, env: Mapping[str, str], *, module: str, stop_round: int) -> Process:
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
        argv=(str(ground.programs.python), "-m", f"services.{module}"),
        env={**ground.environ, **shared, **env},
        ready=_run_file(ground, name),
        ready_text="}",
        stop_round=stop_round,
        cwd=checkout,
        log=ground.layout.logs / f"{name}.log",
    )


def _run_file(ground: Ground, name: str) -> Path:
    return ground.layout.sockets / f"{name}.json"
