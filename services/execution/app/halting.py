"""The kill switch: halts are durable first, then felt by intake and workers, here at once and in other processes soon.

What is halted is looked at again before each signature and after it, so that what waited for a nonce does not leave.
Cancels that a halt asks for go on, also after a crash, until nothing in its scope is open.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from services.domain.refusal import Refusal
from services.execution.model.halt import Halt, Scope, halt_of, halted
from services.execution.ports import Chance, Clock, Orders, Wake
from services.execution.ports.steering import HaltStore

LOOK_S: Final = 0.5
"""How often halts are read that another process or a command began; the contract says within a second."""
BATCH: Final = 100


class Halts:
    """The halts in force."""

    def __init__(
        self,
        *,
        store: HaltStore,
        orders: Orders,
        clock: Clock,
        chance: Chance,
        wake: Wake,
        tell_fault: Callable[[Exception], None],
    ) -> None:
        self._store = store
        self._orders = orders
        self._clock = clock
        self._chance = chance
        self._wake = wake
        self._tell = tell_fault
        self._in_force: tuple[Halt, ...] = ()
        self._due = asyncio.Event()

    def stops(self, user_id: UUID, venue: str) -> Refusal | None:
        """Say why no new order of a user may leave for a venue now; None where it may."""
        halt = halt_of(self._in_force, user_id, venue)
        return None if halt is None else halted(halt)

    async def begin(self, scope: Scope, *, reason: str, operator: str, cancels_orders: bool) -> Halt:
        """Halt a scope; one that is halted is answered as it is, and its orders canceled too where that is asked."""
        halt = Halt(
            halt_id=self._chance.uuid(),
            scope=scope,
            reason=reason,
            operator=operator,
            cancels_orders=cancels_orders,
            create_time=self._clock.now(),
        )
        kept = await self._store.begin(halt)
        await self.look()
        self._due.set()
        return kept

    async def end(self, scope: Scope, *, operator: str) -> None:
        """End the halt of a scope; one that is not halted is no error."""
        await self._store.end(scope, operator, self._clock.now())
        await self.look()

    def in_force(self) -> Sequence[Halt]:
        """Return every halt in force, the oldest first."""
        return self._in_force

    async def look(self) -> None:
        """Read what is halted."""
        self._in_force = await self._store.in_force()

    async def run(self) -> None:
        """Keep up with what is halted, and cancel what halts ask for, until canceled."""
        while True:
            try:
                await self.look()
                for halt in self._in_force:
                    if halt.cancels_orders:
                        await self._cancel(halt.scope)
            except Exception as error:  # the database is away: nothing can be sent meanwhile either
                self._tell(error)
            self._due.clear()
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def _cancel(self, scope: Scope) -> None:
        while found := await self._store.open_orders(scope, BATCH):
            for user_id, order_id in found:
                await self._orders.want_cancel(user_id, order_id)
            self._wake()
