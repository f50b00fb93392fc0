"""The settings of the execution room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from services.chassis.bus import BusConfig
from services.chassis.config import ConfigError, group, setting
from services.chassis.postgres import PostgresConfig
from services.chassis.room import ChassisConfig
from services.chassis.verifier import AuthConfig
from services.execution.app.door import Bounds
from services.execution.model import retry
from services.execution.model.retry import Retry, Trouble
from services.execution.peers.venues import Granted
from services.venues.hyperliquid.budgets import TRADING_WEIGHT
from services.venues.lighter.budgets import KIND_PER_MINUTE, SENDS_PER_MINUTE
from services.venues.lighter.http import REQUESTS_PER_MINUTE

OFF: Final = "off"


def _retry(trouble: Trouble, about: str) -> Any:
    return setting(
        f"PERPMESH_EXECUTION_RETRY_{trouble.value}",
        f"How work is tried again after {about}: words such as `max_attempts=5 max_backoff_s=10`; what is not named "
        f"stays at {retry.show(retry.TABLE[trouble])}.",
        default="",
    )


@dataclass(frozen=True, kw_only=True)
class RetryConfig:
    """How work is tried again, by what went wrong; after max_attempts failures in a row an operator sees it."""

    peer_away: str = _retry(Trouble.PEER_AWAY, "the vault or the database did not answer")
    venue_away: str = _retry(Trouble.VENUE_AWAY, "a venue did not answer, or its breaker is open")
    budget: str = _retry(Trouble.BUDGET, "a limit was used up")
    undecided: str = _retry(Trouble.UNDECIDED, "a venue did not say yet what became of signed bytes")
    standing: str = _retry(Trouble.STANDING, "a cancel was taken and the order still stands")
    deaf: str = _retry(Trouble.DEAF, "an account's private stream could not be opened, or broke")
    fault: str = _retry(Trouble.FAULT, "a mistake of ours")

    def table(self) -> dict[Trouble, Retry]:
        """Return the rules by trouble. Raises `ConfigError`."""
        found = {}
        for trouble in Trouble:
            try:
                found[trouble] = retry.parse(getattr(self, trouble.value.lower()), retry.TABLE[trouble])
            except ValueError as error:
                raise ConfigError(f"PERPMESH_EXECUTION_RETRY_{trouble.value}: {error}.") from None
        return found


@dataclass(frozen=True, kw_only=True)
class GrantedConfig:
    """What the venues grant; beyond it the room stops before they do."""

    hyperliquid_weight: int = setting(
        "PERPMESH_EXECUTION_HYPERLIQUID_WEIGHT",
        "The weight of requests a minute that orders may use of what Hyperliquid grants a network address, 1,200; "
        "prices and keys use 450 of them.",
        default=TRADING_WEIGHT,
        minimum=100,
        maximum=10_000_000,
    )
    lighter_requests: int = setting(
        "PERPMESH_EXECUTION_LIGHTER_REQUESTS",
        "The requests a minute that Lighter grants our network address; a premium account has more.",
        default=REQUESTS_PER_MINUTE,
        minimum=10,
        maximum=10_000_000,
    )
    lighter_sends: int = setting(
        "PERPMESH_EXECUTION_LIGHTER_SENDS",
        "The transactions a minute that Lighter grants each wallet; premium accounts have more.",
        default=SENDS_PER_MINUTE,
        minimum=10,
        maximum=10_000_000,
    )
    lighter_sends_of_a_kind: int = setting(
        "PERPMESH_EXECUTION_LIGHTER_SENDS_OF_A_KIND",
        "Of these, the transactions of one kind.",
        default=KIND_PER_MINUTE,
        minimum=10,
        maximum=10_000_000,
    )
    connections: int = setting(
        "PERPMESH_EXECUTION_VENUE_CONNECTIONS",
        "How many requests to one venue are out at a time.",
        default=64,
        minimum=4,
        maximum=1_000,
    )

    def value(self) -> Granted:
        """Return it as the venues take it."""
        return Granted(
            hyperliquid_weight=self.hyperliquid_weight,
            lighter_requests=self.lighter_requests,
            lighter_sends=self.lighter_sends,
            lighter_sends_of_a_kind=self.lighter_sends_of_a_kind,
            connections=self.connections,
        )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Whom the room asks, where it trades, and how much at a time."""

    chassis: ChassisConfig = group(ChassisConfig)
    postgres: PostgresConfig = group(PostgresConfig)
    bus: BusConfig = group(BusConfig)
    auth: AuthConfig = group(AuthConfig)
    retries: RetryConfig = group(RetryConfig)
    granted: GrantedConfig = group(GrantedConfig)
    signer_address: str = setting(
        "PERPMESH_SIGNER_ADDRESS", "Where the vault's signer is, as host:port; it answers to execution alone."
    )
    routing_address: str = setting("PERPMESH_ROUTING_ADDRESS", "Where routing's gRPC server is, as host:port.")
    market_data_address: str = setting(
        "PERPMESH_MARKET_DATA_ADDRESS",
        "Where market_data's gRPC server is, as host:port: the books that reports compare with. Absent, reports say "
        "that nobody saw them.",
        default="",
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
    page_secret: str = setting(
        "PERPMESH_PAGE_SECRET",
        "The secret that signs page tokens; absent for one made at the start, with which tokens do not outlive it.",
        default="",
        secret=True,
    )
    orders_per_minute: int = setting(
        "PERPMESH_EXECUTION_ORDERS_PER_MINUTE",
        "How many orders one user may place within a minute at one replica; more are refused with the time to wait.",
        default=30_000,
        minimum=1,
        maximum=1_000_000,
    )
    open_orders_max: int = setting(
        "PERPMESH_EXECUTION_OPEN_ORDERS_MAX",
        "How many orders of one user may be open; beyond, those that only reduce are taken.",
        default=2_000,
        minimum=1,
        maximum=100_000,
    )
    parallel: int = setting(
        "PERPMESH_EXECUTION_PARALLEL",
        "How many legs are worked on at a time; an eighth of the places is kept for cancels and unknown outcomes.",
        default=128,
        minimum=1,
        maximum=1_000,
    )
    intake_max: int = setting(
        "PERPMESH_EXECUTION_INTAKE_MAX",
        "How many orders are taken in at a time; further ones are refused with a time, those that only reduce at twice "
        "as many.",
        default=32,
        minimum=1,
        maximum=10_000,
    )
    waiting_max: int = setting(
        "PERPMESH_EXECUTION_WAITING_MAX",
        "How many legs may wait for a worker; beyond, new orders are refused with a time, those that only reduce at "
        "twice as many.",
        default=256,
        minimum=1,
        maximum=100_000,
    )
    waiting_age_s: float = setting(
        "PERPMESH_EXECUTION_WAITING_AGE_S",
        "How long the oldest leg may wait for a worker, in seconds; beyond, new orders are refused as above.",
        default=2.0,
        minimum=0.1,
        maximum=60,
    )

    def door(self) -> Bounds:
        """Return how many new orders are let in."""
        return Bounds(calls=self.intake_max, legs=self.waiting_max, age_s=self.waiting_age_s)

    def places(self, defaults: Mapping[tuple[str, str], str]) -> dict[tuple[str, str], str]:
        """Return the address of every venue by venue and environment; `defaults` are by venue and network."""
        given = {"hyperliquid": self.hyperliquid_url, "lighter": self.lighter_url}
        found = {name: given[name] or defaults.get((name, self.venues), OFF) for name in given}
        return {(name, self.venues.upper()): url for name, url in found.items() if url != OFF}
