"""The simulator's settings; every one has a safe default."""

from __future__ import annotations

from dataclasses import dataclass

from services.chassis.config import setting


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the process. Ports of 0 are chosen by the system and written to the run file."""

    host: str = setting(
        "PERPMESH_SIMULATOR_HOST",
        "The address to listen on; loopback unless an image needs more.",
        default="127.0.0.1",
    )
    hyperliquid_port: int = setting(
        "PERPMESH_SIMULATOR_HYPERLIQUID_PORT",
        "Hyperliquid's face, HTTP and WebSocket.",
        default=0,
        minimum=0,
        maximum=65535,
    )
    lighter_port: int = setting(
        "PERPMESH_SIMULATOR_LIGHTER_PORT",
        "Lighter's face, HTTP and WebSocket.",
        default=0,
        minimum=0,
        maximum=65535,
    )
    control_host: str = setting(
        "PERPMESH_SIMULATOR_CONTROL_HOST",
        "The control listener's address, apart from the faces': whoever reaches it decides what the venues do.",
        default="127.0.0.1",
    )
    control_port: int = setting(
        "PERPMESH_SIMULATOR_CONTROL_PORT",
        "The control listener, which gives test funds and makes faults.",
        default=0,
        minimum=0,
        maximum=65535,
    )
    run_file: str = setting(
        "PERPMESH_RUN_FILE",
        "Where to write the addresses as JSON once ready; nothing is written when empty.",
        default="",
    )
    seed: int = setting(
        "PERPMESH_SIMULATOR_SEED",
        "Of the market and of the faults.",
        default=1,
        minimum=0,
    )
    start_ms: int = setting(
        "PERPMESH_SIMULATOR_START_MS",
        "The market's first moment in Unix ms; 0 is now. For reproducible runs.",
        default=0,
        minimum=0,
    )
    frozen: bool = setting(
        "PERPMESH_SIMULATOR_FROZEN",
        "Start with time standing still; POST /control/clock moves it.",
        default=False,
    )
    recording: str = setting(
        "PERPMESH_SIMULATOR_RECORDING",
        "A recording (JSON lines) to replay instead of the synthetic market.",
        default="",
    )
    recording_speed: str = setting(
        "PERPMESH_SIMULATOR_RECORDING_SPEED",
        'A factor, or "max".',
        default="1",
    )
    recording_venue: str = setting(
        "PERPMESH_SIMULATOR_RECORDING_VENUE",
        "The venue of a recording whose lines do not say it.",
        default="",
    )
    script: str = setting(
        "PERPMESH_SIMULATOR_SCRIPT",
        "A scenario (JSON or YAML) to play over the synthetic market.",
        default="",
    )
    paper: str = setting(
        "PERPMESH_SIMULATOR_PAPER",
        "Paper trading on live prices: `mainnet`, `testnet`, or the addresses of Hyperliquid and Lighter with a comma "
        "between; empty for the synthetic market.",
        default="",
    )
    paper_books: tuple[str, ...] = setting(
        "PERPMESH_SIMULATOR_PAPER_BOOKS",
        "Contracts whose live books are followed, by each venue's name; empty for the most traded.",
        default=(),
    )
    paper_books_max: int = setting(
        "PERPMESH_SIMULATOR_PAPER_BOOKS_MAX",
        "How many of the most traded contracts of each venue have their live books followed.",
        default=20,
        minimum=1,
        maximum=60,
    )
    hyperliquid_connections_max: int = setting(
        "PERPMESH_SIMULATOR_HYPERLIQUID_CONNECTIONS_MAX",
        "WebSockets an address may hold; 0 is no limit.",
        default=10,
        minimum=0,
    )
    hyperliquid_new_connections_max: int = setting(
        "PERPMESH_SIMULATOR_HYPERLIQUID_NEW_CONNECTIONS_MAX",
        "WebSockets an address may open in a minute; 0 is no limit.",
        default=30,
        minimum=0,
    )
    hyperliquid_weight_max: int = setting(
        "PERPMESH_SIMULATOR_HYPERLIQUID_WEIGHT_MAX",
        "HTTP weight an address may use in a minute; 0 is no limit.",
        default=1200,
        minimum=0,
    )
    hyperliquid_messages_max: int = setting(
        "PERPMESH_SIMULATOR_HYPERLIQUID_MESSAGES_MAX",
        "WebSocket messages an address may send in a minute.",
        default=2000,
        minimum=0,
    )
    hyperliquid_subscriptions_max: int = setting(
        "PERPMESH_SIMULATOR_HYPERLIQUID_SUBSCRIPTIONS_MAX",
        "Subscriptions an address may hold.",
        default=1000,
        minimum=0,
    )
    hyperliquid_users_max: int = setting(
        "PERPMESH_SIMULATOR_HYPERLIQUID_USERS_MAX",
        "Different users an address may watch over WebSockets; 0 is no limit.",
        default=10,
        minimum=0,
    )
    hyperliquid_requests_max: int = setting(
        "PERPMESH_SIMULATOR_HYPERLIQUID_REQUESTS_MAX",
        "Actions an account may send before it has traded, one more a dollar traded; 0 is no limit.",
        default=10_000,
        minimum=0,
    )
    hyperliquid_ack_ms: int = setting(
        "PERPMESH_SIMULATOR_HYPERLIQUID_ACK_MS",
        "How long after its block an action is answered.",
        default=100,
        minimum=0,
    )
    hyperliquid_idle_s: float = setting(
        "PERPMESH_SIMULATOR_HYPERLIQUID_IDLE_S",
        "A socket to which nothing was sent for this long is cut.",
        default=60.0,
        minimum=0,
    )
    lighter_connections_max: int = setting(
        "PERPMESH_SIMULATOR_LIGHTER_CONNECTIONS_MAX",
        "WebSockets an address may hold; 0 is no limit.",
        default=255,
        minimum=0,
    )
    lighter_new_connections_max: int = setting(
        "PERPMESH_SIMULATOR_LIGHTER_NEW_CONNECTIONS_MAX",
        "WebSockets an address may open in a minute; 0 is no limit.",
        default=255,
        minimum=0,
    )
    lighter_requests_max: int = setting(
        "PERPMESH_SIMULATOR_LIGHTER_REQUESTS_MAX",
        "HTTP requests an address may make in a minute; 0 is no limit.",
        default=60,
        minimum=0,
    )
    lighter_sends_max: int = setting(
        "PERPMESH_SIMULATOR_LIGHTER_SENDS_MAX",
        "Transactions the accounts of one wallet may send in a minute at the standard tier; 0 is no limit.",
        default=60,
        minimum=0,
    )
    lighter_delays: bool = setting(
        "PERPMESH_SIMULATOR_LIGHTER_DELAYS",
        "Queue transactions as long as the account's tier does; otherwise for 5 ms.",
        default=True,
    )
    lighter_chain: int = setting(
        "PERPMESH_SIMULATOR_LIGHTER_CHAIN",
        "The chain id that transactions are signed for: 304 is mainnet's, 300 testnet's.",
        default=304,
        minimum=1,
    )
    lighter_verifications_max: int = setting(
        "PERPMESH_SIMULATOR_LIGHTER_VERIFICATIONS_MAX",
        "Signatures verified a second; beyond, one in ten is (the control state shows how many). 0 verifies all.",
        default=50,
        minimum=0,
    )
    lighter_messages_max: int = setting(
        "PERPMESH_SIMULATOR_LIGHTER_MESSAGES_MAX",
        "WebSocket messages an address may send in a minute.",
        default=200,
        minimum=0,
    )
    lighter_subscriptions_max: int = setting(
        "PERPMESH_SIMULATOR_LIGHTER_SUBSCRIPTIONS_MAX",
        "Subscriptions a connection may hold.",
        default=500,
        minimum=0,
    )
    lighter_idle_s: float = setting(
        "PERPMESH_SIMULATOR_LIGHTER_IDLE_S",
        "A client that sends nothing for this long is cut.",
        default=120.0,
        minimum=0,
    )
    lighter_ping_s: float = setting(
        "PERPMESH_SIMULATOR_LIGHTER_PING_S",
        'How often the server sends its own {"type":"ping"}.',
        default=60.0,
        minimum=0,
    )
    lighter_deflate: bool = setting(
        "PERPMESH_SIMULATOR_LIGHTER_DEFLATE",
        "Offer permessage-deflate as the venue does; costs much CPU.",
        default=False,
    )
