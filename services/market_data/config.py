"""The settings of the market data room."""

from __future__ import annotations

from dataclasses import dataclass

from services.chassis.bus import BusConfig
from services.chassis.config import group, setting
from services.chassis.postgres import PostgresConfig
from services.chassis.room import ChassisConfig
from services.chassis.verifier import AuthConfig

DEFAULT_MARKETS = ("BTC-PERP", "ETH-PERP", "SOL-PERP", "HYPE-PERP", "XRP-PERP", "DOGE-PERP")


@dataclass(frozen=True, kw_only=True)
class BreakerConfig:
    """What opens and closes the circuit breakers of the venues' endpoints."""

    failures_max: int = setting(
        "PERPMESH_VENUE_BREAKER_FAILURES",
        "How many failures of a venue's endpoint within the window open its circuit breaker.",
        default=5,
        minimum=1,
        maximum=1000,
    )
    window_s: float = setting(
        "PERPMESH_VENUE_BREAKER_WINDOW_S",
        "How far back, in seconds, a failure of a venue's endpoint counts.",
        default=30.0,
        minimum=1,
        maximum=3600,
    )
    rest_open_s: float = setting(
        "PERPMESH_VENUE_BREAKER_REST_OPEN_S",
        "Seconds for which an open breaker of a venue's REST interface lets nothing through before it probes.",
        default=5.0,
        minimum=0.1,
        maximum=3600,
    )
    socket_open_s: float = setting(
        "PERPMESH_VENUE_BREAKER_SOCKET_OPEN_S",
        "Seconds for which an open breaker of a venue's WebSocket lets nothing through before it probes; short, so "
        "that books are fresh soon after a line heals.",
        default=1.0,
        minimum=0.1,
        maximum=3600,
    )
    probes: int = setting(
        "PERPMESH_VENUE_BREAKER_PROBES",
        "How many probes must succeed to close an open breaker.",
        default=1,
        minimum=1,
        maximum=100,
    )


@dataclass(frozen=True, kw_only=True)
class HistoryConfig:
    """What is recorded, for how long, and what bounds the recording."""

    markets: tuple[str, ...] = setting(
        "PERPMESH_HISTORY_MARKETS",
        "The markets whose history is recorded; absent for those of PERPMESH_MARKETS, `*` for every market while fed.",
        default=(),
    )
    sample_interval_s: float = setting(
        "PERPMESH_HISTORY_SAMPLE_INTERVAL_S",
        "Seconds between two samples of prices; a venue's is recorded where something it shows has changed.",
        default=1.0,
        minimum=0.1,
        maximum=3600,
    )
    flush_s: float = setting(
        "PERPMESH_HISTORY_FLUSH_S",
        "Seconds between two writes of what gathered for the database.",
        default=1.0,
        minimum=0.05,
        maximum=60,
    )
    buffer_rows_max: int = setting(
        "PERPMESH_HISTORY_BUFFER_ROWS",
        "How many rows of each table may wait while the database is slow or away; newer ones are lost and counted.",
        default=100_000,
        minimum=1,
        maximum=10_000_000,
    )
    price_days: int = setting(
        "PERPMESH_HISTORY_PRICE_DAYS", "Days for which samples of prices are kept.", default=7, minimum=1, maximum=3650
    )
    trade_days: int = setting(
        "PERPMESH_HISTORY_TRADE_DAYS",
        "Days for which trades are kept, and with them the candles of one second, which are made from them.",
        default=7,
        minimum=1,
        maximum=3650,
    )
    candle_days: int = setting(
        "PERPMESH_HISTORY_CANDLE_DAYS", "Days for which candles are kept.", default=400, minimum=31, maximum=3650
    )
    funding_days: int = setting(
        "PERPMESH_HISTORY_FUNDING_DAYS",
        "Days for which settled funding is kept.",
        default=400,
        minimum=31,
        maximum=3650,
    )
    backfill_candles: int = setting(
        "PERPMESH_BACKFILL_CANDLES",
        "How many candles of each length are fetched from the venues at the first start.",
        default=500,
        minimum=0,
        maximum=5000,
    )
    backfill_funding_days: int = setting(
        "PERPMESH_BACKFILL_FUNDING_DAYS",
        "How many days of settled funding are fetched from the venues at the first start.",
        default=30,
        minimum=1,
        maximum=365,
    )
    backfill_pause_s: float = setting(
        "PERPMESH_BACKFILL_PAUSE_S",
        "Seconds between two questions about the past to one venue, which also wait while most of its budget is used.",
        default=1.0,
        minimum=0,
        maximum=60,
    )
    replica_url: str = setting(
        "PERPMESH_POSTGRES_REPLICA_URL",
        "A read replica of the database for questions about the past; absent for none.",
        default="",
        secret=True,
    )
    replica_lag_max_s: float = setting(
        "PERPMESH_POSTGRES_REPLICA_LAG_MAX_S",
        "How far the replica may be behind, in seconds, before the primary is asked instead.",
        default=10.0,
        minimum=0,
        maximum=3600,
    )

    @property
    def retention_days(self) -> dict[str, int]:
        """Days for which each table is kept."""
        return {
            "price_history": self.price_days,
            "trades": self.trade_days,
            "candles": self.candle_days,
            "funding_history": self.funding_days,
        }


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which venues feed the room, which markets are always fed, and what bounds it."""

    chassis: ChassisConfig = group(ChassisConfig)
    venues: str = setting(
        "PERPMESH_VENUES",
        "Which networks of the venues feed the mesh: the simulator on this machine, the venues' main networks, or "
        "their test networks. Never mixed: an unreachable venue is RECOVERING, not replaced by synthetic data.",
        default="simulated",
        choices=("simulated", "mainnet", "testnet"),
    )
    hyperliquid_url: str = setting(
        "PERPMESH_HYPERLIQUID_URL",
        "The REST address of Hyperliquid, from which the WebSocket's follows; absent for the network's own, `off` for "
        "none.",
        default="",
    )
    lighter_url: str = setting(
        "PERPMESH_LIGHTER_URL",
        "The REST address of Lighter, from which the WebSocket's follows; absent for the network's own, `off` for "
        "none.",
        default="",
    )
    lighter_chain: str = setting(
        "PERPMESH_LIGHTER_CHAIN",
        "How Lighter's book updates chain: by nonce, as the venue does; by offset, for recordings of 2025 without it.",
        default="nonce",
        choices=("nonce", "offset"),
    )
    breaker: BreakerConfig = group(BreakerConfig)
    bus: BusConfig = group(BusConfig)
    auth: AuthConfig = group(AuthConfig)
    postgres: PostgresConfig = group(PostgresConfig)
    history: HistoryConfig = group(HistoryConfig)
    markets: tuple[str, ...] = setting(
        "PERPMESH_MARKETS",
        "The markets whose best bid and ask, trades and books are always fed; others are while someone watches them.",
        default=DEFAULT_MARKETS,
    )
    relay: bool = setting(
        "PERPMESH_RELAY",
        "Whether replicas share one set of venue sockets: one feeds, and tells the others over Valkey. `make up` sets "
        "it where several run.",
        default=False,
    )
    audit_interval_s: float = setting(
        "PERPMESH_AUDIT_INTERVAL_S",
        "Seconds between two audits of a book against a fresh snapshot; each fed book is audited in turn.",
        default=5.0,
        minimum=0.5,
        maximum=3600,
    )
    streams_max: int = setting(
        "PERPMESH_STREAMS_MAX",
        "How many streams of one Watch call the room serves at once; the next is refused with LIMIT_REACHED.",
        default=10_000,
        minimum=1,
        maximum=100_000,
    )
    page_secret: str = setting(
        "PERPMESH_PAGE_SECRET",
        "The secret that signs page tokens; absent for one made at the start, with which tokens do not outlive it.",
        default="",
        secret=True,
    )
