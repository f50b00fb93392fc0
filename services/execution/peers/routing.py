"""routing's planner as the port `Planner`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final, cast
from uuid import UUID

from perpmesh.routing.v1 import planner_service_pb2 as pb
from perpmesh.routing.v1 import quote_inputs_pb2, quote_pb2, routing_service_pb2
from perpmesh.routing.v1.planner_service_pb2_grpc import PlannerServiceStub
from perpmesh.type.v1 import cost_pb2, side_pb2, size_unit_pb2, time_in_force_pb2

from services.chassis.client import Peer
from services.domain.decimals import plain_text
from services.domain.refusal import Refusal, RefusalReason
from services.execution.model.order import NewOrder, mesh_says_no
from services.execution.model.quoted import CostKind, Quoted, QuotedLeg, Rates, enough
from services.execution.peers.vault import refusal_value
from services.execution.ports import PlannedLeg, Route, TradingAccount
from services.venues.actions import TimeInForce

PLAN_TIMEOUT_S: Final = 5.0


class RoutingPeer:
    """The port `Planner`."""

    def __init__(self, peer: Peer) -> None:
        self._stub: Any = cast(Any, PlannerServiceStub)(peer)  # a peer has the channel's methods that stubs use

    async def plan(
        self, wanted: NewOrder, accounts: Sequence[TradingAccount], order_id: UUID, *, preview: bool = False
    ) -> Route:
        """Return the cheapest route over the venues of `accounts`; a preview is kept nowhere."""
        route = routing_service_pb2.QuoteRouteRequest(
            market=wanted.market,
            side=side_pb2.Side.Value(f"SIDE_{wanted.side.value}"),
            size=plain_text(wanted.size),
            size_unit=size_unit_pb2.SIZE_UNIT_USD if wanted.size_in_usd else size_unit_pb2.SIZE_UNIT_BASE,
            venues=sorted({one.venue for one in accounts}),
            reduce_only=wanted.reduce_only,
            time_in_force=time_in_force_pb2.TimeInForce.Value(f"TIME_IN_FORCE_{wanted.time_in_force.value}"),
            include_inputs=True,
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
            preview=preview,
            account_limits=() if wanted.reduce_only else [_limits(one, wanted.market) for one in accounts],
        )
        if wanted.quote_id is not None:
            request.quote_id = str(wanted.quote_id)
        answer = await self._stub.PlanRoute(request, timeout=PLAN_TIMEOUT_S)
        quote, rests = answer.quote, wanted.time_in_force is not TimeInForce.IMMEDIATE_OR_CANCEL
        refusals: list[Refusal] = []
        if answer.quote_replaced:
            stale = mesh_says_no(
                RefusalReason.QUOTE_EXPIRED,
                "The quote has expired, the books it was made from have moved, it is of another order than this, or it "
                "gives an account more than it may carry.",
                "Ask for a new quote and cite that, or leave quote_id out.",
                field="quote_id",
                given=str(wanted.quote_id),
            )
            refusals.append(stale)
        if quote.outcome != quote_pb2.Quote.OUTCOME_FEASIBLE:
            refusals += [refusal_value(one) for one in quote.refusals]
        refusal = refusals[0] if refusals else None
        return Route(
            quote_id=UUID(quote.quote_id),
            legs=tuple(PlannedLeg(venue=leg.venue, size=Decimal(leg.size)) for leg in quote.legs),
            size=Decimal(quote.size),
            arrival_mid_price=Decimal(quote.arrival_mid_price),
            refusal=refusal,
            quoted=_quoted(quote, rests=rests) if refusal is None else None,
            refusals=tuple(refusals),
            max_size=sum((_most(one) for one in quote.inputs.venues), Decimal(0)),
        )


def _limits(account: TradingAccount, market: str) -> pb.PlanRouteRequest.AccountLimits:
    """Return what an account may carry of an order that opens."""
    limits = account.limits
    order = limits.max_order_notional if limits.allow(market) else Decimal(0)
    position = limits.max_position_notional
    return pb.PlanRouteRequest.AccountLimits(
        account_id=str(account.account_id),
        venue=account.venue,
        max_order_notional=None if order is None else plain_text(order),
        max_position_notional=None if position is None else plain_text(position),
        budget_spent=account.budget_spent,
    )


def _most(given: quote_inputs_pb2.QuoteInputs.VenueInputs) -> Decimal:
    """Return the largest size that a venue would carry; nothing where that is less than its smallest, or not said."""
    most = Decimal(given.max_size or 0)  # plans of orders that wait state none
    return most if most >= Decimal(given.min_size) else Decimal(0)


def _quoted(quote: quote_pb2.Quote, *, rests: bool) -> Quoted:
    """Return what a plan is expected to cost."""
    inputs = {one.venue: one for one in quote.inputs.venues}
    return Quoted(
        quote_id=UUID(quote.quote_id),
        arrival_mid_price=Decimal(quote.arrival_mid_price),
        size=Decimal(quote.size),
        legs=tuple(_quoted_leg(leg, inputs[leg.venue], quote.inputs.limit_price, rests=rests) for leg in quote.legs),
        single_venue_costs=tuple(
            (one.venue, _cost(one.legs))
            for one in quote.alternatives
            if one.kind == quote_pb2.QuoteAlternative.KIND_SINGLE_VENUE and one.feasible
        ),
    )


def _quoted_leg(
    leg: quote_pb2.QuoteLeg, given: quote_inputs_pb2.QuoteInputs.VenueInputs, limit_price: str, *, rests: bool
) -> QuotedLeg:
    size = Decimal(leg.size)
    return QuotedLeg(
        venue=leg.venue,
        size=size,
        rates=Rates(
            taker=Decimal(given.taker_fee_rate),
            maker=Decimal(given.maker_fee_rate),
            interface=Decimal(given.interface_fee_rate),
            priority=Decimal(given.priority_fee_rate),
        ),
        levels=enough(((Decimal(one.price), Decimal(one.size)) for one in given.levels), size),
        # What waits for its price counts at its limit, as a maker; the levels given are those that the limit reaches.
        rest_at=Decimal(limit_price) if rests else Decimal(leg.worst_price),
        rests=rests,
    )


def _cost(legs: Iterable[quote_pb2.QuoteLeg]) -> Decimal:
    """Return what an execution costs; what a quote expects of the time after it is left out."""
    return sum((Decimal(cost.amount) for leg in legs for cost in leg.costs if cost.kind in _KINDS), Decimal(0))


_KINDS: Final = {cost_pb2.CostKind.Value(f"COST_KIND_{kind.value}") for kind in CostKind}
