"""One venue's exchange: commands in, outcomes and events out, time given with every call.

`now_us` never goes back. A command may come at any time; `moved` is called when the crowd or the marks have moved,
`settle_hour` when an hour of funding ends. `take_events` returns what happened since it was last called.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from services.simulator.exchange import distress, forced, orders, risk, timed
from services.simulator.exchange.account import Account
from services.simulator.exchange.matching import best, crosses, drop, execute, reducible
from services.simulator.exchange.state import State
from services.simulator.exchange.terms import Fraction, Rules, Setting, Street, Terms, cut
from services.simulator.exchange.values import (
    Event,
    Funded,
    Moved,
    Order,
    Outcome,
    Reason,
    SettingChanged,
    Twap,
    Wanted,
)  # fmt: skip

FUNDING_SCALE = 10**10


class Exchange:
    """The accounts and orders of one venue. Sizes and prices are in the market's units, money in 1e-6."""

    def __init__(self, rules: Rules, street: Street, terms: Iterable[Terms], *, seed: int) -> None:
        """Take the venue's way of counting, the crowd to trade with and the markets."""
        self.state = State(rules, street, terms, seed)

    # -- accounts and money

    def open_account(self, number: int, *, master: int | None = None, tier: str = "standard") -> Account:
        """Return an account, made if it is new."""
        found = self.state.accounts.get(number)
        if found is None:
            found = Account(number, number if master is None else master, tier)
            self.state.accounts[number] = found
        return found

    def account(self, number: int) -> Account | None:
        """Return an account or None."""
        return self.state.accounts.get(number)

    def deposit(self, number: int, amount: int, now_us: int, pool: str = "", kind: str = "deposit") -> None:
        """Bring money in from outside, or with a negative amount take it out."""
        account = self.state.accounts[number]
        account.cash[pool] += amount
        self.state.treasury.outside -= amount
        self.state.emit(Moved(account=number, kind=kind, pool=pool, amount=amount, at_us=now_us))

    def transfer(
        self, source: int, target: int, amount: int, now_us: int, *, pools: tuple[str, str], kind: str, fee: int = 0
    ) -> bool:
        """Move money between pools or accounts, for a fee beside it; False when the source cannot spare it."""
        giver, taker = self.state.accounts[source], self.state.accounts[target]
        if amount <= 0 or amount + fee > risk.withdrawable(self.state, giver, pools[0]):
            return False
        giver.cash[pools[0]] -= amount + fee
        taker.cash[pools[1]] += amount
        self.state.treasury.fees += fee
        sent = Moved(
            account=source, kind=kind, pool=pools[0], amount=-amount, at_us=now_us, other=target, pools=pools, fee=fee
        )  # fmt: skip
        self.state.emit(sent)
        if target != source:
            self.state.emit(replace(sent, account=target, pool=pools[1], amount=amount, other=source, fee=0))
        return True

    def withdraw(self, number: int, amount: int, fee: int, now_us: int, pool: str = "") -> bool:
        """Send money outside; False when it is not there to be sent."""
        account = self.state.accounts[number]
        if amount <= fee or amount > risk.withdrawable(self.state, account, pool):
            return False
        account.cash[pool] -= amount
        self.state.treasury.outside += amount - fee
        self.state.treasury.fees += fee
        self.state.emit(Moved(account=number, kind="withdraw", pool=pool, amount=-amount, at_us=now_us, fee=fee))
        return True

    def credit(self, number: int, amount: int, now_us: int, kind: str, pool: str = "") -> None:
        """Give an account what was taken out of another purse."""
        self.state.accounts[number].cash[pool] += amount
        self.state.emit(Moved(account=number, kind=kind, pool=pool, amount=amount, at_us=now_us))

    def charge(self, number: int, amount: int, pool: str = "") -> bool:
        """Take a fee; False when it is not there."""
        account = self.state.accounts[number]
        if amount > risk.withdrawable(self.state, account, pool):
            return False
        account.cash[pool] -= amount
        self.state.treasury.fees += amount
        return True

    def audit(self) -> dict[str, object]:
        """Return the sums that must be zero."""
        return self.state.treasury.audit(self.state.accounts.values())

    # -- orders

    def place(self, number: int, wanted: Wanted, now_us: int) -> Outcome:
        """Place an order."""
        outcome = orders.place(self.state, self.state.accounts[number], wanted, now_us)
        orders.housekeeping(self.state, now_us)
        return outcome

    def place_group(self, number: int, wanted: list[Wanted], way: str, now_us: int) -> list[Outcome]:
        """Place orders that belong together; see `orders.place_group` for the ways."""
        outcomes = orders.place_group(self.state, self.state.accounts[number], wanted, way, now_us)
        orders.housekeeping(self.state, now_us)
        return outcomes

    def find(self, number: int, key: int | str) -> Order | None:
        """Return a live order of an account by its id or its client id."""
        account = self.state.accounts.get(number)
        if account is None:
            return None
        oid = account.clients.get(key) if isinstance(key, str) else key
        return None if oid is None else account.orders.get(oid)

    def cancel(self, number: int, key: int | str, now_us: int, market: str | None = None) -> Order | None:
        """Cancel a live order; None when there is none such (in that market)."""
        order = self.find(number, key)
        if order is None or (market is not None and order.wanted.market != market):
            return None
        orders.end(self.state, order, "user", now_us)
        orders.housekeeping(self.state, now_us)
        return order

    def cancel_all(self, number: int, now_us: int, market: str | None = None, reason: Reason = "user") -> int:
        """Cancel an account's orders; return how many."""
        ended = orders.end_all(self.state, self.state.accounts[number], reason, now_us, market)
        orders.housekeeping(self.state, now_us)
        return len(ended)

    def change(self, order: Order, now_us: int, *, size: int, price: int, trigger: int = 0) -> Outcome:
        """Modify an order in place (Lighter)."""
        account = self.state.accounts[order.account]
        outcome = orders.change(self.state, account, order, now_us, size=size, price=price, trigger=trigger)
        orders.housekeeping(self.state, now_us)
        return outcome

    def schedule_cancel(self, number: int, at_us: int) -> None:
        """Set or clear (0) the time at which all orders of an account are canceled."""
        timed.schedule(self.state, self.state.accounts[number], at_us)

    def begin_twap(self, number: int, wanted: Wanted, minutes: int, randomize: bool, now_us: int) -> Twap:
        """Begin a TWAP; its first slice trades at once."""
        terms = self.state.terms(wanted.market)
        twap = timed.begin_twap(self.state, self.state.accounts[number], terms, wanted, minutes, randomize, now_us)
        timed.run(self.state, now_us)
        return twap

    def stop_twap(self, number: int, twap: int, now_us: int) -> bool:
        """Stop a TWAP; say whether there was one."""
        return timed.stop_twap(self.state, self.state.accounts[number], twap, now_us)

    # -- leverage and margin

    def set_leverage(self, number: int, market: str, setting: Setting, now_us: int) -> str:
        """Choose mode and initial margin; return why not: `mode` (something is open), `margin`, or nothing."""
        state, account, terms = self.state, self.state.accounts[number], self.state.terms(market)
        old, position = account.setting(terms), account.position(market)
        busy = position.size or any(item.wanted.market == market for item in account.orders.values())
        if old.isolated != setting.isolated and (position.size or (busy and state.rules.name == "lighter")):
            return "mode"
        notional = abs(position.size) * state.street.mark(market)
        more = setting.initial.of(notional) - old.initial.of(notional)
        if position.size and more > 0:
            if position.isolated:
                room = position.raw + position.size * state.street.mark(market) - setting.initial.of(notional)
            else:
                room = risk.available(state, account, terms.pool) - more
            if room < 0:
                return "margin"
        account.settings[market] = setting
        state.emit(SettingChanged(number, market, now_us))
        return ""

    def move_margin(self, number: int, market: str, amount: int, now_us: int) -> str:
        """Add to an isolated position's margin, or with a negative amount take from it; return why not.

        What is taken must leave the initial margin, on Hyperliquid also a tenth of the notional.
        """
        state, account, terms = self.state, self.state.accounts[number], self.state.terms(market)
        position = account.position(market)
        if not position.size:
            return "empty"
        if not position.isolated:
            return "cross"
        if amount < 0 and terms.no_removal:
            return "strict"
        now = risk.isolated_standing(state, account, market)
        keep = max(now.initial, now.notional // 10 if state.rules.name == "hyperliquid" else 0)
        if amount < 0 and now.value + amount < keep:
            return "position"
        if amount > 0 and amount > risk.withdrawable(state, account, terms.pool):
            return "account"
        account.cash[terms.pool] -= amount
        position.raw += amount
        state.emit(SettingChanged(number, market, now_us))
        return ""

    # -- the world moves

    def moved(self, market: str, now_us: int, executions: Iterable[tuple[int, int, bool]] = ()) -> None:
        """Let the crowd trade with the users it has reached; `executions` are (price, size, aggressor bought)."""
        place = self.state.markets[market]
        if not place.bids.prices and not place.asks.prices:
            return
        for price, size, buy in executions:
            self._pass(market, buy, price, size, now_us)
        for buy in (True, False):
            self._cross(market, buy, now_us)
        orders.housekeeping(self.state, now_us)

    def _pass(self, market: str, buy: bool, price: int, size: int, now_us: int) -> None:
        """Fill users whose price is strictly better for the taker than where the crowd has traded."""
        queue = self.state.markets[market].queue(not buy)
        while size > 0:
            maker = queue.first()
            if maker is None or not (maker.price < price if buy else maker.price > price):
                return
            size -= self._hit(maker, size, buy, now_us)

    def _cross(self, market: str, buy: bool, now_us: int) -> None:
        """Fill users on one side as far as the crowd on the other has come onto them."""
        queue = self.state.markets[market].queue(buy)
        while (maker := queue.first()) is not None:
            level = self.state.street.best(market, buy)
            if level is None or not crosses(buy, maker.price, level[0]):
                return
            done = self._hit(maker, level[1], not buy, now_us)
            if done:
                self.state.street.take(market, buy, level[0], done)

    def _hit(self, maker: Order, size: int, buy: bool, now_us: int) -> int:
        """Let the crowd take from a resting order; return how much, 0 when the order had to go instead."""
        state, account = self.state, self.state.accounts[maker.account]
        terms = state.terms(maker.wanted.market)
        size = min(size, maker.left)
        if maker.wanted.reduce_only:
            size = min(size, reducible(account, terms.market, maker.wanted.buy))
        if maker.wanted.expiry_ms and maker.wanted.expiry_ms * 1000 <= now_us:
            drop(state, maker, "expired", now_us)
            return 0
        if size == 0:
            drop(state, maker, "reduce_only", now_us)
            return 0
        if not risk.may_trade(state, account, terms, size if maker.wanted.buy else -size, maker.price, 0):
            drop(state, maker, "margin", now_us)
            return 0
        execute(state, None, maker, price=maker.price, size=size, now_us=now_us, crowd_buys=buy)
        return size

    def marked(self, now_us: int) -> None:
        """Let triggers, schedules and liquidations follow the marks and the time."""
        timed.run(self.state, now_us)
        orders.fire_triggers(self.state, now_us)
        distress.run(self.state, now_us)

    def deleverage(self, market: str, size: int, now_us: int) -> list[int]:
        """Close a stranger's bankrupt position of a signed size at the mark; return whom it was closed against."""
        met = forced.deleverage(self.state, None, market, size, self.state.street.mark(market), now_us)
        orders.housekeeping(self.state, now_us)
        return met

    def settle_hour(self, market: str, rate: int, now_us: int) -> None:
        """Pay an hour's funding: size x index x rate (1e-10), cut toward zero; longs pay a positive rate.

        What does not come out even between longs and shorts is the crowd's, which is the other side of every user.
        """
        state, terms = self.state, self.state.terms(market)
        for number in sorted(state.markets[market].holders):
            account = state.accounts[number]
            position = account.position(market)
            amount = -cut(position.size * state.street.index(market) * rate, FUNDING_SCALE)
            if position.isolated:
                position.raw += amount
            else:
                account.cash[terms.pool] += amount
            state.treasury.crowd -= amount
            position.funding_all -= amount
            position.funding_open -= amount
            position.funding_change -= amount
            state.emit(Funded(
                account=number, market=market, amount=amount, size=position.size, rate=rate, at_us=now_us,
            ))  # fmt: skip

    def take_events(self) -> list[Event]:
        """Return and forget what happened."""
        return self.state.take_events()

    def touch(self, market: str) -> tuple[int | None, int | None]:
        """Return the best bid and ask, users and crowd together."""
        place = self.state.markets[market]
        bid, ask = best(self.state, place, False), best(self.state, place, True)
        return (None if bid is None else bid[0], None if ask is None else ask[0])


def leverage(times: int, *, isolated: bool) -> Setting:
    """Return Hyperliquid's setting for a leverage."""
    return Setting(isolated, Fraction(1, times))
