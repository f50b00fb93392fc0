"""What the launcher can be told, all by environment variables, and where it keeps things.

The rooms' own settings pass through to them; the launcher's stay with it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from services.chassis.config import PREFIX, ConfigError, house_names, load, names_of, setting

CHECKOUT = Path(__file__).resolve().parents[2]
"""The folder that holds `services/`, `gen/` and `envoy/`."""

_SOCKET_PATH_BYTES_MAX = 80
"""A Unix socket's path may have 107 bytes; this leaves room for the longest name below it."""

_NOT_OURS = frozenset({"PERPMESH_FIXTURES", "PERPMESH_PRIVATE_KEY", "PERPMESH_SESSION_FILE"})
"""Variables of the house's tools that may be set where the mesh is started."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The launcher's settings."""

    edge_host: str = setting(
        "PERPMESH_EDGE_HOST", "The address the edge listens on; 0.0.0.0 lets other machines in.", default="127.0.0.1"
    )
    edge_port: int = setting(
        "PERPMESH_EDGE_PORT", "The port of the edge; 0 takes a free one.", default=8080, minimum=0, maximum=65535
    )
    admin_port: int = setting(
        "PERPMESH_ADMIN_PORT",
        "The port of Envoy's admin page, on loopback only; 0 takes a free one.",
        default=9901,
        minimum=0,
        maximum=65535,
    )
    state_dir: Path | None = setting(
        "PERPMESH_STATE_DIR", "The folder for everything the mesh writes; absent, `var` in the checkout.", default=None
    )
    venues: str = setting(
        "PERPMESH_VENUES",
        "Where the venues are: our simulator, or the real ones' main or test networks.",
        default="simulated",
        choices=("simulated", "mainnet", "testnet"),
    )
    hyperliquid_url: str | None = setting(
        "PERPMESH_HYPERLIQUID_URL",
        "Hyperliquid's REST address, or `off`, over what PERPMESH_VENUES says.",
        default=None,
    )
    lighter_url: str | None = setting(
        "PERPMESH_LIGHTER_URL", "Lighter's REST address, or `off`, over what PERPMESH_VENUES says.", default=None
    )
    cors_origins: tuple[str, ...] = setting(
        "PERPMESH_CORS_ORIGINS",
        "Origins of other pages that may call from a browser; the page at / needs none.",
        default=(),
    )
    auth_issuer: str = setting(
        "PERPMESH_AUTH_ISSUER",
        "The `iss` of the access tokens; of auth, the edge and every room alike.",
        default="perpmesh",
    )
    auth_audience: str = setting(
        "PERPMESH_AUTH_AUDIENCE",
        "The `aud` of the access tokens; of auth, the edge and every room alike.",
        default="perpmesh",
    )
    sign_ins_per_minute: int = setting(
        "PERPMESH_SIGN_INS_PER_MINUTE",
        "Challenges, sign-ins, refreshes and exchanges of tokens a minute that the edge takes from one IPv4 address or "
        "IPv6 /64.",
        default=300,
        minimum=1,
        maximum=1_000_000,
    )
    user_requests_per_s: int = setting(
        "PERPMESH_USER_REQUESTS_PER_S",
        "Requests a second that the edge takes from one signed-in user, twice as many at once.",
        default=200,
        minimum=1,
        maximum=1_000_000,
    )
    edge_shares_limits: bool = setting(
        "PERPMESH_EDGE_SHARES_LIMITS",
        "For several edges: auth counts users' requests for all of them; otherwise each edge counts by itself.",
        default=False,
    )
    ip_requests_per_s: int = setting(
        "PERPMESH_IP_REQUESTS_PER_S",
        "Requests a second that the edge takes from one IPv4 address or IPv6 /64, twice as many at once.",
        default=1000,
        minimum=1,
        maximum=1_000_000,
    )
    edge_orders_max: int = setting(
        "PERPMESH_EDGE_ORDERS_MAX",
        "New orders that the edge lets be on their way to execution at a time; further ones are refused with a time. "
        "Cancels and look-ups are not counted.",
        default=64,
        minimum=1,
        maximum=100_000,
    )
    streams_per_connection_max: int = setting(
        "PERPMESH_EDGE_STREAMS_PER_CONNECTION",
        "HTTP/2 streams that one client connection may have open; a client opens another beyond it.",
        default=256,
        minimum=1,
        maximum=100_000,
    )
    edge_upstreams: tuple[str, ...] = setting(
        "PERPMESH_EDGE_UPSTREAMS",
        "For `edge` alone, where rooms run elsewhere: room=host:port for each, more than once for replicas.",
        default=(),
    )
    traces_endpoint: str = setting(
        "PERPMESH_TRACES_ENDPOINT",
        "Where traces go: an OpenTelemetry collector's gRPC port, as host:port; absent for none.",
        default="",
    )
    traces_ratio: float = setting(
        "PERPMESH_TRACES_RATIO",
        "The share of calls that are traced, where the caller has not decided.",
        default=0.1,
        minimum=0,
        maximum=1,
    )
    edge_certificates: Path | None = setting(
        "PERPMESH_EDGE_CERTIFICATES",
        "For `edge` alone: the folder of the edge's certificate, as `certificates` writes it; without one the rooms "
        "must take plaintext.",
        default=None,
    )
    scale: int = setting(
        "PERPMESH_SCALE",
        "How many replicas run of each room that may have several; `make up SCALE=2` sets it.",
        default=1,
        minimum=1,
        maximum=8,
    )
    mesh_tls: bool = setting(
        "PERPMESH_MESH_TLS",
        "Whether the parts of the embedded mesh speak mutual TLS among themselves; false only to measure a room alone.",
        default=True,
    )
    edge_workers: int = setting("PERPMESH_EDGE_WORKERS", "Worker threads of Envoy.", default=1, minimum=1, maximum=64)

    def __post_init__(self) -> None:
        """Refuse addresses that are none, so that no room has to."""
        for name, url in (("HYPERLIQUID", self.hyperliquid_url), ("LIGHTER", self.lighter_url)):
            if url is not None and url != "off" and not url.startswith(("http://", "https://")):
                raise ValueError(
                    f"{PREFIX}{name}_URL must begin with http:// or https://, or be off, not {url!r}: correct it."
                )
        for upstream in self.edge_upstreams:
            room, _, address = upstream.partition("=")
            host, _, port = address.rpartition(":")
            if not (room and host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
                raise ValueError(f"PERPMESH_EDGE_UPSTREAMS must hold room=host:port, not {upstream!r}: correct it.")
        host, _, port = self.traces_endpoint.rpartition(":")
        if self.traces_endpoint and not (host and port.isascii() and port.isdigit() and "/" not in host):
            raise ValueError(f"PERPMESH_TRACES_ENDPOINT must be host:port, not {self.traces_endpoint!r}: correct it.")
        if 0 != self.edge_port == self.admin_port:
            raise ValueError(
                f"PERPMESH_EDGE_PORT and PERPMESH_ADMIN_PORT are both {self.edge_port}: give them different ports."
            )


def read(environ: Mapping[str, str]) -> Config:
    """Return the settings in `environ`, or raise `ConfigError` with one sentence that says what to do."""
    return load(Config, environ, known=house_names() | _NOT_OURS)


def passed_on(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the part of `environ` that the rooms get: everything but the launcher's own variables."""
    own = names_of(Config) | _NOT_OURS
    return {name: value for name, value in environ.items() if name not in own}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything that the mesh writes lives. `at` makes one; `prepare` makes the folders."""

    state: Path
    """The one documented folder."""
    sockets: Path
    """Unix sockets and run files; outside the state folder only when its path is too long for a socket."""

    @classmethod
    def at(cls, config: Config) -> Layout:
        """Return the layout for these settings."""
        state = Path(os.path.abspath(config.state_dir or CHECKOUT / "var"))
        sockets = state / "run"
        if len(os.fsencode(sockets)) > _SOCKET_PATH_BYTES_MAX:
            digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
            sockets = Path(f"/tmp/perpmesh-{os.geteuid()}-{digest}")  # noqa: S108 - checked for its owner when made
        return cls(state=state, sockets=sockets)

    @property
    def lock(self) -> Path:
        """Held by the launcher that uses the folder; holds its process id."""
        return self.state / "launcher.lock"

    @property
    def mesh(self) -> Path:
        """What runs where, as JSON, while the mesh is up. Holds passwords; only its owner may read it."""
        return self.state / "mesh.json"

    @property
    def secrets(self) -> Path:
        """The passwords of the embedded servers, made on first start; only their owner may read them."""
        return self.state / "secrets.json"

    @property
    def master_keys(self) -> Path:
        """The vault's master keys, made by it on first start; only their owner may read them."""
        return self.state / "master-keys"

    @property
    def certificates(self) -> Path:
        """The certificates and keys of the mesh's parts, made at every start; only their owner may read them."""
        return self.state / "tls"

    @property
    def logs(self) -> Path:
        """One log file per process, and the edge's access log."""
        return self.state / "log"

    @property
    def edge(self) -> Path:
        """The configuration that Envoy was given."""
        return self.state / "edge.json"

    def owned(self) -> tuple[Path, ...]:
        """Return all that the mesh may have written: what a reset removes, and nothing else."""
        names = (
            "log",
            "run",
            "postgres",
            "tls",
            "secrets.json",
            "master-keys",
            "mesh.json",
            "targets.json",
            "edge.json",
            "openapi.json",
            "reference.html",
            "valkey.conf",
        )
        return (*(self.state / name for name in names), *self.state.glob("*.json.part"), self.sockets)

    def prepare(self) -> None:
        """Make the folders. Raises `ConfigError` when one cannot be made or is someone else's."""
        try:
            for folder in (self.state, self.logs, self.sockets):
                folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"The state folder {self.state} cannot be made ({error.strerror}): "
                "name a folder that you may write with PERPMESH_STATE_DIR."
            ) from None
        about = self.sockets.lstat()
        if about.st_uid != os.geteuid() or self.sockets.is_symlink():
            raise ConfigError(f"{self.sockets} belongs to someone else: set PERPMESH_STATE_DIR to a shorter path.")
        if not os.access(self.state, os.W_OK | os.X_OK):
            raise ConfigError(f"The state folder {self.state} cannot be written: name another in PERPMESH_STATE_DIR.")
