"""Captured private answers and frames beside the simulator's: every captured field is there, of the captured kind.

Fields the venues have added since a capture are allowed on our side. Signatures of captured requests cannot be true
here (the keys are not ours, and the stored requests were signed again later); that they can be read is shown.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from services.simulator.dialects.lighter import transactions
from services.simulator.dialects.lighter.account_rest import AccountRest
from services.simulator.dialects.lighter.query import Query
from services.simulator.dialects.lighter.refusals import RefusedError
from tests.unit.simulator.clients import Stage
from tests.unit.simulator.shapes import differences
from tests.unit.simulator.test_hyperliquid_private import Trader as HyperliquidTrader
from tests.unit.simulator.test_hyperliquid_private import row
from tests.unit.simulator.test_lighter_private import Trader, market

SEEDS = itertools.count(5000)


class Asked:
    """A request as `Query` reads it."""

    def __init__(self, token: str = "", **query: Any) -> None:
        self.query = {name: str(value) for name, value in query.items()}
        self.headers = {"Authorization": token} if token else {}


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(lighter_sends_max=0, hyperliquid_ack_ms=0, hyperliquid_users_max=0)


def lacks(captured: Any, ours: Any) -> list[str]:
    """Return captured fields that are missing in ours or of another kind."""
    printed = json.loads(json.dumps(ours))
    return [line for line in differences(captured, printed) if not line.endswith("only in ours")]


def traded(stage: Stage) -> tuple[Trader, AccountRest]:
    """Return a Lighter account with a position and resting orders."""
    trader = Trader(stage, seed=next(SEEDS))
    trader.send(14, **market(trader))
    trader.send(14, **trader.order(ClientOrderIndex=7))
    stage.run(500)
    assert trader.private.exchange.state.accounts[trader.index].size("1") == 1000
    return trader, AccountRest(trader.private, stage.lighter.rim)


def test_lighters_captured_rest_answers(stage: Stage, fixtures: Path) -> None:
    trader, rest = traded(stage)
    folder = fixtures / "lighter"
    bodies = json.loads((folder / "hftbacktest/rest_bodies.json").read_text())
    old = folder / "nautilus_pr_dec2025/http"
    reads, compared = rest.reads(), 0

    def ask(path: str, **query: Any) -> Any:
        return {"code": 200} | reads[path](Query(Asked(trader.token(), account_index=trader.index, **query)))

    def stored(name: str) -> Any:
        return json.loads((old / name).read_text())["response"]["body"]

    for captured, ours in (
        (
            json.loads((folder / "nautilus/http_account.json").read_text()),
            ask("account", by="index", value=trader.index),
        ),
        (stored("mainnet_account_index_659514.json"), ask("account", by="index", value=trader.index)),
        (stored("mainnet_account_active_orders_market1.json"), ask("accountActiveOrders", market_id=1)),
        (bodies["accountActiveOrders_one"], ask("accountActiveOrders", market_id=1)),
        (bodies["accountActiveOrders_empty"], ask("accountActiveOrders", market_id=9)),
        (bodies["accountLimits_ok"], ask("accountLimits")),
        (stored("mainnet_next_nonce.json"), ask("nextNonce", api_key_index=5)),
    ):
        assert lacks(captured, ours) == []
        compared += 1
    for token, captured, status in (
        ("", bodies["accountActiveOrders_no_token"], 400),
        (trader.token(9 * 3600), bodies["accountLimits_token_over_8h_http401"], 401),
    ):
        with pytest.raises(RefusedError) as caught:
            reads["accountLimits"](Query(Asked(token, account_index=trader.index)))
        assert (caught.value.body(), caught.value.status) == (captured, status)
        compared += 1
    for name in ("create_btc", "create_eth", "cancel_btc", "cancel_eth"):
        sent = json.loads((old / f"mainnet_sendtx_{name}.json").read_text())
        form = sent["request"]["form"]
        tx = transactions.read(int(form["tx_type"]), form["tx_info"], 304)
        assert (tx.account, len(tx.hash), len(tx.signature)) == (659514, 40, 80)
        answer = trader.send(15, MarketIndex=1, Index=1)
        assert lacks(sent["response"]["body"], answer | {"tx_hash": answer["tx_hash"][0]}) == []
        compared += 1
    print(f"{compared} captured Lighter answers compared")


def test_lighters_captured_account_frames(stage: Stage, fixtures: Path) -> None:
    trader, _ = traded(stage)
    ear, folder, compared = stage.join("lighter", number=next(SEEDS)), fixtures / "lighter", 0

    def follow(channel: str) -> Any:
        body = {"type": "subscribe", "channel": channel, "auth": trader.token()}
        return stage.tell("lighter", ear, body)[-1]

    def stored(name: str) -> Any:
        return json.loads((folder / name).read_text())

    session = stored("nautilus_pr_dec2025/ws/private_mainnet_orders.json")
    by_type = {frame["type"]: frame for frame in session}
    for captured, channel in (
        (stored("nautilus/ws_user_stats_with_position.json"), f"user_stats/{trader.index}"),
        (stored("nautilus/ws_account_all_assets_with_position.json"), f"account_all_assets/{trader.index}"),
        (by_type["subscribed/account_all_orders"], f"account_all_orders/{trader.index}"),
        (by_type["subscribed/account_orders"], f"account_orders/1/{trader.index}"),
    ):
        assert lacks(captured, follow(channel)) == []
        compared += 1
    follow(f"account_all_trades/{trader.index}")
    follow(f"account_all_positions/{trader.index}")
    trader.send(15, MarketIndex=1, Index=7)
    trader.send(14, **market(trader, IsAsk=1))
    stage.run(600)
    frames = {frame["type"]: frame for frame in ear.heard()}
    notes = {"$.last_funding_round: missing in ours", "$.last_funding_discount: missing in ours"}
    for captured in (
        by_type["update/account_all_orders"], by_type["update/account_orders"],
        stored("nautilus/ws_account_all_trades_update.json"), stored("nautilus/ws_account_all_positions_update.json"),
    ):  # fmt: skip
        fees = {line for line in lacks(captured, frames[captured["type"]]) if "_fee: missing" in line}
        assert set(lacks(captured, frames[captured["type"]])) - notes - fees == set(), captured["type"]
        compared += 1
    print(f"{compared} captured Lighter frames compared; a standard account's trades carry no fees")


def test_hyperliquids_captured_account_answers(stage: Stage, fixtures: Path) -> None:
    trader = HyperliquidTrader(stage, seed=next(SEEDS))
    folder = fixtures / "hyperliquid"
    rift = json.loads((folder / "riftresearch_testnet_2026-09-18.json").read_text())

    def cassette(name: str) -> Any:
        return json.loads((folder / f"sdk_cassettes/{name}.json").read_text())["interactions"][0]["response"]["body"]

    agent = HyperliquidTrader(stage, seed=next(SEEDS), dollars=0).wallet
    name = f"bot valid_until {trader.private.info.time_ms() + 86_400_000}"
    trader.post(trader.wallet.approve_agent(agent, trader.nonce(), name))
    trader.order(row(round(trader.mid() * 1.01), "0.01", tif="Ioc"))
    instrument = stage.market.venues["hyperliquid"]["BTC"]
    trader.private.exchange.settle_hour("BTC", instrument.rate or 125_000, trader.private.info.time_ms() * 1000)
    trader.post(trader.wallet.send_asset("5", trader.nonce(), source="", target="xyz"))
    trader.private.flush()
    compared = 0
    for captured, ours in (
        (cassette("test_extra_agents"), trader.info("extraAgents")),
        (cassette("test_user_role"), trader.info("userRole")),
        (cassette("test_user_rate_limit"), trader.info("userRateLimit")),
        (cassette("test_user_funding_history_with_end_time"), trader.info("userFunding", startTime=0)),
        (cassette("test_get_user_fills_by_time"), trader.info("userFillsByTime", startTime=0)),
        (rift["userFees"], trader.info("userFees")),
    ):
        missing = [line for line in lacks(captured, ours) if line != "$[].delta.nSamples: number against null"]
        assert missing == []
        compared += 1
    liquidation = json.loads((folder / "nautilus_test_data/ws_user_fill_liquidation.json").read_text())
    (fill, *_) = trader.info("userFills")
    missing = [line.split(":")[0] for line in lacks(liquidation["data"]["fills"][0], fill)]
    assert set(missing) == {"$.cloid", "$.liquidation"}  # neither a client id nor a liquidation was in ours
    sends = [item for item in trader.info("userNonFundingLedgerUpdates") if item["delta"]["type"] == "send"]
    stored = next((value for key, value in rift.items() if "ledger" in key.lower()), None)
    if stored is not None:
        entry = stored[0] if isinstance(stored, list) else stored
        assert lacks(entry, sends[0]) == []
        compared += 1
    print(f"{compared + 1} captured Hyperliquid answers compared")
