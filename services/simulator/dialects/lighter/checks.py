"""What is checked of an order before its transaction is queued; the codes are the venue's.

Which checks the venue makes before and which in the sequencer is known in part only (venue notes, 4.8): shapes,
ranges, minimums, margin of resting orders and price protection are refused at once; a client id in use, a post-only
order that would cross, a reduce-only order without position and the margin of takers are found later.

Price protection refuses (thresholds made up, the venue's are unknown): a price more than half worse than the mark
(21733), one more than 95 % better (21734), a stop's limit more than half away from its trigger (21735).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from services.simulator.dialects.lighter.holders import Holder
from services.simulator.dialects.lighter.refusals import RefusedError
from services.simulator.exchange.account import Account
from services.simulator.exchange.core import Exchange
from services.simulator.exchange.risk import may_place
from services.simulator.exchange.terms import Terms
from services.simulator.exchange.values import Kind, Surcharge, Tif, Wanted

LIMIT, MARKET, STOP, STOP_LIMIT, TAKE, TAKE_LIMIT, TWAP = range(7)
IOC, GTT, POST_ONLY = range(3)
KINDS: dict[int, Kind] = {
    LIMIT: "limit", MARKET: "market", STOP: "stop", STOP_LIMIT: "stop_limit", TAKE: "take", TAKE_LIMIT: "take_limit",
    TWAP: "limit",
}  # fmt: skip
TIFS: dict[int, Tif] = {IOC: "ioc", GTT: "gtc", POST_ONLY: "alo"}
CLIENT_MAX = (1 << 48) - 1
SIZE_MAX = (1 << 48) - 1
PRICE_MAX = (1 << 32) - 1
EXPIRY_MIN_MS = 4 * 60_000
EXPIRY_MAX_MS = 30 * 86_400_000
ACTIVE_MAX, ACTIVE_MARKET_MAX, PENDING_MAX, PENDING_MARKET_MAX = 1500, 1000, 500, 16
TRIGGERED = frozenset({STOP, STOP_LIMIT, TAKE, TAKE_LIMIT})
_Way = Literal["maker", "taker", "both", "reduce"]


def terms_of(exchange: Exchange, number: int) -> Terms:
    """Return a perpetual market's rules. Raises RefusedError."""
    found = exchange.state.markets.get(str(number))
    if found is None:
        raise RefusedError(21602)
    if found.terms.spot:
        raise RefusedError(21621)
    if not found.terms.live:
        raise RefusedError(21605)
    return found.terms


def shape(order: Mapping[str, int], now_ms: int, *, child: bool = False) -> None:
    """Check an order's type against its other fields. Raises RefusedError."""
    kind, tif, trigger, expiry = order["Type"], order["TimeInForce"], order["TriggerPrice"], order["OrderExpiry"]
    if kind > TWAP:
        raise RefusedError(21704)
    if tif > POST_ONLY or (kind == MARKET and tif != IOC) or (kind == TWAP and tif != GTT):
        raise RefusedError(21705)
    if kind in (STOP, TAKE) and tif != IOC:
        raise RefusedError(21705)
    if order["IsAsk"] > 1:
        raise RefusedError(21703)
    if order["ReduceOnly"] > 1:
        raise RefusedError(21740)
    if order["ClientOrderIndex"] > CLIENT_MAX:
        raise RefusedError(21727)
    if order["BaseAmount"] > SIZE_MAX or (order["BaseAmount"] == 0 and not (child or order["ReduceOnly"])):
        raise RefusedError(21701)
    if not 1 <= order["Price"] <= PRICE_MAX:
        raise RefusedError(21702)
    if (kind in TRIGGERED) != bool(trigger) or trigger > PRICE_MAX:
        raise RefusedError(21729)
    needs = kind in TRIGGERED or kind == TWAP or (kind == LIMIT and tif != IOC)
    if needs != bool(expiry) or (needs and not now_ms + EXPIRY_MIN_MS <= expiry <= now_ms + EXPIRY_MAX_MS):
        raise RefusedError(21711)


def wanted_of(
    order: Mapping[str, int], attributes: Mapping[int, int], holder: Holder, now_ms: int, *, tied: bool = False
) -> Wanted:
    """Return an order as the exchange wants it. Raises RefusedError for an integrator that is not approved."""
    client = order["ClientOrderIndex"]
    return Wanted(
        market=str(order["MarketIndex"]), buy=order["IsAsk"] == 0, price=order["Price"], size=order["BaseAmount"],
        kind=KINDS[order["Type"]], tif=TIFS[order["TimeInForce"]], reduce_only=bool(order["ReduceOnly"]),
        trigger=order["TriggerPrice"], client=str(client) if client else "", expiry_ms=order["OrderExpiry"],
        tied=tied, surcharge=_surcharge(attributes, holder, now_ms),
        self_trade=_self_trade(attributes.get(6, 0)), by_master=attributes.get(7, 0) == 1,
    )  # fmt: skip


def _self_trade(number: int) -> _Way:
    if number == 1:
        return "taker"
    if number == 2:
        return "both"
    return "reduce" if number == 3 else "maker"


def _surcharge(attributes: Mapping[int, int], holder: Holder, now_ms: int) -> Surcharge | None:
    collector, taker, maker = attributes.get(1, 0), attributes.get(2, 0), attributes.get(3, 0)
    if not collector:
        return None
    if attributes.get(6) or attributes.get(7):
        raise RefusedError(21743)
    approval = holder.approvals.get(collector)
    if approval is None or approval.expiry_ms <= now_ms or taker > approval.taker or maker > approval.maker:
        raise RefusedError(21149)
    return Surcharge(collector, taker, maker)


def order(exchange: Exchange, account: Account, order: Mapping[str, int], wanted: Wanted, *, protected: bool) -> None:
    """Check an order against its market, the mark price and the account. Raises RefusedError."""
    terms = terms_of(exchange, order["MarketIndex"])
    size, price, kind = wanted.size, wanted.price, order["Type"]
    if size and (size < terms.min_size or size * price < terms.min_quote) and not wanted.reduce_only:
        raise RefusedError(21706)
    if terms.max_market_quote and size * price > terms.max_market_quote:
        raise RefusedError(21706)
    if protected:
        _protect(wanted, exchange.state.street.mark(terms.market), kind)
    waiting = kind in TRIGGERED
    _count(account, terms.market, waiting=waiting)
    resting = kind == LIMIT and order["TimeInForce"] != IOC and not wanted.reduce_only
    if resting and not may_place(exchange.state, account, terms, wanted.buy, size, price):
        raise RefusedError(21739)


def _protect(wanted: Wanted, mark: int, kind: int) -> None:
    price = wanted.price
    if kind in (STOP_LIMIT, TAKE_LIMIT, STOP, TAKE):
        if abs(price - wanted.trigger) * 2 > wanted.trigger:
            raise RefusedError(21735)
    elif (price * 2 > mark * 3) if wanted.buy else (price * 2 < mark):
        raise RefusedError(21733)
    elif (price * 20 < mark) if wanted.buy else (price > mark * 20):
        raise RefusedError(21734)


def _count(account: Account, market: str, *, waiting: bool) -> None:
    mine = [item for item in account.orders.values() if (item.status in ("pending", "waiting")) == waiting]
    here = sum(item.wanted.market == market for item in mine)
    if waiting and len(mine) >= PENDING_MAX:
        raise RefusedError(21719)
    if waiting and here >= PENDING_MARKET_MAX:
        raise RefusedError(21720)
    if not waiting and len(mine) >= ACTIVE_MAX:
        raise RefusedError(21717)
    if not waiting and here >= ACTIVE_MARKET_MAX:
        raise RefusedError(21718)


def group(orders: tuple[Mapping[str, int], ...], way: int, now_ms: int) -> None:
    """Check grouped orders: 1 a parent and a child, 2 one of two, 3 a parent and one of two. Raises RefusedError."""
    sizes = {1: 2, 2: 2, 3: 3}
    if way not in sizes:
        raise RefusedError(21741)
    if len(orders) != sizes[way]:
        raise RefusedError(21742)
    if len({item["MarketIndex"] for item in orders}) != 1:
        raise RefusedError(21743)
    clients = [item["ClientOrderIndex"] for item in orders if item["ClientOrderIndex"]]
    if len(set(clients)) != len(clients):
        raise RefusedError(21727)
    children = orders if way == 2 else orders[1:]
    if way != 2 and orders[0]["Type"] not in (LIMIT, MARKET):
        raise RefusedError(21704)
    for item in children:
        if item["Type"] not in TRIGGERED or not item["ReduceOnly"]:
            raise RefusedError(21743)
        if way != 2 and (item["BaseAmount"] or item["IsAsk"] == orders[0]["IsAsk"]):
            raise RefusedError(21743)
    if way == 2 and (orders[0]["BaseAmount"] != orders[1]["BaseAmount"] or orders[0]["IsAsk"] != orders[1]["IsAsk"]):
        raise RefusedError(21743)
    stops = [item["Type"] in (STOP, STOP_LIMIT) for item in children]
    if way != 1 and stops[0] == stops[1]:
        raise RefusedError(21743)
    for place, item in enumerate(orders):
        shape(item, now_ms, child=way != 2 and place > 0)
