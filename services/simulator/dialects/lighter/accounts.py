"""A Lighter account's orders, trades, positions and figures in the venue's print.

Prices and sizes have exactly the market's decimals, money six. Figures the venue computes in floats are floats here.
"""

from __future__ import annotations

from services.simulator.crypto.ethereum import checksummed
from services.simulator.dialects.lighter.holders import Holder, Holders, Row
from services.simulator.dialects.lighter.printing import Json
from services.simulator.exchange import risk
from services.simulator.exchange.account import Account
from services.simulator.exchange.state import ORDER_SPACE, State
from services.simulator.exchange.terms import Terms
from services.simulator.exchange.values import Funded, Liquidated, Moved, Order, Twap
from services.simulator.rules import fixed

SIX = 6
_TYPES = {
    "limit": "limit", "market": "market", "stop": "stop-loss", "stop_limit": "stop-loss-limit",
    "take": "take-profit", "take_limit": "take-profit-limit", "liquidation": "liquidation",
}  # fmt: skip
_TIFS = {"ioc": "immediate-or-cancel", "gtc": "good-till-time", "alo": "post-only"}
_CANCELED = {
    "post_only": "canceled-post-only", "reduce_only": "canceled-reduce-only",
    "position": "canceled-position-not-allowed", "margin": "canceled-margin-not-allowed",
    "slippage": "canceled-too-much-slippage", "no_match": "canceled-not-enough-liquidity",
    "no_liquidity": "canceled-not-enough-liquidity", "self_trade": "canceled-self-trade",
    "expired": "canceled-expired", "sibling": "canceled-oco", "parent": "canceled-child",
    "liquidation": "canceled-liquidation",
}  # fmt: skip


def money(amount: int) -> str:
    """Print an amount."""
    return fixed(amount, SIX)


def status(order: Order) -> str:
    """Return an order's status as the venue names it."""
    if order.status in ("canceled", "rejected"):
        return _CANCELED.get(order.reason, "canceled")
    if order.status in ("waiting", "pending"):
        return "pending"
    return "filled" if order.status == "filled" else "open"


def _trigger_status(order: Order) -> str:
    if order.status == "waiting":
        return "parent-order"
    if order.status == "pending":
        return "mark-price"
    return "ready" if order.fired else "na"


def order(item: Order, terms: Terms, height: int, *, snapshot: bool) -> dict[str, Json]:
    """Print an order; in snapshots and REST an order without an integrator has empty texts for it, else zeros."""
    left = item.left if item.live else 0
    client = item.wanted.client or "0"
    none = "" if snapshot else "0"
    extra, wanted = item.wanted.surcharge, item.wanted
    siblings = [*item.children, *([] if item.children else item.siblings), 0, 0]
    return {
        "order_index": item.oid, "client_order_index": int(client), "order_id": str(item.oid),
        "client_order_id": client, "market_index": terms.asset, "owner_account_index": item.account,
        "initial_base_amount": fixed(item.asked, terms.size_decimals),
        "price": fixed(item.price, terms.price_decimals), "nonce": item.oid % ORDER_SPACE,
        "remaining_base_amount": fixed(left, terms.size_decimals), "is_ask": not wanted.buy, "base_size": left,
        "base_price": item.price, "filled_base_amount": fixed(item.filled, terms.size_decimals),
        "filled_quote_amount": money(item.quote), "side": "",
        "type": "twap-sub" if wanted.twap is not None else _TYPES[wanted.kind], "time_in_force": _TIFS[wanted.tif],
        "reduce_only": wanted.reduce_only, "trigger_price": fixed(wanted.trigger, terms.price_decimals),
        "order_expiry": wanted.expiry_ms, "status": status(item), "trigger_status": _trigger_status(item),
        "trigger_time": item.changed_us // 1000 if item.fired else 0, "parent_order_index": item.parent,
        "parent_order_id": str(item.parent), "to_trigger_order_id_0": str(item.children[0] if item.children else 0),
        "to_trigger_order_id_1": str(item.children[1] if len(item.children) > 1 else 0),
        "to_cancel_order_id_0": str(siblings[0] if not item.children else 0),
        "integrator_fee_collector_index": none if extra is None else str(extra.account),
        "integrator_taker_fee": none if extra is None else str(extra.taker),
        "integrator_maker_fee": none if extra is None else str(extra.maker), "order_flags": 0,
        "order_version": item.version, "block_height": height, "timestamp": item.changed_us // 1_000_000,
        "created_at": item.placed_us // 1_000_000, "updated_at": item.changed_us // 1_000_000,
        "transaction_time": item.changed_us,
    }  # fmt: skip


def is_shown(order: Order) -> bool:
    """Say whether an order is shown: not one that was refused as it came, save for crossing, which ends it as canceled.

    A trigger's order that was refused when it fired had been there, and is shown as canceled.
    """
    return order.status != "rejected" or order.fired or order.reason == "post_only"


def twap(item: Twap, terms: Terms, at_us: int, height: int) -> dict[str, Json]:
    """Print a TWAP as the order it is shown as."""
    names = {"activated": "in-progress", "finished": "filled", "terminated": "canceled", "error": "canceled"}
    left = item.size - item.executed if item.status == "activated" else 0
    client = item.client or "0"
    return {
        "order_index": item.parent_oid, "client_order_index": int(client), "order_id": str(item.parent_oid),
        "client_order_id": client, "market_index": terms.asset, "owner_account_index": item.account,
        "initial_base_amount": fixed(item.size, terms.size_decimals),
        "price": fixed(item.bound, terms.price_decimals), "nonce": item.parent_oid % ORDER_SPACE,
        "remaining_base_amount": fixed(left, terms.size_decimals), "is_ask": not item.buy, "base_size": left,
        "base_price": item.bound, "filled_base_amount": fixed(item.executed, terms.size_decimals),
        "filled_quote_amount": money(item.quote), "side": "", "type": "twap", "time_in_force": "good-till-time",
        "reduce_only": item.reduce_only, "trigger_price": fixed(0, terms.price_decimals),
        "order_expiry": item.began_us // 1000 + item.minutes * 60_000, "status": names[item.status],
        "trigger_status": "twap", "trigger_time": 0, "parent_order_index": 0, "parent_order_id": "0",
        "to_trigger_order_id_0": "0", "to_trigger_order_id_1": "0", "to_cancel_order_id_0": "0",
        "integrator_fee_collector_index": "0", "integrator_taker_fee": "0", "integrator_maker_fee": "0",
        "order_flags": 0, "order_version": 0, "block_height": height, "timestamp": at_us // 1_000_000,
        "created_at": item.began_us // 1_000_000, "updated_at": at_us // 1_000_000, "transaction_time": at_us,
    }  # fmt: skip


def position(state: State, account: Account, market: str, symbol: str) -> dict[str, Json]:
    """Print a position, open or only set up."""
    held, terms = account.position(market), state.terms(market)
    mark, setting = state.street.mark(market), account.setting(terms)
    mine = [item for item in account.orders.values() if item.wanted.market == market]
    price = risk.liquidation_price(state, account, market)
    notional = abs(held.size) * mark
    average = held.entry // abs(held.size) if held.size else 0
    percent = setting.initial.num * 10_000 // setting.initial.den
    return {
        "market_id": terms.asset, "symbol": symbol, "initial_margin_fraction": fixed(percent, 2),
        "open_order_count": sum(item.status in ("open", "triggered") for item in mine),
        "pending_order_count": sum(item.status in ("pending", "waiting") for item in mine),
        "position_tied_order_count": sum(item.wanted.tied for item in mine), "sign": -1 if held.size < 0 else 1,
        "position": fixed(abs(held.size), terms.size_decimals),
        "avg_entry_price": fixed(average, terms.price_decimals),
        "position_value": money(notional) if held.size else "-0.000000",
        "unrealized_pnl": money(held.profit(mark)), "realized_pnl": money(held.realized),
        "liquidation_price": "0" if price is None else str(price / 10**terms.price_decimals),
        "total_funding_paid_out": money(held.funding_all), "margin_mode": int(setting.isolated), "margin_set_flag": 1,
        "allocated_margin": money(held.collateral), "total_discount": "0.000000",
    }  # fmt: skip


def known_markets(account: Account) -> list[str]:
    """Return the markets in which an account ever held, ordered or set anything, by number."""
    named = set(account.positions) | set(account.settings) | {item.wanted.market for item in account.orders.values()}
    return sorted(named, key=int)


def summary(state: State, account: Account, holder: Holder) -> dict[str, Json]:
    """Print an account's own figures."""
    now = risk.standing(state, account, "")
    isolated = sum(
        held.raw + held.size * state.street.mark(market)
        for market, held in account.positions.items() if held.size and held.isolated
    )  # fmt: skip
    orders = list(account.orders.values())
    return {
        "code": 0, "account_type": 0 if holder.index == holder.master else 1,
        "account_trading_mode": holder.trading_mode, "index": holder.index, "l1_address": checksummed(holder.wallet),
        "cancel_all_time": account.cancel_at_us // 1000, "total_order_count": len(orders),
        "total_isolated_order_count": sum(
            account.setting(state.terms(item.wanted.market)).isolated for item in orders
        ),
        "pending_order_count": sum(item.status in ("pending", "waiting") for item in orders),
        "available_balance": money(risk.withdrawable(state, account, "")), "status": 1,
        "collateral": money(risk.collateral(account, state, "")), "transaction_time": 0,
        "total_asset_value": money(now.value + isolated), "cross_asset_value": money(now.value),
        "cross_initial_margin_requirement": money(now.initial),
        "cross_maintenance_margin_requirement": money(now.maintenance),
    }  # fmt: skip


def asset(state: State, account: Account) -> dict[str, Json]:
    """Print the dollars of an account."""
    return {
        "symbol": "USDC", "asset_id": 3, "balance": "0.000000", "locked_balance": "0.000000",
        "margin_mode": "disabled", "margin_balance": money(risk.collateral(account, state, "")),
        "multiplier": "1.000000000000000000",
    }  # fmt: skip


def stats(state: State, account: Account, holder: Holder) -> dict[str, Json]:
    """Print the figures of user_stats."""
    now = risk.standing(state, account, "")
    value = max(1, now.value)
    body: dict[str, Json] = {
        "collateral": money(risk.collateral(account, state, "")), "portfolio_value": money(now.value),
        "leverage": _hundredths(now.notional, value), "margin_usage": _hundredths(now.initial * 100, value),
        "available_balance": money(risk.withdrawable(state, account, "")), "buying_power": "0",
    }  # fmt: skip
    return body | {
        "account_trading_mode": holder.trading_mode, "cross_stats": dict(body), "total_stats": dict(body),
    }  # fmt: skip


def _hundredths(part: int, whole: int) -> str:
    """Print a ratio rounded to two decimals (captured: 0.826855 of 39.995169 is 2.07 %)."""
    return fixed((200 * part + whole) // (2 * whole), 2)


def transaction(row: Row, wallet: int) -> dict[str, Json]:
    """Print a transaction."""
    return {
        "hash": row.hash, "type": row.type, "info": row.info, "event_info": row.event, "status": row.status,
        "transaction_index": row.sequence % 1000, "l1_address": checksummed(wallet), "account_index": row.account,
        "nonce": row.nonce, "expire_at": row.expire_ms, "block_height": row.height,
        "queued_at": row.queued_us // 1000, "executed_at": row.executed_us // 1000, "sequence_index": row.sequence,
        "parent_hash": "", "api_key_index": row.key, "transaction_time": row.executed_us or row.queued_us,
        "committed_at": 0, "verified_at": 0,
    }  # fmt: skip


def funding(item: Funded, terms: Terms, number: int) -> dict[str, Json]:
    """Print a payment of funding."""
    return {
        "timestamp": item.at_us // 1_000_000, "market_id": terms.asset, "funding_id": number,
        "change": money(item.amount), "rate": fixed(abs(item.rate) // 10_000, 6), "discount": "0.000000",
        "position_size": fixed(abs(item.size), terms.size_decimals),
        "position_side": "long" if item.size > 0 else "short",
    }  # fmt: skip


def liquidation(item: Liquidated, state: State) -> dict[str, Json]:
    """Print a liquidation; the venue's nested risk figures are left empty."""
    market = item.positions[0][0] if item.positions else "0"
    return {
        "id": item.id, "market_id": state.terms(market).asset, "type": "partial", "trade": None, "info": {
            "positions": [], "risk_info_before": {}, "risk_info_after": {}, "mark_prices": {},
        }, "executed_at": item.at_us // 1000,
    }  # fmt: skip


def move(item: Moved, known: Holders) -> dict[str, Json]:
    """Print money that moved, as the histories of deposits, transfers and withdrawals do; amounts are positive."""
    row: dict[str, Json] = {
        "id": str(item.at_us), "asset_id": 3, "amount": money(abs(item.amount)), "timestamp": item.at_us // 1000,
    }  # fmt: skip
    chain = f"0x{item.at_us:064x}"
    if item.kind == "deposit":
        return row | {"status": "completed", "l1_tx_hash": chain}
    if item.kind == "withdraw":
        return row | {"status": "completed", "type": "secure", "l1_tx_hash": chain}
    other = item.account if item.other is None else item.other
    source, target = (item.account, other) if item.amount < 0 else (other, item.account)
    kind = "L2SelfTransfer" if source == target else "L2TransferOutflow" if item.amount < 0 else "L2TransferInflow"
    return row | {
        "type": kind, "from_l1_address": checksummed(known.get(source).wallet),
        "to_l1_address": checksummed(known.get(target).wallet), "from_account_index": source,
        "to_account_index": target, "tx_hash": f"{item.at_us:080x}", "fee": money(item.fee),
        "from_route": item.pools[0] or "perps", "to_route": item.pools[1] or "perps",
    }  # fmt: skip
