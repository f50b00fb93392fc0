"""The settings of the portfolio room."""

from __future__ import annotations

from dataclasses import dataclass

from services.chassis.bus import BusConfig
from services.chassis.config import group, setting
from services.chassis.postgres import PostgresConfig
from services.chassis.room import ChassisConfig
from services.chassis.verifier import AuthConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where the log, the marks and the tables are."""

    chassis: ChassisConfig = group(ChassisConfig)
    postgres: PostgresConfig = group(PostgresConfig)
    bus: BusConfig = group(BusConfig)
    auth: AuthConfig = group(AuthConfig)
    market_data_address: str = setting(
        "PERPMESH_MARKET_DATA_ADDRESS", "Where market_data's gRPC server is, as host:port."
    )
    execution_address: str = setting(
        "PERPMESH_EXECUTION_ADDRESS",
        "Where execution's gRPC server is, as host:port: what the event stream lost is read there. Absent, a hole in "
        "the stream is waited at.",
        default="",
    )
    page_secret: str = setting(
        "PERPMESH_PAGE_SECRET",
        "The secret that signs page tokens; absent for one made at the start, with which tokens do not outlive it.",
        default="",
        secret=True,
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
