"""Signatures a second, ours beside both official SDKs', in one run: from an order's terms to the bytes that are posted.

Hyperliquid: ours builds the action, packs, hashes, signs and writes the body; the SDK does so from its own request
types. Lighter: the SDK calls its library in this process; ours calls the same library in its child and checks what
comes back. Microseconds an order, the median of interleaved passes.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
import warnings
from collections.abc import Awaitable, Callable
from decimal import Decimal

from eth_account import Account
from hyperliquid.utils import signing as sdk
from hyperliquid.utils.types import Cloid

from services.domain.decimals import Price, Size
from services.venues.actions import OrderTerms, OrderType, Place, Side, TimeInForce
from services.venues.hyperliquid import curve, prepare
from services.venues.hyperliquid.sign import Key
from services.venues.lighter.signer import ChildSigner
from services.venues.lighter.wire.encode import encode
from services.venues.lighter.wire.transactions import ApiKey, Scale

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # the SDK imports a deprecated name of websockets
    from lighter.signer_client import SignerClient

SECRET = b"\x01" * 32
LIGHTER_SECRET = "0b" * 39 + "00"
PASSES = 7
HYPERLIQUID_ORDERS = 300
LIGHTER_ORDERS = 100
CLOID = "0x" + "0f" * 16


def order(client_id: str) -> Place:
    """Return one order."""
    terms = OrderTerms(
        market="ETH-PERP",
        venue_market_id=0,
        side=Side.BUY,
        size=Size(Decimal("0.0147")),
        limit_price=Price(Decimal("1670.1")),
        type=OrderType.LIMIT,
        time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL,
        client_id=client_id,
    )
    return Place(orders=(terms,))


def microseconds(run: Callable[[], object], count: int) -> float:
    """Return the time of one of `count` runs."""
    start = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - start) / count * 1e6


def hyperliquid() -> tuple[float, float]:
    """Return (ours, the SDK's)."""
    key, wallet = Key(SECRET), Account.from_key(SECRET)
    terms, action = prepare.Terms(mainnet=False), order(CLOID)
    nonce = 1_790_000_000_000

    def ours() -> object:
        return prepare.signed(action, terms, key, nonce=nonce, expires_after_ms=nonce + 5_000)

    def theirs() -> object:
        request = {"coin": "ETH", "is_buy": True, "sz": 0.0147, "limit_px": 1670.1, "reduce_only": False}
        request |= {"order_type": {"limit": {"tif": "Ioc"}}, "cloid": Cloid.from_str(CLOID)}
        made = sdk.order_wires_to_order_action([sdk.order_request_to_order_wire(request, 0)])
        signature = sdk.sign_l1_action(wallet, made, None, nonce, nonce + 5_000, False)
        body = {"action": made, "nonce": nonce, "signature": signature, "vaultAddress": None}
        return json.dumps(body | {"expiresAfter": nonce + 5_000})

    found = [(microseconds(ours, HYPERLIQUID_ORDERS), microseconds(theirs, HYPERLIQUID_ORDERS)) for _ in range(PASSES)]
    return statistics.median(a for a, _ in found), statistics.median(b for _, b in found)


async def lighter() -> tuple[float, float, float]:
    """Return (ours, the SDK's as its users call it, the SDK's called from a second thread)."""
    key = ApiKey(account_index=1234, api_key_index=5)

    async def secrets(_: ApiKey) -> str:
        return LIGHTER_SECRET

    async def timed(run: Callable[[int], Awaitable[object]]) -> float:
        start = time.perf_counter()
        for nonce in range(LIGHTER_ORDERS):
            await run(nonce)
        return (time.perf_counter() - start) / LIGHTER_ORDERS * 1e6

    client = SignerClient("http://127.0.0.1:9", 1234, {5: LIGHTER_SECRET}, chain_id=300)
    async with ChildSigner(chain_id=300, secrets=secrets) as signer:
        transaction = encode(order("42"), key=key, scales={0: Scale(2, 4)}, now_ms=1_790_000_000_000)

        async def ours(nonce: int) -> object:
            return await signer.sign(key, transaction, nonce)

        async def theirs(nonce: int) -> object:
            return client.sign_create_order(
                0, 42, 147, 167_010, False, 0, 0, order_expiry=0, nonce=nonce, api_key_index=5
            )

        def theirs_in_a_thread() -> float:
            def once() -> object:
                return client.sign_create_order(
                    0, 42, 147, 167_010, False, 0, 0, order_expiry=0, nonce=1, api_key_index=5
                )

            return microseconds(once, LIGHTER_ORDERS)

        await ours(0)
        found = [
            (await timed(ours), await timed(theirs), await asyncio.to_thread(theirs_in_a_thread)) for _ in range(PASSES)
        ]
    await client.close()
    mine, main, thread = (statistics.median(row[place] for row in found) for place in range(3))
    return mine, main, thread


def report() -> str:
    """Measure and return the lines to print."""
    mine, sdks = hyperliquid()
    ours, theirs, threaded = asyncio.run(lighter())
    rows = [
        ("Hyperliquid, ours (" + curve.BACKEND + ")", mine, sdks / mine),
        ("Hyperliquid, hyperliquid-python-sdk 0.24.0", sdks, 1.0),
        ("Lighter, ours (child, checked)", ours, theirs / ours),
        ("Lighter, lighter-sdk 1.1.8 (in the process)", theirs, 1.0),
        ("Lighter, lighter-sdk 1.1.8 (second thread)", threaded, theirs / threaded),
    ]
    return "\n".join(f"{name:<48} {us:8.0f} us {1e6 / us:8.0f} a second {ratio:6.2f}x" for name, us, ratio in rows)


def main() -> int:
    """Print the figures."""
    print(report())
    return 0


if __name__ == "__main__":
    sys.exit(main())
