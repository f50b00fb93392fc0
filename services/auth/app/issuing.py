"""Access tokens: what they say and who signs them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.auth.model.keyring import KeyRecord, Schedule, signer
from services.auth.ports import Chance, Clock, Keys
from services.domain.errors import DomainError, Reason

KEYS_CHECK_S = 30.0
"""How often the keys are looked at; another replica's new key signs no sooner than `ahead` later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """An access token and when it ends."""

    token: str
    expire_time: datetime


class Issuer:
    """Signs access tokens with the key whose turn it is."""

    def __init__(
        self,
        keys: Keys,
        chance: Chance,
        clock: Clock,
        *,
        issuer: str,
        audience: str,
        lifetime: timedelta,
        schedule: Schedule,
    ) -> None:
        self._keys = keys
        self._chance = chance
        self._clock = clock
        self._issuer = issuer
        self._audience = audience
        self._lifetime = lifetime
        self._schedule = schedule
        self._known: tuple[KeyRecord, ...] = ()

    def published(self) -> tuple[KeyRecord, ...]:
        """Return the keys that verifiers are given now: the next, the one in use, and those whose tokens still live."""
        now = self._clock.now()
        return tuple(key for key in self._known if key.published(now))

    def issue(
        self, user: UUID, wallet: str, session: UUID, scopes: tuple[str, ...], *, until: datetime, from_api_token: bool
    ) -> Access:
        """Return an access token that ends in 15 minutes, or with what it came from if that is sooner."""
        now = self._clock.now()
        key = signer(self._known, now)
        if key is None:
            raise DomainError(
                Reason.PEER_UNAVAILABLE, "There is no key to sign tokens with now: call again.", retry_after_s=1.0
            )
        begin = int(now.timestamp())
        end = min(begin + int(self._lifetime.total_seconds()), int(until.timestamp()))
        claims: dict[str, object] = {
            "iss": self._issuer,
            "aud": self._audience,
            "sub": str(user),
            "wallet": wallet,
            "sid": str(session),
            "scope": " ".join(scopes),
            "via": "api_token" if from_api_token else "session",
            "iat": begin,
            "nbf": begin,
            "exp": end,
            "jti": str(self._chance.uuid()),
        }
        return Access(token=self._keys.sign(key.kid, claims), expire_time=datetime.fromtimestamp(end, now.tzinfo))

    async def refresh(self) -> None:
        """Make the key that is due, and learn of those that others made or withdrew."""
        now = self._clock.now()
        self._known = tuple(await self._keys.advance(lambda known: self._schedule.wanted(known, now), now))

    async def run(self) -> None:
        """Keep the keys fresh until canceled."""
        while True:
            await self._clock.sleep(KEYS_CHECK_S)
            await self.refresh()
