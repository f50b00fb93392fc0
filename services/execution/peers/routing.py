"""routing's planner as the port `Planner`."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

from perpmesh.routing.v1 import planner_service_pb2 as pb
from perpmesh.routing.v1 import quote_pb2, routing_service_pb2
from perpmesh.routing.v1.planner_service_pb2_grpc import PlannerServiceStub
from perpmesh.type.v1 import side_pb2, size_unit_pb2, time_in_force_pb2

from services.chassis.client import Peer
from services.domain.decimals import plain_text
from services.domain.refusal import RefusalReason
from services.execution.model.order import NewOrder, mesh_says_no
from services.execution.peers.vault import refusal_value
from services.execution.ports import PlannedLeg, Route, TradingAccount

PLAN_TIMEOUT_S: Final = 5.0


class RoutingPeer:
    """The port `Planner`."""

    def __init__(self, peer: Peer) -> None:
        self._stub: Any = cast(Any, PlannerServiceStub)(peer)  # a peer has the channel's methods that stubs use

    async def plan(self, wanted: NewOrder, accounts: Sequence[TradingAccount], order_id: UUID) -> Route:
        """Return the cheapest route over the venues of `accounts`."""
        route = routing_service_pb2.QuoteRouteRequest(
            market=wanted.market,
            side=side_pb2.Side.Value(f"SIDE_{wanted.side.value}"),
            size=plain_text(wanted.size),
            size_unit=size_unit_pb2.SIZE_UNIT_USD if wanted.size_in_usd else size_unit_pb2.SIZE_UNIT_BASE,
            venues=sorted({one.venue for one in accounts}),
            reduce_only=wanted.reduce_only,
            time_in_force=time_in_force_pb2.TimeInForce.Value(f"TIME_IN_FORCE_{wanted.time_in_force.value}"),
        )
        if wanted.limit_price is not None:
            route.limit_price = plain_text(wanted.limit_price)
        if wanted.max_slippage_bps is not None:
            route.max_slippage_bps = wanted.max_slippage_bps
        request = pb.PlanRouteRequest(
            route=route,
            account_ids=[str(one.account_id) for one in accounts],
            order_id=str(order_id),
            user_id=str(accounts[0].user_id),
        )
        if wanted.quote_id is not None:
            request.quote_id = str(wanted.quote_id)
        answer = await self._stub.PlanRoute(request, timeout=PLAN_TIMEOUT_S)
        quote = answer.quote
        refusal = None
        if answer.quote_replaced:
            refusal = mesh_says_no(
                RefusalReason.QUOTE_EXPIRED,
                "The quote has expired, or the books it was made from have moved.",
                "Ask for a new quote and cite that, or leave quote_id out.",
                field="quote_id",
                given=str(wanted.quote_id),
            )
        elif quote.outcome != quote_pb2.Quote.OUTCOME_FEASIBLE:
            refusal = refusal_value(quote.refusals[0])
        return Route(
            quote_id=UUID(quote.quote_id),
            legs=tuple(PlannedLeg(venue=leg.venue, size=Decimal(leg.size)) for leg in quote.legs),
            size=Decimal(quote.size),
            arrival_mid_price=Decimal(quote.arrival_mid_price),
            refusal=refusal,
        )
