"""Canonical names and each venue's price rules."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.decimals import Rate, Usd
from services.domain.market import (
    Listing,
    MarketNameError,
    Status,
    canonical_name,
    round_price_down,
    round_price_up,
    round_size_down,
    tick_at,
)

BTC = Listing(
    market="BTC-PERP",
    venue="hyperliquid",
    symbol="BTC",
    venue_market_id=0,
    quote="USDC",
    price_decimals=1,
    price_significant_figures=5,
    size_decimals=5,
    min_size=None,
    min_notional=Usd(Decimal(10)),
    max_leverage=40,
    leverage_tiers=(),
    maker_fee=Rate(Decimal("0.00015")),
    taker_fee=Rate(Decimal("0.00045")),
    funding_interval_s=3600,
    status=Status.ACTIVE,
)
PEPE = replace(BTC, market="1000PEPE-PERP", symbol="kPEPE", price_decimals=6, size_decimals=0)


@pytest.mark.parametrize(
    ("venue", "symbol", "name"),
    [
        ("hyperliquid", "BTC", "BTC-PERP"),
        ("hyperliquid", "kPEPE", "1000PEPE-PERP"),
        ("hyperliquid", "xyz:TSLA", "XYZ-TSLA-PERP"),
        ("hyperliquid", "KAS", "KAS-PERP"),
        ("lighter", "BTC", "BTC-PERP"),
        ("lighter", "1000PEPE", "1000PEPE-PERP"),
        ("lighter", "TSLA", "LIGHTER-TSLA-PERP"),
    ],
)
def test_a_symbol_has_one_canonical_name(venue: str, symbol: str, name: str) -> None:
    assert canonical_name(venue, symbol) == name


@pytest.mark.parametrize("symbol", ["", "A/B", "ETH/USDC", "@107", "#10", "a b", "x:y:z", "é", "A" * 21])
def test_a_symbol_without_a_name_is_refused(symbol: str) -> None:
    with pytest.raises(MarketNameError):
        canonical_name("hyperliquid", symbol)


@pytest.mark.parametrize(
    ("listing", "price", "tick"),
    [
        (BTC, "84143", "1"),
        (BTC, "9999.5", "0.1"),
        (BTC, "123456", "1"),
        (PEPE, "0.004411", "0.000001"),
        (PEPE, "1.5", "0.0001"),
    ],
)
def test_hyperliquids_tick_follows_five_figures_and_never_exceeds_one(listing: Listing, price: str, tick: str) -> None:
    assert tick_at(listing, Decimal(price)) == Decimal(tick)


def test_lighters_tick_is_fixed() -> None:
    lighter = replace(BTC, venue="lighter", price_significant_figures=0)
    assert tick_at(lighter, Decimal("123456")) == Decimal("0.1")


@given(st.decimals("0.000001", "200000", places=6, allow_nan=False, allow_infinity=False))
def test_rounding_stays_on_its_side_and_lands_on_a_tick(price: Decimal) -> None:
    for listing in (BTC, PEPE):
        low, high = round_price_down(listing, price), round_price_up(listing, price)
        assert low <= price <= high
        assert high - low in (0, tick_at(listing, price))
        for rounded in (low, high):
            digits = rounded.normalize().as_tuple()
            assert len(digits.digits) <= 5 or rounded == rounded.to_integral_value() or rounded == 0


def test_sizes_are_cut_to_the_lot() -> None:
    assert round_size_down(BTC, Decimal("1.2345678")) == Decimal("1.23456")
