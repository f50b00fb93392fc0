"""Our signatures beside the official SDK's, over random actions of every kind: 2,000, or PERPMESH_SIGNATURES of them.

`make signatures` compares 100,000.
"""

from __future__ import annotations

import os
import random
from decimal import Decimal
from typing import Any

from eth_account import Account
from hyperliquid.utils import signing as sdk
from hyperliquid.utils.types import Cloid

from services.domain.decimals import Price, Size
from services.venues import actions
from services.venues.actions import Grouping, MarginMode, OrderReference, OrderTerms, OrderType, Side, TimeInForce
from services.venues.hyperliquid import sign
from services.venues.hyperliquid.wire.actions import encode

COUNT = int(os.environ.get("PERPMESH_SIGNATURES", "2000"))
SEED = 20261122
TIF = {
    TimeInForce.GOOD_TILL_CANCELED: "Gtc",
    TimeInForce.IMMEDIATE_OR_CANCEL: "Ioc",
    TimeInForce.POST_ONLY: "Alo",
}


def address(rng: random.Random) -> str:
    return "0x" + rng.randbytes(20).hex()


def cloid(rng: random.Random) -> str:
    return "0x" + rng.randbytes(16).hex()


def number(rng: random.Random) -> Decimal:
    """A price or size as floats carry it without loss."""
    return Decimal(rng.randrange(1, 10 ** rng.randrange(1, 9))).scaleb(-rng.randrange(0, 7))


def random_terms(rng: random.Random) -> OrderTerms:
    kind = rng.choice(list(OrderType))
    return OrderTerms(
        market="ETH-PERP",
        venue_market_id=rng.choice((0, 1, 127, 128, 255, 256, 65_535, 65_536, 110_000, 100_000_010)),
        side=rng.choice((Side.BUY, Side.SELL)),
        size=Size(number(rng)),
        limit_price=Price(number(rng)),
        type=kind,
        time_in_force=rng.choice(list(TimeInForce)),
        client_id=cloid(rng) if rng.random() < 0.7 else "",
        reduce_only=rng.random() < 0.3,
        trigger_price=Price(number(rng)) if kind.has_trigger else None,
    )


def sdk_order(terms: OrderTerms) -> Any:
    kind: Any
    if terms.trigger_price is None:
        tif = TimeInForce.IMMEDIATE_OR_CANCEL if terms.type is OrderType.MARKET else terms.time_in_force
        kind = {"limit": {"tif": TIF[tif]}}
    else:
        tpsl = "sl" if terms.type.is_stop else "tp"
        kind = {"trigger": {"triggerPx": float(terms.trigger_price), "isMarket": terms.type.is_market, "tpsl": tpsl}}
    request: Any = {
        "coin": "ETH",
        "is_buy": terms.side is Side.BUY,
        "sz": float(terms.size),
        "limit_px": float(terms.limit_price),
        "order_type": kind,
        "reduce_only": terms.reduce_only,
        "cloid": Cloid.from_str(terms.client_id) if terms.client_id else None,
    }
    return sdk.order_request_to_order_wire(request, terms.venue_market_id)


def random_l1(rng: random.Random) -> tuple[actions.Action, Any]:
    """One of our actions, and what the SDK makes of the same wish."""
    reference = OrderReference(
        market="ETH-PERP", venue_market_id=rng.randrange(300_000), order_id=str(rng.randrange(1, 2**40))
    )
    ours = OrderReference(market="ETH-PERP", venue_market_id=rng.randrange(300_000), client_id=cloid(rng))
    kind = rng.choice(("order", "order", "order", "cancel", "cancelByCloid", "modify", "leverage", "schedule"))
    if kind == "order":
        orders = tuple(random_terms(rng) for _ in range(rng.choice((1, 1, 1, 2, 3, 17))))
        grouping = rng.choice(list(Grouping))
        fee = rng.choice((None, None, Decimal(rng.randrange(1, 101)).scaleb(-5)))
        ours_action = actions.Place(orders=orders, grouping=grouping, interface_fee_rate=fee)  # type: ignore[arg-type]
        names: Any = {Grouping.NONE: "na", Grouping.ENTRY_WITH_EXITS: "normalTpsl", Grouping.EXITS: "positionTpsl"}
        builder = {"b": BUILDER, "f": int(fee * 100_000)} if fee else None
        theirs = sdk.order_wires_to_order_action([sdk_order(order) for order in orders], builder, names[grouping])
        return ours_action, theirs
    if kind == "cancel":
        theirs = {"type": "cancel", "cancels": [{"a": reference.venue_market_id, "o": int(reference.order_id)}]}
        return actions.Cancel(orders=(reference,)), theirs
    if kind == "cancelByCloid":
        theirs = {"type": "cancelByCloid", "cancels": [{"asset": ours.venue_market_id, "cloid": ours.client_id}]}
        return actions.Cancel(orders=(ours,)), theirs
    if kind == "modify":
        which = rng.choice((reference, ours))
        terms = random_terms(rng)
        oid: Any = int(which.order_id) if which.order_id else which.client_id
        return actions.Modify(order=which, terms=terms), {
            "type": "batchModify",
            "modifies": [{"oid": oid, "order": sdk_order(terms)}],
        }
    if kind == "leverage":
        mode, leverage = rng.choice(list(MarginMode)), rng.randrange(1, 51)
        action = actions.SetLeverage(market="X-PERP", venue_market_id=7, leverage=leverage, margin_mode=mode)
        cross = mode is MarginMode.CROSS
        return action, {"type": "updateLeverage", "asset": 7, "isCross": cross, "leverage": leverage}
    when = rng.choice((None, rng.randrange(2**41)))
    return actions.ScheduleCancel(cancel_time_ms=when), {"type": "scheduleCancel"} | (
        {} if when is None else {"time": when}
    )


BUILDER = "0x" + "cd" * 20
NUMBERS = {"uint64": lambda rng: rng.randrange(2**63), "bool": lambda rng: rng.random() < 0.5, "address": address}


def random_user_signed(rng: random.Random) -> tuple[str, Any]:
    kind = rng.choice([kind for kind in sign.USER_SIGNED if kind != "multiSig"])
    _, fields = sign.USER_SIGNED[kind]
    text = lambda rng: rng.choice(("", "1", "0.5", "ä€", address(rng), "x" * rng.randrange(70)))  # noqa: E731
    return kind, {name: NUMBERS.get(of, text)(rng) for name, of in fields[1:]}


def test_random_actions_are_signed_as_the_sdk_signs_them() -> None:
    rng = random.Random(SEED)
    user = 0
    for index in range(COUNT):
        secret = rng.randbytes(31) + b"\x01"
        key, wallet = sign.Key(secret), Account.from_key(secret)
        mainnet = rng.random() < 0.5
        if rng.random() < 0.2:
            kind, values = random_user_signed(rng)
            primary, fields = sign.user_signed_type(kind)
            theirs = dict(values)
            expected = sdk.sign_user_signed_action(
                wallet, theirs, [{"name": name, "type": of} for name, of in fields], primary, mainnet
            )
            made = key.sign(sign.digest_of(sign.user_signed(kind, values, mainnet=mainnet)))
            user += 1
        else:
            action, theirs = random_l1(rng)
            nonce = rng.randrange(2**63)
            vault = address(rng) if rng.random() < 0.2 else None
            expires = rng.randrange(2**41) if rng.random() < 0.5 else None
            expected = sdk.sign_l1_action(wallet, theirs, vault, nonce, expires, mainnet)
            wire = encode(action, builder=BUILDER)
            hashed = sign.action_hash(wire, nonce, vault=vault, expires_after_ms=expires)
            made = key.sign(sign.l1_digest(hashed, mainnet=mainnet))
        assert made.as_wire() == expected, f"seed {SEED}, action {index}: {theirs}"
    print(f"seed {SEED}: {COUNT} signatures equal, {user} of them user-signed")
