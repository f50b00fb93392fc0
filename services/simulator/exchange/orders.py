"""The life of an order: placed, resting, fired, modified, canceled; parents and siblings.

The checks are the engine's; what a venue checks before (shapes, price bands, signatures) is its dialect's. A check
that fails gives an order that was rejected, with a reason; the dialects have the venue's words for it.
"""

from __future__ import annotations

import heapq
from dataclasses import replace

from services.simulator.exchange.account import Account
from services.simulator.exchange.matching import best, crosses, drop, match, reducible
from services.simulator.exchange.risk import may_place
from services.simulator.exchange.state import State
from services.simulator.exchange.terms import Terms
from services.simulator.exchange.values import TRIGGERS, Order, Outcome, Reason, Wanted

REDUCING_ORDERS_MAX = 1000
"""With this many open orders Hyperliquid refuses reduce-only and trigger orders."""
ORDERS_MAX = 5000


def make(state: State, account: Account, wanted: Wanted, now_us: int) -> Order:
    """Return a new order that is nowhere yet."""
    oid = state.next_oid(wanted.market, wanted.buy)
    return Order(
        oid=oid, account=account.number, wanted=wanted, left=wanted.size, price=wanted.price, placed_us=now_us,
        changed_us=now_us, sequence=state.sequence, asked=wanted.size,
    )  # fmt: skip


def place(state: State, account: Account, wanted: Wanted, now_us: int) -> Outcome:
    """Place one order."""
    order = make(state, account, wanted, now_us)
    terms = state.terms(wanted.market)
    reason = _too_many(state, account, wanted)
    if reason:
        return _refused(state, order, reason, now_us)
    if wanted.kind in TRIGGERS:
        return _await_trigger(state, account, order, terms, now_us)
    return _enter(state, account, order, terms, now_us)


def _too_many(state: State, account: Account, wanted: Wanted) -> Reason:
    count = len(account.orders)
    if state.rules.name == "hyperliquid":
        most = min(ORDERS_MAX, REDUCING_ORDERS_MAX + account.lifetime // (5_000_000 * 1_000_000))
        if count >= most or (count >= REDUCING_ORDERS_MAX and (wanted.reduce_only or wanted.kind in TRIGGERS)):
            return "too_many_orders"
    return ""


def _refused(state: State, order: Order, reason: Reason, now_us: int, *detail: object) -> Outcome:
    state.changed(order, "rejected", reason, now_us)
    return Outcome(order, reason, detail)


def _enter(state: State, account: Account, order: Order, terms: Terms, now_us: int) -> Outcome:
    """Check an order against book and account, trade it, and let the rest of it rest or go."""
    wanted = order.wanted
    found = best(state, state.markets[wanted.market], wanted.buy)
    touches = found is not None and crosses(wanted.buy, order.price, found[0])
    reason: Reason = ""
    detail: tuple[object, ...] = ()
    if order.price % terms.tick(order.price):
        reason = "tick"
    elif wanted.reduce_only and not reducible(account, wanted.market, wanted.buy):
        reason = "reduce_only"
    elif wanted.tif == "ioc" and not touches and state.rules.name == "hyperliquid":
        reason = "no_match"
    elif wanted.tif == "alo" and touches:
        reason, detail = "post_only", _touch(state, terms)
    elif state.rules.name == "hyperliquid":
        counted = found[0] if found is not None and touches and wanted.tif == "ioc" else order.price
        reason = _hyperliquid_checks(state, account, order, terms, counted)
    if reason:
        return _refused(state, order, reason, now_us, *detail)
    if wanted.reduce_only and state.rules.shrinks:
        order.left = min(order.left, reducible(account, wanted.market, wanted.buy))
    state.remember(order)
    if order.fired:
        order.status = "open"
    stopped = match(state, order, now_us)
    return _after_match(state, order, stopped, now_us)


def _hyperliquid_checks(state: State, account: Account, order: Order, terms: Terms, price: int) -> Reason:
    """Least notional (a reduce-only order for the whole position is exempt), then margin.

    The notional counts at the first price that crosses for an immediate order, else at the limit.
    """
    wanted = order.wanted
    whole = wanted.reduce_only and order.left >= abs(account.size(wanted.market))
    if price * order.left < terms.min_quote and not whole:
        return "min_notional"
    if not wanted.reduce_only and not may_place(state, account, terms, wanted.buy, order.left, order.price):
        return "margin"
    return "" if wanted.reduce_only else _within_tier(state, account, order, terms)


def _within_tier(state: State, account: Account, order: Order, terms: Terms) -> Reason:
    """A tier also bounds the size that may be held at a chosen leverage."""
    held = account.size(wanted := order.wanted.market)
    after = held + (order.left if order.wanted.buy else -order.left)
    if abs(after) <= abs(held) or state.margin_free:
        return ""
    least, chosen = terms.tier(abs(after) * state.street.mark(wanted)).initial, account.setting(terms).initial
    return "position_limit" if chosen.num * least.den < least.num * chosen.den else ""


def _touch(state: State, terms: Terms) -> tuple[object, ...]:
    market = state.markets[terms.market]
    bid, ask = best(state, market, False), best(state, market, True)
    return (0 if bid is None else bid[0], 0 if ask is None else ask[0])


def _after_match(state: State, order: Order, stopped: Reason, now_us: int) -> Outcome:
    """End an order, or let its rest stand in the book."""
    wanted = order.wanted
    done = Outcome(order, "", (), order.filled, order.quote)
    if order.left == 0 and order.filled and stopped != "self_trade":
        state.changed(order, "filled", "", now_us)
    elif stopped:
        state.changed(order, "canceled", stopped, now_us)
        return Outcome(order, stopped if not order.filled else "", (), order.filled, order.quote)
    elif wanted.tif == "ioc":
        if order.filled and state.rules.name == "hyperliquid":
            state.changed(order, "filled", "", now_us)
        else:
            state.changed(order, "canceled", "no_liquidity", now_us)
            return Outcome(order, "" if order.filled else "no_liquidity", (), order.filled, order.quote)
    else:
        state.rest(order)
        if wanted.expiry_ms:
            heapq.heappush(state.expiries, (wanted.expiry_ms * 1000, order.oid, order))
        state.changed(order, "open", "", now_us)
    return done


# -- triggers


def _await_trigger(state: State, account: Account, order: Order, terms: Terms, now_us: int) -> Outcome:
    """Check a stop or take-profit order and keep it until the mark price reaches it; it holds no margin."""
    wanted, mark = order.wanted, state.street.mark(terms.market)
    if state.rules.name == "hyperliquid":
        if order.price % terms.tick(order.price) or wanted.trigger % terms.tick(wanted.trigger):
            return _refused(state, order, "tick", now_us)
        if _reached(wanted, mark):
            return _refused(state, order, "bad_trigger", now_us)
    if wanted.tied and not account.size(terms.market):
        return _refused(state, order, "reduce_only", now_us)
    state.remember(order)
    _arm(state, order, now_us)
    return Outcome(order)


def _arm(state: State, order: Order, now_us: int) -> None:
    state.markets[order.wanted.market].pending[order.oid] = order
    if order.wanted.expiry_ms:
        heapq.heappush(state.expiries, (order.wanted.expiry_ms * 1000, order.oid, order))
    state.changed(order, "pending", "", now_us)


def _reached(wanted: Wanted, mark: int) -> bool:
    """Say whether the mark fires a trigger: take-profit sells and stop buys above, the others below."""
    take = wanted.kind in ("take", "take_limit")
    above = take != wanted.buy
    return mark >= wanted.trigger if above else mark <= wanted.trigger


def fire_triggers(state: State, now_us: int) -> None:
    """Fire every trigger that the marks have reached, oldest first."""
    for name, market in state.markets.items():
        if not market.pending:
            continue
        mark = state.street.mark(name)
        for order in [item for item in market.pending.values() if _reached(item.wanted, mark)]:
            if order.live and order.oid in market.pending:
                _fire(state, order, now_us)
                housekeeping(state, now_us)


def _fire(state: State, order: Order, now_us: int) -> None:
    account, terms = state.accounts[order.account], state.terms(order.wanted.market)
    del state.markets[terms.market].pending[order.oid]
    wanted = order.wanted
    market_kind = wanted.kind in ("stop", "take")
    if order.left == 0 or (wanted.tied and wanted.size == 0):
        order.left = abs(account.size(terms.market))
        order.asked = order.left
    order.fired = True
    state.changed(order, "triggered", "", now_us)
    tif = "ioc" if market_kind else wanted.tif
    order.wanted = replace(wanted, tif=tif)
    if order.left == 0:
        state.changed(order, "canceled", "reduce_only", now_us)
        return
    _enter(state, account, order, terms, now_us)


# -- groups


def place_group(state: State, account: Account, wanted: list[Wanted], way: str, now_us: int) -> list[Outcome]:
    """Place orders that belong together: `parent` (the first fills, then the others), `pair` (one fills, the others
    go), `parent_pair` (both), or `tied` (to the whole position, one for all)."""
    outcomes: list[Outcome] = []
    rest = wanted
    parent: Order | None = None
    if way.startswith("parent"):
        first = place(state, account, wanted[0], now_us)
        outcomes.append(first)
        rest, parent = wanted[1:], first.order
        if parent is None or (first.reason and not first.filled):
            return outcomes + [Outcome(None, "parent") for _ in rest]
    made: list[Order] = []
    for item in rest:
        if parent is None:
            outcome = place(state, account, item, now_us)
        else:
            child = make(state, account, item, now_us)
            child.parent = parent.oid
            state.remember(child)
            state.changed(child, "waiting", "", now_us)
            outcome = Outcome(child)
            parent.children.append(child.oid)
        outcomes.append(outcome)
        if outcome.order is not None and outcome.order.live:
            made.append(outcome.order)
    if way != "parent":
        for order in made:
            order.siblings = [other.oid for other in made if other is not order]
    return outcomes


def housekeeping(state: State, now_us: int) -> None:
    """Follow up on orders that ended and positions that moved, until nothing more follows."""
    while state.ended or state.touched:
        ended, state.ended = state.ended, []
        for order in ended:
            _end_children(state, order, now_us)
            _end_siblings(state, order, now_us)
        touched, state.touched = state.touched, {}
        for number, market in touched:
            _fit_to_position(state, state.accounts[number], market, now_us)


def _end_children(state: State, order: Order, now_us: int) -> None:
    account = state.accounts[order.account]
    filled = order.status == "filled" or (
        order.filled > 0 and (state.rules.name == "lighter" or order.reason in ("margin", "no_liquidity"))
    )
    for oid in order.children:
        child = account.orders.get(oid)
        if child is None or child.status != "waiting":
            continue
        if not filled:
            state.changed(child, "canceled", "parent", now_us)
            continue
        if child.wanted.size == 0:
            child.left = child.asked = order.filled
        _arm(state, child, now_us)


def _end_siblings(state: State, order: Order, now_us: int) -> None:
    account = state.accounts[order.account]
    if order.reason in ("sibling", "parent") or (state.rules.name == "hyperliquid" and not order.filled):
        return
    for oid in order.siblings:
        sibling = account.orders.get(oid)
        if sibling is not None:
            end(state, sibling, "sibling", now_us)


def _fit_to_position(state: State, account: Account, market: str, now_us: int) -> None:
    """Shrink or cancel what may only reduce, after a position moved."""
    for order in list(account.orders.values()):
        wanted = order.wanted
        if wanted.market != market or not wanted.reduce_only or order.status == "waiting":
            continue
        room = reducible(account, market, wanted.buy)
        if order.status == "pending":
            if room == 0 and (wanted.tied or state.rules.name == "lighter"):
                end(state, order, "reduce_only" if state.rules.name == "hyperliquid" else "position", now_us)
        elif state.rules.shrinks and state.is_resting(order) and order.left > room:
            if room == 0:
                drop(state, order, "reduce_only", now_us)
            else:
                state.reduce_resting(order, order.left - room)
                state.changed(order, "open", "", now_us)


# -- ending and changing


def end(state: State, order: Order, reason: Reason, now_us: int) -> None:
    """Cancel an order wherever it is."""
    state.markets[order.wanted.market].pending.pop(order.oid, None)
    if state.is_resting(order):
        state.unrest(order)
    state.changed(order, "canceled", reason, now_us)


def end_all(state: State, account: Account, reason: Reason, now_us: int, market: str | None = None) -> list[Order]:
    """Cancel all orders of an account, or those in a market."""
    chosen = [item for item in account.orders.values() if market is None or item.wanted.market == market]
    for order in chosen:
        if order.live:
            end(state, order, reason, now_us)
    return chosen


def change(
    state: State, account: Account, order: Order, now_us: int, *, size: int, price: int, trigger: int
) -> Outcome:
    """Lighter's modify: new total size (the filled part included), price and trigger; priority in time is lost.

    The order keeps its index (unverified); its version goes up. A total at or below what is filled finishes it.
    """
    terms = state.terms(order.wanted.market)
    order.version += 1
    if order.status in ("pending", "waiting"):
        order.wanted = replace(order.wanted, size=size, price=price, trigger=trigger or order.wanted.trigger)
        order.left = order.asked = size
        order.price = price
        state.changed(order, order.status, "", now_us)
        return Outcome(order)
    state.unrest(order)
    order.wanted = replace(order.wanted, size=size, price=price)
    order.asked, order.price, order.left = size, price, max(0, size - order.filled)
    if order.left == 0:
        state.changed(order, "filled" if order.filled else "canceled", "" if order.filled else "user", now_us)
        return Outcome(order)
    found = best(state, state.markets[terms.market], order.wanted.buy)
    if order.wanted.tif == "alo" and found is not None and crosses(order.wanted.buy, price, found[0]):
        state.changed(order, "canceled", "post_only", now_us)
        return Outcome(order, "post_only")
    state.sequence += 1
    order.sequence = state.sequence
    return _after_match(state, order, match(state, order, now_us), now_us)
