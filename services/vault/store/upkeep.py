"""What has to be done again and again: keys whose time ran out, bytes that have expired."""

from __future__ import annotations

from typing import Final

from services.vault.ports import Clock, Keys, Signing

EVERY_S: Final = 10.0


class Upkeep:
    """The room's broom."""

    def __init__(self, keys: Keys, signing: Signing, clock: Clock) -> None:
        self._keys = keys
        self._signing = signing
        self._clock = clock

    async def run(self) -> None:
        """Sweep until canceled."""
        while True:
            now = self._clock.now()
            await self._keys.expire(now)
            await self._signing.wipe(now)
            await self._clock.sleep(EVERY_S)
