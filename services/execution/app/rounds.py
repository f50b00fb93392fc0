"""Looking again and again for orders on which something is due, and acting on them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from services.domain.errors import DomainError
from services.execution.model.order import Order
from services.execution.ports import Clock

AT_ONCE: Final = 16
"""How many orders are acted on at a time."""
LOOK_S: Final = 0.25
AGAIN_S: Final = 1.0
"""How soon an order is acted on again on which it failed, since the vault, routing or a venue was away."""


class Rounds:
    """Acts on what is due, until canceled; what has to wait keeps nobody else waiting."""

    def __init__(
        self,
        due: Callable[[int], Awaitable[Sequence[Order]]],
        act: Callable[[Order], Awaitable[float]],
        *,
        clock: Clock,
        tell_fault: Callable[[Order, Exception], None],
    ) -> None:
        """Prepare; `due` gives so many orders at most, `act` says how many seconds one is left alone for."""
        self._due = due
        self._act = act
        self._clock = clock
        self._tell = tell_fault
        self._not_before: dict[UUID, datetime] = {}

    async def run(self) -> None:
        """Act on what is due until canceled."""
        while True:
            now = self._clock.now()
            self._not_before = {key: moment for key, moment in self._not_before.items() if moment > now}
            try:
                due = await self._due(AT_ONCE + len(self._not_before))
            except DomainError:  # the database is away
                due = ()
            ready = [order for order in due if order.order_id not in self._not_before]
            await asyncio.gather(*(self._surely(order) for order in ready))
            if not ready:
                await self._clock.sleep(LOOK_S)

    async def _surely(self, order: Order) -> None:
        try:
            wait_s = await self._act(order)
        except Exception as error:  # the record says what is due: it is tried again
            self._tell(order, error)
            wait_s = AGAIN_S
        if wait_s:
            self._not_before[order.order_id] = self._clock.now() + timedelta(seconds=wait_s)
