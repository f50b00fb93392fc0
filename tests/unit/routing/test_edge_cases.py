"""Books, fees, sizes and accounts at their edges, and the answer that the caller sees."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from perpmesh.routing.v1 import quote_pb2
from perpmesh.type.v1 import cost_pb2, refusal_pb2
from perpmesh_client.certificate import check_quote
from perpmesh_client.quotes import route

from services.chassis import call
from services.chassis.principal import Principal
from services.domain.errors import DomainError, Reason
from services.domain.feed import FeedState
from services.routing.model.books import MarketBooks, Status
from services.routing.model.wish import Standing, VenueStanding
from services.routing.rpc.requests import wish_of
from tests.support.desk import MARKET, Room, market_books, venue_book

FEASIBLE, INFEASIBLE = quote_pb2.Quote.OUTCOME_FEASIBLE, quote_pb2.Quote.OUTCOME_INFEASIBLE
BIDS, ASKS = [("83990", "1"), ("83980", "2")], [("84000", "1"), ("84010", "2")]
LIGHTER_BIDS, LIGHTER_ASKS = [("83960", "3"), ("83950", "3")], [("84030", "3"), ("84040", "3")]


def usual(**venues: Any) -> MarketBooks:
    return market_books(
        venue_book("hyperliquid", BIDS, ASKS), venue_book("lighter", LIGHTER_BIDS, LIGHTER_ASKS), **venues
    )


async def quoted(books: MarketBooks, side: str, size: str, **wish: Any) -> quote_pb2.Quote:
    quote = await Room(books).quote(route(MARKET, side, size, **wish))
    assert check_quote(quote) == []
    return quote


def split(quote: quote_pb2.Quote) -> dict[str, str]:
    return {leg.venue: leg.size for leg in quote.legs}


def why(quote: quote_pb2.Quote) -> dict[str, str]:
    reasons = refusal_pb2.RefusalReason
    return {one.venue: reasons.Name(one.reason).removeprefix("REFUSAL_REASON_") for one in quote.refusals}


async def test_a_venue_with_an_empty_book_carries_nothing_and_says_so() -> None:
    books = market_books(venue_book("hyperliquid", BIDS, ASKS), venue_book("lighter"))
    quote = await quoted(books, "buy", "1.5")
    assert split(quote) == {"hyperliquid": "1.5"}
    (other,) = (one for one in quote.alternatives if one.venue == "lighter")
    assert not other.feasible
    assert "carries 0" in other.refusals[0].message


async def test_two_empty_books_are_no_price_at_all() -> None:
    with pytest.raises(DomainError) as caught:
        await quoted(market_books(venue_book("hyperliquid"), venue_book("lighter")), "buy", "1")
    assert caught.value.reason is Reason.NO_LIVE_VENUE
    assert "empty" in caught.value.message


async def test_one_sided_books_trade_on_their_side_alone() -> None:
    books = market_books(venue_book("hyperliquid", (), ASKS), venue_book("lighter", (), LIGHTER_ASKS))
    buy, sell = await quoted(books, "buy", "1"), await quoted(books, "sell", "1")
    assert split(buy) == {"lighter": "1"}
    assert buy.arrival_mid_price == "84000", "there is nothing but the best ask to refer to"
    assert sell.outcome == INFEASIBLE
    assert set(why(sell).values()) == {"INSUFFICIENT_LIQUIDITY"}
    assert "nothing can be traded" in sell.explanation


async def test_crossed_venues_are_no_fault_and_the_better_one_is_taken() -> None:
    books = market_books(
        venue_book("hyperliquid", [("84100", "2")], [("84110", "2")]), venue_book("lighter", BIDS, [("84000", "2")])
    )
    quote = await quoted(books, "buy", "1")
    assert split(quote) == {"lighter": "1"}
    assert quote.arrival_mid_price == "84050"
    assert Decimal(quote.total_cost) == -50, "below the mid price, which is a gain"


async def test_a_book_of_one_level_is_a_book() -> None:
    books = market_books(venue_book("hyperliquid", [], [("84000", "0.5")]), venue_book("lighter", [], [("84030", "1")]))
    quote = await quoted(books, "buy", "1.5")
    assert split(quote) == {"hyperliquid": "0.5", "lighter": "1"}


@pytest.mark.parametrize(
    ("size", "reasons", "nearest"),
    [
        pytest.param("0.000001", {"SIZE_OFF_LOT", "NOTIONAL_TOO_SMALL", "SIZE_TOO_SMALL"}, "0.00012", id="dust"),
        pytest.param("0.0001", {"NOTIONAL_TOO_SMALL", "SIZE_TOO_SMALL"}, "0.00012", id="below every minimum"),
        pytest.param("9.5", {"INSUFFICIENT_LIQUIDITY"}, "9", id="above all depth"),
        pytest.param("1.000001", {"SIZE_OFF_LOT"}, "1", id="off the lot"),
    ],
)
async def test_a_size_that_cannot_be_met_is_answered_with_the_one_that_can(
    size: str, reasons: set[str], nearest: str
) -> None:
    quote = await quoted(usual(), "buy", size)
    assert quote.outcome == INFEASIBLE
    assert set(why(quote).values()) <= reasons
    assert nearest in quote.nearest_sizes
    assert all(one.message and one.given_value == size for one in quote.refusals)
    assert {one.passing_value for one in quote.refusals} == {nearest}
    assert (await quoted(usual(), "buy", nearest)).outcome == FEASIBLE


async def test_a_minimum_on_one_venue_only_sends_small_sizes_to_the_other() -> None:
    books = usual(lighter={"min_size": Decimal(1)}, hyperliquid={"taker_fee": Decimal("0.01")})
    assert split(await quoted(books, "buy", "0.5")) == {"hyperliquid": "0.5"}, "the dearer one is the only one"
    assert split(await quoted(books, "buy", "1")) == {"lighter": "1"}


async def test_a_limit_between_ticks_takes_no_level_beyond_it_and_legs_stay_on_the_grid() -> None:
    quote = await quoted(usual(), "buy", "4", limit_price="84030.05")
    assert split(quote) == {"lighter": "3", "hyperliquid": "1"}
    assert {leg.worst_price for leg in quote.legs} == {"84000", "84030"}
    beyond = await quoted(usual(), "buy", "7", limit_price="84030.05")
    assert beyond.outcome == INFEASIBLE
    assert list(beyond.nearest_sizes) == ["6"]


@pytest.mark.parametrize("fee", ["0", "-0.0001"])
async def test_fees_of_zero_and_rebates_are_lines_like_any_other(fee: str) -> None:
    quote = await quoted(usual(hyperliquid={"taker_fee": Decimal(fee)}), "buy", "1")
    assert split(quote) == {"hyperliquid": "1"}
    (line,) = (one for one in quote.costs if one.kind == cost_pb2.COST_KIND_VENUE_FEE)
    assert Decimal(line.amount) == 84_000 * Decimal(fee)
    assert quote.fee_truncation_bound == "0", "nothing is cut of what is not paid"


@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_the_sign_of_funding_decides_where_a_position_is_held(side: str) -> None:
    wish: dict[str, Any] = {"holding_time": timedelta(days=3)}
    paid = {"funding_rate_hourly": Decimal("0.0001")}
    earned = {"funding_rate_hourly": Decimal("-0.0001")}
    first = await quoted(usual(hyperliquid=paid, lighter=earned), side, "0.5", **wish)
    second = await quoted(usual(hyperliquid=earned, lighter=paid), side, "0.5", **wish)
    long = side == "buy"
    assert set(split(first)) == {"lighter" if long else "hyperliquid"}
    assert set(split(second)) == {"hyperliquid" if long else "lighter"}
    for quote in (first, second):
        (line,) = (one for one in quote.costs if one.kind == cost_pb2.COST_KIND_FUNDING)
        assert Decimal(line.amount) == -(Decimal("0.0001") * 84_000 * 72 * Decimal("0.5")), "it is earned"


async def test_the_holding_time_at_which_funding_turns_the_choice_is_told_and_holds() -> None:
    books = usual(lighter={"funding_rate_hourly": Decimal("0.0002")})
    now = await quoted(books, "buy", "0.5", holding_time=timedelta(seconds=1))
    assert set(split(now)) == {"lighter"}
    assert now.break_even_venue == "hyperliquid"
    turn = timedelta(seconds=now.break_even_holding_time.seconds)
    before = await quoted(books, "buy", "0.5", holding_time=turn - timedelta(seconds=60))
    after = await quoted(books, "buy", "0.5", holding_time=turn + timedelta(seconds=60))
    assert (set(split(before)), set(split(after))) == ({"lighter"}, {"hyperliquid"})


def account(venue: str, position: str, **more: Any) -> VenueStanding:
    return VenueStanding(
        account_id=f"00000000-0000-7000-8000-00000000000{len(venue) % 10}", position_size=Decimal(position), **more
    )


OWN = Standing(
    by_venue={"hyperliquid": account("hyperliquid", "0.30001"), "lighter": account("lighter", "-0.2")}, is_public=False
)


@pytest.fixture
def signed_in() -> Any:
    mark = call.CURRENT.set(
        call.Call(request_id="1", method="m", principal=Principal(user="0197d2a0-7b1c-7000-8000-000000000001"))
    )
    yield
    call.CURRENT.reset(mark)


@pytest.mark.usefixtures("signed_in")
async def test_reduce_only_never_plans_more_than_the_position_to_reduce() -> None:
    request = route(MARKET, "sell", "0.5")
    request.reduce_only = True
    quote = await Room(usual(), OWN).quote(request)
    assert check_quote(quote) == []
    assert quote.outcome == INFEASIBLE
    assert set(why(quote).values()) == {"REDUCE_ONLY"}
    assert list(quote.nearest_sizes) == ["0.30001"], "all of the long position, and nothing of the short one"
    request.size = "0.30001"
    assert split(await Room(usual(), OWN).quote(request)) == {"hyperliquid": "0.30001"}
    back = route(MARKET, "buy", "0.2")
    back.reduce_only = True
    assert split(await Room(usual(), OWN).quote(back)) == {"lighter": "0.2"}, "a buy reduces the short position"


@pytest.mark.usefixtures("signed_in")
async def test_what_is_left_of_a_position_may_be_closed_below_the_smallest_notional_where_the_venue_waives_it() -> None:
    standing = Standing(by_venue={"hyperliquid": account("hyperliquid", "0.00005")}, is_public=False)
    request = route(MARKET, "sell", "0.00005")
    request.reduce_only = True
    assert split(await Room(usual(), standing).quote(request)) == {"hyperliquid": "0.00005"}


@pytest.mark.usefixtures("signed_in")
async def test_margin_bounds_what_opens_and_not_what_closes() -> None:
    thin = Standing(
        by_venue={"hyperliquid": account("hyperliquid", "0.5", free_margin=Decimal(840), leverage=10)}, is_public=False
    )
    buy = await Room(usual(), thin).quote(route(MARKET, "buy", "0.5"))
    assert buy.outcome == INFEASIBLE
    assert why(buy) == {"hyperliquid": "INSUFFICIENT_MARGIN"}
    assert (await Room(usual(), thin).quote(route(MARKET, "sell", "0.5"))).outcome == FEASIBLE


@pytest.mark.usefixtures("signed_in")
async def test_margin_counts_with_the_greatest_leverage_where_none_is_known_to_be_set() -> None:
    books = usual()
    (most,) = {rules.max_leverage for rules in books.rules if rules.venue == "hyperliquid"}
    margin = 84_000 * Decimal("0.3") / most
    thin = Standing(by_venue={"hyperliquid": account("hyperliquid", "0", free_margin=margin)}, is_public=False)
    buy = await Room(books, thin).quote(route(MARKET, "buy", "0.5"))
    assert why(buy) == {"hyperliquid": "INSUFFICIENT_MARGIN"}
    (nearest,) = buy.nearest_sizes
    assert Decimal("0.29") < Decimal(nearest) <= Decimal("0.31")


@pytest.mark.parametrize(
    ("state", "reason"), [(FeedState.STALE, "VENUE_STALE"), (FeedState.RECOVERING, "VENUE_RECOVERING")]
)
async def test_a_venue_that_is_not_live_is_left_out_and_named(state: FeedState, reason: str) -> None:
    books = market_books(
        venue_book("hyperliquid", BIDS, ASKS),
        venue_book("lighter", LIGHTER_BIDS, [("1", "9")], state=state, reason="no frame for 5 s"),
    )
    quote = await quoted(books, "buy", "1")
    assert split(quote) == {"hyperliquid": "1"}, "however good its old price was"
    (left,) = quote.left_out
    assert refusal_pb2.RefusalReason.Name(left.reason) == f"REFUSAL_REASON_{reason}"
    assert "no frame for 5 s" in left.message
    with pytest.raises(DomainError) as caught:
        await quoted(books, "buy", "1", venues=["lighter"])
    assert caught.value.reason is Reason.NO_LIVE_VENUE
    assert caught.value.metadata["lighter"] == reason


async def test_who_allows_no_venue_or_has_no_account_is_not_told_that_no_venue_lives() -> None:
    with pytest.raises(DomainError) as caught:
        await quoted(usual(), "buy", "1", excluded=["hyperliquid", "lighter"])
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.FIELD_INVALID, "excluded_venues")
    room = Room(usual(), Standing(is_public=False))
    with pytest.raises(DomainError) as caught:
        await room.desk.plan(wish_of(route(MARKET, "sell", "1")), ())
    assert caught.value.reason is Reason.STATE_FORBIDS
    assert caught.value.metadata["lighter"] == "NO_ACCOUNT"


async def test_a_market_that_is_halted_at_one_venue_is_traded_at_the_other() -> None:
    quote = await quoted(usual(lighter={"status": Status.HALTED}), "buy", "1")
    assert split(quote) == {"hyperliquid": "1"}
    assert [one.venue for one in quote.left_out] == ["lighter"]
