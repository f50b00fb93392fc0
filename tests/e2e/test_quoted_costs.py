"""What a quote says is what its execution costs: both simulated venues, scripted books, orders through the edge.

Books stand still, so that the venues trade against what the quote was made from. Costs are compared with the fills as
they are listed and with the venues' own journals.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import aiohttp
import grpc
import pytest
import pytest_asyncio
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.marketdata.v1 import market_data_service_pb2 as market_data_pb2
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceStub
from perpmesh.routing.v1 import quote_pb2
from perpmesh.type.v1 import cost_pb2, order_type_pb2, refusal_pb2, side_pb2, time_in_force_pb2
from perpmesh.vault.v1.account_pb2 import TradingLimits
from perpmesh.vault.v1.vault_service_pb2 import SetTradingLimitsRequest
from perpmesh_client.certificate import check_quote
from perpmesh_client.quotes import route

from tests.e2e.leg_policies import (
    test_a_side_follows_the_fills_of_one_that_rests,
    test_a_side_that_finds_nobody_has_the_other_rolled_back,
    test_a_side_that_stands_alone_is_kept_where_the_rule_says_so,
    test_a_side_that_would_be_refused_is_known_before_the_other_is_sent,
    test_the_others_stand_where_nothing_else_is_wished,
    test_two_sides_are_sent_at_once_and_both_fill,
    test_what_one_venue_refused_is_routed_to_the_other,
    test_what_the_other_venue_filled_is_traded_back,
)
from tests.support.mesh import running_mesh
from tests.support.trading_desk import (
    ENDED,
    UNIT,
    VENUES,
    WAIT_S,
    Book,
    Desk,
    State,
    cost_of,
    cuts_of,
    new_desk,
    number_of,
    numbers,
    routing_request,
    story,
)
from tests.support.waiting import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(400)]
__all__ = [
    "test_a_side_follows_the_fills_of_one_that_rests",
    "test_a_side_that_finds_nobody_has_the_other_rolled_back",
    "test_a_side_that_stands_alone_is_kept_where_the_rule_says_so",
    "test_a_side_that_would_be_refused_is_known_before_the_other_is_sent",
    "test_the_others_stand_where_nothing_else_is_wished",
    "test_two_sides_are_sent_at_once_and_both_fill",
    "test_what_one_venue_refused_is_routed_to_the_other",
    "test_what_the_other_venue_filled_is_traded_back",
]
"""Tests of another module that share this one's mesh."""
WHOLE_FEES: Book = {
    "hyperliquid": (
        [("83990", "0.2"), ("83980", "0.1"), ("83960", "1")], [("84000", "0.1"), ("84020", "0.2"), ("84040", "1")],
    ),
    "lighter": (
        [("83960", "0.2"), ("83940", "0.3"), ("83900", "1")], [("84030", "0.15"), ("84050", "0.3"), ("84100", "1")],
    ),
}  # fmt: skip
"""BTC, whose lots are equal: a fee of 0.045 % is whole millionths at every level."""
CUT_FEES: Book = {
    "hyperliquid": (
        [("83991", "0.20007"), ("83983", "0.10003"), ("83967", "1")],
        [("84001", "0.10003"), ("84023", "0.20007"), ("84041", "1")],
    ),
    "lighter": (
        [("83961.7", "0.20009"), ("83943.3", "0.30001"), ("83900.1", "1")],
        [("84031.3", "0.15001"), ("84053.9", "0.30007"), ("84100.1", "1")],
    ),
}
"""BTC, where every fee is cut."""
FREE = 50
"""USD of margin that an account without much has at each venue."""
MIXED_LOTS: Book = {
    "hyperliquid": (
        [("133.31", "20.13"), ("133.27", "10.07"), ("133.2", "90")],
        [("133.42", "10.11"), ("133.46", "20.03"), ("133.52", "90")],
    ),
    "lighter": (
        [("133.281", "7.313"), ("133.262", "20.001"), ("133.2", "90")],
        [("133.441", "7.777"), ("133.471", "20.003"), ("133.5", "90")],
    ),
}
"""SOL, whose lots are 0.01 at Hyperliquid and 0.001 at Lighter."""


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def desk() -> AsyncIterator[Desk]:
    """A mesh whose quotes live long, so that a busy machine does not outlive them, and whose accounts are looked at
    often, whatever the tests before used up; and a trader with an account at each venue."""
    settings = {
        "simulator_seed": 31, "ip_requests_per_s": 100_000, "simulator_lighter_requests_max": 0,
        "simulator_hyperliquid_weight_max": 0, "execution_hyperliquid_weight": 1_000_000,
        "execution_lighter_requests": 1_000_000,
        "quote_life_min_s": 10, "quote_life_max_s": 10,
    }  # fmt: skip
    async with (
        running_mesh(**settings) as mesh,
        grpc.aio.insecure_channel(mesh.edge) as edge,
        aiohttp.ClientSession() as http,
    ):
        yield await new_desk(mesh, edge, http)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def other(desk: Desk) -> AsyncIterator[Desk]:
    """Somebody else, who makes markets."""
    async with grpc.aio.insecure_channel(desk.mesh.edge) as edge:
        yield await new_desk(desk.mesh, edge, desk.http)


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize(
    ("coin", "book", "mark", "size", "exact"),
    [
        pytest.param("BTC", WHOLE_FEES, "84000", "0.4", True, id="whole fees, equal lots"),
        pytest.param("BTC", CUT_FEES, "84000", "0.41013", False, id="cut fees, equal lots"),
        pytest.param("SOL", MIXED_LOTS, "133.4", "40.123", False, id="cut fees, unequal lots"),
    ],
)
async def test_an_executed_plan_costs_its_quote_to_the_last_unit(
    desk: Desk, coin: str, book: Book, mark: str, size: str, exact: bool, side: str
) -> None:
    quote, order = await desk.done(coin, side, size, book, mark)
    assert len(quote.legs) == 2, "the books are such that a split is the cheapest"
    assert order.quote_id == quote.quote_id
    assert {leg.venue: leg.size for leg in order.legs} == {leg.venue: leg.size for leg in quote.legs}
    fills = await desk.fills(order.order_id)
    assert len(fills) == sum(leg.level_count for leg in quote.legs), "one maker stands behind each level"
    cuts = cuts_of(quote)
    assert (cuts == 0) == exact
    assert cost_of(quote, fills) == Decimal(quote.total_cost) - cuts
    assert cuts <= Decimal(quote.fee_truncation_bound)
    for leg in order.legs:  # what is listed is what the venues themselves wrote down
        mine = [one for one in fills if one.venue == leg.venue]
        fee = sum(
            Decimal(line.amount) for one in mine for line in one.costs if line.kind == cost_pb2.COST_KIND_VENUE_FEE
        )
        notional, charged = await desk.journal(leg.venue, {number_of(leg.venue_client_id)})
        assert charged * UNIT == fee
        assert notional * UNIT == sum(Decimal(one.price) * Decimal(one.size) for one in mine)


@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_with_several_makers_behind_a_level_the_cost_is_within_the_bound(
    desk: Desk, other: Desk, side: str
) -> None:
    for _ in range(4):  # where a busy machine sends bytes so late that they have expired, it is done over
        await desk.script("BTC", CUT_FEES, "84000")
        resting = await makers(desk, other, side)
        quote, order = await desk.traded("BTC", side, "0.41013")
        for order_id in resting:
            await other.execution.CancelOrder(pb.CancelOrderRequest(order_id=order_id), metadata=other.metadata)
        for order_id in resting:
            await other.ended(order_id)
        if order.state == State.STATE_DONE:
            break
    assert order.state == State.STATE_DONE, story(order)
    fills = await desk.fills(order.order_id)
    assert len(fills) > sum(leg.level_count for leg in quote.legs), "two makers stand behind a level"
    saved = Decimal(quote.total_cost) - cost_of(quote, fills)
    assert 0 < saved <= Decimal(quote.fee_truncation_bound)


async def makers(desk: Desk, other: Desk, side: str) -> list[str]:
    """Let somebody wait behind the best two levels of each venue; return the orders once they are in the book."""
    at, more, resting = (1 if side == "buy" else 0), Decimal("0.00333"), []
    for venue in VENUES:
        for price, _ in CUT_FEES[venue][at][:2]:
            for _ in range(4):
                placed = await other.place(
                    market="BTC-PERP", side=side_pb2.SIDE_SELL if at else side_pb2.SIDE_BUY, size=str(more),
                    type=order_type_pb2.ORDER_TYPE_LIMIT, limit_price=price, venue=venue,
                    time_in_force=time_in_force_pb2.TIME_IN_FORCE_POST_ONLY,
                )  # fmt: skip
                order = await other.waits(placed.order_id)
                if order.state not in ENDED:
                    resting.append(order.order_id)
                    break
    wanted = {
        venue: [(price, size + (more if place < 2 else 0)) for place, (price, size) in enumerate(numbers(sides[at]))]
        for venue, sides in CUT_FEES.items()
    }
    await until(
        lambda: desk.seen("BTC", side), lambda seen: seen == wanted, timeout_s=WAIT_S, why="the makers are in the book"
    )
    return resting


async def test_a_venue_that_goes_stale_between_quote_and_use_ends_the_quote_and_is_left_out(desk: Desk) -> None:
    await desk.script("BTC", WHOLE_FEES, "84000")
    quote = await desk.quote("BTC", "buy", "0.4")
    assert {leg.venue for leg in quote.legs} == set(VENUES)
    await desk.control("POST", "faults", {"kind": "mute", "venue": "lighter"})
    try:
        await until(
            lambda: desk.quote("BTC", "buy", "0.2"),
            lambda seen: [one.venue for one in seen.left_out] == ["lighter"],
            timeout_s=WAIT_S,
            why="a silent venue is left out",
        )
        wish = {"market": quote.market, "side": quote.side, "type": order_type_pb2.ORDER_TYPE_MARKET}
        cited = await desk.place(size=quote.size, quote_id=quote.quote_id, **wish)
        assert cited.state == State.STATE_DENIED, story(cited)
        assert (cited.refusal.reason, cited.refusal.field) == (refusal_pb2.REFUSAL_REASON_QUOTE_EXPIRED, "quote_id")
        assert cited.refusal.advice
        order = await desk.ended((await desk.place(size="0.2", **wish)).order_id)
        assert [leg.venue for leg in order.legs] == ["hyperliquid"]
    finally:
        await desk.control("DELETE", "faults")


async def test_an_order_that_waits_is_placed_by_the_rule_and_a_cited_split_at_both_venues(desk: Desk) -> None:
    await desk.script("BTC", WHOLE_FEES, "84000")
    rests = time_in_force_pb2.TIME_IN_FORCE_GOOD_TILL_CANCELED
    wish = {"market": "BTC-PERP", "side": side_pb2.SIDE_BUY, "type": order_type_pb2.ORDER_TYPE_LIMIT,
            "limit_price": "83500", "time_in_force": rests}  # fmt: skip
    alone = await desk.place(size="0.02", **wish)
    assert [leg.venue for leg in alone.legs] == ["lighter"], "a maker pays nothing there, and nobody stands before it"
    asked = route("BTC-PERP", "buy", "0.02", limit_price="83500")
    asked.time_in_force, asked.split_resting = rests, True
    orders = [alone.order_id]
    for _ in range(5):
        quote = (await desk.routing.QuoteRoute(routing_request(asked))).quote
        assert check_quote(quote) == []
        both = await desk.place(size="0.02", quote_id=quote.quote_id, **wish)
        if both.state != State.STATE_DENIED:
            break
    assert {leg.venue: leg.size for leg in both.legs} == {"hyperliquid": "0.01", "lighter": "0.01"}, story(both)
    orders.append(both.order_id)
    for order_id in orders:
        waiting = await desk.waits(order_id)
        if waiting.state in ENDED:  # sent so late by a busy machine that it had expired
            continue
        await desk.execution.CancelOrder(pb.CancelOrderRequest(order_id=order_id), metadata=desk.metadata)
        assert (await desk.ended(order_id)).state == State.STATE_CANCELED


async def test_a_signed_in_quote_counts_with_the_own_accounts_and_never_reduces_more_than_is_held(desk: Desk) -> None:
    await desk.script("BTC", WHOLE_FEES, "84000")
    for _ in range(4):
        bought = await desk.place(
            market="BTC-PERP",
            side=side_pb2.SIDE_BUY,
            size="0.25",
            type=order_type_pb2.ORDER_TYPE_MARKET,
            venue="lighter",
        )
        if (await desk.ended(bought.order_id)).state == State.STATE_DONE:
            break
    wish = routing_request(route("BTC-PERP", "sell", "50", max_slippage_bps=5_000))
    wish.reduce_only = True

    async def asked() -> quote_pb2.Quote:
        quote = (await desk.routing.QuoteRoute(wish, metadata=desk.metadata)).quote
        assert check_quote(quote) == []
        return quote  # type: ignore[no-any-return]

    quote = await until(
        asked,
        lambda seen: seen.basis == quote_pb2.Quote.BASIS_ACCOUNT and bool(seen.nearest_sizes),
        timeout_s=WAIT_S,
        why="the position has reached the router",
    )
    assert quote.outcome == quote_pb2.Quote.OUTCOME_INFEASIBLE
    assert {one.reason for one in quote.refusals} == {refusal_pb2.REFUSAL_REASON_REDUCE_ONLY}
    (held,) = quote.nearest_sizes
    own = {one.venue: Decimal(one.position_size) for one in quote.inputs.venues}
    assert Decimal(held) == sum(size for size in own.values() if size > 0)
    wish.size = held
    quote = await asked()
    assert quote.outcome == quote_pb2.Quote.OUTCOME_FEASIBLE
    assert {leg.account_id for leg in quote.legs} <= {owner.account_id for owner in desk.owners.values()}
    wish.size = str(Decimal(held) + Decimal("0.00001"))
    assert (await asked()).outcome == quote_pb2.Quote.OUTCOME_INFEASIBLE
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await desk.routing.QuoteRoute(wish)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_a_signed_in_quote_offers_no_more_than_the_own_margin_carries(desk: Desk) -> None:
    async with grpc.aio.insecure_channel(desk.mesh.edge) as edge:
        poor = await new_desk(desk.mesh, edge, desk.http)
        for venue, owner in poor.owners.items():
            account = str(owner.account.venue_account or owner.wallet.address).lower()
            every = (await poor.control("GET", "accounts", venue=venue))["accounts"]
            (cash,) = (one["cash"][""] for one in every if one["account"].lower() == account)
            taken = {"venue": venue, "account": account, "usdc": str(Decimal(cash) / 1_000_000 - FREE), "force": True}
            await poor.control("POST", "accounts/money", taken)
        await poor.script("BTC", WHOLE_FEES, "84000")
        wish = routing_request(route("BTC-PERP", "buy", "0.4"))

        async def asked() -> quote_pb2.Quote:
            quote = (await poor.routing.QuoteRoute(wish, metadata=poor.metadata)).quote
            assert check_quote(quote) == []
            return quote  # type: ignore[no-any-return]

        quote = await until(
            asked,
            lambda seen: (
                seen.basis == quote_pb2.Quote.BASIS_ACCOUNT
                and not seen.left_out
                and {one.reason for one in seen.refusals} == {refusal_pb2.REFUSAL_REASON_INSUFFICIENT_MARGIN}
            ),
            timeout_s=WAIT_S,
            why="what is left of the margin has reached the router",
        )
        assert quote.outcome == quote_pb2.Quote.OUTCOME_INFEASIBLE
        (most,) = quote.nearest_sizes
        stub = MarketDataServiceStub(edge)  # type: ignore[no-untyped-call]
        answer = await stub.GetMarket(market_data_pb2.GetMarketRequest(market="BTC-PERP"))
        carried = sum(FREE * listing.max_leverage for listing in answer.market.listings)
        assert Decimal("0.9") < Decimal(most) * 84_000 / carried <= 1
        wish.size = most
        quote = await asked()
        assert quote.outcome == quote_pb2.Quote.OUTCOME_FEASIBLE
        assert all(0 < Decimal(leg.initial_margin) <= FREE for leg in quote.legs)
        assert {leg.venue for leg in quote.legs} == set(VENUES)
        assert (await poor.quote("BTC", "buy", "0.4")).basis == quote_pb2.Quote.BASIS_PUBLIC, "without a login"


async def test_an_order_is_split_around_what_its_accounts_may_carry(desk: Desk) -> None:
    async with grpc.aio.insecure_channel(desk.mesh.edge) as edge:
        careful = await new_desk(desk.mesh, edge, desk.http)
        bounded = careful.owners["hyperliquid"]

        async def limit(**limits: Any) -> None:
            request = SetTradingLimitsRequest(account_id=bounded.account_id, limits=TradingLimits(**limits))
            await bounded.vault.SetTradingLimits(request, metadata=careful.metadata)

        # Just above 0.05 BTC at the worst price, 1 % above a mid of 83 995; the cheapest plan has twice as much there.
        await limit(max_order_notional="4242")
        takes = order_type_pb2.ORDER_TYPE_MARKET
        wish = {"market": "BTC-PERP", "side": side_pb2.SIDE_BUY, "size": "0.3", "type": takes}
        for _ in range(4):
            await careful.script("BTC", WHOLE_FEES, "84000")
            public = {leg.venue: leg.size for leg in (await careful.quote("BTC", "buy", "0.3")).legs}
            assert Decimal(public["hyperliquid"]) > Decimal("0.05"), "the public has no such limit"
            order = await careful.ended((await careful.place(**wish)).order_id)
            if order.state == State.STATE_DONE:
                break
        assert {leg.venue: leg.size for leg in order.legs} == {"hyperliquid": "0.05", "lighter": "0.25"}, story(order)
        assert order.filled_size == "0.3"

        async def looked() -> pb.PreviewOrderResponse:
            request = pb.PreviewOrderRequest(order=pb.PlaceOrderRequest(request_id=str(uuid.uuid4()), **wish))
            return await careful.execution.PreviewOrder(request, metadata=careful.metadata)  # type: ignore[no-any-return]

        await limit(markets=["ETH-PERP"])
        elsewhere = await until(
            looked,
            lambda seen: [leg.venue for leg in seen.legs] == ["lighter"],
            timeout_s=WAIT_S,
            why="the account's markets have reached the router",
        )
        assert elsewhere.passes, elsewhere.explanation
