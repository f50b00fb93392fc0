"""`AccountStateService`: how accounts stand, for routing and execution."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from perpmesh.portfolio.v1 import account_state_service_pb2 as pb
from perpmesh.portfolio.v1.account_state_service_pb2_grpc import AccountStateServiceServicer

from services.chassis.clock import Clock
from services.portfolio.app.desk import Desk
from services.portfolio.rpc import encode


class AccountStateRpc(AccountStateServiceServicer):
    """Serves the contract."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        self._desk = desk
        self._clock = clock

    async def BatchGetAccountStates(
        self, request: pb.BatchGetAccountStatesRequest, context: Any
    ) -> pb.BatchGetAccountStatesResponse:
        """Return how accounts stand."""
        named = [UUID(text) for text in request.account_ids]
        views, sequence = await self._desk.states(named, UUID(request.user_id) if request.user_id else None)
        now = self._clock.now()
        answer = pb.BatchGetAccountStatesResponse(log_sequence=sequence)
        for account_id in named or views:
            view = views.get(account_id)
            if view is None:
                continue
            answer.account_states.add(
                account=encode.summary(view),
                positions=[
                    encode.position(one, now)
                    for one in view.positions
                    if not request.market or one.life.market == request.market
                ],
                balances=[encode.balance(view.account, one) for _, one in sorted(view.account.balances.items())],
            )
        return answer
