"""The settings of the routing room."""

from __future__ import annotations

from dataclasses import dataclass

from services.chassis.bus import BusConfig
from services.chassis.config import group, setting
from services.chassis.postgres import PostgresConfig
from services.chassis.room import ChassisConfig
from services.chassis.verifier import AuthConfig


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where books come from, how long a quote lives, and how long it is kept."""

    chassis: ChassisConfig = group(ChassisConfig)
    postgres: PostgresConfig = group(PostgresConfig)
    bus: BusConfig = group(BusConfig)
    auth: AuthConfig = group(AuthConfig)
    market_data_address: str = setting(
        "PERPMESH_MARKET_DATA_ADDRESS",
        "Where market_data's gRPC server is, as host:port; several replicas' are split by commas, the one to prefer "
        "first.",
    )
    portfolio_address: str = setting(
        "PERPMESH_PORTFOLIO_ADDRESS",
        "Where portfolio's gRPC server is, as host:port, for the fees, positions and margin of accounts; without it "
        "every plan counts with the public base tier.",
        default="",
    )
    life_min_s: float = setting(
        "PERPMESH_QUOTE_LIFE_MIN_S",
        "How long a quote lives in a market that moves by 100 percent a year or more, in seconds.",
        default=1.0,
        minimum=0.1,
        maximum=10,
    )
    life_max_s: float = setting(
        "PERPMESH_QUOTE_LIFE_MAX_S",
        "How long a quote lives in a market at rest, in seconds.",
        default=3.0,
        minimum=0.1,
        maximum=10,
    )
    kept_days: int = setting(
        "PERPMESH_QUOTE_KEPT_DAYS",
        "How long quotes are kept for the audit, in days.",
        default=30,
        minimum=1,
        maximum=3650,
    )
