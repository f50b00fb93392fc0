"""Orders of the venues' official SDKs straight to a venue: `python -m bench.sdk_orders VENUE URL --accounts FILE`.

Places limit orders that rest, at a steady rate whatever the answers, and prints as JSON the client ids with the wall
time (ns) at which each call began. Hyperliquid's SDK blocks, so that its calls are made by threads, one client each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import queue
import threading
import time
from pathlib import Path
from typing import Any

import eth_account
import lighter
from hyperliquid.exchange import Exchange
from hyperliquid.utils.types import Cloid

THREADS = 64


def hyperliquid(url: str, accounts: list[Any], rate: float, seconds: float, price: int) -> list[tuple[int, int]]:
    """Return (client id, call's begin)."""
    count = round(rate * seconds)
    threads = min(THREADS, max(1, round(rate)))
    work: queue.Queue[int | None] = queue.Queue()
    called: list[tuple[int, int]] = []
    ready = threading.Barrier(threads + 1)

    def caller(number: int) -> None:
        wallet = eth_account.Account.from_key(accounts[number % len(accounts)]["secret"])
        exchange = Exchange(wallet, url)
        ready.wait()
        while (at := work.get()) is not None:
            client = 10**6 + at
            called.append((client, time.time_ns()))
            exchange.order("BTC", True, 0.001, float(price), {"limit": {"tif": "Gtc"}}, cloid=Cloid.from_int(client))

    running = [threading.Thread(target=caller, args=(number,), daemon=True) for number in range(threads)]
    for one in running:
        one.start()
    ready.wait()
    began = time.monotonic()
    for at in range(count):
        time.sleep(max(0.0, began + at / rate - time.monotonic()))
        work.put(at)
    for _ in running:
        work.put(None)
    for one in running:
        one.join(60)
    return called


async def of_lighter(url: str, accounts: list[Any], rate: float, seconds: float, price: int) -> list[tuple[int, int]]:
    """Return (client id, call's begin)."""
    clients = [
        lighter.SignerClient(url=url, account_index=one["index"], api_private_keys={5: one["secret"]}, chain_id=304)
        for one in accounts
    ]
    called: list[tuple[int, int]] = []

    async def place(client: Any, number: int) -> None:
        called.append((number, time.time_ns()))
        await client.create_order(
            market_index=1, client_order_index=number, base_amount=100, price=price * 10, is_ask=False,
            order_type=client.ORDER_TYPE_LIMIT, reduce_only=0, trigger_price=0,
            time_in_force=client.ORDER_TIME_IN_FORCE_GOOD_TILL_TIME,
        )  # fmt: skip

    tasks, began = [], time.monotonic()
    for at in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, began + at / rate - time.monotonic()))
        tasks.append(asyncio.create_task(place(clients[at % len(clients)], 10**6 + at)))
    await asyncio.gather(*tasks, return_exceptions=True)
    for client in clients:
        await client.close()
    return called


def main() -> None:
    """Place and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("venue", choices=("hyperliquid", "lighter"))
    options.add_argument("url")
    options.add_argument("--accounts", type=Path, required=True)
    options.add_argument("--rate", type=float, required=True)
    options.add_argument("--seconds", type=float, required=True)
    options.add_argument("--price", type=int, required=True)
    chosen = options.parse_args()
    accounts = json.loads(chosen.accounts.read_text())
    if chosen.venue == "hyperliquid":
        called = hyperliquid(chosen.url, accounts, chosen.rate, chosen.seconds, chosen.price)
    else:
        called = asyncio.run(of_lighter(chosen.url, accounts, chosen.rate, chosen.seconds, chosen.price))
    print(json.dumps(called))


if __name__ == "__main__":
    main()
