"""Which of a user's accounts an order may go to."""

from __future__ import annotations

from collections.abc import Sequence

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Refusal, RefusalReason
from services.execution.model.order import NewOrder, mesh_says_no
from services.execution.ports import TradingAccount


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
