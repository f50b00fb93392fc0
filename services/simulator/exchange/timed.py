"""What happens because time has come: TWAP slices, scheduled cancels, expiries."""

from __future__ import annotations

import heapq
from dataclasses import replace

from services.simulator.exchange.account import DAY_US, Account
from services.simulator.exchange.orders import end, end_all, housekeeping, place
from services.simulator.exchange.state import State
from services.simulator.exchange.terms import Terms
from services.simulator.exchange.values import Outcome, Twap, TwapChanged, Wanted

SLICE_US = 30_000_000
SLIPPAGE = 3
"""A slice takes at most this many per cent beyond the mark."""
CATCH_UP = 3
SCHEDULED_CANCELS_MAX = 10
"""How often a scheduled cancel may fire in a UTC day (Hyperliquid)."""


def begin_twap(
    state: State, account: Account, terms: Terms, wanted: Wanted, minutes: int, randomize: bool, now_us: int
) -> Twap:
    """Begin a TWAP: slices 30 s apart, the first at once; `wanted` gives side, size and reduce-only."""
    state.sequence += 1
    number = 1_000_000 + state.sequence
    slices = max(1, minutes * 60_000_000 // SLICE_US) + 1
    twap = Twap(
        id=number, account=account.number, market=terms.market, buy=wanted.buy, size=wanted.size, minutes=minutes,
        reduce_only=wanted.reduce_only, randomize=randomize, began_us=now_us, next_us=now_us, slices_left=slices,
        client=wanted.client, bound=wanted.price, parent_oid=state.next_oid(terms.market, wanted.buy),
    )  # fmt: skip
    state.twaps[number] = twap
    state.emit(TwapChanged(replace(twap), now_us))
    return twap


def stop_twap(state: State, account: Account, number: int, now_us: int) -> bool:
    """Stop a TWAP of an account; say whether there was one."""
    twap = state.twaps.get(number)
    if twap is None or twap.account != account.number:
        return False
    _close_twap(state, twap, "terminated", now_us)
    return True


def _close_twap(state: State, twap: Twap, status: str, now_us: int, error: str = "") -> None:
    del state.twaps[twap.id]
    twap.status = "finished" if status == "finished" else "terminated" if status == "terminated" else "error"
    twap.error = error
    state.emit(TwapChanged(replace(twap), now_us))


def run(state: State, now_us: int) -> None:
    """Do everything that is due."""
    for twap in list(state.twaps.values()):
        if twap.next_us <= now_us:
            _slice(state, twap, now_us)
    for number in list(state.schedules):
        account = state.accounts[number]
        if account.cancel_at_us and account.cancel_at_us <= now_us:
            fire_schedule(state, account, now_us)
    while state.expiries and state.expiries[0][0] <= now_us:
        _, _, order = heapq.heappop(state.expiries)
        if order.live and order.wanted.expiry_ms * 1000 <= now_us:
            end(state, order, "expired", now_us)
    housekeeping(state, now_us)


def _slice(state: State, twap: Twap, now_us: int) -> None:
    """Trade one slice: an even share of what is left, at most three times an even share of the whole."""
    account, terms = state.accounts[twap.account], state.terms(twap.market)
    left = twap.size - twap.executed
    share = -(-left // twap.slices_left)
    even = -(-twap.size // max(1, twap.minutes * 60_000_000 // SLICE_US + 1))
    if twap.randomize and twap.slices_left > 1:
        share = share * state.rng.randrange(80, 121) // 100
    size = max(1, min(share, left, CATCH_UP * even))
    mark = state.street.mark(twap.market)
    price = mark * (100 + SLIPPAGE if twap.buy else 100 - SLIPPAGE) // 100
    price = max(1, price - price % terms.tick(price))
    if twap.bound:
        price = min(price, twap.bound) if twap.buy else max(price, twap.bound)
    outcome = place(state, account, Wanted(
        market=twap.market, buy=twap.buy, price=price, size=size, tif="ioc", reduce_only=twap.reduce_only, twap=twap.id,
    ), now_us)  # fmt: skip
    twap.executed += outcome.filled
    twap.quote += outcome.quote
    twap.slices_left -= 1
    twap.next_us += SLICE_US
    if twap.executed >= twap.size or twap.slices_left == 0:
        _close_twap(state, twap, "finished", now_us)
    elif outcome.reason in ("margin", "reduce_only"):
        _close_twap(state, twap, "error", now_us, outcome.reason)


def schedule(state: State, account: Account, at_us: int) -> Outcome:
    """Set or (with 0) clear the time at which all orders are canceled."""
    account.cancel_at_us = at_us
    if at_us:
        state.schedules.add(account.number)
    else:
        state.schedules.discard(account.number)
    return Outcome()


def fire_schedule(state: State, account: Account, now_us: int) -> None:
    """Cancel everything because the time came."""
    day, fired = account.cancels_fired
    today = now_us // DAY_US
    account.cancels_fired = (today, (fired if day == today else 0) + 1)
    account.cancel_at_us = 0
    state.schedules.discard(account.number)
    end_all(state, account, "scheduled", now_us)
