"""Orders that wait: placed by the stated rule, checked by the client, made again digit by digit."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from perpmesh.routing.v1 import quote_pb2
from perpmesh.routing.v1 import routing_service_pb2 as pb
from perpmesh.type.v1 import refusal_pb2, time_in_force_pb2
from perpmesh_client.certificate import check_quote
from perpmesh_client.quotes import route

from services.domain.errors import DomainError
from services.routing.model.books import MarketBooks
from services.routing.model.wish import Standing, VenueStanding
from services.routing.rpc.replay import replay
from services.routing.rpc.requests import wish_of
from tests.support.desk import MARKET, Room, market_books, venue_book
from tests.support.routing import SEED, samples

REST = time_in_force_pb2.TIME_IN_FORCE_GOOD_TILL_CANCELED
POST_ONLY = time_in_force_pb2.TIME_IN_FORCE_POST_ONLY
FEASIBLE, INFEASIBLE = quote_pb2.Quote.OUTCOME_FEASIBLE, quote_pb2.Quote.OUTCOME_INFEASIBLE
FREE: dict[str, Any] = {"maker_fee": Decimal(0), "tick": Decimal(1)}
"""Both venues alike but for their queues."""


def books(queue: str = "3", other_queue: str = "1", **venues: Any) -> MarketBooks:
    return market_books(
        venue_book("hyperliquid", [("83990", queue), ("83980", "5")], [("84000", "1"), ("84010", "2")]),
        venue_book("lighter", [("83990", other_queue), ("83970", "5")], [("84020", "1"), ("84030", "2")]),
        **venues,
    )


def wish(side: str, size: str, limit: str, *, time: Any = REST, **more: Any) -> pb.QuoteRouteRequest:
    split = more.pop("split", False)
    request = route(MARKET, side, size, limit_price=limit, **more)
    request.time_in_force = time
    request.split_resting = split
    return request


async def quoted(
    request: pb.QuoteRouteRequest, where: MarketBooks, standing: Standing | None = None
) -> quote_pb2.Quote:
    room = Room(where, standing)
    quote = await room.quote(request)
    assert check_quote(quote) == []
    (kept,) = room.quotes.kept.values()
    assert replay(kept).verdict == pb.ReplayQuoteResponse.VERDICT_MATCH
    return quote


def at(quote: quote_pb2.Quote) -> dict[str, str]:
    assert all(leg.resting for leg in quote.legs)
    return {leg.venue: leg.size for leg in quote.legs}


def why(quote: quote_pb2.Quote) -> dict[str, str]:
    return {
        one.venue: refusal_pb2.RefusalReason.Name(one.reason).removeprefix("REFUSAL_REASON_") for one in quote.refusals
    }


async def test_it_waits_where_fewer_stand_before_it_when_all_else_is_equal() -> None:
    equal = {"hyperliquid": FREE, "lighter": FREE}
    assert at(await quoted(wish("buy", "2", "83990"), books("3", "1", **equal))) == {"lighter": "2"}
    assert at(await quoted(wish("buy", "2", "83990"), books("1", "3", **equal))) == {"hyperliquid": "2"}
    assert at(await quoted(wish("buy", "2", "83990"), books("3", "3", **equal))) == {"hyperliquid": "2"}, "by name"


async def test_a_makers_fee_outweighs_any_queue_worth_less_than_it_and_none_worth_more() -> None:
    dear = {"hyperliquid": {**FREE, "maker_fee": Decimal("0.00001")}, "lighter": FREE}
    quote = await quoted(wish("buy", "2", "83990"), books("0.5", "9", **dear))
    assert at(quote) == {"lighter": "2"}, "0.01 of the notional is 1.68 USD, a tick on 2 is 2, of which 9/11 count"
    cheap = {"hyperliquid": {**FREE, "maker_fee": Decimal("0.000001")}, "lighter": FREE}
    quote = await quoted(wish("buy", "2", "83990"), books("0.5", "9", **cheap))
    assert at(quote) == {"hyperliquid": "2"}
    (other,) = (one for one in quote.alternatives if one.venue == "lighter")
    assert Decimal(other.extra_cost) < 0, "the other costs less and waits longer, which is shown as it is"
    assert "behind 0.5" in quote.explanation


async def test_funding_over_the_holding_time_decides_too() -> None:
    paid = {"hyperliquid": {**FREE, "funding_rate_hourly": Decimal("0.0001")}, "lighter": FREE}
    day = {"holding_time": timedelta(days=1)}
    assert at(await quoted(wish("buy", "2", "83990", **day), books("0.1", "9", **paid))) == {"lighter": "2"}
    sale = wish("sell", "2", "84100", **day)
    assert at(await quoted(sale, books(**paid))) == {"hyperliquid": "2"}, "who is short is paid"


async def test_a_split_is_even_and_leaves_out_who_cannot_carry_its_part() -> None:
    assert at(await quoted(wish("buy", "2", "83900", split=True), books())) == {"hyperliquid": "1", "lighter": "1"}
    odd = await quoted(wish("buy", "0.00051", "83900", split=True), books())
    assert sum(Decimal(size) for size in at(odd).values()) == Decimal("0.00051")
    small = await quoted(wish("buy", "0.0003", "83900", split=True), books(lighter={"min_size": Decimal("0.0002")}))
    assert list(at(small).values()) == ["0.0003"], "an even part is below Lighter's smallest size"
    lots = await quoted(wish("buy", "1.00001", "83900", split=True), books(hyperliquid={"lot": Decimal("0.001")}))
    assert at(lots) == {"hyperliquid": "0.5", "lighter": "0.50001"}


async def test_what_the_limit_reaches_is_taken_and_the_rest_waits() -> None:
    whole = await quoted(wish("buy", "2", "84020"), books())
    assert whole.certificate.set_bounds, "all of it is within reach: it is planned as an order that takes"
    assert not any(leg.resting for leg in whole.legs)
    part = await quoted(wish("buy", "9", "84010"), books())
    assert at(part) == {"lighter": "9"}, "where no taker's fee is paid, since nothing is within reach"
    assert part.legs[0].worst_price == "84010"
    only = await quoted(wish("buy", "9", "84010", venues=["hyperliquid"]), books())
    (leg,) = only.legs
    assert leg.level_count == 2
    assert abs(Decimal(leg.average_price) * 9 - (84_000 + 84_010 * 8)) < Decimal("0.00001")
    assert "3 trade at once at Hyperliquid and 6 wait there" in only.explanation


async def test_post_only_never_takes() -> None:
    quote = await quoted(wish("buy", "1", "84005", time=POST_ONLY), books())
    assert at(quote) == {"lighter": "1"}, "at Hyperliquid it would trade"
    nowhere = await quoted(wish("buy", "1", "84025", time=POST_ONLY), books())
    assert nowhere.outcome == INFEASIBLE
    assert why(nowhere) == {"hyperliquid": "POST_ONLY_CROSSED", "lighter": "POST_ONLY_CROSSED"}
    assert all(one.field == "limit_price" for one in nowhere.refusals)


async def test_a_price_off_the_grid_is_refused_where_it_is_with_the_one_that_passes() -> None:
    quote = await quoted(wish("buy", "1", "83990.5"), books())
    assert at(quote) == {"lighter": "1"}, "half a dollar is on Lighter's grid alone"
    off = await quoted(wish("buy", "1", "83990.57"), books())
    assert why(off) == {"hyperliquid": "PRICE_OFF_TICK", "lighter": "PRICE_OFF_TICK"}
    assert {one.venue: one.passing_value for one in off.refusals} == {"hyperliquid": "83990", "lighter": "83990.5"}
    sale = await quoted(wish("sell", "1", "84990.57"), books())
    assert {one.passing_value for one in sale.refusals} == {"84991", "84990.6"}


@pytest.mark.parametrize(
    ("size", "reasons", "nearest"),
    [
        ("0.00005", {"hyperliquid": "NOTIONAL_TOO_SMALL", "lighter": "SIZE_TOO_SMALL"}, ["0.00012"]),
        ("1.000001", {"hyperliquid": "SIZE_OFF_LOT", "lighter": "SIZE_OFF_LOT"}, ["1", "1.00001"]),
    ],
)
async def test_a_size_that_no_venue_takes_is_answered_with_the_nearest_that_one_does(
    size: str, reasons: dict[str, str], nearest: list[str]
) -> None:
    quote = await quoted(wish("buy", size, "83990"), books())
    assert (quote.outcome, why(quote), list(quote.nearest_sizes)) == (INFEASIBLE, reasons, nearest)
    assert at(await quoted(wish("buy", nearest[0], "83990"), books()))


async def test_margin_and_reduce_only_bound_what_waits() -> None:
    own = VenueStanding(account_id="0197d2a0-7b1c-7000-8000-0000000000aa", position_size=Decimal("0.3"))
    standing = Standing(by_venue={"hyperliquid": own}, is_public=False)
    room = Room(books(), standing)
    asked = wish("sell", "0.5", "84100")
    asked.reduce_only = True
    plan = (await room.desk.plan(wish_of(asked), ())).plan
    assert [one.reason for one in plan.refusals] == ["REDUCE_ONLY"]
    assert plan.nearest_sizes == (Decimal("0.3"),)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (route(MARKET, "buy", "1"), "limit_price"),
        (route(MARKET, "buy", "1", limit_price="83990"), "split_resting"),
    ],
)
async def test_a_wish_to_wait_says_at_which_price(request_: pb.QuoteRouteRequest, field: str) -> None:
    if field == "limit_price":
        request_.time_in_force = REST
    else:
        request_.split_resting = True
    with pytest.raises(DomainError) as caught:
        await Room(books()).quote(request_)
    assert caught.value.metadata["field"] == field


async def test_the_checker_refuses_what_was_tampered_with() -> None:
    chance = random.Random(SEED + 11)
    for _ in range(samples(150, 1_500)):
        side = chance.choice(("buy", "sell"))
        limit = str(chance.randint(83_900, 84_100))
        room = Room(books(str(chance.randint(1, 9)), str(chance.randint(1, 9))))
        request = wish(side, str(Decimal(chance.randint(20, 900_000)).scaleb(-5)), limit, split=chance.random() < 0.3)
        quote = await room.quote(request)
        assert check_quote(quote) == [], f"seed {SEED}"
        if quote.outcome != FEASIBLE or not quote.inputs.resting:
            continue
        leg = chance.choice(list(quote.legs))
        line = chance.choice(list(leg.costs))
        line.amount = str(Decimal(line.amount) + Decimal("0.000001"))
        assert check_quote(quote) != []
