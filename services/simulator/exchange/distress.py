"""Liquidation: what each venue does with an account below its maintenance margin.

Hyperliquid (docs, "Liquidations"): orders are canceled, then market orders go to the book; of a position above
100,000 dollars a fifth first, then 30 s in which orders are full size; below two thirds of the maintenance margin the
liquidator takes over position and margin. Lighter (circuits): an immediate-or-cancel order at the zero price
mark (1 -+ mmf TAV / MMR), the fee of at most 1 % taken out of the improvement on it; below the close-out margin the
insurance fund takes over at the zero price. What they do not take over (`State.fund_open`; on Hyperliquid only an
account below nothing) is closed against the other side (`forced.deleverage`). No capture checks any of it: unverified.
"""

from __future__ import annotations

from services.simulator.exchange.account import Account, Position
from services.simulator.exchange.forced import deleverage, take_over
from services.simulator.exchange.matching import match
from services.simulator.exchange.orders import end_all, housekeeping, make
from services.simulator.exchange.risk import Standing, isolated_standing, standing
from services.simulator.exchange.state import State
from services.simulator.exchange.values import MICRO, Liquidated, Wanted

PARTIAL_ABOVE = 100_000 * MICRO
PARTIAL_SHARE = 5
COOLDOWN_US = 30_000_000
FEE_PERCENT = 1


def run(state: State, now_us: int) -> None:
    """Look at every account that holds something."""
    holders = sorted({number for market in state.markets.values() for number in market.holders})
    for number in holders:
        account = state.accounts[number]
        for market in [name for name, held in account.positions.items() if held.size and held.isolated]:
            now = isolated_standing(state, account, market)
            if now.value < now.maintenance:
                _liquidate(state, account, state.terms(market).pool, market, now, now_us)
        for pool in {state.terms(name).pool for name, held in account.positions.items() if held.size}:
            now = standing(state, account, pool)
            if now.notional and now.value < now.maintenance:
                _liquidate(state, account, pool, "", now, now_us)
    housekeeping(state, now_us)


def _liquidate(state: State, account: Account, pool: str, isolated: str, now: Standing, now_us: int) -> None:
    if account.cooldown.get(pool + isolated, 0) > now_us and state.rules.name == "lighter":
        return
    end_all(state, account, "liquidation", now_us, isolated or None)
    state.liquidations += 1
    held = {
        market: position for market, position in account.positions.items()
        if position.size and (market == isolated if isolated else not position.isolated)
        and state.terms(market).pool == pool
    }  # fmt: skip
    state.emit(Liquidated(
        id=state.liquidations, account=account.number, pool=pool, isolated=isolated, notional=now.notional,
        value=now.value, positions=tuple((market, position.size) for market, position in held.items()), at_us=now_us,
    ))  # fmt: skip
    takeover = now.value < now.closeout
    for market, position in sorted(held.items()):
        zero = _zero_price(state, market, position, now)
        if takeover and not state.fund_open and (now.value < 0 or state.rules.name == "lighter"):
            deleverage(state, account, market, position.size, zero, now_us)
            continue
        if takeover:
            mark = state.street.mark(market)
            take_over(state, account, market, zero if state.rules.name == "lighter" else mark, now_us)
            continue
        _sell(state, account, market, position, zero, now_us)
        left = isolated_standing(state, account, market) if isolated else standing(state, account, pool)
        if left.value >= left.maintenance:
            break
    if takeover:
        _sweep(state, account, pool, isolated, now.value)


def _zero_price(state: State, market: str, position: Position, now: Standing) -> int:
    """Return the price at which closing leaves value over maintenance unchanged."""
    mark = state.street.mark(market)
    if not now.maintenance:
        return mark
    amount = abs(position.size) * mark
    share = state.terms(market).maintenance(amount) * now.value // now.maintenance
    return max(1, mark - position.side * (share // abs(position.size)))


def _sell(state: State, account: Account, market: str, position: Position, zero: int, now_us: int) -> None:
    """Send a liquidation order to the book."""
    size, mark, buy = abs(position.size), state.street.mark(market), position.size < 0
    key = state.terms(market).pool + (market if position.isolated else "")
    if state.rules.name == "hyperliquid":
        if size * mark > PARTIAL_ABOVE and account.cooldown.get(key, 0) <= now_us:
            size = max(1, size // PARTIAL_SHARE)
            account.cooldown[key] = now_us + COOLDOWN_US
        price = mark * 2 if buy else 1
    else:
        price = zero
    order = make(state, account, Wanted(
        market=market, buy=buy, price=price, size=size, kind="liquidation", tif="ioc", reduce_only=True,
    ), now_us)  # fmt: skip
    state.remember(order)
    match(state, order, now_us)
    improved = (zero * order.filled - order.quote) * (1 if buy else -1)
    if state.rules.name == "lighter" and order.filled and improved > 0:
        fee = min(improved, order.quote * FEE_PERCENT // 100)
        account.cash[state.terms(market).pool] -= fee
        state.treasury.insurance += fee
    state.changed(order, "filled" if order.filled else "canceled", "" if order.filled else "liquidation", now_us)


def _sweep(state: State, account: Account, pool: str, isolated: str, value: int) -> None:
    """Move what is left of a margin that was taken over, or what is missing from it, to the insurance fund."""
    left = account.cash[pool]
    if isolated:
        left = max(0, value) if state.rules.name == "hyperliquid" else 0
    elif state.rules.name == "lighter":
        left = min(0, left)
    account.cash[pool] -= left
    state.treasury.insurance += left
