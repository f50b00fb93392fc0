"""Counting attempts: how long to wait before the next, and what has become stuck, for an operator to see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

from services.execution.model.retry import Retry, Trouble
from services.execution.model.trouble import WORDS_MAX, Failing, WorkKind, failed_again, kind_of
from services.execution.ports import Clock, TradingAccount, Work
from services.execution.ports.steering import Troubles

KEPT_FROM: Final = 3
"""From this failure in a row on, it is kept: a single hiccup costs no write."""
SWEEP_S: Final = 5.0
FAILING_MAX: Final = 100_000
"""Failing works that are counted; beyond, the others wait the first pause each time."""


class Attempts:
    """What fails now."""

    def __init__(
        self,
        *,
        troubles: Troubles,
        clock: Clock,
        chance: Callable[[], float],
        table: Mapping[Trouble, Retry],
        show_stuck: Callable[[int], None],
        tell_fault: Callable[[Exception], None],
    ) -> None:
        """Prepare; `chance` gives numbers from 0 to 1, `show_stuck` is told how much is stuck."""
        self._troubles = troubles
        self._clock = clock
        self._chance = chance
        self._show = show_stuck
        self._tell = tell_fault
        self.table = table
        self._failing: dict[UUID, Failing] = {}
        self._well: dict[UUID, None] = {}
        """What went well and could not be settled, since the database was away."""

    async def begin(self) -> None:
        """Count on from what was kept."""
        self._failing = {one.work_id: one for one in await self._troubles.failing()}
        self._count()

    def of(self, work_id: UUID) -> int:
        """Return how often work failed in a row."""
        found = self._failing.get(work_id)
        return 0 if found is None else found.attempts

    def words(self, work_id: UUID) -> str:
        """Return what work met that failed the last time; nothing where it did not."""
        found = self._failing.get(work_id)
        return "" if found is None else found.last_error

    async def failed(self, work: Work, trouble: Trouble, words: str, *, least_s: float = 0.0) -> float:
        """Count a failed attempt for a leg; return the pause before the next, in seconds."""
        leg, now = work.leg, self._clock.now()
        kind = kind_of(leg)
        if kind is WorkKind.CANCEL and work.order.is_replacing(leg):
            kind = WorkKind.REPLACE
        return await self.count(
            Failing(
                work_id=leg.leg_id, kind=kind, trouble=trouble, user_id=work.order.user_id,
                account_id=leg.account_id, venue=leg.venue, order_id=work.order.order_id, leg_id=leg.leg_id,
                last_error=words[:WORDS_MAX], first_time=now, last_time=now,
            ),
            least_s,
        )  # fmt: skip

    async def failed_account(self, account: TradingAccount, trouble: Trouble, words: str) -> float:
        """Count a failed attempt to reconcile an account; return the pause before the next."""
        now = self._clock.now()
        return await self.count(
            Failing(
                work_id=account.account_id, kind=WorkKind.RECONCILE, trouble=trouble, user_id=account.user_id,
                account_id=account.account_id, venue=account.venue, last_error=words[:WORDS_MAX], first_time=now,
                last_time=now,
            ),
        )  # fmt: skip

    async def went_well(self, work_id: UUID, *, seen: int) -> None:
        """Settle work that had failed `seen` times and did not fail again; a cancel is settled by the order's end."""
        before = self._failing.get(work_id)
        if before is None or before.attempts != seen or before.trouble is Trouble.STANDING:
            return
        del self._failing[work_id]
        if before.attempts < KEPT_FROM and before.stuck_time is None:
            return
        self._count()
        try:
            await self._troubles.settle(work_id, self._clock.now())
        except Exception as error:
            self._failing[work_id] = before
            self._well[work_id] = None
            self._tell(error)

    async def run(self) -> None:
        """Settle what failed for legs that have ended meanwhile, and what went well before, until canceled."""
        while True:
            await self._clock.sleep(SWEEP_S)
            for work_id in list(self._well):
                del self._well[work_id]
                await self.went_well(work_id, seen=self.of(work_id))
            if not self._failing:
                continue
            try:
                ended = await self._troubles.settle_ended(self._clock.now())
            except Exception as error:
                self._tell(error)
                continue
            for work_id in ended:
                self._failing.pop(work_id, None)
            self._count()

    async def count(self, now: Failing, least_s: float = 0.0) -> float:
        """Count a failed attempt; return the pause before the next, in seconds."""
        retry = self.table[now.trouble]
        self._well.pop(now.work_id, None)
        before = self._failing.get(now.work_id)
        failing = failed_again(before, now, retry)
        if before is not None or len(self._failing) < FAILING_MAX:
            self._failing[now.work_id] = failing
        if failing.attempts >= KEPT_FROM or failing.stuck_time is not None:
            if before is None or failing.stuck_time != before.stuck_time:
                self._count()
            try:
                await self._troubles.keep(failing)
            except Exception as error:  # the database is away too: it is counted here, and kept with the next
                self._tell(error)
        return max(least_s, retry.pause_s(failing.attempts, self._chance()))

    def _count(self) -> None:
        self._show(sum(one.stuck_time is not None for one in self._failing.values()))
