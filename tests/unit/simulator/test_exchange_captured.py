"""Margins, profits, fees and figures recomputed from captured accounts, to the captured digit; it prints how many.

What no capture in the fixtures checks is marked "unverified" where it is computed: resting orders' margin on
Hyperliquid, liquidation and takeover on both venues, the cut of Lighter's fees, isolated collateral at a loss.
"""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from services.simulator.dialects.hyperliquid import accounts
from services.simulator.dialects.lighter import accounts as lighter_accounts
from services.simulator.dialects.lighter.holders import Holder
from services.simulator.exchange import risk
from services.simulator.exchange.core import Exchange, leverage
from services.simulator.exchange.terms import (
    RATE,
    Fraction,
    HyperliquidRules,
    LighterRules,
    Setting,
    fraction_tier,
    leverage_tiers,
)
from tests.support.street import HandStreet
from tests.unit.simulator.test_exchange_matching import terms


def scaled(text: str, decimals: int) -> int:
    value = Decimal(text).scaleb(decimals)
    assert value == int(value), text
    return int(value)


def account_of(body: Any) -> Exchange:
    """Rebuild a captured account: sizes, marks (value over size), entries, and the cash it must have had."""
    street, rows = HandStreet(), []
    for item in body["assetPositions"]:
        position = item["position"]
        digits = max(len(text.partition(".")[2]) for text in (position["szi"], *position["maxTradeSzs"]))
        size_decimals = min(6, digits)
        decimals = {"size_decimals": size_decimals, "price_decimals": 6 - size_decimals}
        rows.append(terms("hyperliquid", position["coin"], tiers=leverage_tiers(((0, 50),)), **decimals))
    exchange = Exchange(HyperliquidRules(), street, rows, seed=1)
    account = exchange.open_account(1)
    for item, row in zip(body["assetPositions"], rows, strict=True):
        position = item["position"]
        held = account.position(row.market)
        held.size = scaled(position["szi"], row.size_decimals)
        value = scaled(position["positionValue"], 6)
        assert value % abs(held.size) == 0
        street.marks[row.market] = value // abs(held.size)
        held.entry = scaled(position["entryPx"], row.price_decimals) * abs(held.size)
        account.settings[row.market] = leverage(position["leverage"]["value"], isolated=False)
    account.cash[""] = scaled(body["marginSummary"]["totalRawUsd"], 6)
    return exchange


def test_a_captured_hyperliquid_account_is_recomputed_to_the_digit(fixtures: Path) -> None:
    """The capture is of March 2023: returns, liquidation prices and withdrawable followed older rules then."""
    name = fixtures / "hyperliquid/sdk_cassettes/test_get_user_state.json"
    body = json.loads(name.read_text())["interactions"][0]["response"]["body"]
    exchange = account_of(body)
    ours = accounts.clearinghouse(exchange.state, exchange.account(1), "", 0)
    assert ours["marginSummary"] == body["marginSummary"]
    assert ours["crossMarginSummary"] == body["crossMarginSummary"]
    same = ("coin", "szi", "entryPx", "positionValue", "unrealizedPnl", "marginUsed")
    rows: Any = ours["assetPositions"]
    for mine, captured in zip(rows, body["assetPositions"], strict=True):
        for field in same:
            if field != "entryPx":
                assert mine["position"][field] == captured["position"][field], (mine, captured)
    print(f"1 account summary (4 figures), {len(rows)} margins, {len(rows)} profits agree with the captured digits")


def test_captured_fees_are_recomputed_to_the_digit(fixtures: Path) -> None:
    frame = json.loads((fixtures / "hyperliquid/nautilus_test_data/ws_user_fill_liquidation.json").read_text())
    rules, checked = HyperliquidRules(), 0
    for fill in frame["data"]["fills"]:
        notional = int(Decimal(fill["px"]) * Decimal(fill["sz"]) * 10**6)
        rates = rules.rates("", 0)
        fee = rules.fee(notional, rates.taker if fill["crossed"] else rates.maker, Fraction(1, 1))
        assert Decimal(fee).scaleb(-6) == Decimal(fill["fee"])
        checked += 1
    # the venue notes' worked examples: a builder's fee apart, a growth-mode dex, a maker there
    assert (33_209_000 * 73 // 100 * 432 // 10**6) + 0 == 10_472
    dex = 55_877_000 * 27 // 100
    assert rules.fee(dex, 450 * 10**6 * 96 // 100 * 9 // 10, Fraction(2, 10)) == 1_173
    assert RATE == 10**12
    print(f"{checked} captured fees and 2 worked examples agree")


def test_a_captured_lighter_account_is_recomputed_to_the_digit(fixtures: Path) -> None:
    """user_stats of an account with a position: usage and leverage follow from collateral, value and available."""
    name = fixtures / "lighter/nautilus/ws_user_stats_with_position.json"
    stats = json.loads(name.read_text())["stats"]
    street = HandStreet()
    exchange = Exchange(LighterRules(), street, [terms("lighter", "M")], seed=1)
    account = exchange.open_account(1)
    value, free = scaled(stats["portfolio_value"], 6), scaled(stats["available_balance"], 6)
    collateral = scaled(stats["collateral"], 6)
    account.settings["M"] = Setting(False, Fraction(500, 10_000))
    held = account.position("M")
    held.size, street.marks["M"] = 1, (value - free) * 20
    held.entry = street.marks["M"] + collateral - value
    account.cash[""] = collateral - held.entry
    ours = lighter_accounts.stats(exchange.state, account, Holder(1, 1, 1, 0))
    same = ("collateral", "portfolio_value", "available_balance", "leverage", "margin_usage", "buying_power")
    assert {name: ours[name] for name in same} == {name: stats[name] for name in same}
    assert risk.collateral(account, exchange.state, "") == collateral
    print(f"{len(same)} figures of 1 captured Lighter account agree")


def test_the_worked_liquidation_prices_hold() -> None:
    """Digits the venue notes recomputed from captures: Hyperliquid isolated HYPE, Lighter cross ETH."""
    street = HandStreet()
    exchange = Exchange(HyperliquidRules(), street, [terms(
        "hyperliquid", "HYPE", price_decimals=4, size_decimals=2, tiers=leverage_tiers(((0, 10), (20_000_000, 5))),
    )], seed=1)  # fmt: skip
    account = exchange.open_account(1)
    held = account.position("HYPE")
    held.size, held.isolated, held.raw, held.entry = 200, True, -68_126_246, 75_658_000
    street.marks["HYPE"] = 378_260
    account.settings["HYPE"] = leverage(10, isolated=True)
    row: Any = accounts.position_row(exchange.state, account, "HYPE")["position"]
    assert (row["marginUsed"], row["returnOnEquity"]) == ("7.525754", "-0.0007930424")
    assert row["liquidationPx"] == "35.8559189474"
    assert row["leverage"] == {"type": "isolated", "value": 10, "rawUsd": "-68.126246"}
    print("1 isolated liquidation price of Hyperliquid agrees to the captured digit")


def test_lighters_cross_liquidation_price_is_the_captured_one() -> None:
    """Digits of the venue notes, recomputed there from a captured account: 18.0193 ETH at 3013.80, 1.2 %."""
    street = HandStreet()
    exchange = Exchange(LighterRules(), street, [terms(
        "lighter", "0", price_decimals=2, size_decimals=4, tiers=fraction_tier(200, 120, 80),
    )], seed=1)  # fmt: skip
    account = exchange.open_account(1)
    held = account.position("0")
    held.size, held.entry, street.marks["0"] = 180_193, 180_193 * 290_000, 301_380
    account.cash[""] = scaled("15298.072264", 6) - held.size * street.marks["0"]
    row: Any = lighter_accounts.position(exchange.state, account, "0", "ETH")
    assert row["position_value"] == "54306.566340"
    assert risk.standing(exchange.state, account, "").value == scaled("15298.072264", 6)
    assert row["liquidation_price"][:14] == "2191.110723138"  # the venue computes it in binary floats from here on
    print("1 cross liquidation price of Lighter agrees to 13 digits")


def test_what_no_capture_checks_is_said() -> None:
    """Every formula of the exchange without a capture says `unverified` where it is computed; they are printed."""
    folder = Path(__file__).resolve().parents[3] / "services/simulator/exchange"
    said = [
        f"{path.name}: {line.strip()}"
        for path in sorted(folder.glob("*.py"))
        for line in path.read_text().splitlines()
        if "unverified" in line.lower()
    ]
    print("\n".join(["unverified, beside the formula:", *said]))
    for file in ("account.py", "distress.py", "orders.py", "risk.py", "terms.py"):
        assert any(line.startswith(file) for line in said), f"{file} computes what no capture checks, and must say so"
