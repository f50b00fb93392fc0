"""What would come of a leg: what it binds, and each reason why it would not pass, with a value that would."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.refusal import RefusalReason
from services.execution.model.leg import Leg
from services.execution.model.listing import Listing
from services.execution.model.preview import PreviewLeg, Standing, preview_leg
from services.execution.model.quoted import QuotedLeg, Rates
from services.venues.actions import OrderType, Side, TimeInForce

NOW = datetime(2026, 11, 27, tzinfo=UTC)
D = Decimal
RATES = Rates(taker=D("0.00045"), maker=D("0.00015"))
LISTING = Listing(rates=RATES, lot=D("0.01"), tick=D("0.1"), min_size=D("0.02"), min_notional=D("10"), max_leverage=20)
RICH = Standing(free_margin=D("1000"), position=D(0), leverage=D(10))
ASKS = ((D("101"), D("5")), (D("102"), D("5")))


def leg(size: str = "1", **changes: object) -> Leg:
    made = Leg(
        leg_id=UUID(int=7), number=1, venue="lighter", account_id=UUID(int=8), market="BTC-PERP", venue_market_id=1,
        side=Side.BUY, size=D(size), limit_price=D("100"), type=OrderType.LIMIT, reduce_only=False, client_id="1",
        time_in_force=TimeInForce.GOOD_TILL_CANCELED, create_time=NOW, update_time=NOW,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def look(one: Leg, standing: Standing = RICH) -> PreviewLeg:
    quoted = QuotedLeg(
        venue=one.venue, size=one.size, rates=RATES, levels=ASKS, limit=one.limit_price, rest_at=one.limit_price,
        rests=one.may_rest, leg_id=one.leg_id,
    )  # fmt: skip
    return preview_leg(one, quoted, D("100.5"), standing, LISTING)


def test_a_leg_that_passes_says_what_it_costs_and_binds() -> None:
    seen = look(leg())
    assert seen.refusals == ()
    assert seen.initial_margin == 10
    assert sum(seen.costs.values()) == D("-0.5") + 100 * RATES.maker
    assert seen.max_size == 100


@pytest.mark.parametrize(
    ("one", "standing", "reason", "passing"),
    [
        (leg("0.01"), RICH, RefusalReason.SIZE_TOO_SMALL, "0.1"),
        (leg("0.05"), RICH, RefusalReason.NOTIONAL_TOO_SMALL, "0.1"),
        (leg("200"), RICH, RefusalReason.INSUFFICIENT_MARGIN, "100"),
        (leg("200"), replace(RICH, position=D("-20")), RefusalReason.INSUFFICIENT_MARGIN, "120"),
        (leg(reduce_only=True), replace(RICH, position=D("-0.5")), RefusalReason.REDUCE_ONLY, "0.5"),
        (leg(reduce_only=True), replace(RICH, position=D("3")), RefusalReason.REDUCE_ONLY, ""),
        (
            leg(limit_price=D("101.5"), time_in_force=TimeInForce.POST_ONLY), RICH, RefusalReason.POST_ONLY_CROSSED,
            "100.9",
        ),
    ],
)  # fmt: skip
def test_each_reason_comes_with_a_value_that_would_pass(
    one: Leg, standing: Standing, reason: RefusalReason, passing: str
) -> None:
    (refusal,) = look(one, standing).refusals
    assert (refusal.reason, refusal.passing_value) == (reason, passing)
    if passing:
        mended = {"size": {"size": D(passing)}, "limit_price": {"limit_price": D(passing)}}[refusal.field]
        assert look(replace(one, **mended), standing).refusals == ()  # type: ignore[arg-type]


def test_what_closes_binds_nothing_and_what_is_not_known_is_not_said() -> None:
    assert look(leg("5"), replace(RICH, position=D("-8"))).initial_margin == 0
    blind = look(leg(), Standing(free_margin=None, position=None, leverage=None))
    assert (blind.initial_margin, blind.max_size, blind.refusals) == (None, None, ())


@given(
    st.integers(1, 100_000).map(lambda units: D(units).scaleb(-2)),
    st.integers(-5_000, 5_000).map(lambda units: D(units).scaleb(-2)),
    st.integers(0, 1_000_000).map(lambda units: D(units).scaleb(-3)),
)
def test_the_largest_size_passes_and_one_lot_more_does_not(price: Decimal, position: Decimal, free: Decimal) -> None:
    standing = Standing(free_margin=free, position=position, leverage=D(10))
    most = look(leg(limit_price=price), standing).max_size
    assert most is not None
    dear = RefusalReason.INSUFFICIENT_MARGIN
    if most:
        assert dear not in {one.reason for one in look(leg(str(most), limit_price=price), standing).refusals}
    more = look(leg(str(most + LISTING.lot), limit_price=price), standing)
    assert dear in {one.reason for one in more.refusals}
