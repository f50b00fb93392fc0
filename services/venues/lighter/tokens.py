"""Auth tokens for Lighter's private reads and channels: kept, and renewed well before they lapse.

A token lives at most eight hours. The one in use is renewed when a tenth of its life is left, or `MARGIN_S`, whichever
is longer; where renewing fails the old one is used to its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from services.chassis.clock import Clock
from services.venues.port import VenueError
from services.venues.trading import AccountRef

MARGIN_S: Final = 60.0
ACCOUNTS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class VenueToken:
    """A token and when it ends, in seconds since the Unix epoch."""

    text: str
    expire_time_s: float

    def __repr__(self) -> str:
        return f"VenueToken(expire_time_s={self.expire_time_s})"


TokenSource = Callable[[AccountRef], Awaitable[VenueToken]]
"""Makes a new token, as the vault does. Raises `VenueError` where it cannot."""


class Tokens:
    """The tokens in use, one an account."""

    def __init__(self, source: TokenSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._held: dict[str, tuple[VenueToken, float]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, account: AccountRef) -> VenueToken:
        """Return a token that is good now. Raises `VenueError`."""
        name = account.account_id
        if len(self._locks) >= ACCOUNTS_MAX and name not in self._locks:
            self._locks.clear()
            self._held.clear()
        async with self._locks.setdefault(name, asyncio.Lock()):
            now_s = self._clock.time_ns() / 1e9
            held = self._held.get(name)
            if held is not None and now_s < held[1]:
                return held[0]
            try:
                token = await self._source(account)
            except VenueError:
                if held is not None and now_s < held[0].expire_time_s:
                    return held[0]
                raise
            life_s = token.expire_time_s - now_s
            self._held[name] = (token, token.expire_time_s - max(MARGIN_S, life_s / 10))
            return token

    async def renew_in_s(self, account: AccountRef) -> float:
        """Return in how many seconds the account's token will be renewed."""
        await self.get(account)
        return max(1.0, self._held[account.account_id][1] - self._clock.time_ns() / 1e9)

    def forget(self, account: AccountRef) -> None:
        """The venue refused the token: make a new one next time."""
        self._held.pop(account.account_id, None)
