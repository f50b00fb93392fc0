"""Who watches what: changes go to the users' watchers as they are written, mark prices at each watcher's pace.

A watched user's accounts are held here as they last stood in the ledger. A change is a copy of the position as it then
stood, so none is ever collapsed into another; a watcher that does not take them has a bound, and is told to resume.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID

from services.portfolio.model.account import Account, Changes
from services.portfolio.model.life import Life
from services.portfolio.model.margin import MarketRules
from services.portfolio.model.values import Environment
from services.portfolio.model.view import AccountView, Marks, account_view
from services.portfolio.ports import Clock, Ledger, Markets

CHANGES_MAX: Final = 1_000
"""Changes that may wait for a watcher; beyond it the stream ends and is to be resumed."""
TICK_S: Final = 0.5
"""How often mark prices are looked at."""
WATCHERS_MAX: Final = 10_000


class Watcher:
    """One open stream."""

    __slots__ = ("changes", "event", "over", "user_id")

    def __init__(self, user_id: UUID) -> None:
        self.user_id = user_id
        self.changes: deque[tuple[int, Account, Life]] = deque()
        self.event = asyncio.Event()
        self.over = False
        """Whether it was too slow and lost something."""

    def tell(self, sequence: int, account: Account, life: Life) -> None:
        """Queue one change."""
        if len(self.changes) >= CHANGES_MAX:
            self.over = True
        elif not self.over:
            self.changes.append((sequence, account, life))
        self.event.set()


class Live:
    """The watched users' accounts, the marks, and who is told."""

    def __init__(self, ledger: Ledger, markets: Markets, clock: Clock, *, sequence: int) -> None:
        """Prepare; `sequence` is the last log event that was applied before."""
        self.sequence = sequence
        """The last log event that watchers were told of. The ledger may be ahead of it for a moment, and what it has
        more is then told: never taken for told."""
        self._ledger = ledger
        self._markets = markets
        self._clock = clock
        self._watchers: dict[UUID, set[Watcher]] = {}
        self._accounts: dict[UUID, dict[UUID, Account]] = {}
        self._views: dict[UUID, tuple[int, dict[UUID, AccountView]]] = {}
        self.marks = Marks()
        self.rules: Mapping[tuple[str, str], MarketRules] = {}
        self.version = 0
        """Counts up with every look at the marks, and every change."""

    @property
    def watchers(self) -> int:
        """Return how many streams are open."""
        return sum(len(found) for found in self._watchers.values())

    def watched(self, user_id: UUID) -> bool:
        """Say whether somebody watches a user."""
        return user_id in self._watchers

    async def attach(self, user_id: UUID) -> Watcher:
        """Begin to watch a user; what is applied from now on is told."""
        watcher = Watcher(user_id)
        self._watchers.setdefault(user_id, set()).add(watcher)
        return watcher

    def detach(self, watcher: Watcher) -> None:
        """Watch no more; safe to call twice."""
        found = self._watchers.get(watcher.user_id)
        if found is not None:
            found.discard(watcher)
            if not found:
                del self._watchers[watcher.user_id]
                self._accounts.pop(watcher.user_id, None)
                self._views.pop(watcher.user_id, None)

    async def prime(self, user_id: UUID) -> None:
        """Load a user's accounts where they are not here yet."""
        if user_id not in self._accounts:
            loaded = await self._ledger.accounts(user_id, (), Environment.UNSPECIFIED)
            mine = self._accounts.setdefault(user_id, {})
            for account in loaded:
                mine.setdefault(account.account_id, account)  # what was applied meanwhile is newer
            await self.look({market for account in mine.values() for market in account.lives})

    def applied(self, changes: Changes, sequence: int) -> None:
        """Tell the watchers what was written."""
        self.sequence = sequence
        touched: set[UUID] = set()
        for account in {**changes.accounts, **{a.account_id: a for a, _ in changes.lives.values()}}.values():
            if account.user_id in self._watchers:
                self._accounts.setdefault(account.user_id, {})[account.account_id] = account.snapshot()
                touched.add(account.user_id)
        self.version += bool(touched)
        told = [*changes.told]
        heard = {life.position_id for _, life in told}
        # A stream that was opened while the batch was being written is told how its positions stand after it.
        told += [
            (account, life.snapshot())
            for account, life in changes.lives.values()
            if account.user_id in self._watchers and life.position_id not in heard
        ]
        for account, life in told:
            for watcher in self._watchers.get(account.user_id, ()):
                watcher.tell(life.sequence, self._accounts[account.user_id][account.account_id], life)
        for user_id in touched:
            for watcher in self._watchers.get(user_id, ()):
                watcher.event.set()

    def views(self, user_id: UUID) -> dict[UUID, AccountView]:
        """Return a watched user's accounts at the marks of the last look, computed once for all watchers."""
        held = self._views.get(user_id)
        if held is not None and held[0] == self.version:
            return held[1]
        found = {
            account_id: account_view(account, self.marks, self.rules)
            for account_id, account in self._accounts.get(user_id, {}).items()
        }
        self._views[user_id] = (self.version, found)
        return found

    def view_with(self, account: Account, life: Life) -> AccountView:
        """Return an account with one life as it stood at a change."""
        copied = account.snapshot()
        copied.lives[life.market] = life
        return account_view(copied, self.marks, self.rules)

    async def look(self, extra: Collection[str] = ()) -> None:
        """Ask for the marks of every watched market."""
        markets = {
            market for mine in self._accounts.values() for account in mine.values() for market in account.lives
        } | set(extra)
        if markets:
            self.marks = await self._markets.marks(markets)
            self.rules = await self._markets.rules()
            self.version += 1

    async def run(self) -> None:
        """Look again and again while somebody watches."""
        while True:
            await self._clock.sleep(TICK_S)
            if self._watchers:
                await self.look()
