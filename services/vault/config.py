"""The settings of the vault."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from services.chassis.bus import BusConfig
from services.chassis.config import group, setting
from services.chassis.postgres import PostgresConfig
from services.chassis.room import ChassisConfig
from services.chassis.verifier import AuthConfig
from services.vault.model.account import Environment

VENUES = ("hyperliquid", "lighter")
OFF = "off"


@dataclass(frozen=True, kw_only=True)
class MasterKeyConfig:
    """Where the master keys are. Exactly one of the three is used."""

    keys: str = setting(
        "PERPMESH_VAULT_MASTER_KEY",
        "The master keys of the vault, 32 random bytes each in base64url or hex, separated by commas: the first wraps, "
        "the others still open what they wrapped.",
        default="",
        secret=True,
    )
    store: Path | None = setting(
        "PERPMESH_VAULT_MASTER_KEY_STORE",
        "A file in which the vault keeps its master keys itself; made with a first key when it is not there and "
        "nothing was sealed yet.",
        default=None,
    )
    transit_url: str = setting(
        "PERPMESH_VAULT_TRANSIT_URL",
        "The address of a key management service that speaks the transit protocol, up to and with the mount, such "
        "as https://kms.example:8200/v1/transit; its key is named by PERPMESH_VAULT_TRANSIT_KEY.",
        default="",
    )
    transit_key: str = setting(
        "PERPMESH_VAULT_TRANSIT_KEY", "The name of the master key in the key management service.", default="perpmesh"
    )
    transit_token: str = setting(
        "PERPMESH_VAULT_TRANSIT_TOKEN",
        "What the vault shows the key management service.",
        default="",
        secret=True,
    )

    def __post_init__(self) -> None:
        """Refuse none, and more than one."""
        given = [bool(self.keys), self.store is not None, bool(self.transit_url)]
        if sum(given) != 1:
            raise ValueError(
                "Set exactly one of PERPMESH_VAULT_MASTER_KEY, PERPMESH_VAULT_MASTER_KEY_STORE and "
                "PERPMESH_VAULT_TRANSIT_URL: it says where the vault's master keys are."
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which venues the vault signs for, where its master keys are, and who may ask it to sign."""

    chassis: ChassisConfig = group(ChassisConfig)
    postgres: PostgresConfig = group(PostgresConfig)
    bus: BusConfig = group(BusConfig)
    auth: AuthConfig = group(AuthConfig)
    master: MasterKeyConfig = group(MasterKeyConfig)
    signer_listen: str = setting(
        "PERPMESH_SIGNER_LISTEN",
        "The host and port on which the vault signs, for the parts of PERPMESH_SIGNER_CALLERS alone.",
        default="127.0.0.1:0",
    )
    signer_callers: tuple[str, ...] = setting(
        "PERPMESH_SIGNER_CALLERS",
        "Which parts may ask the vault to sign, by the names in their certificates.",
        default=("execution",),
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
    more_venues: tuple[str, ...] = setting(
        "PERPMESH_VAULT_VENUES",
        "Further venues that accounts may live at, such as TESTNET:lighter=https://host: environment, venue, address.",
        default=(),
    )
    control_url: str = setting(
        "PERPMESH_SIMULATOR_CONTROL_URL",
        "The simulator's control listener, which gives test funds; absent, none are given.",
        default="",
    )
    builder: str = setting(
        "PERPMESH_HYPERLIQUID_BUILDER",
        "The address that gets interface fees at Hyperliquid; absent, there are none.",
        default="",
    )
    integrator: int = setting(
        "PERPMESH_LIGHTER_INTEGRATOR",
        "The account index that gets interface fees at Lighter; 0: there are none.",
        default=0,
        minimum=0,
        maximum=2**48,
    )
    lease_s: float = setting(
        "PERPMESH_VAULT_LEASE_S",
        "How long a vault that hangs keeps its keys to itself, in seconds; one that is gone loses them at once.",
        default=5.0,
        minimum=0.2,
        maximum=300,
    )
    marks_s: float = setting(
        "PERPMESH_VAULT_MARKS_S",
        "Seconds between two looks at the venues' mark prices, by which limits are judged.",
        default=15.0,
        minimum=0.5,
        maximum=50,
    )
    page_secret: str = setting(
        "PERPMESH_PAGE_SECRET",
        "The secret that signs page tokens; absent for one made at the start, with which tokens do not outlive it.",
        default="",
        secret=True,
    )

    def __post_init__(self) -> None:
        """Refuse what could not work, with one sentence."""
        if self.builder and re.fullmatch(r"0x[0-9a-fA-F]{40}", self.builder) is None:
            raise ValueError("PERPMESH_HYPERLIQUID_BUILDER must be an address, 0x and 40 hex digits: correct it.")
        for entry in self.more_venues:
            self._place(entry)

    def places(self, defaults: dict[tuple[str, str], str]) -> dict[tuple[str, Environment], str]:
        """Return the address of every venue in every environment; `defaults` are by venue and network."""
        environment = Environment(self.venues.upper())
        given = {"hyperliquid": self.hyperliquid_url, "lighter": self.lighter_url}
        found = {}
        for venue in VENUES:
            url = given[venue] or defaults.get((venue, self.venues), OFF)
            if url != OFF:
                found[venue, environment] = url
        return found | dict(self._place(entry) for entry in self.more_venues)

    @staticmethod
    def _place(entry: str) -> tuple[tuple[str, Environment], str]:
        where, _, url = entry.partition("=")
        environment, _, venue = where.partition(":")
        if environment not in Environment.__members__ or venue not in VENUES or not url.startswith("http"):
            raise ValueError(
                f"PERPMESH_VAULT_VENUES must hold entries such as TESTNET:lighter=https://host, not {entry!r}."
            )
        return (venue, Environment(environment)), url
