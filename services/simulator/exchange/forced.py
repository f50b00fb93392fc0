"""Trades that no order asked for: positions taken over, and positions closed against a bankrupt one.

Auto-deleveraging: what the liquidator vault (Hyperliquid) or the insurance fund (Lighter) does not take over is closed
at the bankrupt account's zero price against positions of the other side, the most profitable and most leveraged first
("Auto-deleveraging" at both venues). Their exact ranking and price, and which side a venue calls the taker, are in no
capture: unverified.
"""

from __future__ import annotations

from fractions import Fraction

from services.simulator.exchange.account import Account
from services.simulator.exchange.matching import book, publish
from services.simulator.exchange.risk import isolated_standing, standing
from services.simulator.exchange.state import State
from services.simulator.exchange.values import Party, Trade

STRANGER = 0xBA2C_0000
"""The bankrupt account where it is one of the crowd."""


def take_over(state: State, account: Account, market: str, price: int, now_us: int) -> None:
    """Let the liquidator or the insurance fund take a position at a price."""
    size = account.size(market)
    taker = _settled(state, account, market, -size, price, taker=True)
    state.treasury.insurance += -size * price
    state.treasury.insurance_sizes[market] += size
    publish(state, Trade(
        id=state.street.trade_id(market), time_us=now_us, market=market, price=price, size=abs(size), buy=size < 0,
        taker=taker, maker=None, liquidated=account.number, method="backstop", mark=state.street.mark(market),
    ))  # fmt: skip


def deleverage(state: State, bankrupt: Account | None, market: str, size: int, price: int, now_us: int) -> list[int]:
    """Close a bankrupt position of a signed `size` against the other side and return whom it was closed against.

    `bankrupt` None is a stranger of the crowd. What no user holds against it is closed against the crowd.
    """
    left, met = abs(size), []
    for account in _ranked(state, bankrupt, market, size < 0):
        part = min(left, abs(account.size(market)))
        if part:
            _close(state, bankrupt, account, market, part if size > 0 else -part, price, now_us)
            met.append(account.number)
            left -= part
    if left and bankrupt is not None:
        _close(state, bankrupt, None, market, left if size > 0 else -left, price, now_us)
    return met


def _ranked(state: State, bankrupt: Account | None, market: str, long: bool) -> list[Account]:
    """Return who holds the other side, by profit over cost times notional over value, the highest first."""
    holders = [state.accounts[number] for number in sorted(state.markets[market].holders)]
    found = [one for one in holders if one is not bankrupt and (one.size(market) > 0) == long]
    return sorted(found, key=lambda account: _rank(state, account, market), reverse=True)


def _rank(state: State, account: Account, market: str) -> Fraction:
    position = account.position(market)
    now = (
        isolated_standing(state, account, market)
        if position.isolated
        else standing(state, account, state.terms(market).pool)
    )
    profit = Fraction(position.profit(state.street.mark(market)), max(1, position.entry))
    return profit * Fraction(now.notional, max(1, now.value))


def _close(
    state: State, bankrupt: Account | None, other: Account | None, market: str, size: int, price: int, now_us: int
) -> None:
    """Trade a signed part of a bankrupt position away; one side at least is a user."""
    taker = None if bankrupt is None else _settled(state, bankrupt, market, -size, price, taker=True)
    maker = None if other is None else _settled(state, other, market, size, price, taker=False)
    if taker is None or maker is None:
        change = size if taker is None else -size
        state.treasury.crowd += change * price
        state.treasury.crowd_sizes[market] -= change
    publish(state, Trade(
        id=state.street.trade_id(market), time_us=now_us, market=market, price=price, size=abs(size), buy=size < 0,
        taker=taker, maker=maker, liquidated=STRANGER if bankrupt is None else bankrupt.number, method="deleverage",
        mark=state.street.mark(market),
    ))  # fmt: skip


def _settled(state: State, account: Account, market: str, change: int, price: int, *, taker: bool) -> Party:
    """Settle a free fill of a signed size on an account and return its side of the trade."""
    position = account.position(market)
    start, entry, allocated = position.size, position.entry, position.collateral
    effect = book(state, account, state.terms(market), change, price, 0)
    state.sequence += 1
    return Party(
        account=account.number, oid=state.next_oid(market, change > 0), client="", buy=change > 0, taker=taker, fee=0,
        rate=0, surcharge=0, surcharge_to=0, closed_pnl=effect.closed_pnl, start=start, entry_before=entry,
        margin_before=0, allocated_before=allocated, allocated_after=position.collateral, version=0,
    )  # fmt: skip
