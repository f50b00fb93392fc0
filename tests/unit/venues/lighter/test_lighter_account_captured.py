"""Every captured private payload of Lighter, read to the right meaning; what captures let us recompute agrees."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from services.domain.decimals import rounding
from services.domain.market import Listing
from services.domain.refusal import RefusalReason
from services.venues.account import Liquidity, OrderStatus
from services.venues.actions import OrderType, Side, TimeInForce
from services.venues.lighter.private import PrivateDialect
from services.venues.lighter.wire import account as wire
from services.venues.lighter.wire import answers, payloads, refusals
from services.venues.teaching import Scene
from services.venues.trading import (
    Accepted,
    AccountEvent,
    AccountRef,
    BalancesSeen,
    FillsSeen,
    NonceFate,
    OrdersSeen,
    PositionsSeen,
    Refused,
    Standing,
    Unknown,
)
from tests.unit.venues.lighter.samples import captured, captured_json, captured_lines, needs_captures

pytestmark = needs_captures
D = Decimal


def listed() -> dict[int, Listing]:
    rows = captured_json("hftbacktest/rest_bodies.json")["testnet_orderBooks_all_5_202607"]
    return {item.venue_market_id: item for item in payloads.listings(json.dumps(rows).encode()).listings}


class QuietLink:
    """Takes what a dialect tells its link, and remembers it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: self.said.append((name, str(args[0]) if args else ""))


def dialect(index: int) -> PrivateDialect:
    account = AccountRef(account_id="a", index=index, api_key_index=5)
    return PrivateDialect(account, None, None, listed, lambda _: None)  # type: ignore[arg-type]


def test_the_private_sessions_of_the_testnet_are_read_frame_by_frame() -> None:
    reader, link = dialect(516), QuietLink()
    events: list[AccountEvent] = []
    frames = 0
    for line in captured_lines("hftbacktest/testnet_acct516_private_sessions_20260730.jsonl"):
        row = json.loads(line)
        if row["kind"] == "ws":
            events += reader.heard(link, json.dumps(row["data"]).encode(), 1)  # type: ignore[arg-type]
            frames += 1
    assert reader.unknown_frames == 0
    orders = [order for event in events if isinstance(event, OrdersSeen) for order in event.orders]
    first, canceled = orders[0], orders[1]
    assert (first.order_id, first.client_id, first.market) == ("844424914280484", "424242424242", "BTC-PERP")
    assert (first.side, first.limit_price, first.size) == (Side.BUY, D("58300.0"), D("0.00100"))
    assert (first.status, first.type, first.time_in_force) == (OrderStatus.OPEN, OrderType.LIMIT, TimeInForce.POST_ONLY)
    assert (canceled.status, canceled.remaining, canceled.filled) == (OrderStatus.CANCELED, 0, 0)
    assert canceled.version > first.version
    statuses = [order.venue_status for order in orders]
    assert set(statuses) == {"open", "canceled"}
    positions = [item for event in events if isinstance(event, PositionsSeen) for item in event.positions]
    assert {(item.market, item.size, item.leverage) for item in positions} == {("BTC-PERP", 0, 20)}
    assert not any(isinstance(event, FillsSeen) for event in events)
    assert ("greeted", "") in link.said
    print(f"{frames} frames: {len(orders)} order states, {len(positions)} position states")


def test_the_answers_of_the_testnet_to_transactions_are_read() -> None:
    seen = {"queued": 0, "nonce": 0}
    for line in captured_lines("hftbacktest/testnet_acct516_private_sessions_20260730.jsonl"):
        row = json.loads(line)
        data = row["data"] if isinstance(row["data"], dict) else {}
        if data.get("resp"):
            made = answers.read(
                json.dumps(data["resp"]).encode(), client_id="7", tx_hash="", scene=Scene(), again=False
            )
            (outcome,) = made.outcomes
            assert isinstance(outcome, Accepted)
            assert outcome.standing is Standing.QUEUED
            assert made.nonce is NonceFate.USED
            assert made.transaction_hash == data["resp"]["tx_hash"]
            assert made.predicted_time_ms == data["resp"]["predicted_execution_time_ms"]
            seen["queued"] += 1
        elif "21104" in str(data.get("err")):
            body = b'{"code":21104,"message":"invalid nonce"}'
            made = answers.read(body, client_id="", tx_hash="", scene=Scene(), again=False)
            (refused,) = made.outcomes
            assert isinstance(refused, Refused)
            assert (refused.refusal.reason, made.nonce) == (RefusalReason.NONCE, NonceFate.REFUSED)
            again = answers.read(body, client_id="", tx_hash="", scene=Scene(), again=True)
            assert isinstance(again.outcomes[0], Unknown)
            seen["nonce"] += 1
    for name in ("create_btc", "create_eth", "cancel_btc", "cancel_eth"):
        captured_answer = captured_json(f"nautilus_pr_dec2025/http/mainnet_sendtx_{name}.json")["response"]["body"]
        made = answers.read(json.dumps(captured_answer).encode(), client_id="", tx_hash="", scene=Scene(), again=False)
        assert made.transaction_hash == captured_answer["tx_hash"]
        other = answers.read(
            json.dumps(captured_answer).encode(), client_id="", tx_hash="00", scene=Scene(), again=False
        )
        assert isinstance(other.outcomes[0], Unknown)
        seen["queued"] += 1
    assert seen["queued"] >= 10
    assert seen["nonce"] >= 2
    print(seen)


def test_orders_of_every_capture_are_read() -> None:
    markets, count = listed(), 0
    rest = captured_json("hftbacktest/rest_bodies.json")
    mainnet = [
        captured_json(f"nautilus_pr_dec2025/http/mainnet_account_active_orders_market{n}.json")["response"]["body"]
        for n in (0, 1)
    ]
    for body in (rest["accountActiveOrders_one"], rest["accountActiveOrders_empty"], *mainnet,
                 captured_json("nautilus/http_orders.json")):  # fmt: skip
        for row in body["orders"]:
            record = wire.order_record(wire.convert(row, wire.RawOrder), markets)
            assert record.limit_price == D(row["price"])
            assert record.client_id == str(row["client_order_index"])
            assert record.create_time_ms == 0 or 10**12 < record.create_time_ms < 2 * 10**12
            assert record.update_time_ms > 10**12
            count += 1
    reader, link = dialect(659514), QuietLink()
    states = []
    for frame in captured_json("nautilus_pr_dec2025/ws/private_mainnet_orders.json"):
        for event in reader.heard(link, json.dumps(frame).encode(), 1):  # type: ignore[arg-type]
            assert isinstance(event, OrdersSeen)
            states += [(order.status, order.version) for order in event.orders]
    assert [status for status, _ in states] == [OrderStatus.OPEN, OrderStatus.CANCELED]
    assert states[1][1] > states[0][1]
    print(f"{count} orders over REST, {len(states)} states on the channel of 2025")


def test_accounts_are_read_and_their_margin_is_recomputed() -> None:
    markets = listed()
    body = captured_json("nautilus_pr_dec2025/http/mainnet_account_index_659514.json")["response"]["body"]
    state = wire.account_state(wire.convert(body["accounts"][0], wire.RawAccount), markets)
    assert (state.margin.equity, state.margin.available, state.margin.initial) == (
        D("1000.167669"),
        D("1000.167669"),
        0,
    )
    assert state.positions == ()
    assert [(item.market, item.leverage) for item in state.settings] == [("BTC-PERP", 20)]
    assert state.balances[0].asset == "USDC"
    wire.account_state(
        wire.convert(captured_json("nautilus/http_account.json")["accounts"][0], wire.RawAccount), markets
    )
    stats = wire.convert(captured_json("nautilus/ws_user_stats_with_position.json")["stats"], wire.RawStats)
    used = D(stats.portfolio_value) - D(stats.available_balance)
    with rounding():
        percent = (used / D(stats.portfolio_value) * 100).quantize(D("0.01"))
    assert percent == D("2.07")  # margin_usage of the same frame
    print("1 margin use recomputed to the captured digits")


def test_trades_positions_and_assets_of_the_documentation_style_captures_are_read() -> None:
    reader, link = dialect(1234), QuietLink()

    def heard(name: str) -> list[AccountEvent]:
        return list(reader.heard(link, captured(f"nautilus/{name}.json"), 1))  # type: ignore[arg-type]

    (trades,) = heard("ws_account_all_trades_update")
    assert isinstance(trades, FillsSeen)
    (fill,) = trades.fills
    assert (fill.side, fill.liquidity, fill.client_id) == (Side.BUY, Liquidity.TAKER, "7001011966")
    assert (fill.order_id, fill.fill_id, fill.fee) == (
        "562947905631053",
        "19209006902",
        D("314.324728") * 196 / 1_000_000,
    )
    assert fill.price * fill.size == D("314.324728")
    (positions,) = heard("ws_account_all_positions_update")
    assert isinstance(positions, PositionsSeen)
    (held,) = positions.positions
    assert (held.market, held.size, held.entry_price, held.funding_paid) == (
        "ETH-PERP",
        D("1.5"),
        D("2350.10"),
        D("0.05"),
    )
    for name in ("ws_account_all_assets_update", "ws_account_all_assets_with_position"):
        (assets,) = heard(name)
        assert isinstance(assets, BalancesSeen)
        assert assets.balances
    heard("ws_user_stats_update")
    assert reader.margin is not None


def test_captured_errors_are_known_and_every_code_has_a_place() -> None:
    codes = captured_json("misc/error_codes.json")
    trading = [int(code) for code in codes if 21100 <= int(code) < 21800]
    known = sum(code in refusals.TABLE for code in trading)
    for code in refusals.TABLE:
        if str(code) not in codes:
            assert code in (21149, 20013, 20001) or 23000 <= code <= 23003, code
    for code, entry in codes.items():
        refusal = refusals.explain(int(code), entry["message"], Scene())
        assert refusal.venue_code == code
        assert refusal.venue_message == entry["message"]
    bodies = captured_json("hftbacktest/rest_bodies.json")
    for name, reason in (
        ("accountActiveOrders_no_token", RefusalReason.NOT_SUPPORTED),
        ("accountLimits_token_over_8h_http401", RefusalReason.KEY_UNUSABLE),
    ):
        made = answers.read(json.dumps(bodies[name]).encode(), client_id="", tx_hash="", scene=Scene(), again=False)
        (outcome,) = made.outcomes
        assert isinstance(outcome, Refused)
        assert outcome.refusal.reason is reason
    fees = wire.fees(wire.convert(bodies["accountLimits_ok"], wire.RawLimits))
    assert (fees.maker, fees.taker, fees.tier) == (0, 0, "standard")
    print(f"{known} of {len(trading)} trading codes have a meaning of their own; {len(codes)} codes answered")


@pytest.mark.parametrize(
    "name", ["private_account_all_orders", "private_account_positions", "private_account_transfers"]
)
def test_error_frames_of_the_private_socket_stop_nothing(name: str) -> None:
    reader, link = dialect(1), QuietLink()
    for frame in captured_json(f"nautilus_pr_dec2025/{name}.json"):
        assert list(reader.heard(link, json.dumps(frame).encode(), 1)) == []  # type: ignore[arg-type]


def test_a_transaction_refused_by_the_sequencer_is_refused() -> None:
    event = '{"m":1,"ae":"{\\"code\\":21728,\\"message\\":\\"client order index already exists\\"}"}'
    raw = wire.RawTx(hash="aa", type=14, status=0, event_info=event)
    outcome = answers.read_tx(raw, client_id="7", scene=Scene())
    assert isinstance(outcome, Refused)
    assert (outcome.refusal.venue_code, outcome.refusal.field) == ("21728", "client_order_id")
    waiting = wire.RawTx(hash="aa", type=14, status=1)
    assert isinstance(answers.read_tx(waiting, client_id="7", scene=Scene()), Unknown)
    done = wire.RawTx(hash="aa", type=14, status=2, event_info='{"ae":"","to":{"i":281474976710700,"u":7}}')
    accepted = answers.read_tx(done, client_id="7", scene=Scene())
    assert isinstance(accepted, Accepted)
    assert accepted.order_id == "281474976710700"
