"""Follows execution's log: batch by batch, each folded and written with its cursor in one transaction.

The tail is fast and forgetful, the source slow and complete. What the tail brings is applied when it continues the
cursor; anything else is a hole, and is read from the source. While the source is away the room waits at the hole and
says so: nothing is skipped. Should another process have moved the cursor, what is in memory is thrown away and loaded
again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from services.domain.errors import DomainError
from services.portfolio.model.account import Account, Changes
from services.portfolio.model.fold import fold
from services.portfolio.model.values import Environment, Fill, LogEntry, Observation
from services.portfolio.ports import Clock, Ledger, LogSource, LogTail, Markets

BATCH_MAX: Final = 1_000
"""Log events applied in one transaction."""
ACCOUNTS_MAX: Final = 10_000
"""Accounts held in memory; beyond it the one not changed for the longest is loaded anew when it changes."""
LOOK_S: Final = 5.0
"""How often the source is asked though the tail is silent: it may have lost everything."""
RETRY_S: Final = 1.0


class Follower:
    """Keeps the ledger up with the log."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        tail: LogTail,
        source: LogSource,
        markets: Markets,
        clock: Clock,
        watched: Callable[[UUID], bool],
        applied: Callable[[Changes, int], None],
    ) -> None:
        """Prepare; `applied` is called after every batch that was written, with the number of its last event."""
        self._ledger = ledger
        self._tail = tail
        self._source = source
        self._markets = markets
        self._clock = clock
        self._watched = watched
        self._applied = applied
        self._accounts: OrderedDict[UUID, Account] = OrderedDict()
        self._looked = float("-inf")
        self.cursor = 0
        self.last = 0
        """The number of the last event that is known to exist."""
        self.behind = ""
        """Why the room cannot go on, empty while it can."""

    async def run(self) -> None:
        """Follow for ever."""
        await self._forget()
        while True:
            await self.step()

    async def step(self) -> None:
        """Take what the tail has, or look whether it lost something."""
        entries = sorted(await self._tail.read(), key=lambda entry: entry.sequence)
        fresh = [entry for entry in entries if entry.sequence > self.cursor]
        if fresh:
            self.last = max(self.last, fresh[-1].sequence)
        if fresh and _continues(self.cursor, fresh):
            await self.apply(fresh)
        elif fresh or self._clock.monotonic() - self._looked >= LOOK_S:
            await self._catch_up()

    async def _catch_up(self) -> None:
        """Read from the source until there is nothing more."""
        while True:
            try:
                entries, last = await self._source.read_from(self.cursor + 1)
            except DomainError as error:
                self.behind = f"the log cannot be read from {self.cursor + 1}: {error.message}"
                self._looked = self._clock.monotonic()
                if self.last > self.cursor:
                    await self._clock.sleep(RETRY_S)  # it waits at a hole; the tail would come back at once
                return
            self.behind = ""
            self.last = max(self.last, last)
            fresh = [entry for entry in entries if entry.sequence > self.cursor]
            if not fresh or not _continues(self.cursor, fresh):
                self._looked = self._clock.monotonic()
                return
            await self.apply(fresh)

    async def apply(self, entries: Sequence[LogEntry]) -> None:
        """Apply events that continue the cursor."""
        for start in range(0, len(entries), BATCH_MAX):
            if not await self._apply(entries[start : start + BATCH_MAX]):
                return

    async def _apply(self, entries: Sequence[LogEntry]) -> bool:
        before, after = self.cursor, entries[-1].sequence
        changes = Changes(watched=self._watched)
        try:
            await self._load(entries)
            known = await self._ledger.known(entries)
            for entry in entries:
                fold(entry, self._accounts, known, changes)
            for account in changes.accounts.values():
                if account.environment is Environment.UNSPECIFIED:
                    account.environment = await self._markets.environment(account.venue)
            written = await self._ledger.write(changes, before=before, after=after)
        except BaseException:
            await self._lose()
            raise
        if not written:
            await self._forget()
            return False
        self.cursor = after
        self._applied(changes, after)
        while len(self._accounts) > ACCOUNTS_MAX:
            self._accounts.popitem(last=False)
        return True

    async def _load(self, entries: Sequence[LogEntry]) -> None:
        wanted = {one.account_id for entry in entries for one in entry.what if isinstance(one, Fill | Observation)}
        missing = wanted - self._accounts.keys()
        if missing:
            self._accounts.update(await self._ledger.load(missing))
        for account_id in wanted:
            if account_id in self._accounts:
                self._accounts.move_to_end(account_id)

    async def _lose(self) -> None:
        """Throw away what is in memory, which may hold half a batch."""
        self._accounts.clear()

    async def _forget(self) -> None:
        self._accounts.clear()
        self.cursor = await self._ledger.cursor()
        self.last = max(self.last, self.cursor)


def _continues(cursor: int, entries: Sequence[LogEntry]) -> bool:
    return entries[0].sequence == cursor + 1 and entries[-1].sequence == cursor + len(entries)
