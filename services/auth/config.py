"""The settings of the auth room."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from services.auth.model.allowance import Allowance
from services.chassis.bus import BusConfig
from services.chassis.config import group, setting
from services.chassis.postgres import PostgresConfig
from services.chassis.room import ChassisConfig
from services.chassis.verifier import AuthConfig

_CHAINS = ("1", "10", "137", "8453", "42161", "421614", "11155111")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where people sign in, with which chains, and for how long."""

    chassis: ChassisConfig = group(ChassisConfig)
    postgres: PostgresConfig = group(PostgresConfig)
    bus: BusConfig = group(BusConfig)
    auth: AuthConfig = group(AuthConfig)
    key_secret: str = setting(
        "PERPMESH_AUTH_KEY_SECRET",
        "The secret that seals the signing keys in the database: 32 random bytes in base64url or hex.",
        secret=True,
    )
    page_listen: str = setting(
        "PERPMESH_AUTH_PAGE_LISTEN",
        "The private host and port of the page with public keys and revocations, for the edge and the rooms.",
        default="127.0.0.1:0",
    )
    origins: tuple[str, ...] = setting(
        "PERPMESH_AUTH_ORIGINS",
        "The origins people sign in to, such as https://app.example; the first is the default. Plain http passes on "
        "loopback alone.",
        default=("http://127.0.0.1:8080", "http://localhost:8080"),
    )
    chains: tuple[str, ...] = setting(
        "PERPMESH_AUTH_CHAINS", "The chains that wallets may sign in from, by their EIP-155 ids.", default=_CHAINS
    )
    rpc_urls: tuple[str, ...] = setting(
        "PERPMESH_AUTH_RPC_URLS",
        "JSON-RPC addresses by chain, such as 1=https://rpc.example, over which contract wallets are asked; without "
        "one for its chain a contract wallet is refused.",
        default=(),
    )
    algorithm: str = setting(
        "PERPMESH_AUTH_ALGORITHM",
        "What new signing keys are made for.",
        default="EdDSA",
        choices=("EdDSA", "ES256"),
    )
    access_s: int = setting(
        "PERPMESH_AUTH_ACCESS_S", "How long an access token lives, in seconds.", default=900, minimum=5, maximum=900
    )
    session_idle_s: int = setting(
        "PERPMESH_AUTH_SESSION_IDLE_S",
        "How long a session lives without being refreshed, in seconds.",
        default=30 * 86_400,
        minimum=60,
        maximum=365 * 86_400,
    )
    session_longest_s: int = setting(
        "PERPMESH_AUTH_SESSION_LONGEST_S",
        "How long a session lives at most, in seconds.",
        default=90 * 86_400,
        minimum=60,
        maximum=2 * 365 * 86_400,
    )
    session_contract_s: int = setting(
        "PERPMESH_AUTH_SESSION_CONTRACT_S",
        "How long a session of a contract wallet lives at most, in seconds; its owners can change.",
        default=86_400,
        minimum=60,
        maximum=30 * 86_400,
    )
    key_period_s: int = setting(
        "PERPMESH_AUTH_KEY_PERIOD_S",
        "How long a key signs before the next takes over, in seconds.",
        default=30 * 86_400,
        minimum=60,
        maximum=365 * 86_400,
    )
    key_ahead_s: int = setting(
        "PERPMESH_AUTH_KEY_AHEAD_S",
        "How long a key is published before it signs, in seconds: longer than every verifier keeps a key set.",
        default=900,
        minimum=30,
        maximum=86_400,
    )
    user_requests_per_s: int = setting(
        "PERPMESH_USER_REQUESTS_PER_S",
        "Requests a second that the edge takes from one signed-in user, twice as many at once.",
        default=200,
        minimum=1,
        maximum=1_000_000,
    )
    page_secret: str = setting(
        "PERPMESH_PAGE_SECRET",
        "The secret that signs page tokens; absent for one made at the start, with which tokens do not outlive it.",
        default="",
        secret=True,
    )

    def __post_init__(self) -> None:
        """Refuse what could not work, with one sentence."""
        if not self.origins:
            raise ValueError("PERPMESH_AUTH_ORIGINS must name at least one origin, such as https://app.example.")
        for origin in self.origins:
            _check_origin(origin)
        for chain in self.chains:
            if not (chain.isascii() and chain.isdigit() and 0 < int(chain) < 2**53):
                raise ValueError(f"PERPMESH_AUTH_CHAINS must hold chain ids such as 1, not {chain!r}: correct it.")
        if not self.chains:
            raise ValueError("PERPMESH_AUTH_CHAINS must name at least one chain, such as 1.")
        for entry in self.rpc_urls:
            chain, _, url = entry.partition("=")
            if chain not in self.chains or not url.startswith(("https://", "http://")):
                raise ValueError(
                    f"PERPMESH_AUTH_RPC_URLS must hold chain=address for chains that count, not {entry!r}."
                )
        if self.key_ahead_s >= self.key_period_s:
            raise ValueError("PERPMESH_AUTH_KEY_AHEAD_S must be less than PERPMESH_AUTH_KEY_PERIOD_S: lower it.")

    @property
    def allowance(self) -> Allowance:
        """Return what one user may ask, where several edges share one limit."""
        return Allowance(per_second=self.user_requests_per_s, burst=2 * self.user_requests_per_s)

    @property
    def rpc_by_chain(self) -> dict[int, str]:
        """Return the RPC addresses by chain."""
        return {int(chain): url for chain, _, url in (entry.partition("=") for entry in self.rpc_urls)}

    @property
    def page_address(self) -> tuple[str, int]:
        """Return host and port of the page."""
        host, _, port = self.page_listen.rpartition(":")
        return host or "127.0.0.1", int(port) if port.isdigit() else 0


def _check_origin(origin: str) -> None:
    parts = urlsplit(origin)
    right = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in ("http", "https") or not parts.netloc or origin != right or "@" in parts.netloc:
        raise ValueError(f"PERPMESH_AUTH_ORIGINS must hold origins such as https://app.example, not {origin!r}.")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        raise ValueError(f"PERPMESH_AUTH_ORIGINS: {origin} must use https, since it is not on this machine.")


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
