"""What is looked at before an order is taken in, beside what the vault judges from each action when it signs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from services.domain.refusal import Refusal
from services.execution.model.order import NewOrder
from services.execution.ports import TradingAccount


class Gate:
    """Lets orders in."""

    def __init__(self, stops: Callable[[UUID, str], Refusal | None]) -> None:
        """Prepare; `stops` says why no new order of a user may leave for a venue."""
        self._stops = stops

    async def admit(
        self, user_id: UUID, wanted: NewOrder, accounts: Sequence[TradingAccount]
    ) -> Sequence[TradingAccount] | Refusal:
        """Return the accounts that an order may be routed to, or why there is none. What only reduces passes a halt."""
        if wanted.reduce_only:
            return accounts
        halted = [self._stops(user_id, one.venue) for one in accounts]
        able = [one for one, refusal in zip(accounts, halted, strict=True) if refusal is None]
        return able or next(refusal for refusal in halted if refusal is not None)
