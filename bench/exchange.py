"""Orders a second through the simulated exchange: matching alone, and through each dialect with its signatures.

Matching is bare: no margin, no books of the crowd but a hand-made one. The dialects run without sockets: reading,
signature, nonce, checks, queue, matching, printing of the answer. Lighter's signatures are all verified.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from random import Random
from typing import Any

from services.simulator.exchange.values import Wanted
from tests.support.signers import ApiKey, Wallet
from tests.unit.simulator.clients import START_MS, Stage
from tests.unit.simulator.test_exchange_matching import exchange

ORDERS = 20_000
SIGNED = 300
PASSES = 3


def per_second(name: str, count: int, work: Callable[[], None]) -> None:
    """Run and print the median of a few passes."""
    rates = []
    for _ in range(PASSES):
        began = time.perf_counter()
        work()
        rates.append(count / (time.perf_counter() - began))
    print(f"{name:52} {statistics.median(rates):10.0f} a second", flush=True)


def matching(venue: str) -> None:
    """Place orders of eight accounts around one price."""
    subject, street = exchange(venue)
    subject.state.margin_free = True
    street.marks["M"] = 1000
    rng = Random(1)
    for number in range(8):
        subject.open_account(number)
    for step in range(ORDERS):
        buy = rng.random() < 0.5
        price = 1000 + (rng.randrange(-20, 4) if buy else rng.randrange(-3, 21))
        subject.place(step % 8, Wanted(market="M", buy=buy, price=price, size=rng.randrange(1, 50)), step)
        if step % 400 < 8:
            subject.cancel_all(step % 8, step)
        subject.take_events()


def hyperliquid(stage: Stage, envelopes: list[Any]) -> None:
    """Post signed orders; each is in a block of its own."""
    private, left = stage.hyperliquid.private, [len(envelopes)]

    def done(*_answer: object) -> None:
        left[0] -= 1

    for envelope in envelopes:
        private.submit(private.read(envelope), "/exchange", done)
        private.desk.block()
        private.tick(stage.clock.seconds)
    assert left[0] == 0


def hyperliquid_orders(wallet: Wallet, batch: int) -> list[Any]:
    """Return signed orders that rest."""
    row = {"a": 0, "b": True, "p": "60000", "s": "0.001", "r": False, "t": {"limit": {"tif": "Gtc"}}}
    action = {"type": "order", "orders": [row], "grouping": "na"}
    return [wallet.l1(action, START_MS + batch * SIGNED + number) for number in range(SIGNED)]


def main() -> None:
    """Print all figures."""
    for venue in ("hyperliquid", "lighter"):
        per_second(f"matching, {venue}", ORDERS, lambda venue=venue: matching(venue))
    stage, wallet = Stage(hyperliquid_ack_ms=0, hyperliquid_requests_max=0), Wallet(1)
    stage.hyperliquid.private.open_account(wallet.number, 10**15, "", 0, "")
    batches = iter([hyperliquid_orders(wallet, batch) for batch in range(PASSES)])
    per_second("Hyperliquid's dialect, one order an action", SIGNED, lambda: hyperliquid(stage, next(batches)))
    lighter(Stage(lighter_sends_max=0, lighter_verifications_max=0, lighter_delays=False), wallet)


def lighter(stage: Stage, wallet: Wallet) -> None:
    """Send signed orders and carry them out."""
    private, key = stage.lighter.private, ApiKey(1)
    index = int(str(private.open_account(wallet.number, 10**15, 0, "", {5: key.hex}, None)["account"]))
    fields = {"AccountIndex": index, "ApiKeyIndex": 5, "MarketIndex": 1, "ClientOrderIndex": 0, "BaseAmount": 100,
              "Price": 600_000, "IsAsk": 0, "Type": 0, "TimeInForce": 1, "ReduceOnly": 0, "TriggerPrice": 0,
              "OrderExpiry": START_MS + 86_400_000, "ExpiredAt": START_MS + 599_000}  # fmt: skip
    texts = [key.tx(14, fields | {"Nonce": nonce}) for nonce in range(SIGNED * PASSES)]
    private.send([14], [texts[0]], "ws", protected=True)  # the key's table is made once
    nonce = [1]

    def work() -> None:
        for _ in range(SIGNED - 1):
            private.send([14], [texts[nonce[0]]], "ws", protected=True)
            nonce[0] += 1
        stage.clock.seconds += 1
        private.tick(stage.clock.seconds)

    per_second("Lighter's dialect, every signature verified", SIGNED - 1, work)


if __name__ == "__main__":
    main()
