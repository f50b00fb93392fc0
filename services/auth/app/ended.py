"""What was ended lately, numbered, for the verifiers that ask: the record's word, repeated by every replica.

A replica learns of its own revocations at once (`tell`), of others' from the record within `POLL_S`. Verifiers hear it
from a channel and, when that is away, by asking for what came after the number they know; so a revocation is felt
everywhere within `POLL_S` and the verifier's own pause, which together stay under a second.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from uuid import UUID

from services.auth.ports import Clock, Ended

POLL_S = 0.25
KEEP = timedelta(minutes=20)
"""For how long an end is repeated: no access token outlives it."""
OVERLAP = timedelta(seconds=30)
"""How far back each look goes: a transaction may become visible after a later one."""
PRUNE_S = 60.0


class EndedList:
    """The ids of what was ended in the last twenty minutes, in the order in which this process learned of them."""

    def __init__(self, record: Ended, clock: Clock, *, epoch: str, spread: Callable[[Collection[UUID]], None]) -> None:
        self._record = record
        self._clock = clock
        self._spread = spread
        self.epoch = epoch
        """Names this list: numbers of another process mean nothing here."""
        self._ids: dict[UUID, tuple[int, datetime]] = {}
        self._last = 0
        self.complete = False
        """Whether the record was read since the start."""

    def tell(self, ids: Collection[UUID]) -> None:
        """Take in what has just been ended here, and spread the word."""
        if ids:
            self._learn(ids)
            self._spread(ids)

    def after(self, number: int) -> tuple[int, list[str]]:
        """Return the last number, and the ids learned of after `number`."""
        return self._last, [str(one) for one, (learned, _) in self._ids.items() if learned > number]

    async def run(self) -> None:
        """Follow the record until canceled."""
        pruned = self._clock.now()
        await self.look(KEEP)
        while True:
            await self._clock.sleep(POLL_S)
            await self.look(OVERLAP)
            now = self._clock.now()
            if (now - pruned).total_seconds() >= PRUNE_S:
                pruned = now
                await self._record.prune(now)
                self._ids = {one: known for one, known in self._ids.items() if known[1] > now - KEEP}

    async def look(self, back: timedelta) -> None:
        """Read the record once."""
        self._learn(await self._record.since(self._clock.now() - back))
        self.complete = True

    def _learn(self, ids: Collection[UUID]) -> None:
        now = self._clock.now()
        for one in ids:
            if one not in self._ids:
                self._last += 1
                self._ids[one] = (self._last, now)
