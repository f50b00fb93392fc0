"""Which of a user's accounts an order may go to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Final
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Refusal, RefusalReason
from services.execution.model.order import NewOrder, mesh_says_no
from services.execution.ports import NO_LIMITS, Accounts, Clock, TradingAccount

REMEMBERED_NS: Final = 1_000_000_000
REMEMBERED_MAX: Final = 10_000
"""How long, and of how many users, the accounts are remembered."""


class Chooser:
    """Chooses among the accounts that the vault has of a user."""

    def __init__(self, accounts: Accounts, clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock
        self._remembered: dict[UUID, tuple[int, Sequence[TradingAccount]]] = {}

    async def chosen(self, user_id: UUID, wanted: NewOrder) -> Sequence[TradingAccount] | Refusal:
        """Return at most one account a venue, of one environment, or why there is none.

        Who asked a moment ago is answered from memory, save with a no, or with limits that a plan keeps to: these are
        asked again, for their owner may have mended it. The vault judges anew when it signs.
        """
        known = self._remembered.get(user_id)
        if known is not None and self._clock.time_ns() - known[0] < REMEMBERED_NS:
            with contextlib.suppress(DomainError):
                found = choose(known[1], wanted)
                if not isinstance(found, Refusal) and all(one.limits == NO_LIMITS for one in found):
                    return found
        every = await self._accounts.of_user(user_id)
        if len(self._remembered) >= REMEMBERED_MAX:
            self._remembered.clear()
        self._remembered[user_id] = self._clock.time_ns(), every
        return choose(every, wanted)

    @contextlib.contextmanager
    def begun(self, user_id: UUID, wanted: NewOrder) -> Iterator[asyncio.Future[Sequence[TradingAccount] | Refusal]]:
        """Choose while a block does something else; what it does not wait for is given up, with any fault of it."""
        choosing = asyncio.ensure_future(self.chosen(user_id, wanted))
        choosing.add_done_callback(_heard)
        try:
            yield choosing
        finally:
            choosing.cancel()


def _heard(choosing: asyncio.Future[Sequence[TradingAccount] | Refusal]) -> None:
    if not choosing.cancelled():
        choosing.exception()


def choose(every: Sequence[TradingAccount], wanted: NewOrder) -> Sequence[TradingAccount] | Refusal:
    """Return the accounts that an order may go to, or why there is none. Raises RESOURCE_UNKNOWN."""
    if wanted.account_ids:
        named = {one.account_id: one for one in every}
        missing = [one for one in wanted.account_ids if one not in named]
        if missing:
            raise DomainError(
                Reason.RESOURCE_UNKNOWN,
                f"There is no account {missing[0]} of yours.",
                metadata={"field": "account_ids", "account_id": str(missing[0])},
            )
        chosen = [named[one] for one in wanted.account_ids]
    else:
        chosen = [one for one in every if one.is_default]
    chosen = [one for one in chosen if _allowed(one.venue, wanted)]
    if len({one.environment for one in chosen}) > 1:
        return mesh_says_no(
            RefusalReason.NO_ACCOUNT,
            "The accounts are of different environments.",
            "Name accounts of one environment in account_ids.",
            field="account_ids",
        )
    able = [one for one in chosen if one.can_trade]
    if able:
        return able
    where = wanted.venue or "a venue that the order may go to"
    why = chosen[0].why_not if chosen else f"You have no account at {where}."
    return mesh_says_no(RefusalReason.NO_ACCOUNT, why, "Add an account and set up a key.", field="account_ids")


def _allowed(venue: str, wanted: NewOrder) -> bool:
    if wanted.venue:
        return venue == wanted.venue
    return (not wanted.venues or venue in wanted.venues) and venue not in wanted.excluded
