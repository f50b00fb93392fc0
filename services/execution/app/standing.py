"""What venues last said of accounts, remembered while the room runs: a view, never the record."""

from __future__ import annotations

from uuid import UUID

from services.execution.ports import Observed
from services.venues.account import AccountState, Fees


class LastSeen:
    """The port `Standings`, told of every observation."""

    def __init__(self) -> None:
        self._fees: dict[UUID, Fees] = {}
        self._states: dict[UUID, AccountState] = {}

    def tell(self, observed: Observed) -> None:
        """Take what a venue said."""
        account_id = observed.account.account_id
        if observed.fees is not None:
            self._fees[account_id] = observed.fees
        if observed.state is not None:
            self._states[account_id] = observed.state

    def forget(self, account_id: UUID) -> None:
        """Let go of an account that is gone."""
        self._fees.pop(account_id, None)
        self._states.pop(account_id, None)

    def fees(self, account_id: UUID) -> Fees | None:
        """Return the fee rates of an account; None where they are not known yet."""
        return self._fees.get(account_id)

    def state(self, account_id: UUID) -> AccountState | None:
        """Return an account as its venue last said; None where it is not known yet."""
        return self._states.get(account_id)
