"""ccxt's Lighter client, unpatched, in a process of its own, since it loads the venue's Go library.

`python -m tests.foreign.ccxt_lighter <http> <ws> <wallet secret> <library>` prints what it found as JSON. ccxt
registers an API key by the wallet's signature and approves its own integrator account by itself. No order is tried:
ccxt 4.5.64 calls `SignCreateOrder` and `SignCancelAllOrders` with the arguments of an older library than that of
lighter-sdk 1.1.8.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import ccxt.pro

SYMBOL = "ETH/USDC:USDC"


async def trade(http: str, ws: str, secret: str, library: str) -> dict[str, Any]:
    """Set up the account and read everything; return what was found."""
    client = ccxt.pro.lighter({"privateKey": secret, "enableRateLimit": False, "options": {"libraryPath": library}})
    client.urls["api"] = dict.fromkeys(("root", "public", "private"), http) | {"ws": ws}
    try:
        await client.load_markets()
        await client.set_leverage(5, SYMBOL, {"marginMode": "cross"})
        await client.set_margin_mode("isolated", "BTC/USDC:USDC", {"leverage": 4})
        await asyncio.sleep(0.5)  # a transaction answers before it is carried out
        positions = await client.fetch_positions([SYMBOL, "BTC/USDC:USDC"])
        book = await client.fetch_order_book(SYMBOL)
        watched = await client.watch_order_book(SYMBOL)
        trades = await client.watch_trades(SYMBOL)
        return {
            "balance": (await client.fetch_balance())["USDC"]["total"],
            "leverage": {row["symbol"]: [row["leverage"], row["marginMode"]] for row in positions},
            "crossed": book["bids"][0][0] >= book["asks"][0][0] or watched["bids"][0][0] >= watched["asks"][0][0],
            "approved": client.options.get("approvedBuilderFee"),
            "candles": len(await client.fetch_ohlcv(SYMBOL, "1h")),
            "rates": SYMBOL in await client.fetch_funding_rates(),
            "open": len(await client.fetch_open_orders(SYMBOL)),
            "ended": len(await client.fetch_closed_orders(SYMBOL)),
            "fills": len(await client.fetch_my_trades(SYMBOL)),
            "trades": len(trades) > 0,
        }
    finally:
        await client.close()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(trade(*sys.argv[1:]))))
