"""What is known of accounts: portfolio as the port `Standings`.

Quotes for the public count with every venue's base tier; a signed-in caller's with the caller's own accounts, one a
venue: the ones that are named, else the oldest there. What portfolio said of a caller holds for a second, since a
stream asks ten times as often. While portfolio does not answer, quotes are on the public basis, and say so.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, cast

from perpmesh.portfolio.v1 import account_state_service_pb2 as pb
from perpmesh.portfolio.v1.account_state_service_pb2_grpc import AccountStateServiceStub

from services.chassis.client import Peer
from services.chassis.clock import Clock
from services.domain.errors import DomainError, Reason, field_invalid
from services.routing.model.wish import Standing, VenueStanding

TIMEOUT_S: Final = 0.5
KNOWN_S: Final = 1.0
KNOWN_MAX: Final = 4_096
_PUBLIC: Final = Standing()
_State = pb.BatchGetAccountStatesResponse.AccountState


class PortfolioStandings:
    """The port `Standings`."""

    def __init__(self, portfolio: Peer | None, clock: Clock) -> None:
        self._stub: Any = cast(Any, AccountStateServiceStub)(portfolio) if portfolio is not None else None
        self._clock = clock
        self._known: OrderedDict[tuple[str, tuple[str, ...], str], tuple[float, Standing]] = OrderedDict()

    async def of_user(self, user: str | None, account_ids: tuple[str, ...], market: str) -> Standing:
        """Return the standing of a caller's accounts; the public one without a user, or without accounts."""
        if user is None:
            return _PUBLIC
        key, now_s = (user, account_ids, market), self._clock.monotonic()
        known = self._known.get(key)
        if known is not None and known[0] > now_s:
            return known[1]
        request = pb.BatchGetAccountStatesRequest(account_ids=account_ids, market=market, user_id=user)
        states = await self._states(request)
        if states is None:
            return _PUBLIC
        _all_there(account_ids, states)
        standing = _of(sorted(states, key=lambda one: one.account.account_id), market)
        self._known[key] = now_s + KNOWN_S, standing
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return standing

    async def of_accounts(self, account_ids: tuple[str, ...], market: str) -> Standing:
        """Return the standing of named accounts; one that portfolio does not know yet counts with the public tier."""
        states = await self._states(pb.BatchGetAccountStatesRequest(account_ids=account_ids, market=market))
        return _PUBLIC if states is None else _of(states, market)

    async def _states(self, request: pb.BatchGetAccountStatesRequest) -> list[_State] | None:
        """Return what portfolio says; None where it does not answer."""
        if self._stub is None:
            return None
        try:
            answer = await self._stub.BatchGetAccountStates(request, timeout=TIMEOUT_S)
        except DomainError as error:
            if error.reason in (Reason.PEER_UNAVAILABLE, Reason.DEADLINE_EXCEEDED):
                return None  # the plan is stated to be on the public basis, and execution checks margin itself
            raise
        return list(answer.account_states)


def _all_there(account_ids: tuple[str, ...], states: Iterable[_State]) -> None:
    """Refuse an account that is not the caller's, or not known yet, and two of one venue."""
    venues = {state.account.account_id: state.account.venue for state in states}
    for at, account_id in enumerate(account_ids):
        if account_id not in venues:
            raise DomainError(
                Reason.RESOURCE_UNKNOWN,
                f"There is no account {account_id} of yours whose state is known.",
                metadata={"field": f"account_ids[{at}]", "account_id": account_id},
            )
    if len(set(venues.values())) < len(account_ids):
        raise field_invalid("account_ids", "at most one account a venue trades: name one of each")


def _of(states: Iterable[_State], market: str) -> Standing:
    found: dict[str, VenueStanding] = {}
    for state in states:
        found.setdefault(state.account.venue, _standing(state, market))
    return Standing(by_venue=found, is_public=not found)


def _standing(state: _State, market: str) -> VenueStanding:
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
