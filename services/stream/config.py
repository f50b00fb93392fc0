"""What the stream room reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.chassis.bus import BusConfig
from services.chassis.config import group, setting
from services.chassis.room import ChassisConfig
from services.chassis.verifier import AuthConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings of the WebSocket door."""

    chassis: ChassisConfig = group(ChassisConfig)
    bus: BusConfig = group(BusConfig)
    auth: AuthConfig = group(AuthConfig)
    market_data_address: str = setting(
        "PERPMESH_MARKET_DATA_ADDRESS",
        "Where market_data's gRPC server is, as host:port; several replicas' are split by commas, the one to prefer "
        "first.",
    )
    execution_address: str = setting(
        "PERPMESH_EXECUTION_ADDRESS",
        "Where execution's gRPC server is, as host:port: orders and fills of callers. Absent, they are not served.",
        default="",
    )
    portfolio_address: str = setting(
        "PERPMESH_PORTFOLIO_ADDRESS",
        "Where portfolio's gRPC server is, as host:port: positions of callers. Absent, they are not served.",
        default="",
    )
    web_root: Path = setting(
        "PERPMESH_STREAM_WEB_ROOT",
        "The folder of the web page's built files; one that is not there serves no page.",
        default=Path("clients/web/dist"),
    )
    origins: tuple[str, ...] = setting(
        "PERPMESH_CORS_ORIGINS",
        "Origins of web pages that may call the mesh from a browser, beside its own; * allows all.",
        default=(),
    )
    connections_max: int = setting(
        "PERPMESH_STREAM_CONNECTIONS_MAX",
        "How many WebSockets may be open; a further one is answered with 429.",
        default=2_000,
        minimum=1,
        maximum=100_000,
    )
    connections_per_address_max: int = setting(
        "PERPMESH_STREAM_CONNECTIONS_PER_ADDRESS_MAX",
        "How many WebSockets one client address may have open; 0 sets no bound, which leaves it to the edge.",
        default=0,
        minimum=0,
        maximum=100_000,
    )
    trust_forwarded: bool = setting(
        "PERPMESH_STREAM_TRUST_FORWARDED",
        "Whether a client's address is read from the edge's X-Forwarded-For; false where clients connect directly.",
        default=True,
    )
    batch_interval_s: float = setting(
        "PERPMESH_STREAM_BATCH_INTERVAL_S",
        "How often prices, funding and candles are sent at most on a connection, in seconds, unless a subscription "
        "names a min_interval.",
        default=0.05,
        minimum=0.005,
        maximum=10,
    )
    topics_max: int = setting(
        "PERPMESH_STREAM_TOPICS_MAX",
        "How many topics one WebSocket may follow.",
        default=200,
        minimum=1,
        maximum=10_000,
    )
    stall_timeout_s: float = setting(
        "PERPMESH_STREAM_STALL_TIMEOUT_S",
        "How long a WebSocket may read nothing while something waits, in seconds, before it is closed.",
        default=10.0,
        minimum=1,
        maximum=300,
    )
    linger_s: float = setting(
        "PERPMESH_STREAM_LINGER_S",
        "How long a topic that nobody follows is kept, in seconds.",
        default=5.0,
        minimum=0,
        maximum=3_600,
    )

    def __post_init__(self) -> None:
        """Check what one field alone cannot."""
        places = [("PERPMESH_LISTEN", self.chassis.server.listen, 0)]
        places += [("PERPMESH_MARKET_DATA_ADDRESS", one, 1) for one in self.market_data_address.split(",")]
        for name, text, least in places:
            host, _, port = text.rpartition(":")
            if not host or not port.isascii() or not port.isdigit() or not least <= int(port) <= 65_535:
                raise ValueError(f"{name} must be host:port, such as 127.0.0.1:7000, not {text!r}: correct it.")

    @property
    def host(self) -> str:
        """Return the host that the room listens on."""
        return self.chassis.server.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Return the port that the room listens on."""
        return int(self.chassis.server.listen.rpartition(":")[2])
