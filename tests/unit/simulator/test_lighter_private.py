"""Lighter's private face without a socket: nonces, keys, queues, error codes, streams, shapes of captured frames."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from services.simulator.dialects.lighter.refusals import RefusedError
from tests.support.signers import ApiKey, Wallet
from tests.unit.simulator.clients import START_MS, Stage
from tests.unit.simulator.shapes import differences

KEY = ApiKey(1)
SEEDS = itertools.count(1000)
SLOT = 5


class Trader:
    """An account with a key and money on a stage."""

    def __init__(self, stage: Stage, *, seed: int = 1, tier: str = "", dollars: int = 100_000) -> None:
        self.stage = stage
        self.private = stage.lighter.private
        self.wallet = Wallet(seed)
        amount = dollars * 1_000_000
        made = self.private.open_account(self.wallet.number, amount, 0, tier, {SLOT: KEY.hex}, None)
        self.index = int(str(made["account"]))

    def nonce(self) -> int:
        return self.private.holders.nonce(self.index, SLOT)

    def sign(self, kind: int, **fields: Any) -> str:
        now = self.private.now_ms()
        head = {"AccountIndex": self.index, "ApiKeyIndex": SLOT, "ExpiredAt": now + 599_000, "Nonce": self.nonce()}
        return KEY.tx(kind, head | fields)

    def send(self, kind: int, **fields: Any) -> dict[str, Any]:
        return self.private.send([kind], [self.sign(kind, **fields)], "/api/v1/sendTx", protected=True)

    def refused(self, kind: int, **fields: Any) -> int:
        with pytest.raises(RefusedError) as caught:
            self.send(kind, **fields)
        return caught.value.code

    def order(self, **changes: Any) -> dict[str, Any]:
        mark = self.private.exchange.state.street.mark("1")
        return {
            "MarketIndex": 1, "ClientOrderIndex": 0, "BaseAmount": 100, "Price": mark * 8 // 10, "IsAsk": 0, "Type": 0,
            "TimeInForce": 1, "ReduceOnly": 0, "TriggerPrice": 0, "OrderExpiry": START_MS + 86_400_000,
        } | changes  # fmt: skip

    def token(self, ahead_s: int = 600) -> str:
        return KEY.token(self.private.now_s() + ahead_s, self.index, SLOT)

    def orders(self) -> list[Any]:
        return list(self.private.exchange.state.accounts[self.index].orders.values())

    def row(self, sent: dict[str, Any]) -> Any:
        return self.private.holders.rows[sent["tx_hash"][0]]


def market(trader: Trader, **changes: Any) -> dict[str, Any]:
    """Return the fields of a market order that buys."""
    mark = trader.private.exchange.state.street.mark("1")
    price = mark * 11 // 10 if not changes.get("IsAsk") else mark * 9 // 10
    return trader.order(Type=1, TimeInForce=0, OrderExpiry=0, Price=price, BaseAmount=1000) | changes


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(lighter_sends_max=0)


@pytest.fixture
def trader(stage: Stage) -> Trader:
    """An account of this test's own; the stage is everybody's, since a market takes long to make."""
    return Trader(stage, seed=next(SEEDS))


def test_a_transaction_answered_200_is_queued_for_as_long_as_the_tier_says(trader: Trader) -> None:
    fast = Trader(trader.stage, seed=next(SEEDS), tier="premium")
    slow = trader.send(14, **trader.order())
    quick = fast.send(14, **fast.order(TimeInForce=2))
    assert slow["predicted_execution_time_ms"] - trader.private.now_ms() == 200
    assert trader.send(14, **market(trader))["predicted_execution_time_ms"] - trader.private.now_ms() == 300
    assert quick["predicted_execution_time_ms"] - trader.private.now_ms() == 5
    trader.stage.run(20)
    assert (len(fast.orders()), len(trader.orders())) == (1, 0)
    trader.stage.run(300)
    assert [item.status for item in trader.orders()] == ["open"]
    trader.stage.run(100)
    assert trader.private.exchange.state.accounts[trader.index].size("1") == 1000


def test_a_nonce_is_taken_in_order_and_a_refusal_leaves_it(trader: Trader) -> None:
    assert trader.refused(14, **trader.order(Nonce=1)) == 21104
    trader.send(14, **trader.order())
    assert trader.nonce() == 1
    assert trader.refused(14, **trader.order(Nonce=0)) == 21104
    assert trader.refused(14, **trader.order(BaseAmount=0)) == 21701
    assert trader.nonce() == 1
    skipping = trader.order(Nonce=7, L2TxAttributes={"4": 1})
    trader.send(14, **skipping)
    assert trader.nonce() == 8


def test_signatures_keys_and_expiry_are_checked(trader: Trader) -> None:
    fields = json.loads(trader.sign(14, **trader.order()))
    with pytest.raises(RefusedError, match="invalid signature"):
        trader.private.send([14], [json.dumps(fields | {"Price": fields["Price"] + 1})], "ws", protected=True)
    assert trader.refused(14, **trader.order(ApiKeyIndex=6)) == 21109
    assert trader.refused(14, **trader.order(AccountIndex=77)) == 21100
    assert trader.refused(14, **trader.order(ExpiredAt=START_MS - 1)) == 21711
    with pytest.raises(RefusedError, match="unsupported tx type"):
        trader.private.send([99], ["{}"], "ws", protected=True)
    for bad in ("{", "[]", '{"AccountIndex":"x"}'):
        with pytest.raises(RefusedError, match="invalid tx info"):
            trader.private.send([14], [bad], "ws", protected=True)


def test_orders_are_refused_with_the_documented_codes(trader: Trader) -> None:
    mark = trader.private.exchange.state.street.mark("1")
    cases: list[tuple[dict[str, Any], int]] = [
        ({"MarketIndex": 200}, 21602), ({"MarketIndex": 141}, 21605), ({"MarketIndex": 2048}, 21621),
        ({"Type": 9}, 21704), ({"TimeInForce": 3}, 21705), ({"IsAsk": 2}, 21703), ({"BaseAmount": 1 << 50}, 21701),
        ({"Price": 0}, 21702), ({"TriggerPrice": 5}, 21729), ({"OrderExpiry": 0}, 21711),
        ({"OrderExpiry": START_MS + 1000}, 21711), ({"BaseAmount": 1}, 21706),
        ({"ClientOrderIndex": 1 << 48}, 21727),
        ({"Price": mark * 2}, 21733), ({"Price": mark // 30, "BaseAmount": 1000}, 21734),
        ({"BaseAmount": 10**8}, 21739),
        ({"Type": 3, "TriggerPrice": mark * 2}, 21735),
        ({"L2TxAttributes": {"1": 777, "2": 100}}, 21149),
    ]  # fmt: skip
    for changes, code in cases:
        assert trader.refused(14, **trader.order(**changes)) == code, changes
    assert trader.refused(20, MarketIndex=1, InitialMarginFraction=100, MarginMode=0) == 21113
    assert trader.refused(29, MarketIndex=1, USDCAmount=5, Direction=1) == 21614
    assert trader.refused(16, TimeInForce=1, Time=START_MS + 1000) == 21714
    assert trader.nonce() == 0


def test_what_the_sequencer_refuses_is_told_in_the_transaction_alone(trader: Trader) -> None:
    ear = trader.stage.join("lighter")
    subscribe = {"type": "subscribe", "channel": f"account_all_orders/{trader.index}", "auth": trader.token()}
    assert trader.stage.tell("lighter", ear, subscribe)[-1]["orders"] == {}
    first = trader.send(14, **trader.order(ClientOrderIndex=42))
    trader.stage.run(400)
    assert ear.heard()[0]["orders"]["1"][0]["client_order_index"] == 42
    again = trader.send(14, **trader.order(ClientOrderIndex=42))
    reducing = trader.send(14, **market(trader, ReduceOnly=1))
    missing = trader.send(15, MarketIndex=1, Index=4711)
    trader.stage.run(500)
    assert [frame for frame in ear.heard() if frame.get("type") != "ping"] == []
    codes = [json.loads(json.loads(trader.row(sent).event)["ae"])["code"] for sent in (again, reducing, missing)]
    assert codes == [21728, 21732, 21715]
    assert json.loads(trader.row(first).event)["ae"] == ""
    assert trader.nonce() == 4


def test_cancels_modifies_and_cancel_all_by_either_index(trader: Trader) -> None:
    for number in (1, 2, 3):
        trader.send(14, **trader.order(ClientOrderIndex=number))
    trader.send(14, **trader.order(MarketIndex=0, Price=200_000, BaseAmount=1000, ClientOrderIndex=4))
    trader.stage.run(300)
    by_client = {item.wanted.client: item for item in trader.orders()}
    assert by_client["1"].oid // 2**48 == 2
    assert by_client["1"].oid > by_client["2"].oid
    trader.send(15, MarketIndex=1, Index=by_client["1"].oid)
    trader.send(15, MarketIndex=1, Index=2)
    price = by_client["3"].price
    trader.send(17, MarketIndex=1, Index=3, BaseAmount=300, Price=price - 5, TriggerPrice=0)
    trader.stage.run(300)
    left = {item.wanted.client: item for item in trader.orders()}
    assert set(left) == {"3", "4"}
    assert (left["3"].left, left["3"].price, left["3"].version) == (300, price - 5, 1)
    trader.send(16, TimeInForce=0, Time=0, L2TxAttributes={"5": 1})
    trader.stage.run(300)
    assert [item.wanted.client for item in trader.orders()] == ["4"]
    trader.send(16, TimeInForce=1, Time=trader.private.now_ms() + 300_000)
    trader.stage.run(300)
    account = trader.private.exchange.state.accounts[trader.index]
    assert account.cancel_at_us
    trader.private.exchange.marked(account.cancel_at_us)
    assert trader.orders() == []


def test_a_wallet_has_so_many_transactions_a_minute() -> None:
    trader = Trader(Stage(lighter_sends_max=60))
    for _ in range(40):
        trader.send(15, MarketIndex=1, Index=1)
    with pytest.raises(RefusedError) as caught:
        trader.send(15, MarketIndex=1, Index=1)
    assert (caught.value.code, caught.value.status) == (23000, 429)
    for _ in range(20):
        trader.send(14, **trader.order())
    assert trader.refused(14, **trader.order()) == 23000
    trader.stage.clock.seconds += 61
    trader.send(15, MarketIndex=1, Index=1)


def test_a_premium_account_spends_its_volume_quota_on_orders_and_not_on_cancels() -> None:
    trader = Trader(Stage(lighter_sends_max=60, lighter_verifications_max=1), tier="premium")
    first = trader.send(14, **trader.order())
    assert (first["message"], first["volume_quota_remaining"]) == ("999 volume quota remaining.", 999)
    free = trader.send(15, MarketIndex=1, Index=1)
    assert "volume_quota_remaining" not in free
    trader.private.holders._quota_used[trader.wallet.number] = 1000
    assert trader.send(14, **trader.order())["volume_quota_remaining"] == 0
    assert trader.refused(14, **trader.order()) == 23000
    trader.stage.clock.seconds += 15
    trader.send(14, **trader.order())
    trader.private.exchange.state.accounts[trader.index].lifetime += 70_000_000
    assert trader.send(14, **trader.order())["volume_quota_remaining"] == 9


def test_signatures_are_sampled_under_load_and_that_is_shown() -> None:
    trader = Trader(Stage(lighter_sends_max=0, lighter_verifications_max=5))
    for _ in range(25):
        trader.send(15, MarketIndex=1, Index=1)
    shown = trader.private.sampling()
    assert (shown["verified"], shown["skipped"]) == (7, 18)


def test_account_channels_ask_for_a_token_that_is_true(trader: Trader) -> None:
    ear = trader.stage.join("lighter")

    def ask(channel: str, **more: Any) -> Any:
        return trader.stage.tell("lighter", ear, {"type": "subscribe", "channel": channel} | more)[-1]

    closed = f"account_all_orders/{trader.index}"
    missing = {"code": 20001, "message": f"invalid param : auth field is required: account_all_orders:{trader.index}"}
    assert ask(closed)["error"] == missing
    assert ask(closed, auth=trader.token(9 * 3600))["error"] == {
        "code": 20013, "message": "invalid auth: invalid deadline",
    }  # fmt: skip
    assert ask(closed, auth="x")["error"]["message"] == "invalid auth: invalid auth string"
    other = Trader(trader.stage, seed=next(SEEDS))
    assert "error" in ask(closed, auth=other.token())
    assert ask(closed, auth=trader.token())["type"] == "subscribed/account_all_orders"
    assert ask(closed, auth=trader.token())["error"]["code"] == 30003
    assert ask("account_all_orders/abc", auth=trader.token())["error"]["message"] == "Invalid Channel:  (account)"
    for name in ("account_all", "user_stats", "account_all_trades", "account_all_positions"):
        assert ask(f"{name}/{trader.index}")["type"] == f"subscribed/{name}"


def test_transactions_go_over_the_socket_too(trader: Trader) -> None:
    ear = trader.stage.join("lighter")

    def say(kind: str, **data: Any) -> Any:
        return trader.stage.tell("lighter", ear, {"type": f"jsonapi/{kind}", "data": data})[-1]

    done = say("sendtx", id="a", tx_type=15, tx_info=json.loads(trader.sign(15, MarketIndex=1, Index=1)))
    assert (done["type"], done["id"], done["code"], len(done["tx_hash"])) == ("jsonapi/sendtx", "a", 200, 80)
    wrong = say("sendtx", id="b", tx_type=15, tx_info=trader.sign(15, MarketIndex=1, Index=1, Nonce=0))
    assert wrong["error"] == {"code": 21104, "message": "invalid nonce"}
    infos = [trader.sign(15, MarketIndex=1, Index=1, Nonce=nonce) for nonce in (1, 2)]
    both = say("sendtxbatch", tx_types="[15,15]", tx_infos=json.dumps(infos))
    assert len(both["tx_hash"]) == 2
    assert trader.nonce() == 3


def captured_frames(fixtures: Path) -> list[dict[str, Any]]:
    text = (fixtures / "lighter/hftbacktest/testnet_acct516_private_sessions_20260730.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def test_the_captured_session_replayed_gives_the_captured_frames(trader: Trader, fixtures: Path) -> None:
    """The captured testnet session: create, replay of the nonce, cancel, then a gap; frame by frame the same shape."""
    rows = captured_frames(fixtures)
    ear, compared = trader.stage.join("lighter"), 0
    captured: dict[str, list[Any]] = {}
    for item in rows:
        if item["kind"] == "ws":
            captured.setdefault(item["data"]["type"], []).append(item["data"])
    for name in ("account_all_orders", "account_all_trades", "account_all_positions"):
        body = {"type": "subscribe", "channel": f"{name}/{trader.index}", "auth": trader.token()}
        (first,) = trader.stage.tell("lighter", ear, body)
        assert differences(captured[f"subscribed/{name}"][0], first) == []
        compared += 1
    sent = trader.send(14, **trader.order(TimeInForce=2, ClientOrderIndex=424242424242))
    response = next(row["data"]["resp"] for row in rows if row["kind"] == "sendTx create")
    answer = sent | {"tx_hash": sent["tx_hash"][0]}
    assert differences(response, answer) == []
    assert answer["message"] == response["message"]
    trader.stage.run(300)
    frames = {frame["type"]: frame for frame in ear.heard()}
    newer = {"order_version", "total_funding_paid_out", "total_discount"}
    for name, status in (("update/account_all_orders", "open"), ("update/account_all_positions", "")):
        found = [line for line in differences(captured[name][0], frames[name])
                 if line.split(":")[0].rsplit(".", 1)[-1] not in newer]  # fmt: skip
        assert found == []
        compared += 1
        if status:
            assert frames[name]["orders"]["1"][0]["status"] == status
    assert trader.refused(14, **trader.order(Nonce=0)) == 21104
    trader.send(15, MarketIndex=1, Index=424242424242)
    trader.stage.run(300)
    gone = next(f for f in ear.heard() if f["type"] == "update/account_all_orders")["orders"]["1"][0]
    before = captured["update/account_all_orders"][1]["orders"]["1"][0]
    same = ("status", "remaining_base_amount", "base_size", "filled_base_amount", "type", "time_in_force", "side",
            "trigger_status", "trigger_price", "parent_order_id", "integrator_fee_collector_index")  # fmt: skip
    assert {name: gone[name] for name in same} == {name: before[name] for name in same}
    assert trader.refused(14, **trader.order(Nonce=3)) == 21104
    print(f"{compared + 2} captured private frames and answers compared")
