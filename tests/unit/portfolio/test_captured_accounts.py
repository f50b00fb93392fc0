"""Margins, profits, fees and liquidation prices of captured accounts, computed again. Counts are printed; what no
capture checks is in the last test, and docs/portfolio.md says so."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from services.domain.decimals import rounding
from services.portfolio.model.liquidation import VERIFIED, liquidation_price, solve
from services.portfolio.model.margin import (
    Holding,
    MarketRules,
    available,
    fraction_tier,
    leverage_tiers,
    stand,
    withdrawable,
)
from services.portfolio.model.rounding import ZERO, cut_to
from services.portfolio.model.values import MarginMode

FIXTURES = Path(os.environ.get("PERPMESH_FIXTURES", "/nonexistent"))
captured = pytest.mark.skipif(not FIXTURES.is_dir(), reason="PERPMESH_FIXTURES is not set: captures are not there")
D = Decimal


@pytest.fixture(autouse=True)
def _rounding() -> Any:
    with rounding():
        yield


def hl_rules(market: str, *rows: tuple[int, int]) -> MarketRules:
    return MarketRules(venue="hyperliquid", market=market, tiers=leverage_tiers([(D(low), lev) for low, lev in rows]))


def state_of_2023() -> dict[str, Any]:
    path = FIXTURES / "hyperliquid" / "sdk_cassettes" / "test_get_user_state.json"
    body: dict[str, Any] = json.loads(path.read_text())["interactions"][0]["response"]["body"]
    return body


@captured
def test_a_hyperliquid_account_of_twelve_positions_is_computed_to_the_digit() -> None:
    """March 2023: unrealized profit, initial margin, returns, sums, withdrawable (its year knew no tenth)."""
    body = state_of_2023()
    holdings, checked = [], 0
    for said in (one["position"] for one in body["assetPositions"]):
        size, entry, notional = D(said["szi"]), D(said["entryPx"]), D(said["positionValue"])
        held = Holding(
            market=said["coin"], size=size, cost=abs(size) * entry, mark=notional / abs(size),
            leverage=D(said["leverage"]["value"]),
        )  # fmt: skip
        # The entry is printed with five or six figures, so profit is known to that; the rest is exact.
        assert abs(held.profit - D(said["unrealizedPnl"])) <= abs(size) * D("0.00051")
        assert cut_to(held.initial, 6) == D(said["marginUsed"])
        returned = D(said["unrealizedPnl"]) / D(said["marginUsed"])  # as its year counted it
        assert abs(returned - D(said["returnOnEquity"])) < D("1e-6")
        holdings.append(held)
        checked += 3
    summary = body["crossMarginSummary"]
    raw = D(summary["totalRawUsd"])
    cash = raw + sum((held.cost if held.size > 0 else -held.cost for held in holdings), ZERO)
    rules = {held.market: hl_rules(held.market, (0, 50)) for held in holdings}
    standing = stand(holdings, rules, cash)
    assert cut_to(standing.value, 6) == D(summary["accountValue"])
    assert cut_to(standing.notional, 6) == D(summary["totalNtlPos"])
    assert cut_to(standing.initial, 6) == D(summary["totalMarginUsed"])
    # The venue takes the sum of initial margins as it prints it, cut to a unit.
    free = withdrawable("hyperliquid", standing, tenth=False)
    assert free + standing.initial - cut_to(standing.initial, 6) == D(body["withdrawable"])
    print(f"\nhyperliquid 2023: {len(holdings)} positions, {checked + 4} values equal")


@captured
def test_one_maintenance_rate_explains_every_liquidation_price_of_that_account() -> None:
    """Five prices, one unknown: the rate of 2023, which the capture does not print."""
    body = state_of_2023()
    value = D(body["marginSummary"]["accountValue"])
    said = [one["position"] for one in body["assetPositions"]]
    total = sum((D(one["positionValue"]) for one in said), ZERO)
    dying = [one for one in said if one["liquidationPx"]]
    first = dying[0]
    size, notional, price = D(first["szi"]), D(first["positionValue"]), D(first["liquidationPx"])
    rate = (value + size * (price - notional / abs(size))) / (total - notional + abs(size) * price)
    tier = fraction_tier(rate, 50)
    for one in said:
        size, notional = D(one["szi"]), D(one["positionValue"])
        rules = MarketRules(venue="hyperliquid", market=one["coin"], tiers=tier)
        found = solve(rules, size, notional / abs(size), value, (total - notional) * rate)
        if one["liquidationPx"] is None:
            assert found is None
        else:
            assert found is not None
            assert abs(found - D(one["liquidationPx"])) < D("0.00001"), one["coin"]
    absent = len(said) - len(dying)
    print(f"\nhyperliquid 2023: {len(dying)} liquidation prices, {absent} absences, one rate {rate:.9f}")


@captured
def test_the_second_captured_summary_agrees() -> None:
    path = FIXTURES / "hyperliquid" / "nautilus_test_data" / "http_clearinghouse_state_negative_total_raw_usd.json"
    body = json.loads(path.read_text())
    summary = body["crossMarginSummary"]
    value, notional = D(summary["accountValue"]), D(summary["totalNtlPos"])
    assert D(summary["totalRawUsd"]) + notional == value
    assert value - D(summary["totalMarginUsed"]) == D(body["withdrawable"])  # the tenth would leave nothing
    print("\nhyperliquid undated: withdrawable equals value less initial margin; the tenth rule does not hold in it")


@captured
def test_lighter_accounts_are_computed_to_the_digit() -> None:
    checked = 0
    path = FIXTURES / "lighter" / "nautilus" / "ws_user_stats_with_position.json"
    stats = json.loads(path.read_text())["stats"]
    value, free = D(stats["portfolio_value"]), D(stats["available_balance"])
    initial = value - free
    assert cut_to(initial / value * 100, 2) in (D(stats["margin_usage"]), D(stats["margin_usage"]) - D("0.01"))
    assert cut_to(initial / D("0.05") / value, 2) == D(stats["leverage"])  # at an initial fraction of 5 %
    checked += 2
    for name in ("nautilus/http_account.json", "nautilus_pr_dec2025/http/mainnet_account_index_659514.json"):
        said = json.loads((FIXTURES / "lighter" / name).read_text())
        said = said.get("response", {}).get("body", said)
        for account in said["accounts"]:
            standing = stand([], {}, D(account["collateral"]))
            assert standing.value == D(account["total_asset_value"]) == D(account["cross_asset_value"])
            assert available(standing) == D(account["available_balance"])
            checked += 3
    print(f"\nlighter: {checked} values of 3 accounts equal")


@captured
def test_fees_of_captured_fills_are_the_rate_cut_to_six_decimals() -> None:
    path = FIXTURES / "hyperliquid" / "nautilus_test_data" / "ws_user_fill_liquidation.json"
    (one,) = json.loads(path.read_text())["data"]["fills"]
    assert cut_to(D(one["px"]) * D(one["sz"]) * D("0.00015"), 6) == D(one["fee"])
    print("\nhyperliquid: the fee of 1 fill (others are zero, or spot)")


# What the venue pages quote of captured accounts that are not among the fixtures, to the digit.


def test_an_isolated_hyperliquid_position_is_liquidated_where_the_venue_says() -> None:
    held = Holding(
        market="HYPE-PERP", size=D(2), cost=D("75.658"), mark=D("37.826"), leverage=D(10), mode=MarginMode.ISOLATED,
        collateral=D("-68.126246") + D("75.658"),
    )  # fmt: skip
    rules = {"HYPE-PERP": hl_rules("HYPE-PERP", (0, 10), (20_000_000, 5))}
    assert held.value == D("7.525754")
    price = liquidation_price(held, [held], rules, D("75.781884"))
    assert price is not None
    assert round(price, 10) == D("35.8559189474")
    standing = stand([held], rules, D("75.781884"))
    assert (standing.value, standing.equity) == (D("75.781884"), D("83.307638"))


def test_maintenance_margin_of_a_second_tier_is_what_the_venue_says() -> None:
    rules = hl_rules("BTC-PERP", (0, 40), (10_000, 25), (50_000, 10))  # the testnet's
    assert rules.maintenance(D("12073.655")) == D("166.4731")
    assert rules.maintenance(D("47.66235")) == D("0.595779375")


def test_withdrawable_keeps_a_tenth_of_the_notional() -> None:
    held = Holding(market="X-PERP", size=D(1), cost=D("47.66235"), mark=D("47.66235"), leverage=D(20))
    standing = stand([held], {"X-PERP": hl_rules("X-PERP", (0, 40))}, D("179.007426"))
    assert withdrawable("hyperliquid", standing) == D("174.241191")
    assert cut_to(standing.initial, 6) == D("2.383117")


def test_a_lighter_account_is_computed_as_the_venue_does() -> None:
    held = Holding(
        market="ETH-PERP", size=D("18.0193"), cost=D("54306.56634") - D("6197.829558"),
        mark=D("54306.56634") / D("18.0193"), leverage=D(20),
    )  # fmt: skip
    rules = {
        "ETH-PERP": MarketRules(venue="lighter", market="ETH-PERP", tiers=fraction_tier(D("0.012"), 50)),
    }
    standing = stand([held], rules, D("9100.242706"))
    assert cut_to(standing.value, 6) == D("15298.072264")
    assert cut_to(available(standing), 6) == D("12582.743947")
    price = liquidation_price(held, [held], rules, D("9100.242706"))
    assert price is not None
    assert round(price, 11) == D("2191.11072313804")


def test_what_no_capture_checks_is_marked_unverified() -> None:
    assert ("lighter", MarginMode.ISOLATED) not in VERIFIED
