"""Margin: what an account is worth, what its positions and orders need, whether a trade may happen, where it ends."""

from __future__ import annotations

from dataclasses import dataclass

from services.simulator.exchange.account import Account
from services.simulator.exchange.state import State
from services.simulator.exchange.terms import Terms


@dataclass(frozen=True, slots=True)
class Standing:
    """A pool's cross margin (or one isolated position's): value, needs and notional, in 1e-6."""

    value: int
    initial: int
    maintenance: int
    closeout: int
    notional: int
    cash: int


def standing(state: State, account: Account, pool: str) -> Standing:
    """Return the cross standing of an account in a margin pool; resting orders are not in it."""
    value = cash = account.cash[pool]
    initial = maintenance = closeout = notional = 0
    for market, position in account.positions.items():
        terms = state.terms(market)
        if not position.size or position.isolated or terms.pool != pool:
            continue
        mark = state.street.mark(market)
        amount = abs(position.size) * mark
        value += position.size * mark
        notional += amount
        initial += account.setting(terms).initial.of(amount)
        maintenance += terms.maintenance(amount)
        closeout += terms.closeout(amount)
    return Standing(value, initial, maintenance, closeout, notional, cash)


def isolated_standing(state: State, account: Account, market: str) -> Standing:
    """Return the standing of one isolated position."""
    position, terms = account.position(market), state.terms(market)
    mark = state.street.mark(market)
    amount = abs(position.size) * mark
    return Standing(
        position.raw + position.size * mark, account.setting(terms).initial.of(amount), terms.maintenance(amount),
        terms.closeout(amount), amount, position.raw,
    )  # fmt: skip


def orders_margin(state: State, account: Account, pool: str) -> int:
    """Return what the resting orders of a pool hold beyond the positions (Hyperliquid; the exact rule is unverified).

    A market needs the margin of the largest exposure its orders could lead to: the position, the position with all
    buys filled, or with all sells filled.
    """
    if not state.rules.reserves:
        return 0
    held = 0
    for market in {market for (market, _), size in account.resting.items() if size}:
        terms = state.terms(market)
        if terms.pool == pool:
            size = account.size(market)
            exposure = _exposure(account, market, 0, 0)
            initial = account.setting(terms).initial
            mark = state.street.mark(market)
            cross = not account.setting(terms).isolated
            held += (
                initial.of(exposure * mark) - initial.of(abs(size) * mark)
                if cross
                else initial.of((exposure - abs(size)) * mark)
            )
    return held


def _exposure(account: Account, market: str, buys: int, sells: int) -> int:
    size = account.size(market)
    buys += account.resting[market, True]
    sells += account.resting[market, False]
    return max(abs(size), abs(size + buys), abs(size - sells))


def available(state: State, account: Account, pool: str) -> int:
    """Return what may back new orders: cross value less initial margin of positions and orders; may be negative."""
    now = standing(state, account, pool)
    return now.value - now.initial - orders_margin(state, account, pool)


def withdrawable(state: State, account: Account, pool: str) -> int:
    """Return what may leave a pool.

    Hyperliquid: value less the larger of initial margin (orders included) and a tenth of the notional, isolated
    included. Lighter: value less initial margin, and not more than the collateral.
    """
    now = standing(state, account, pool)
    if state.rules.name == "lighter":
        return max(0, min(now.value - now.initial, collateral(account, state, pool)))
    need = now.initial + orders_margin(state, account, pool)
    return max(0, now.value - max(need, now.notional // 10))


def collateral(account: Account, state: State, pool: str) -> int:
    """Return Lighter's collateral: cross cash with every open entry put back."""
    held = account.cash[pool]
    for market, position in account.positions.items():
        if position.size and not position.isolated and state.terms(market).pool == pool:
            held += position.side * position.entry
    return held


def may_place(state: State, account: Account, terms: Terms, buy: bool, size: int, price: int) -> bool:
    """Say whether an order's initial margin is there before it is placed; what only reduces always may.

    Hyperliquid counts at the mark price (unverified whether a higher limit price counts); Lighter at the limit price.
    """
    if state.margin_free:
        return True
    held, setting = account.size(terms.market), account.setting(terms)
    if state.rules.name == "lighter":
        if held and (held > 0) != buy and size <= abs(held):
            return True
        now = standing(state, account, terms.pool)
        return now.value - now.initial >= setting.initial.of(size * price)
    before = _exposure(account, terms.market, 0, 0)
    after = _exposure(account, terms.market, size if buy else 0, 0 if buy else size)
    if after <= before:
        return True
    mark = state.street.mark(terms.market)
    return available(state, account, terms.pool) >= setting.initial.of((after - before) * mark)


def may_trade(state: State, account: Account, terms: Terms, delta: int, price: int, charges: int) -> bool:
    """Say whether an account could stand a fill: enough initial margin after it, or health that does not worsen.

    Hyperliquid checks the resting side at the match, Lighter both sides (a trade is valid when value is at least the
    initial margin after it, or when value over maintenance margin does not fall).
    """
    if state.margin_free:
        return True
    held = account.size(terms.market)
    after = held + delta
    if held * delta < 0 and abs(after) <= abs(held):
        return True
    setting, mark = account.setting(terms), state.street.mark(terms.market)
    now = standing(state, account, terms.pool)
    if setting.isolated:
        opened = abs(delta) if held * delta >= 0 else abs(after)
        return now.value - now.initial >= setting.initial.of(opened * price) + max(0, charges)
    value = now.value + delta * (mark - price) - charges
    initial = now.initial - setting.initial.of(abs(held) * mark) + setting.initial.of(abs(after) * mark)
    if value >= initial:
        return True
    kept = now.maintenance - terms.maintenance(abs(held) * mark) + terms.maintenance(abs(after) * mark)
    return bool(
        state.rules.name == "lighter" and kept and now.maintenance and value * now.maintenance >= now.value * kept
    )


def liquidation_price(state: State, account: Account, market: str) -> float | None:
    """Return the mark price at which a position would be liquidated, all others standing still; None if there is none.

    Solves value(p) = maintenance(p). Hyperliquid: mark - side * margin available / size / (1 - l * side), l being the
    maintenance rate of the tier the position has there. Lighter's formula is the same with its one fraction
    (verified on a captured account). A float, in price units: the venues print one.
    """
    position, terms = account.position(market), state.terms(market)
    if not position.size:
        return None
    now = isolated_standing(state, account, market) if position.isolated else standing(state, account, terms.pool)
    mark, size = state.street.mark(market), position.size
    rest_maintenance = now.maintenance - terms.maintenance(abs(size) * mark)
    without = now.value - size * mark - rest_maintenance
    for tier in reversed(terms.tiers):
        rate = tier.maintenance.num / tier.maintenance.den
        # without + size * p = |size| * p * rate - deduction
        price = (-without - tier.deduction) / (size - abs(size) * rate)
        if terms.tier(int(abs(size) * price)) is tier and price > 0:
            return price
    return None
