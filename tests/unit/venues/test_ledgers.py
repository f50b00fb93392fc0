"""What the venues' ledgers say of money that came, left and changed wallets: captured entries, and every kind."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.venues.account import Transfer
from services.venues.hyperliquid.wire import ledger as hyperliquid
from services.venues.hyperliquid.wire.values import WireError
from services.venues.lighter.wire import ledger as lighter

D = Decimal
FOLDER = os.environ.get("PERPMESH_FIXTURES")
captured = pytest.mark.skipif(FOLDER is None, reason="PERPMESH_FIXTURES is not set: captures are not there")
ME, OTHER = "0x" + "1" * 40, "0x" + "2" * 40


def never(kind: str) -> None:
    raise AssertionError(f"{kind} is known")


def read(rows: list[dict[str, Any]], user: str = ME) -> list[Transfer]:
    entries = msgspec.convert(rows, list[hyperliquid.RawEntry])
    return hyperliquid.transfers(entries, user, never)


def short(found: list[Transfer]) -> list[tuple[str, str, str, Decimal, Decimal, str]]:
    return [(one.kind, one.wallet, one.asset, one.amount, one.fee, one.counterparty) for one in found]


@captured
def test_captured_ledgers_of_hyperliquid_are_read_to_the_last_digit() -> None:
    folder = Path(FOLDER or "") / "hyperliquid"
    name = "test_user_non_funding_ledger_updates_without_end_time.json"
    rows = json.loads((folder / "sdk_cassettes" / name).read_text())["interactions"][0]["response"]["body"]
    found = read(rows, "0x2Ba553d9F990a3B66b03b2dC0D030dfC1c061036")
    destination = "0xaaa0c2769cb990f4f37db951a9e48de2385c2733"
    assert short(found) == [
        ("deposit", "", "USDC", D("2703997.4500000002"), 0, ""),
        ("accountClassTransfer", "", "USDC", D(-12), 0, "spot"),
        ("accountClassTransfer", "spot", "USDC", D(12), 0, "perp"),
        ("spotTransfer", "spot", "USDC", D("-11.5"), 1, destination),
        ("accountClassTransfer", "", "USDC", D("-2684105.0099999998"), 0, "spot"),
        ("accountClassTransfer", "spot", "USDC", D("2684105.0099999998"), 0, "perp"),
        ("deposit", "", "USDC", D("1099994.98"), 0, ""),
    ]
    assert [one.time_ms for one in found] == sorted(one.time_ms for one in found)
    # The whole ledger, beside itself: what changed wallets cancels out, and what came less what left is what is there.
    assert sum(one.amount for one in found) == D("2703997.4500000002") + D("1099994.98") - D("11.5")
    sent = json.loads((folder / "riftresearch_testnet_2026-09-18.json").read_text())
    row = sent["userNonFundingLedgerUpdates_send_entry"]
    (mine,) = read([row], row["delta"]["user"])
    (theirs,) = read([row], row["delta"]["destination"])
    assert short([mine]) == [("send", "spot", "USDC", D(-501), 1, row["delta"]["destination"])]
    assert short([theirs]) == [("send", "spot", "USDC", D(500), 0, row["delta"]["user"])]
    print(f"captured ledger entries read: {len(rows) + 1}, transfers: {len(found) + 2}")


KINDS = [
    ({"type": "deposit", "usdc": "5"}, [("", "USDC", 5, 0)]),
    ({"type": "withdraw", "usdc": "5", "nonce": 1, "fee": "1.0"}, [("", "USDC", -5, 1)]),
    ({"type": "internalTransfer", "usdc": "5", "user": ME, "destination": OTHER, "fee": "1"}, [("", "USDC", -6, 1)]),
    ({"type": "internalTransfer", "usdc": "5", "user": OTHER, "destination": ME, "fee": "1"}, [("", "USDC", 5, 0)]),
    ({"type": "subAccountTransfer", "usdc": "5", "user": OTHER, "destination": ME}, [("", "USDC", 5, 0)]),
    ({"type": "accountClassTransfer", "usdc": "5", "toPerp": True}, [("", "USDC", 5, 0), ("spot", "USDC", -5, 0)]),
    (
        {"type": "spotTransfer", "token": "PURR", "amount": "2", "user": ME, "destination": OTHER, "fee": "1",
         "feeToken": "USDC"},
        [("spot", "PURR", -2, 0)],
    ),
    (
        {"type": "send", "token": "USDC:0x6d", "amount": "2", "user": ME, "destination": ME, "sourceDex": "",
         "destinationDex": "xyz", "fee": "0.0", "feeToken": ""},
        [("", "USDC", -2, 0), ("xyz", "USDC", 2, 0)],
    ),
    ({"type": "rewardsClaim", "amount": "3", "token": "USDC"}, [("", "USDC", 3, 0)]),
    ({"type": "vaultDeposit", "vault": OTHER, "usdc": "3"}, [("", "USDC", -3, 0)]),
    ({"type": "vaultWithdraw", "vault": OTHER, "requestedUsd": "4", "netWithdrawnUsd": "3"}, [("", "USDC", 3, 0)]),
    ({"type": "cStakingTransfer", "token": "HYPE", "amount": "3", "isDeposit": True}, [("spot", "HYPE", -3, 0)]),
    ({"type": "liquidation", "liquidatedNtlPos": "1", "accountValue": "1", "leverageType": "Cross"}, []),
]  # fmt: skip


@pytest.mark.parametrize(("delta", "expected"), KINDS, ids=[str(delta["type"]) for delta, _ in KINDS])
def test_every_kind_of_entry_changes_the_wallets_it_should(delta: dict[str, Any], expected: list[Any]) -> None:
    found = read([{"time": 1_700_000_000_000, "hash": "0xab", "delta": delta}])
    assert [(one.wallet, one.asset, one.amount, one.fee) for one in found] == [
        (wallet, asset, D(amount), D(fee)) for wallet, asset, amount, fee in expected
    ]


def test_entries_alike_are_told_apart_and_strange_ones_are_told_and_never_guessed() -> None:
    row = {"time": 1, "hash": "0xab", "delta": {"type": "deposit", "usdc": "5"}}
    one, two = read([row, row])
    assert one.transfer_id != two.transfer_id
    assert (one, two) == tuple(read([row, row])), "the same whenever it is asked for"
    heard: list[str] = []
    strange = msgspec.convert([{"time": 1, "hash": "0x", "delta": {"type": "borrowLend"}}], list[hyperliquid.RawEntry])
    assert hyperliquid.transfers(strange, ME, heard.append) == []
    assert heard == ["borrowLend"]
    foreign = {"type": "internalTransfer", "usdc": "5", "user": OTHER, "destination": OTHER}
    for delta in (foreign, {"type": "deposit", "usdc": "-5"}, {"type": "deposit"}):
        with pytest.raises(WireError):
            read([{"time": 1, "hash": "0x", "delta": delta}])


def test_lighters_histories_count_what_arrived_and_what_came_back() -> None:
    row = {"amount": "7.5", "timestamp": 1_780_000_000, "asset_id": 3, "l1_tx_hash": "0x1"}
    states = ("completed", "pending", "failed", "claimable")
    came = lighter.deposits(
        msgspec.convert([row | {"id": state, "status": state} for state in states], list[lighter.RawDeposit])
    )
    assert [(one.transfer_id, one.amount, one.time_ms) for one in came] == [
        ("deposit:completed", D("7.5"), 1_780_000_000_000)
    ]
    states = ("pending", "claimable", "completed", "failed", "refunded")
    left = lighter.withdrawals(
        msgspec.convert([row | {"id": state, "status": state} for state in states], list[lighter.RawWithdrawal])
    )
    assert sum(one.amount for one in left) == D("-22.5")
    assert [one.transfer_id for one in left if one.amount > 0] == ["withdraw:failed:refund", "withdraw:refunded:refund"]


def test_lighters_transfers_have_a_side_for_each_wallet_of_the_account() -> None:
    row = {"id": "9", "amount": "5", "timestamp": 1_780_000_000_123, "asset_id": 3, "fee": "0.5"}
    out = row | {"type": "L2TransferOutflow", "from_account_index": 1, "to_account_index": 2, "from_route": "perps"}
    into = row | {"type": "L2TransferInflow", "from_account_index": 2, "to_account_index": 1, "to_route": "spot"}
    self_ = row | {"type": "L2SelfTransfer", "from_account_index": 1, "to_account_index": 1, "from_route": "spot",
                   "to_route": "perps"}  # fmt: skip
    found = lighter.transfers(msgspec.convert([out, into, self_], list[lighter.RawTransfer]), 1)
    assert [(one.transfer_id, one.wallet, one.amount, one.fee, one.counterparty) for one in found] == [
        ("transfer:9:out", "", D("-5.5"), D("0.5"), "2"),
        ("transfer:9:in", "spot", D(5), 0, "2"),
        ("transfer:9:out", "spot", D("-5.5"), D("0.5"), "1"),
        ("transfer:9:in", "", D(5), 0, "1"),
    ]
    with pytest.raises(lighter.WireError):
        lighter.transfers(msgspec.convert([out], list[lighter.RawTransfer]), 7)
