"""What owners, budgets and venues let one venue carry: as the signer and the venues judge it, and seen in plans."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from perpmesh.routing.v1 import planner_service_pb2 as pb
from perpmesh.routing.v1 import quote_inputs_pb2, quote_pb2
from perpmesh.type.v1 import refusal_pb2
from perpmesh_client.quotes import route

from services.domain.decimals import Price, Size
from services.domain.refusal import Refusal
from services.routing.model.caps import AccountLimits, Held, owner_caps
from services.routing.model.inputs import Side
from services.routing.model.wish import Standing, VenueStanding
from services.vault.model.account import Limits
from services.vault.model.limits import Exposure, Usage, judge, judge_exposure
from services.venues import actions
from tests.support.desk import MARKET, Room, market_books, venue_book
from tests.unit.vault.test_vault_limits import account

D = Decimal
LOT = D("0.00001")
UNUSED = Usage(day=date(2026, 11, 28), day_notional=D(0), minute_orders=0)
HYPERLIQUID = venue_book("hyperliquid", [("83990", "9")], [("84000", "5"), ("84010", "5")])
LIGHTER = venue_book("lighter", [("83960", "9")], [("84060", "3"), ("84065", "3")])
ACCOUNTS = {"hyperliquid": f"{0xA:032x}", "lighter": f"{0xB:032x}"}
Kind = quote_inputs_pb2.QuoteInputs.Cap


@given(
    side=st.sampled_from(Side),
    position=st.decimals(-3, 3, places=5),
    worst=st.decimals(60_000, 110_000, places=1),
    mark=st.decimals(80_000, 90_000, places=2),
    order=st.none() | st.decimals(1, 400_000, places=2),
    most=st.none() | st.decimals(1, 400_000, places=2),
)
def test_the_largest_size_is_what_the_signer_signs_and_one_lot_more_is_refused(
    side: Side, position: Decimal, worst: Decimal, mark: Decimal, order: Decimal | None, most: Decimal | None
) -> None:
    assume(order is not None or most is not None)
    held = Held(side=side, position_size=position, worst_price=worst, mark_price=mark)
    caps = owner_caps(AccountLimits(max_order_notional=order, max_position_notional=most), held)
    largest = min(cap.size for cap in caps) // LOT * LOT

    def refused(size: Decimal) -> bool:
        limits = Limits(max_order_notional=order, max_position_notional=most, price_band_bps=10_000)
        terms = actions.OrderTerms(
            market=MARKET, venue_market_id=0, side=actions.Side[side.name], size=Size(size), limit_price=Price(worst),
            type=actions.OrderType.MARKET, time_in_force=actions.TimeInForce.IMMEDIATE_OR_CANCEL, client_id="1",
        )  # fmt: skip
        marks = {MARKET: mark}
        by_order = judge(actions.Place(orders=(terms,)), account(limits), marks, UNUSED)
        exposure = Exposure({MARKET: position * mark}, D(1_000))
        by_position = judge_exposure((terms,), limits, exposure, {}, D(1_000), marks)
        return isinstance(by_order, Refusal) or by_position is not None

    assert not largest or not refused(largest)
    assert refused(largest + LOT)


def standing(**changes: Any) -> Standing:
    """Accounts at both venues without a limit of their own; `changes` are of the one at Hyperliquid."""
    found = {venue: VenueStanding(account_id=one) for venue, one in ACCOUNTS.items()}
    return Standing(by_venue={**found, "hyperliquid": replace(found["hyperliquid"], **changes)}, is_public=False)


async def planned(room: Room, size: str, *, quote_id: str = "", **limits: Any) -> pb.PlanRouteResponse:
    """Plan an order; `limits` are of the account at Hyperliquid."""
    request = pb.PlanRouteRequest(route=route(MARKET, "buy", size), account_ids=ACCOUNTS.values(), order_id=f"{9:032x}")
    request.route.include_inputs = True
    if quote_id:
        request.quote_id = quote_id
    request.account_limits.add(account_id=ACCOUNTS["hyperliquid"], venue="hyperliquid", **limits)
    return await room.rpc.PlanRoute(request, None)


def sizes(quote: quote_pb2.Quote) -> dict[str, str]:
    return {leg.venue: leg.size for leg in quote.legs}


@pytest.mark.parametrize(
    ("limits", "at_hyperliquid", "kind"),
    [
        # At the worst price, 1 % above the mid of 83 995.
        ({"max_order_notional": "84834.95"}, "1", Kind.KIND_TRADING_LIMIT),
        ({"max_position_notional": "169669.9"}, "2", Kind.KIND_TRADING_LIMIT),
        ({"budget_spent": True}, None, Kind.KIND_BUDGET),
        ({"max_order_notional": "0"}, None, Kind.KIND_TRADING_LIMIT),
    ],
)
async def test_a_plan_gives_an_account_no_more_than_it_may_carry_and_the_rest_to_others(
    limits: dict[str, Any], at_hyperliquid: str | None, kind: Kind.Kind
) -> None:
    room = Room(market_books(HYPERLIQUID, LIGHTER), standing())
    assert sizes((await planned(room, "4")).quote) == {"hyperliquid": "4"}
    quote = (await planned(room, "4", **limits)).quote
    assert sizes(quote).get("hyperliquid") == at_hyperliquid
    assert sum(map(D, sizes(quote).values())) == 4
    seen = next(one for one in quote.inputs.venues if one.venue == "hyperliquid")
    assert min(seen.caps, key=lambda cap: D(cap.size)).kind == kind


async def test_a_position_counts_by_its_side_and_the_refusal_says_what_to_do() -> None:
    room = Room(market_books(HYPERLIQUID), standing(position_size=D("-1")))
    quote = (await planned(room, "4", max_position_notional="100000")).quote
    refusal = quote.refusals[0]
    assert refusal.reason == refusal_pb2.REFUSAL_REASON_TRADING_LIMIT
    assert refusal.passing_value == str((D(100_000) + 84_000) / D("84834.95") // LOT * LOT)
    assert "SetTradingLimits" in refusal.advice


async def test_a_venues_largest_order_and_largest_position_at_a_leverage_bound_a_plan() -> None:
    tiers = ((D(0), 40), (D(200_000), 20))
    books = market_books(HYPERLIQUID, LIGHTER, hyperliquid={"max_order_notional": D(100_000)})
    public = await Room(books).quote(route(MARKET, "buy", "4"))
    assert sizes(public)["hyperliquid"] == str(D(100_000) / D("84834.95") // LOT * LOT)
    books = market_books(HYPERLIQUID, LIGHTER, hyperliquid={"leverage_tiers": tiers})
    held = {"position_size": D(1), "free_margin": D(1_000_000)}
    room = Room(books, standing(**held, leverage=40))
    quote = (await planned(room, "4")).quote
    assert sizes(quote)["hyperliquid"] == str((D(200_000) - 84_000) / D("84834.95") // LOT * LOT)
    room = Room(books, standing(**held, leverage=20))
    assert sizes((await planned(room, "4")).quote) == {"hyperliquid": "4"}, "no tier ends at this leverage"


async def test_a_quote_beyond_what_an_account_may_carry_does_not_serve_its_order() -> None:
    room = Room(market_books(HYPERLIQUID, LIGHTER), standing())
    quote = await room.quote(route(MARKET, "buy", "4"))
    most = D(sizes(quote)["hyperliquid"]) * D("84834.95")
    served = await planned(room, "4", quote_id=quote.quote_id, max_order_notional=str(most))
    assert not served.quote_replaced
    replaced = await planned(room, "4", quote_id=quote.quote_id, max_order_notional=str(most - 1))
    assert replaced.quote_replaced
    assert (await planned(room, "4", quote_id=quote.quote_id, budget_spent=True)).quote_replaced
