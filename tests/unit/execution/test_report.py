"""What an order came to: the parts add up to the last digit whatever happened, and each scripted cause has its name."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from services.domain.decimals import rounding
from services.execution.model.charged import UNIT, charged_rate
from services.execution.model.leg import Leg, LegState, Role
from services.execution.model.order import Order
from services.execution.model.phases import PhaseKind
from services.execution.model.quoted import Levels, Quoted, QuotedLeg, Rates, enough, joined, replaced
from services.execution.model.report import report
from services.execution.model.reported import Cause, Filled, Report, Seen
from services.venues.actions import OrderType, Side, TimeInForce

NOW = datetime(2026, 11, 27, tzinfo=UTC)
D = Decimal
ZERO = D(0)
ASKS: Levels = ((D("100.5"), D("1")), (D("101"), D("2")), (D("103"), D("50")))
RATES = Rates(taker=D("0.00045"), maker=D("0.00015"))


def leg(number: int = 1, **changes: object) -> Leg:
    made = Leg(
        leg_id=UUID(int=number), number=number, venue="lighter", account_id=UUID(int=8), market="BTC-PERP",
        venue_market_id=1, side=Side.BUY, size=D("2"), limit_price=D("110"), type=OrderType.MARKET,
        time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL, reduce_only=False, client_id=str(number), create_time=NOW,
        update_time=NOW, submit_time=NOW + timedelta(milliseconds=4), state=LegState.FILLED,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def order(*legs: Leg) -> Order:
    return Order(
        order_id=UUID(int=90), user_id=UUID(int=91), request_id=UUID(int=92), digest=b"", market="BTC-PERP",
        side=legs[0].side, size=sum((one.size for one in legs), ZERO), type=OrderType.MARKET, limit_price=None,
        time_in_force=legs[0].time_in_force, reduce_only=False, client_order_id="", quote_id=UUID(int=93),
        max_slippage_bps=None, legs=legs, create_time=NOW, update_time=NOW,
    )  # fmt: skip


def quoted(*legs: QuotedLeg, mid: str = "100") -> Quoted:
    size = sum((one.size for one in legs), ZERO)
    return Quoted(quote_id=UUID(int=93), arrival_mid_price=D(mid), size=size, legs=legs, accept_us=1_500)


def wanted(one: Leg, levels: Levels | None = ASKS, rates: Rates = RATES) -> QuotedLeg:
    return QuotedLeg(
        venue=one.venue, size=one.size, rates=rates, levels=levels, rest_at=one.limit_price, rests=one.may_rest,
        limit=one.limit_price if one.may_rest else None, leg_id=one.leg_id,
    )  # fmt: skip


def taken(levels: Levels, size: Decimal, rate: Decimal = RATES.taker, *, maker: bool = False) -> list[Filled]:
    """Return the fills of a size at a book, their fees cut as venues do."""
    found, left = [], size
    for price, there in levels:
        part = min(left, there)
        if part:
            with rounding():
                fee = (price * part * rate).quantize(UNIT, rounding=ROUND_DOWN)
            found.append(_filled(price, part, fee, maker=maker))
        left -= part
    return found


def _filled(price: Decimal, size: Decimal, fee: Decimal, *, maker: bool = False) -> Filled:
    return Filled(
        price=price, size=size, is_maker=maker, fee=fee, interface_fee=ZERO,
        receive_time=NOW + timedelta(milliseconds=204),
    )  # fmt: skip


def of(one: Leg, fills: list[Filled], seen: Seen = Seen(), quote: Quoted | None = None) -> Report:  # noqa: B008 - a value
    filled = sum((each.size for each in fills), ZERO)
    notional = sum((each.size * each.price for each in fills), ZERO)
    told = replace(one, filled=filled, notional=notional)
    return report(order(told), quote or quoted(wanted(one)), {one.leg_id: fills}, {one.leg_id: seen}, NOW)


def causes(made: Report) -> dict[Cause, Decimal]:
    assert sum((one.amount for one in made.attributions), ZERO) == made.difference
    return {one.cause: one.amount for one in made.attributions}


def test_a_book_that_stood_still_makes_no_difference() -> None:
    made = of(leg(), taken(ASKS, D(2)), Seen(sent=ASKS, is_whole=True))
    assert made.difference == 0
    assert causes(made) == {Cause.UNEXPLAINED: 0}
    assert [(line.kind.value, line.quoted, line.achieved) for line in made.lines] == [
        ("BOOK", D("1.5"), D("1.5")), ("VENUE_FEE", D("0.090675"), D("0.090675")), ("PLATFORM_FEE", ZERO, ZERO),
    ]  # fmt: skip
    assert "no difference" in made.explanation


def test_a_book_that_moved_before_the_sending_is_named_with_the_fees_it_moved() -> None:
    moved = tuple((price + 1, size) for price, size in ASKS)
    made = of(leg(), taken(moved, D(2)), Seen(sent=moved, is_whole=True))
    assert causes(made) == {Cause.BOOK_MOVED: D("2") * (1 + RATES.taker), Cause.UNEXPLAINED: 0}


def test_a_book_that_moved_after_the_sending_is_latency() -> None:
    moved = tuple((price + 1, size) for price, size in ASKS)
    left = moved[1:]
    made = of(leg(), taken(moved, D(2)), Seen(sent=ASKS, after=[ASKS, moved, left], is_whole=True))
    assert causes(made) == {Cause.LATENCY: D("2") * (1 + RATES.taker), Cause.UNEXPLAINED: 0}


def test_what_is_not_filled_is_named_and_costs_nothing() -> None:
    made = of(leg(), taken(ASKS, D(1)), Seen(sent=ASKS, is_whole=True))
    assert causes(made) == {Cause.PARTIAL_FILL: D("-1.04545"), Cause.UNEXPLAINED: 0}
    nothing = of(leg(state=LegState.CANCELED), [], Seen(sent=(), is_whole=True))
    assert causes(nothing) == {Cause.PARTIAL_FILL: -nothing.quoted_cost, Cause.UNEXPLAINED: 0}
    assert nothing.difference_bps is None


def test_another_fee_tier_is_told_from_the_fees_and_the_cut_digits_apart() -> None:
    odd = ((D("100.37"), D("0.00123")), (D("101.11"), D("9")))
    one = leg(size=D("2"))
    fills = taken(odd, D(2), D("0.0004"))
    made = of(one, fills, Seen(sent=odd, is_whole=True), quoted(wanted(one, odd)))
    notional = sum((each.price * each.size for each in fills), ZERO)
    found = causes(made)
    assert found[Cause.FEE_TIER] == notional * D("-0.00005")
    assert -2 * UNIT < found[Cause.ROUNDING] <= 0
    assert set(found) == {Cause.FEE_TIER, Cause.ROUNDING, Cause.UNEXPLAINED}
    assert found[Cause.UNEXPLAINED] == 0


def test_a_venue_that_fills_worse_than_any_book_it_showed_is_named() -> None:
    worse = [_filled(D("104"), D(2), D("0.0936"))]
    made = of(leg(), worse, Seen(sent=ASKS, after=[ASKS], is_whole=True))
    assert causes(made) == {Cause.VENUE: D("6.5") * (1 + RATES.taker), Cause.UNEXPLAINED: 0}
    blind = of(leg(), worse, Seen(sent=ASKS))
    assert causes(blind) == {Cause.UNEXPLAINED: D("6.5") * (1 + RATES.taker)}


def test_an_order_that_rested_as_expected_makes_no_difference_and_one_that_rested_instead_of_taking_is_explained() -> (
    None
):
    rests = leg(limit_price=D("99"), time_in_force=TimeInForce.GOOD_TILL_CANCELED)
    made = of(rests, taken(((D("99"), D(2)),), D(2), RATES.maker, maker=True))
    assert causes(made) == {Cause.UNEXPLAINED: 0}
    crossing = leg(limit_price=D("101"), time_in_force=TimeInForce.GOOD_TILL_CANCELED)
    gone: Levels = ((D("101.5"), D(9)),)
    filled = taken(((D("101"), D(2)),), D(2), RATES.maker, maker=True)
    made = of(crossing, filled, Seen(sent=ASKS, after=[gone], is_whole=True))
    found = causes(made)
    assert found[Cause.LATENCY] != 0
    assert set(found) == {Cause.LATENCY, Cause.UNEXPLAINED}


def test_a_leg_beyond_the_plan_is_policy_and_a_planned_leg_that_was_never_made_is_not_filled() -> None:
    first, second = leg(1), leg(2, venue="hyperliquid")
    legs = tuple(replace(one, filled=D(2), notional=D("201.5")) for one in (first, second))
    fills = {one.leg_id: taken(ASKS, D(2)) for one in legs}
    seen = {one.leg_id: Seen(sent=ASKS, is_whole=True) for one in legs}
    dropped = replace(wanted(second), leg_id=None)
    made = report(order(*legs), quoted(wanted(first), dropped), fills, seen, NOW)
    found = {(one.cause, one.venue): one.amount for one in made.attributions if one.amount}
    cost = D("1.5") + D("0.090675")
    assert found == {(Cause.PARTIAL_FILL, "hyperliquid"): -cost, (Cause.POLICY, "hyperliquid"): cost}
    assert made.difference == 0


def test_new_terms_of_the_owner_are_measured_from_when_they_hold() -> None:
    old = leg(
        1, limit_price=D("99"), time_in_force=TimeInForce.GOOD_TILL_CANCELED, state=LegState.CANCELED, size=D(3),
        filled=D(1), notional=D(99),
    )  # fmt: skip
    fresh = replace(old, leg_id=UUID(int=2), number=2, size=D(2), limit_price=D("99.5"), filled=D(2), notional=D(199))
    quote = replaced(quoted(wanted(old)), old, fresh, ASKS)
    assert quote.size == 3
    fills = {
        old.leg_id: taken(((D("99"), D(1)),), D(1), RATES.maker, maker=True),
        fresh.leg_id: taken(((D("99.5"), D(2)),), D(2), RATES.maker, maker=True),
    }
    assert causes(report(order(old, fresh), quote, fills, {}, NOW)) == {Cause.UNEXPLAINED: 0}


def test_steps_are_timed_by_our_own_clock() -> None:
    one = leg(acknowledge_time=NOW + timedelta(milliseconds=104))
    phases = {(phase.kind, phase.leg_id): phase.duration for phase in of(one, taken(ASKS, D(2))).phases}
    ms = timedelta(milliseconds=1)
    assert phases[PhaseKind.ACCEPT, None] == 1.5 * ms
    assert phases[PhaseKind.SIGN, one.leg_id] == 2.5 * ms
    assert phases[PhaseKind.ACKNOWLEDGE, one.leg_id] == 100 * ms
    assert phases[PhaseKind.LAST_FILL, None] == phases[PhaseKind.LAST_FILL, one.leg_id] == 200 * ms


prices = st.integers(9_000, 11_000).map(lambda units: D(units).scaleb(-2))
sizes = st.integers(1, 500_000).map(lambda units: D(units).scaleb(-5))
books = st.dictionaries(prices, sizes, min_size=1, max_size=5).map(lambda levels: tuple(sorted(levels.items())))
rates = st.integers(-200, 900).map(lambda units: D(units).scaleb(-6))
fee_rates = st.builds(Rates, taker=rates, maker=rates, interface=st.sampled_from([ZERO, D("0.0001")]))
fills_of = st.lists(
    st.builds(
        Filled, price=prices, size=sizes, is_maker=st.booleans(), interface_fee=st.sampled_from([ZERO, D("0.01")]),
        fee=st.integers(-10**6, 10**7).map(lambda units: D(units).scaleb(-6)), receive_time=st.just(NOW),
    ),
    max_size=4,
)  # fmt: skip


@given(st.data())
def test_the_parts_add_up_exactly_whatever_happened(data: st.DataObject) -> None:
    legs, quotes, fills, seen = [], [], {}, {}
    side = data.draw(st.sampled_from(Side))
    for number in range(1, data.draw(st.integers(1, 3)) + 1):
        tif = data.draw(st.sampled_from([TimeInForce.IMMEDIATE_OR_CANCEL, TimeInForce.GOOD_TILL_CANCELED]))
        venue = data.draw(st.sampled_from(["lighter", "hyperliquid"]))
        mine = data.draw(fills_of)
        one = leg(
            number, venue=venue, side=side, size=data.draw(sizes), limit_price=data.draw(prices), time_in_force=tif,
            filled=sum((each.size for each in mine), ZERO),
            notional=sum((each.size * each.price for each in mine), ZERO),
        )  # fmt: skip
        legs.append(one)
        fills[one.leg_id] = mine
        if data.draw(st.booleans()):
            seen[one.leg_id] = Seen(
                sent=data.draw(st.none() | books), after=data.draw(st.lists(books, max_size=3)),
                is_whole=data.draw(st.booleans()),
            )  # fmt: skip
        if data.draw(st.integers(0, 4)):
            plan = wanted(one, data.draw(st.none() | books), data.draw(fee_rates))
            quotes.append(plan if data.draw(st.integers(0, 4)) else replace(plan, leg_id=None))
    made = report(order(*legs), quoted(*quotes, mid="100.37"), fills, seen, NOW)
    with rounding():
        assert sum((one.amount for one in made.attributions), ZERO) == made.difference
        assert sum((line.difference for line in made.lines), ZERO) == made.difference
        assert made.achieved_cost - made.quoted_cost == made.difference
        achieved = sum((line.achieved for each in made.legs for line in each.lines), ZERO)
        assert achieved == made.achieved_cost
        traded = sum((each.price * each.size * side.sign for mine in fills.values() for each in mine), ZERO)
        paid = sum((each.fee + each.interface_fee for mine in fills.values() for each in mine), ZERO)
        size = sum((each.size for mine in fills.values() for each in mine), ZERO)
        assert made.achieved_cost == traded - side.sign * D("100.37") * size + paid, "what was paid, and nothing else"
    assert sum(1 for one in made.attributions if one.cause is Cause.UNEXPLAINED) >= 1


@given(
    st.lists(st.tuples(prices, sizes), min_size=1, max_size=6),
    st.integers(0, 1_000).map(lambda units: D(units).scaleb(-6)),
    st.integers(0, 1_000).map(lambda units: D(units).scaleb(-6)),
)
def test_a_rate_told_from_cut_fees_charges_what_was_charged(
    trades: list[tuple[Decimal, Decimal]], true: Decimal, quote: Decimal
) -> None:
    pairs = []
    for price, size in trades:
        with rounding():
            pairs.append((price * size, (price * size * true).quantize(UNIT, rounding=ROUND_DOWN)))
    found = charged_rate(pairs, quote)
    assert found is not None
    assert all(abs(fee - notional * found) < UNIT for notional, fee in pairs)
    if all(abs(fee - notional * quote) < UNIT for notional, fee in pairs):
        assert found == quote


def test_a_book_is_kept_as_deep_as_a_size_needs_and_one_level_more() -> None:
    assert enough(ASKS, D("0.5")) == ASKS[:2]
    assert enough(ASKS, D("3")) == ASKS


def test_an_exit_is_beyond_the_plan_and_measured_from_its_trigger() -> None:
    entry = leg()
    stop = leg(
        2, role=Role.STOP_LOSS, entry=1, part=1, side=Side.SELL, trigger_price=D("90"), limit_price=D("81"),
        type=OrderType.STOP_MARKET, time_in_force=TimeInForce.GOOD_TILL_CANCELED, reduce_only=True, filled=D(2),
        submit_time=NOW + timedelta(hours=3),
    )  # fmt: skip
    fills = {entry.leg_id: taken(ASKS, D(2)), stop.leg_id: [_filled(D("89.5"), D(2), D("0.08"))]}
    told = order(replace(entry, filled=D(2)), stop)
    made = report(told, quoted(wanted(entry)), fills, {entry.leg_id: Seen(sent=ASKS, is_whole=True)}, NOW)
    assert causes(made) == {Cause.POLICY: D("1.08"), Cause.UNEXPLAINED: 0}  # half a dollar twice, and its fee
    last = [one for one in made.phases if one.kind is PhaseKind.LAST_FILL and one.leg_id is None]
    assert [one.duration for one in last] == [timedelta(milliseconds=200)]
    assert (PhaseKind.SIGN, stop.leg_id) not in [(one.kind, one.leg_id) for one in made.phases]


def test_slices_are_each_compared_with_their_own_plan_and_measured_from_the_arrival() -> None:
    moved = tuple((price + 2, size) for price, size in ASKS)
    later = NOW + timedelta(seconds=30)
    one, two = (leg(number, role=Role.SLICE, part=number, create_time=later) for number in (1, 2))
    arrival = Quoted(quote_id=None, arrival_mid_price=D(100), size=ZERO, legs=())
    plan = joined(joined(arrival, quoted(wanted(one))), quoted(wanted(two, moved), mid="102"))
    assert (plan.size, plan.arrival_mid_price, plan.quote_id) == (D(4), D(100), None)
    fills = {one.leg_id: taken(ASKS, D(2)), two.leg_id: taken(moved, D(2))}
    told = order(replace(one, filled=D(2)), replace(two, filled=D(2)))
    seen = {one.leg_id: Seen(sent=ASKS, is_whole=True), two.leg_id: Seen(sent=moved, is_whole=True)}
    made = report(told, plan, fills, seen, NOW)
    assert made.difference == 0
    assert made.lines[0].achieved == D("1.5") + D("5.5")  # two dollars more than at the arrival, for each of two
