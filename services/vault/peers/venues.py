"""The venues that are configured, each in its environments; their listings and marks kept fresh; and the faucet."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

import aiohttp
import msgspec

from services.chassis.telemetry import log
from services.domain.decimals import parse_decimal, plain_text
from services.domain.errors import DomainError, Reason, field_invalid
from services.domain.market import HYPERLIQUID
from services.vault.model.account import Account, Environment
from services.vault.peers.hyperliquid.venue import HyperliquidVenue
from services.vault.peers.lighter.venue import LighterVenue
from services.vault.ports import Clock
from services.vault.ports.venues import Venue
from services.venues.port import VenueError

OneVenue = HyperliquidVenue | LighterVenue
BOOT_S: Final = 1.0
"""How soon a venue that did not answer at the start is asked again."""


class ConfiguredVenues:
    """The port `Venues`."""

    def __init__(self, venues: Mapping[tuple[str, Environment], OneVenue], clock: Clock, *, every_s: float) -> None:
        self._venues = dict(venues)
        self._clock = clock
        self._every_s = every_s
        self._known: set[tuple[str, Environment]] = set()

    def at(self, venue: str, environment: Environment) -> Venue:
        """Return a venue."""
        found = self._venues.get((venue, environment))
        if found is not None:
            return found
        here = sorted(one for name, one in self._venues if name == venue)
        if not here:
            raise DomainError(
                Reason.VENUE_UNKNOWN,
                f"No venue {venue} is configured: {', '.join(sorted({name for name, _ in self._venues}))} would pass.",
                metadata={"venue": venue},
            )
        words = ", ".join(f"ENVIRONMENT_{one}" for one in here)
        raise field_invalid("environment", f"this mesh trades {venue} in {words} alone; one of these would pass")

    @property
    def waiting(self) -> str | None:
        """Say which venue was not read yet; None when all were."""
        missing = sorted(f"{name} {one}" for name, one in set(self._venues) - self._known)
        return f"what {', '.join(missing)} lists was not read yet" if missing else None

    async def look(self) -> None:
        """Read every venue's listings and marks once; one that does not answer keeps what was read before."""
        for place, venue in self._venues.items():
            try:
                await venue.look()
                self._known.add(place)
            except VenueError as error:
                log.warning("vault.venue_silent", venue=place[0], environment=place[1].value, error=str(error)[:300])

    async def run(self) -> None:
        """Keep them fresh, and let keys that rest be forgotten."""
        while True:
            await self.look()
            for venue in self._venues.values():
                if isinstance(venue, LighterVenue):
                    await venue.forget_if_idle()
            await self._clock.sleep(BOOT_S if self.waiting else self._every_s)

    async def close(self) -> None:
        """Let no process hold a secret any more."""
        for venue in self._venues.values():
            with contextlib.suppress(Exception):
                await venue.forget()


class SimulatorFaucet:
    """The port `Faucet`, over the simulator's control listener."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self._url = url.rstrip("/")
        self._http = http

    async def give(self, account: Account, amount: Decimal) -> Decimal:
        """Give test funds and return the balance after it."""
        if not self._url:
            raise DomainError(
                Reason.STATE_FORBIDS,
                "This mesh knows no faucet: the operator sets PERPMESH_SIMULATOR_CONTROL_URL.",
                metadata={"environment": account.environment},
            )
        named = account.venue_account if account.venue == HYPERLIQUID and account.venue_account else ""
        body = {"venue": account.venue, "address": named or account.wallet_address, "usdc": plain_text(amount)}
        try:
            timeout = aiohttp.ClientTimeout(total=10)
            async with self._http.post(f"{self._url}/control/accounts", json=body, timeout=timeout) as answer:
                raw = await answer.read()
                if answer.status != 200:
                    raise _away(f"HTTP {answer.status}: {raw[:200].decode('utf-8', 'replace')}")
        except (TimeoutError, aiohttp.ClientError) as error:
            raise _away(type(error).__name__) from None
        cash = msgspec.json.decode(raw, type=dict[str, object]).get("cash")
        total = sum(int(value) for value in cash.values()) if isinstance(cash, dict) else 0
        return parse_decimal(plain_text(Decimal(total).scaleb(-6)))


def _away(why: str) -> DomainError:
    return DomainError(
        Reason.VENUE_UNAVAILABLE,
        f"The simulator did not give: {why}.",
        metadata={"venue": "simulator"},
        retry_after_s=1,
    )
