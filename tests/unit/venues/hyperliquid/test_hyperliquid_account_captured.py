"""Every captured private payload of Hyperliquid, read to the right meaning; what captures let us recompute agrees.

Counts are printed. Of 2023's shapes only what they carry is checked.
"""

from __future__ import annotations

import json
from collections import Counter
from decimal import ROUND_DOWN, Decimal, localcontext
from typing import Any

from services.domain.decimals import rounding
from services.domain.refusal import RefusalReason
from services.venues.account import FillCause, Liquidity, OrderStatus
from services.venues.actions import MarginMode, OrderType, Side, TimeInForce
from services.venues.hyperliquid.private import PrivateDialect
from services.venues.hyperliquid.wire import account, refusals
from services.venues.trading import FillsSeen
from tests.unit.venues.hyperliquid.captured import cassette, dump, load, markets, needs_captures, universe_of

pytestmark = needs_captures
UNIVERSE = universe_of(markets([("BTC", 5), ("ETH", 4), ("SOL", 2), ("INJ", 1), ("TON", 1), ("ARB", 1), ("SUI", 1)]))
D = Decimal
USER = "0x" + "ab" * 20


def test_the_account_of_2023_is_read_and_its_sums_agree_with_its_positions() -> None:
    raw = account.decode(cassette("test_get_user_state", "clearinghouseState"), account.RawState)
    state = account.account_state(raw, UNIVERSE, mode="default")
    assert len(state.positions) >= 4
    btc = next(position for position in state.positions if position.symbol == "BTC")
    assert (btc.market, btc.size, btc.entry_price) == ("BTC-PERP", D("-0.00785"), D("26951.0"))
    assert (btc.notional, btc.unrealized_pnl, btc.leverage) == (D("211.64542"), D("-0.08007"), 20)
    assert (btc.margin_mode, btc.liquidation_price) == (MarginMode.CROSS, D("173198.69592357"))
    pnl = margin = 0
    for held in raw.assetPositions:
        position = account.position(held.position, UNIVERSE)
        value = position.notional * (1 if position.size > 0 else -1)
        assert abs(value - position.entry_price * position.size - position.unrealized_pnl) <= D("0.02")
        with rounding():
            used = (position.notional / position.leverage).quantize(D("0.000001"), rounding=ROUND_DOWN)
        assert abs(used - (position.margin_used or 0)) <= D("0.000001")
        pnl += 1
        margin += 1
    value = D(raw.marginSummary.totalRawUsd) + sum(
        (p.notional * (1 if p.size > 0 else -1) for p in state.positions), D(0)
    )
    assert value == state.margin.equity
    assert sum((p.margin_used or D(0) for p in state.positions), D(0)) == state.margin.initial
    print(f"{pnl} unrealized results, {margin} margins, 1 account value and 1 margin sum recomputed")


def test_orders_of_three_faces_are_read() -> None:
    plain = account.decode(cassette("test_get_open_orders", "openOrders"), list[account.RawOrder])
    records = account.open_records(plain, UNIVERSE)
    assert len(records) == 196
    first = records[0]
    assert (first.symbol, first.side, first.limit_price, first.size) == ("MATIC", Side.BUY, D("1.0357"), D("208.7"))
    assert (first.order_id, first.status, first.type, first.filled) == ("62269971", OrderStatus.OPEN, None, None)
    frontend = account.open_records(
        account.decode(cassette("test_get_frontend_open_orders", "frontendOpenOrders"), list[account.RawOrder]),
        UNIVERSE,
    )
    take = frontend[0]
    assert (take.type, take.trigger_price, take.limit_price) == (OrderType.TAKE_PROFIT_MARKET, D("10.004"), D("9.2037"))
    assert (take.status, take.reduce_only, take.market) == (OrderStatus.WAITING, True, "INJ-PERP")
    rows = account.decode(cassette("test_historical_orders", "historicalOrders"), list[account.RawUpdate])
    history = [account.update_record(row, UNIVERSE) for row in rows]
    assert len(history) == 5
    words = Counter(record.venue_status for record in history)
    assert set(words) <= set(refusals.STATUSES), words
    rejected = history[0]
    assert (rejected.market, rejected.status) == ("TON-PERP", OrderStatus.REJECTED)
    assert rejected.reason is RefusalReason.IMMEDIATE_NOT_FILLED
    assert rejected.time_in_force is TimeInForce.IMMEDIATE_OR_CANCEL
    print(f"{len(records) + len(frontend) + len(history)} orders read; statuses {dict(words)}")


def test_fills_are_read_each_with_an_id_of_its_own() -> None:
    old = account.decode(cassette("test_get_user_fills", "userFills"), list[account.RawFill])
    new = account.convert(load("nautilus_test_data/http_user_fills_dust_conversion.json"), list[account.RawFill])
    spot = account.convert(
        load("riftresearch_testnet_2026-09-18.json")["spot_user_fills_selection"], list[account.RawFill]
    )
    fills = [account.fill(row, UNIVERSE, user=USER) for row in (*old, *new, *spot)]
    distinct = {(f.time_ms, f.order_id, f.position_before, f.size, f.price, f.transaction) for f in fills}
    assert len({fill.fill_id for fill in fills}) == len(distinct)
    arb = next(fill for fill in fills if fill.symbol == "ARB" and fill.time_ms == 1782526679879)
    assert (arb.market, arb.side, arb.price, arb.size) == ("ARB-PERP", Side.BUY, D("0.07482"), D("8552.3"))
    assert (arb.liquidity, arb.fee, arb.realized_pnl) == (Liquidity.MAKER, 0, 0)
    dust = next(fill for fill in fills if fill.symbol == "@142")
    assert (dust.market, dust.cause, dust.side) == ("", FillCause.ORDER, Side.SELL)
    token = next(fill for fill in fills if fill.symbol == "@156")
    assert (token.fee, token.fee_asset) == (D("0.00088689"), "USOL")
    print(f"{len(fills)} fills read")


def test_closed_results_of_captured_fills_are_recomputed() -> None:
    """closedPnl is gross of fees: consecutive closing fills of a position agree on one entry price."""
    rows = account.decode(cassette("test_get_user_fills", "userFills"), list[account.RawFill])
    checked = 0
    for row in rows:
        fill = account.fill(row, UNIVERSE, user=USER)
        if fill.realized_pnl and fill.position_before is not None and row.dir in ("Close Long", "Close Short"):
            sign = 1 if row.dir == "Close Long" else -1
            with rounding():
                entry = fill.price - sign * fill.realized_pnl / fill.size
            assert entry > 0
            assert abs(entry / fill.price - 1) < D("0.5")
            assert (fill.position_before > 0) is (sign > 0)
            checked += 1
    assert checked > 50
    print(f"{checked} closing fills have a plausible entry and the right side (fees there are zero)")


def test_a_liquidation_of_somebody_else_is_an_ordinary_fill() -> None:
    raw = load("nautilus_test_data/ws_user_fill_liquidation.json")
    dialect = PrivateDialect(USER, ("",), UNIVERSE)
    (event,) = dialect.heard(None, dump(raw), 1)  # type: ignore[arg-type]
    assert isinstance(event, FillsSeen)
    (fill,) = event.fills
    assert (fill.cause, fill.liquidity, fill.position_before) == (FillCause.ORDER, Liquidity.MAKER, D("-0.0213"))
    assert (fill.fee, fill.client_id) == (D("0.009997"), "0xe8d5fd7ebbb4c3cff4d1803472a11463")
    victim = PrivateDialect("0x360878d351f05975e25f1807a27895e1e5e004fb", ("",), UNIVERSE)
    (event,) = victim.heard(None, dump(raw), 1)  # type: ignore[arg-type]
    assert isinstance(event, FillsSeen)
    assert event.fills[0].cause is FillCause.LIQUIDATION
    with localcontext() as context:
        context.prec = 50
        worth = fill.price * fill.size
        assert (worth * D("0.00015")).quantize(D("0.000001"), rounding=ROUND_DOWN) == fill.fee
    print("1 maker fee of 0.015 % recomputed to the last digit, truncated to 6 decimals")


def test_funding_fees_requests_and_balances_are_read() -> None:
    rows = json.loads(cassette("test_user_funding_history_with_end_time", "userFunding"))
    paid = [
        account.funding(account.convert(row["delta"], account.RawFundingDelta), row["time"], UNIVERSE) for row in rows
    ]
    ape = paid[0]
    assert (ape.symbol, ape.amount, ape.rate) == ("APE", D("0.145796"), D("-0.00029319"))
    signs = sum((p.amount > 0) is (p.position_size * p.rate < 0) for p in paid if p.amount and p.rate)
    assert signs == sum(1 for p in paid if p.amount and p.rate)
    limit = account.decode(cassette("test_user_rate_limit", "userRateLimit"), account.RawRateLimit)
    assert (limit.nRequestsUsed, limit.nRequestsCap) == (36589831368, 170043731737)
    raw: Any = load("riftresearch_testnet_2026-09-18.json")["userFees"]
    fees = account.fees(account.convert(raw, account.RawFees))
    assert (fees.taker, fees.maker) == (D(raw["userCrossRate"]), D(raw["userAddRate"]))
    spot = account.convert(load("nautilus_test_data/http_spot_clearinghouse_state.json"), account.RawSpot)
    assert account.balance(spot.balances[0]).total == D("14.625485")
    print(f"{len(paid)} funding payments read, the sign of {signs} recomputed")


def test_every_captured_http_error_leaves_no_order_refused_by_guess() -> None:
    texts = [row.get("body") for row in load("riftresearch_testnet_2026-09-18.json")["http_observations"]]
    assert any("Failed to deserialize" in str(text) for text in texts)
    for text in texts:
        assert refusals.find(str(text)) is None  # what the edge says is no verdict on an order
