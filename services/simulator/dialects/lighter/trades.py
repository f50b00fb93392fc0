"""A trade in which users took part, as everyone and the users themselves see it."""

from __future__ import annotations

from services.simulator.exchange.state import ORDER_SPACE
from services.simulator.exchange.values import Party, Trade
from services.simulator.rules import fixed

Json = object


def user_trade(item: Trade, height: int, decimals: tuple[int, int], me: int | None = None) -> dict[str, Json]:
    """Print a trade with what is known of its sides; the crowd's are made up. `me` adds the accounts' profits."""
    taker, maker = item.taker, item.maker
    buyer, seller = (taker, maker) if item.buy else (maker, taker)
    ask_id = seller.oid if seller else (int(item.market) + 1) * ORDER_SPACE + item.id % 10_000_000 + 1_000_000
    bid_id = buyer.oid if buyer else (int(item.market) + 2) * ORDER_SPACE - item.id % 10_000_000 - 1_000_000
    ask_client, bid_client = (int(party.client or "0") if party else 0 for party in (seller, buyer))
    row: dict[str, Json] = {
        "trade_id": item.id, "trade_id_str": str(item.id),
        "tx_hash": f"{item.id:016x}{item.time_us // 1000:016x}" + "0" * 48,
        "type": _type(item), "market_id": int(item.market),
        "size": fixed(item.size, decimals[1]), "price": fixed(item.price, decimals[0]),
        "usd_amount": fixed(item.price * item.size, 6), "ask_id": ask_id, "ask_id_str": str(ask_id), "bid_id": bid_id,
        "bid_id_str": str(bid_id), "ask_client_id": ask_client, "ask_client_id_str": str(ask_client),
        "bid_client_id": bid_client, "bid_client_id_str": str(bid_client),
        "ask_account_id": seller.account if seller else 700_000 + item.id % 977,
        "bid_account_id": buyer.account if buyer else 710_000 + item.id % 983, "is_maker_ask": item.buy,
        "block_height": height, "timestamp": item.time_us // 1000,
    }  # fmt: skip
    for name, party in (("taker", taker), ("maker", maker)):
        row |= _side(name, party, decimals[1])
    if me is not None:
        row["ask_account_pnl"] = fixed(seller.closed_pnl if seller else 0, 6)
        row["bid_account_pnl"] = fixed(buyer.closed_pnl if buyer else 0, 6)
    return row | {"transaction_time": item.time_us}


def _type(item: Trade) -> str:
    if item.method == "deleverage":
        return "deleverage"
    return "trade" if item.liquidated is None else "liquidation"


def _side(name: str, party: Party | None, size_decimals: int) -> dict[str, Json]:
    row: dict[str, Json] = {}
    if party is None:
        return row
    if party.rate:
        row[f"{name}_fee"] = party.rate // 1_000_000
    row[f"{name}_position_size_before"] = fixed(party.start, size_decimals)
    row[f"{name}_entry_quote_before"] = fixed(party.entry_before, 6)
    row[f"{name}_initial_margin_fraction_before"] = party.margin_before
    if party.surcharge_to:
        row[f"integrator_{name}_fee"] = party.surcharge
        row[f"integrator_{name}_fee_collector_index"] = party.surcharge_to
    if party.allocated_before or party.allocated_after:
        row[f"{name}_allocated_margin_usdc_before"] = party.allocated_before
        row[f"{name}_allocated_margin_usdc_after"] = party.allocated_after
    return row
