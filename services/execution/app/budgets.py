"""What is left of the venues' limits for a user's accounts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.domain.errors import DomainError
from services.execution.app.leverage import account_of
from services.execution.ports import Accounts, TradingAccount, Venues
from services.venues.budget import BudgetUse


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLeft:
    """How much of a limit is in use; without an account it is our address's."""

    venue: str
    account_id: UUID | None
    use: BudgetUse


class VenueBudgets:
    """Asks what is counted."""

    def __init__(self, *, accounts: Accounts, venues: Venues) -> None:
        self._accounts = accounts
        self._venues = venues

    async def of_user(self, user_id: UUID, *, venue: str, account_id: UUID | None) -> Sequence[BudgetLeft]:
        """Return the budgets of a user's accounts, and of the addresses they are asked from, in a fixed order."""
        every = await self._accounts.of_user(user_id)
        chosen = [account_of(every, account_id)] if account_id is not None else list(every)
        found: dict[tuple[str, str, str], BudgetLeft] = {}
        of_each = await asyncio.gather(*(self._of(one) for one in chosen if venue in ("", one.venue)))
        for one in (left for several in of_each for left in several):
            found[one.venue, str(one.account_id or ""), one.use.name] = one
        return sorted(
            found.values(), key=lambda one: (one.venue, one.use.by_account, str(one.account_id or ""), one.use.name)
        )

    async def _of(self, account: TradingAccount) -> Sequence[BudgetLeft]:
        try:
            uses = await self._venues.at(account.venue, account.environment).budgets_of(account.ref)
        except DomainError:
            return ()  # a venue that this mesh does not trade at, or that was not read yet
        return [
            BudgetLeft(venue=account.venue, account_id=account.account_id if use.by_account else None, use=use)
            for use in uses
        ]
