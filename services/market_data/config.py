"""The settings of the market data room."""

from __future__ import annotations

from dataclasses import dataclass

from services.chassis.config import group, setting
from services.chassis.room import ChassisConfig

DEFAULT_MARKETS = ("BTC-PERP", "ETH-PERP", "SOL-PERP", "HYPE-PERP", "XRP-PERP", "DOGE-PERP")


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
    markets: tuple[str, ...] = setting(
        "PERPMESH_MARKETS",
        "The markets whose best bid and ask, trades and books are always fed; others are while someone watches them.",
        default=DEFAULT_MARKETS,
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
    valkey_url: str = setting(
        "PERPMESH_VALKEY_URL",
        "The address of Valkey or Redis for the cache of latest prices; absent for none.",
        default="",
        secret=True,
    )
    page_secret: str = setting(
        "PERPMESH_PAGE_SECRET",
        "The secret that signs page tokens; absent for one made at the start, with which tokens do not outlive it.",
        default="",
        secret=True,
    )
