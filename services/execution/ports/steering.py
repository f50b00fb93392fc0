"""What execution keeps for those who steer it: halts, and work that fails."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from services.execution.model.halt import Halt, Scope
from services.execution.model.trouble import Failing


class HaltStore(Protocol):
    """The record of halts."""

    async def begin(self, halt: Halt) -> Halt:
        """Begin a halt; one that is in force for the scope is returned."""
        ...

    async def end(self, scope: Scope, operator: str, now: datetime) -> None:
        """End the halt of a scope, if there is one."""
        ...

    async def in_force(self) -> tuple[Halt, ...]:
        """Return every halt in force, the oldest first."""
        ...

    async def open_orders(self, scope: Scope, count: int) -> list[tuple[UUID, UUID]]:
        """Return (user, order) of orders in a scope that have not ended and are not being canceled."""
        ...


class Troubles(Protocol):
    """The record of work that fails."""

    async def keep(self, failing: Failing) -> None:
        """Keep how work stands that fails."""
        ...

    async def settle(self, work_id: UUID, now: datetime) -> None:
        """Note that work went well."""
        ...

    async def settle_ended(self, now: datetime) -> Sequence[UUID]:
        """Settle what failed for legs and deeds that have ended and wait for nothing; return the works."""
        ...

    async def failing(self) -> Sequence[Failing]:
        """Return all work that fails now."""
        ...

    async def stuck(
        self, *, kind: str, venue: str, after: tuple[datetime, UUID] | None, count: int
    ) -> Sequence[Failing]:
        """Return work that is stuck, the oldest first by first_time and then by work_id; empty texts are any."""
        ...
