"""An account's orders, fills, positions and money in the venue's print: numbers are texts, times are ms."""

from __future__ import annotations

import re

from services.simulator.dialects.hyperliquid import words
from services.simulator.dialects.hyperliquid.money import hex_address
from services.simulator.dialects.hyperliquid.printing import Json, hash_of
from services.simulator.exchange import risk
from services.simulator.exchange.account import Account, Position
from services.simulator.exchange.state import State
from services.simulator.exchange.terms import Setting, Terms, cut
from services.simulator.exchange.values import (
    TRIGGERS,
    Funded,
    Liquidated,
    Moved,
    Order,
    Party,
    Trade,
    Twap,
)
from services.simulator.rules import plain

_ADDRESS = re.compile(r"(0x)?[0-9a-fA-F]{40}")
SPOT_SYSTEM = "0x20000000000000000000000000000000000000ff"
"""Where spot money comes from that no account sent."""
NO_HASH = "0x" + "0" * 64
_TYPES = {
    "limit": "Limit", "market": "Market", "stop": "Stop Market", "stop_limit": "Stop Limit",
    "take": "Take Profit Market", "take_limit": "Take Profit Limit", "liquidation": "Market",
}  # fmt: skip
_TIFS = {"gtc": "Gtc", "ioc": "Ioc", "alo": "Alo"}


def is_address(text: object) -> bool:
    """Say whether a text is an address; the 0x may be missing, 0X is refused."""
    return isinstance(text, str) and _ADDRESS.fullmatch(text) is not None


def usd(amount: int) -> str:
    """Print money."""
    return plain(amount, 6)


def side(buy: bool) -> str:
    """Print a side."""
    return "B" if buy else "A"


def order(item: Order, terms: Terms) -> dict[str, Json]:
    """Print an order as openOrders and orderUpdates do."""
    row: dict[str, Json] = {
        "coin": terms.market, "side": side(item.wanted.buy), "limitPx": plain(item.price, terms.price_decimals),
        "sz": plain(_left(item), terms.size_decimals), "oid": item.oid, "timestamp": item.placed_us // 1000,
        "origSz": plain(item.asked, terms.size_decimals),
    }  # fmt: skip
    if item.wanted.client:
        row["cloid"] = item.wanted.client
    if item.wanted.reduce_only:
        row["reduceOnly"] = True
    return row


def _left(item: Order) -> int:
    return 0 if item.status == "filled" else item.left


def frontend_order(item: Order, terms: Terms, children: list[Json] | None = None) -> dict[str, Json]:
    """Print an order with everything the venue knows of it."""
    trigger = item.wanted.kind in TRIGGERS
    condition = "N/A"
    if trigger:
        above = item.wanted.kind.startswith("take") != item.wanted.buy
        level = plain(item.wanted.trigger, terms.price_decimals)
        condition = f"Price {'above' if above else 'below'} {level.removesuffix('.0')}"
    return {
        "coin": terms.market, "side": side(item.wanted.buy), "limitPx": plain(item.price, terms.price_decimals),
        "sz": plain(_left(item), terms.size_decimals), "oid": item.oid, "timestamp": item.placed_us // 1000,
        "triggerCondition": condition, "isTrigger": trigger,
        "triggerPx": plain(item.wanted.trigger, terms.price_decimals), "children": children or [],
        "isPositionTpsl": item.wanted.tied, "reduceOnly": item.wanted.reduce_only,
        "orderType": _TYPES[item.wanted.kind], "origSz": plain(item.asked, terms.size_decimals),
        "tif": None if trigger else "LiquidationMarket" if item.wanted.kind == "liquidation"
        else _TIFS[item.wanted.tif], "cloid": item.wanted.client or None,
    }  # fmt: skip


def order_status(item: Order, terms: Terms) -> dict[str, Json]:
    """Print an order with its status, as orderStatus and historicalOrders do."""
    return {
        "order": frontend_order(item, terms), "status": words.status(item),
        "statusTimestamp": item.changed_us // 1000,
    }  # fmt: skip


def direction(start: int, delta: int) -> str:
    """Return what a fill did to a position, in the venue's words."""
    after = start + delta
    if start * delta >= 0:
        return "Open Long" if delta > 0 else "Open Short"
    if start * after < 0:
        return "Long > Short" if start > 0 else "Short > Long"
    return "Close Long" if start > 0 else "Close Short"


def fill(trade: Trade, party: Party, terms: Terms) -> dict[str, Json]:
    """Print a fill; the fee includes the builder's."""
    delta = trade.size if party.buy else -trade.size
    deleveraged = trade.method == "deleverage" and party.account != trade.liquidated
    row: dict[str, Json] = {
        "coin": terms.market, "px": plain(trade.price, terms.price_decimals),
        "sz": plain(trade.size, terms.size_decimals), "side": side(party.buy), "time": trade.time_us // 1000,
        "startPosition": plain(party.start, terms.size_decimals),
        "dir": "Auto-Deleveraging" if deleveraged else direction(party.start, delta),
        "closedPnl": usd(party.closed_pnl), "hash": NO_HASH if party.twap else hash_of(trade.time_us),
        "oid": party.oid, "crossed": party.taker, "fee": usd(party.fee + party.surcharge), "tid": trade.id,
        "feeToken": "USDC", "twapId": party.twap,
    }  # fmt: skip
    if party.client:
        row["cloid"] = party.client
    if party.surcharge:
        row["builderFee"] = usd(party.surcharge)
    if trade.liquidated is not None:
        row["liquidation"] = {
            "liquidatedUser": hex_address(trade.liquidated), "markPx": plain(trade.mark, terms.price_decimals),
            "method": "market" if trade.method == "market" else "backstop",
        }  # fmt: skip
    return row


def funding(item: Funded, terms: Terms) -> dict[str, Json]:
    """Print a payment of funding; negative is paid."""
    return {
        "time": item.at_us // 1000, "coin": terms.market, "usdc": usd(item.amount),
        "szi": plain(item.size, terms.size_decimals), "fundingRate": plain(item.rate, 10), "nSamples": None,
    }  # fmt: skip


def funding_row(item: Funded, terms: Terms) -> dict[str, Json]:
    """Print a payment of funding as userFunding does."""
    body = funding(item, terms)
    time = body.pop("time")
    return {"time": time, "hash": hash_of(item.at_us), "delta": {"type": "funding"} | body}


def ledger_row(item: Moved) -> dict[str, Json]:
    """Print money that moved; amounts are positive, the direction is that of user and destination."""
    amount, me = usd(abs(item.amount)), hex_address(item.account)
    other = hex_address(item.account if item.other is None else item.other)
    if item.other is None and item.pool == "spot":
        other = SPOT_SYSTEM
    source, target = (me, other) if item.amount < 0 else (other, me)
    delta: dict[str, Json]
    if item.kind == "withdraw":
        delta = {"type": "withdraw", "usdc": amount, "nonce": item.at_us // 1000, "fee": usd(item.fee)}
    elif item.kind == "rewardsClaim":
        delta = {"type": item.kind, "amount": amount, "token": "USDC"}
    elif item.kind == "accountClassTransfer":
        delta = {"type": item.kind, "usdc": amount, "toPerp": item.pool == "spot"}
    elif item.kind == "internalTransfer":
        delta = {"type": item.kind, "usdc": amount, "user": source, "destination": target, "fee": "0.0"}
    elif item.kind == "subAccountTransfer" and item.pool != "spot":
        delta = {"type": item.kind, "usdc": amount, "user": source, "destination": target}
    elif item.kind == "send" or item.pool == "spot":
        delta = {
            "type": "send" if item.kind == "send" else "spotTransfer", "token": "USDC", "amount": amount,
            "usdcValue": amount, "user": source, "destination": target, "fee": usd(item.fee),
            "nativeTokenFee": "0.0", "nonce": None, "feeToken": "",
        }  # fmt: skip
        if item.kind == "send":
            delta |= {"sourceDex": item.pools[0], "destinationDex": item.pools[1]}
    else:
        delta = {"type": "deposit", "usdc": amount}
    return {"time": item.at_us // 1000, "hash": hash_of(item.at_us), "delta": delta}


def liquidation_row(item: Liquidated, state: State) -> dict[str, Json]:
    """Print a liquidation as an entry of the ledger."""
    return {
        "time": item.at_us // 1000, "hash": hash_of(item.at_us), "delta": {
            "type": "liquidation", "liquidatedNtlPos": usd(item.notional), "accountValue": usd(item.value),
            "leverageType": "Isolated" if item.isolated else "Cross",
            "liquidatedPositions": [
                {"coin": market, "szi": plain(size, state.terms(market).size_decimals)}
                for market, size in item.positions
            ],
        },
    }  # fmt: skip


def leverage(setting: Setting, position: Position | None) -> dict[str, Json]:
    """Print a leverage setting."""
    row: dict[str, Json] = {
        "type": "isolated" if setting.isolated else "cross", "value": setting.initial.den // setting.initial.num,
    }  # fmt: skip
    if setting.isolated and position is not None and position.size:
        row["rawUsd"] = usd(position.raw)
    return row


def _ratio(part: int, whole: int) -> int:
    """Return a ratio in 1e-10, rounded (captured: -0.006 of 7.5658 is -0.0007930424)."""
    return cut(abs(part) * 10**11 // whole + 5, 10) * (1 if part >= 0 else -1)


def position_row(state: State, account: Account, market: str) -> dict[str, Json]:
    """Print one open position."""
    held, terms = account.positions[market], state.terms(market)
    mark, setting = state.street.mark(market), account.setting(terms)
    notional, profit = abs(held.size) * mark, held.profit(mark)
    margin = held.raw + held.size * mark if held.isolated else setting.initial.of(notional)
    base = setting.initial.of(held.entry) or 1
    price = risk.liquidation_price(state, account, market)
    text = None if price is None else f"{price / 10**terms.price_decimals:.10f}".rstrip("0")
    average = (2 * held.entry + abs(held.size)) // (2 * abs(held.size))
    return {
        "type": "oneWay", "position": {
            "coin": market, "szi": plain(held.size, terms.size_decimals), "leverage": leverage(setting, held),
            "entryPx": plain(average, terms.price_decimals), "positionValue": usd(notional),
            "unrealizedPnl": usd(profit), "returnOnEquity": plain(_ratio(profit, base), 10),
            "liquidationPx": f"{text}0" if text is not None and text.endswith(".") else text,
            "marginUsed": usd(margin), "maxLeverage": terms.max_leverage, "cumFunding": {
                "allTime": usd(held.funding_all), "sinceOpen": usd(held.funding_open),
                "sinceChange": usd(held.funding_change),
            },
        },
    }  # fmt: skip


def _summary(value: int, notional: int, raw: int, used: int) -> dict[str, Json]:
    return {
        "accountValue": usd(value), "totalNtlPos": usd(notional), "totalRawUsd": usd(raw),
        "totalMarginUsed": usd(used),
    }  # fmt: skip


def clearinghouse(state: State, account: Account | None, dex: str, time_ms: int) -> dict[str, Json]:
    """Print an account's perpetual state in a dex; an unknown account prints zeros.

    The first summary counts isolated positions in, the cross one does not (verified on captures).
    """
    if account is None:
        empty = _summary(0, 0, 0, 0)
        return {
            "marginSummary": empty, "crossMarginSummary": empty, "crossMaintenanceMarginUsed": "0.0",
            "withdrawable": "0.0", "assetPositions": [], "time": time_ms,
        }  # fmt: skip
    cross = risk.standing(state, account, dex)
    value, notional, raw, used = cross.value, cross.notional, cross.cash, cross.initial
    rows: list[Json] = []
    for market, held in account.positions.items():
        if not held.size or state.terms(market).pool != dex:
            continue
        rows.append(position_row(state, account, market))
        if held.isolated:
            own = risk.isolated_standing(state, account, market)
            value, notional, raw, used = value + own.value, notional + own.notional, raw + held.raw, used + own.value
    return {
        "marginSummary": _summary(value, notional, raw, used),
        "crossMarginSummary": _summary(cross.value, cross.notional, cross.cash, cross.initial),
        "crossMaintenanceMarginUsed": usd(cross.maintenance),
        "withdrawable": usd(risk.withdrawable(state, account, dex)), "assetPositions": rows, "time": time_ms,
    }  # fmt: skip


def spot_state(account: Account | None) -> dict[str, Json]:
    """Print the spot wallet, in which only dollars are."""
    held = 0 if account is None else account.cash.get("spot", 0)
    if account is None or "spot" not in account.cash:
        return {"balances": []}
    return {"balances": [{"coin": "USDC", "token": 0, "total": usd(held), "hold": "0.0", "entryNtl": "0.0"}]}


def active_asset(state: State, account: Account | None, user: str, terms: Terms) -> dict[str, Json]:
    """Print what an account could trade in a market: [buying, selling]."""
    mark = state.street.mark(terms.market)
    setting = terms.default if account is None else account.setting(terms)
    held = None if account is None else account.positions.get(terms.market)
    free = 0 if account is None else max(0, risk.available(state, account, terms.pool))
    size = 0 if held is None else held.size
    sizes: list[Json] = []
    money: list[Json] = []
    for sign in (1, -1):
        extra = 2 * setting.initial.of(abs(size) * mark) if size * sign < 0 else 0
        money.append(usd(free + extra))
        most = (free + extra) * setting.initial.den // (setting.initial.num * mark)
        sizes.append(plain(most, terms.size_decimals))
    return {
        "user": user, "coin": terms.market, "leverage": leverage(setting, held), "maxTradeSzs": sizes,
        "availableToTrade": money, "markPx": plain(mark, terms.price_decimals),
    }  # fmt: skip


def twap_state(item: Twap, terms: Terms) -> dict[str, Json]:
    """Print a TWAP."""
    return {
        "coin": terms.market, "user": hex_address(item.account), "side": side(item.buy),
        "sz": plain(item.size, terms.size_decimals), "executedSz": plain(item.executed, terms.size_decimals),
        "executedNtl": usd(item.quote), "minutes": item.minutes, "reduceOnly": item.reduce_only,
        "randomize": item.randomize, "timestamp": item.began_us // 1000, "stopPx": None, "trigger": None,
    }  # fmt: skip


def twap_history(item: Twap, at_us: int, terms: Terms) -> dict[str, Json]:
    """Print a TWAP with its status; the time is in seconds."""
    status: dict[str, Json] = {"status": item.status}
    if item.error:
        status["description"] = item.error
    return {"time": at_us // 1_000_000, "state": twap_state(item, terms), "status": status, "twapId": item.id}


def words_of_fill(trade: Trade, party: Party, terms: Terms) -> str:
    """Return the notification of a resting order's fill."""
    size, price = plain(trade.size, terms.size_decimals), plain(trade.price, terms.price_decimals)
    verb = "Bought" if party.buy else "Sold"
    return f"Resting order filled: {verb} {size.removesuffix('.0')} {terms.market} at ${price.removesuffix('.0')}"
