"""What is known of accounts: portfolio as the port `Standings`.

Quotes for the public count with every venue's base tier. A signed-in caller's own accounts are not told here yet, since
portfolio is asked by account and not by user; a plan for named accounts, which execution asks for, counts with theirs.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, cast

from perpmesh.portfolio.v1 import account_state_service_pb2 as pb
from perpmesh.portfolio.v1.account_state_service_pb2_grpc import AccountStateServiceStub

from services.chassis.client import Peer
from services.domain.errors import DomainError, Reason, field_invalid
from services.routing.model.wish import Standing, VenueStanding

TIMEOUT_S: Final = 0.5
_PUBLIC: Final = Standing()


class PortfolioStandings:
    """The port `Standings`."""

    def __init__(self, portfolio: Peer | None) -> None:
        self._stub: Any = cast(Any, AccountStateServiceStub)(portfolio) if portfolio is not None else None

    async def of_user(self, user: str | None, account_ids: tuple[str, ...], market: str) -> Standing:
        """Return the public standing; raises FIELD_INVALID where accounts are named, which are not counted with yet."""
        if account_ids:
            raise field_invalid("account_ids", "quotes count with the public base tier for now: leave it out")
        return _PUBLIC

    async def of_accounts(self, account_ids: tuple[str, ...], market: str) -> Standing:
        """Return the standing of named accounts; one that portfolio does not know yet counts with the public tier."""
        if self._stub is None:
            return _PUBLIC
        request = pb.BatchGetAccountStatesRequest(account_ids=account_ids, market=market)
        try:
            answer = await self._stub.BatchGetAccountStates(request, timeout=TIMEOUT_S)
        except DomainError as error:
            if error.reason in (Reason.PEER_UNAVAILABLE, Reason.DEADLINE_EXCEEDED):
                return _PUBLIC  # the plan is stated to be on the public basis, and execution checks margin itself
            raise
        found = {state.account.venue: _standing(state, market) for state in answer.account_states}
        return Standing(by_venue=found, is_public=not found)


def _standing(state: pb.BatchGetAccountStatesResponse.AccountState, market: str) -> VenueStanding:
    account = state.account
    position = next((one for one in state.positions if one.market == market), None)
    return VenueStanding(
        account_id=account.account_id,
        taker_fee=Decimal(account.taker_fee_rate) if account.taker_fee_rate else None,
        maker_fee=Decimal(account.maker_fee_rate) if account.maker_fee_rate else None,
        position_size=Decimal(position.size or "0") if position is not None else Decimal(0),
        free_margin=Decimal(account.available) if account.available else None,
        leverage=position.leverage if position is not None else 0,
        fee_tier=account.fee_tier,
    )
