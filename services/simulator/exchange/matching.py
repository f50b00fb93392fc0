"""Price, then the crowd, then time: one taker against what is there. Trades happen at the maker's price."""

from __future__ import annotations

from services.simulator.exchange.account import Account, Effect, settle
from services.simulator.exchange.resting import Market
from services.simulator.exchange.risk import may_trade
from services.simulator.exchange.state import State
from services.simulator.exchange.terms import Fraction, Terms
from services.simulator.exchange.values import Order, Party, Reason, Trade, Traded


def best(state: State, market: Market, buy: bool) -> tuple[int, int, Order | None] | None:
    """Return (price, size, maker) of what a taker would meet first; maker None is the crowd."""
    crowd = state.street.best(market.terms.market, buy)
    queue = market.queue(not buy)
    price = queue.best()
    if price is None or (crowd is not None and (crowd[0] <= price if buy else crowd[0] >= price)):
        return None if crowd is None else (crowd[0], crowd[1], None)
    maker = queue.first()
    return None if maker is None else (price, maker.left, maker)


def crosses(buy: bool, limit: int, price: int) -> bool:
    """Say whether a limit admits a price."""
    return price <= limit if buy else price >= limit


def reducible(account: Account, market: str, buy: bool) -> int:
    """Return how much an order on this side would reduce."""
    held = account.size(market)
    return abs(held) if held and (held < 0) == buy else 0


def match(state: State, order: Order, now_us: int) -> Reason:
    """Trade an order as far as it goes; say why it stopped if that was not its limit or the end of the book."""
    market, wanted = state.markets[order.wanted.market], order.wanted
    while order.left > 0:
        found = best(state, market, wanted.buy)
        if found is None:
            return ""
        price, there, maker = found
        if not _admits(state, order, price, min(order.left, there)):
            return "slippage" if _averages(state, order) else ""
        if maker is not None:
            unfit = _unfit(state, maker, now_us)
            if unfit:
                drop(state, maker, unfit, now_us)
                continue
            if _same_owner(state, order, maker):
                if not _meet_self(state, order, maker, now_us):
                    return "self_trade"
                continue
        size = min(order.left, there)
        if wanted.reduce_only:
            size = min(size, reducible(state.accounts[order.account], wanted.market, wanted.buy))
            if size == 0:
                return "reduce_only"
        if maker is not None and maker.wanted.reduce_only:
            size = min(size, reducible(state.accounts[maker.account], wanted.market, maker.wanted.buy))
        if (
            state.rules.name == "lighter"
            and wanted.kind != "liquidation"
            and not _stands(state, order, size, price, True)
        ):
            return "margin"
        if maker is not None and not _stands(state, maker, size, price, False):
            drop(state, maker, "margin", now_us)
            continue
        if maker is None:
            state.street.take(wanted.market, wanted.buy, price, size)
        execute(state, order, maker, price=price, size=size, now_us=now_us)
    return ""


def drop(state: State, order: Order, reason: Reason, now_us: int) -> None:
    """Cancel an order that is in the book."""
    state.unrest(order)
    state.changed(order, "canceled", reason, now_us)


def _averages(state: State, order: Order) -> bool:
    """Lighter bounds a market order's running average, not its single fills."""
    return state.rules.name == "lighter" and order.wanted.kind in ("market", "stop", "take")


def _admits(state: State, order: Order, price: int, size: int) -> bool:
    if _averages(state, order):
        return crosses(order.wanted.buy, order.price * (order.filled + size), order.quote + price * size)
    return crosses(order.wanted.buy, order.price, price)


def _unfit(state: State, maker: Order, now_us: int) -> Reason:
    """Say why a resting order may not trade any more."""
    account = state.accounts[maker.account]
    if maker.wanted.expiry_ms and maker.wanted.expiry_ms * 1000 <= now_us:
        return "expired"
    if account.cancel_at_us and account.cancel_at_us <= now_us:
        return "scheduled"
    if maker.wanted.reduce_only and not reducible(account, maker.wanted.market, maker.wanted.buy):
        return "reduce_only"
    return ""


def _same_owner(state: State, order: Order, maker: Order) -> bool:
    if order.account == maker.account:
        return True
    masters = state.accounts[order.account].master, state.accounts[maker.account].master
    return order.wanted.by_master and masters[0] == masters[1]


def _meet_self(state: State, order: Order, maker: Order, now_us: int) -> bool:
    """Prevent a trade with oneself; say whether the taker goes on."""
    way = order.wanted.self_trade
    if way == "reduce":
        size = min(order.left, maker.left)
        order.left -= size
        state.reduce_resting(maker, size)
        if maker.left == 0:
            drop(state, maker, "self_trade", now_us)
        return order.left > 0
    if way in ("maker", "both"):
        drop(state, maker, "self_trade", now_us)
    return way == "maker"


def _stands(state: State, order: Order, size: int, price: int, taker: bool) -> bool:
    account, terms = state.accounts[order.account], state.terms(order.wanted.market)
    charges = sum(_charges(state, order, price * size, taker, order.changed_us)[:2])
    return may_trade(state, account, terms, size if order.wanted.buy else -size, price, charges)


def _charges(state: State, order: Order, notional: int, taker: bool, now_us: int) -> tuple[int, int, int]:
    """Return (fee, surcharge, rate in 1e-12) of a fill."""
    if order.wanted.kind == "liquidation":
        return 0, 0, 0
    account, terms = state.accounts[order.account], state.terms(order.wanted.market)
    rates = state.rules.rates(account.tier, account.volume(now_us))
    rate = rates.taker if taker else rates.maker
    extra = order.wanted.surcharge
    surcharge = 0 if extra is None else state.rules.surcharge(notional, extra.taker if taker else extra.maker)
    return state.rules.fee(notional, rate, terms.fee_scale if rate > 0 else Fraction(1, 1)), surcharge, rate


def execute(
    state: State,
    taker: Order | None,
    maker: Order | None,
    *,
    price: int,
    size: int,
    now_us: int,
    crowd_buys: bool = False,
) -> None:
    """Book a trade between two users, or a user and the crowd; the maker's order in the book is lowered here."""
    first = taker or maker
    if first is None:
        raise ValueError("a trade needs a user on one side at least")
    market = first.wanted.market
    buy = taker.wanted.buy if taker is not None else crowd_buys
    notional = price * size
    taking = None if taker is None else _book(state, taker, price, size, True, now_us)
    making = None if maker is None else _book(state, maker, price, size, False, now_us)
    if taking is None or making is None:
        crowd_side = -1 if first.wanted.buy else 1
        state.treasury.crowd -= crowd_side * notional
        state.treasury.crowd_sizes[market] += crowd_side * size
    liquidated = taker.account if taker is not None and taker.wanted.kind == "liquidation" else None
    trade = Trade(
        id=state.street.trade_id(market), time_us=now_us, market=market, price=price, size=size, buy=buy,
        taker=taking, maker=making, liquidated=liquidated, mark=state.street.mark(market),
    )  # fmt: skip
    publish(state, trade)
    for order in (taker, maker):
        if order is not None:
            order.filled += size
            order.quote += notional
            order.changed_us = now_us
    if taker is not None:
        taker.left -= size
    if maker is not None:
        state.reduce_resting(maker, size)
        if maker.left == 0:
            state.unrest(maker)
            state.changed(maker, "filled", "", now_us)
        else:
            state.changed(maker, "open", "", now_us)


def publish(state: State, trade: Trade) -> None:
    """Show a trade to the public and tell its parties."""
    state.street.printed(trade)
    state.emit(Traded(trade))


def _book(state: State, order: Order, price: int, size: int, taker: bool, now_us: int) -> Party:
    account, terms = state.accounts[order.account], state.terms(order.wanted.market)
    fee, surcharge, rate = _charges(state, order, price * size, taker, now_us)
    setting = account.setting(terms)
    effect = book(state, account, terms, size if order.wanted.buy else -size, price, fee + surcharge)
    state.treasury.fees += fee
    extra = order.wanted.surcharge
    if surcharge and extra is not None:
        state.treasury.surcharges[extra.account] += surcharge
    account.count_volume(now_us, price * size, taker)
    return Party(
        account=order.account, oid=order.oid, client=order.wanted.client, buy=order.wanted.buy, taker=taker, fee=fee,
        rate=rate, surcharge=surcharge, surcharge_to=0 if extra is None else extra.account,
        closed_pnl=effect.closed_pnl, start=effect.start, entry_before=effect.entry_before,
        margin_before=setting.initial.num * 10_000 // setting.initial.den, allocated_before=effect.allocated_before,
        allocated_after=effect.allocated_after, version=order.version, twap=order.wanted.twap,
    )  # fmt: skip


def book(state: State, account: Account, terms: Terms, delta: int, price: int, charges: int) -> Effect:
    """Settle a fill on an account and remember that its position moved."""
    effect = settle(account, terms, delta, price, charges)
    holders = state.markets[terms.market].holders
    if account.size(terms.market):
        holders.add(account.number)
    else:
        holders.discard(account.number)
        position = account.position(terms.market)
        if position.raw < 0:  # an isolated position that ended below nothing: the insurance fund pays
            state.treasury.insurance += position.raw
            position.raw = 0
    state.touched[account.number, terms.market] = None
    return effect
