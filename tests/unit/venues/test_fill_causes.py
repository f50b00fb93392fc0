"""Why a fill came about, as each venue tells it: an order, a liquidation, deleveraging, a settlement.

No capture holds a deleveraged trade; the words are those of the venues' documents and SDKs.
"""

from __future__ import annotations

from typing import Any

import pytest

from services.venues.account import FillCause
from services.venues.hyperliquid.wire import account as hyperliquid
from services.venues.hyperliquid.wire.universe import Universe
from services.venues.lighter.wire import account as lighter

ME, OTHER = "0x" + "1" * 40, "0x" + "2" * 40
NOTHING = Universe(coins={}, dexes={}, listings=(), problems=())
CAUSE = FillCause


@pytest.mark.parametrize(
    ("dir_", "liquidated", "cause"),
    [
        ("Close Long", None, CAUSE.ORDER),
        ("Close Long", OTHER, CAUSE.ORDER),  # a liquidation met a resting order of mine
        ("Close Long", ME.upper().replace("0X", "0x"), CAUSE.LIQUIDATION),
        ("Auto-Deleveraging", None, CAUSE.DELEVERAGING),
        ("Auto-Deleveraging", OTHER, CAUSE.DELEVERAGING),
        ("Auto-Deleveraging", ME, CAUSE.LIQUIDATION),  # the bankrupt side of it
        ("Settlement", None, CAUSE.SETTLEMENT),
    ],
)
def test_hyperliquid_says_it_by_the_direction_and_by_who_was_liquidated(
    dir_: str, liquidated: str | None, cause: CAUSE
) -> None:
    body: dict[str, Any] = {
        "coin": "BTC", "px": "84000.0", "sz": "0.01", "side": "A", "time": 1, "startPosition": "0.01", "dir": dir_,
        "closedPnl": "1.0", "hash": "0x0", "oid": 7, "crossed": True, "fee": "0.0", "tid": 9, "feeToken": "USDC",
    }  # fmt: skip
    if liquidated is not None:
        body["liquidation"] = {"liquidatedUser": liquidated, "markPx": "84000.0", "method": "backstop"}
    raw = hyperliquid.convert(body, hyperliquid.RawFill)
    assert hyperliquid.fill(raw, NOTHING, user=ME).cause is cause


@pytest.mark.parametrize("sells", [True, False])
@pytest.mark.parametrize("makes", [True, False])
@pytest.mark.parametrize(
    ("kind", "of_maker", "of_taker"),
    [
        ("trade", CAUSE.ORDER, CAUSE.ORDER),
        ("liquidation", CAUSE.ORDER, CAUSE.LIQUIDATION),
        ("deleverage", CAUSE.DELEVERAGING, CAUSE.DELEVERAGING),  # nobody ordered it, whoever is called the maker
        ("market-settlement", CAUSE.SETTLEMENT, CAUSE.SETTLEMENT),
    ],
)
def test_lighter_says_it_by_the_type_of_the_trade(
    kind: str, of_maker: CAUSE, of_taker: CAUSE, makes: bool, sells: bool
) -> None:
    raw = lighter.convert(
        {
            "trade_id": 9, "tx_hash": "ab", "type": kind, "market_id": 1, "size": "0.01", "price": "84000.0",
            "usd_amount": "840.000000", "ask_id": 5, "bid_id": 6, "ask_account_id": 1 if sells else 2,
            "bid_account_id": 2 if sells else 1, "is_maker_ask": makes is sells, "block_height": 3, "timestamp": 4,
        },
        lighter.RawTrade,
    )  # fmt: skip
    assert lighter.fill(raw, {}, 1).cause is (of_maker if makes else of_taker)
