"""Doing what is due on orders whose legs fell short: by their policy, or by the rule of their hedge.

What is to be sent is decided and made durable first, as legs of the order, in one transaction that looks again at the
order as it then stands; from there they are legs like any other. So a death before it repeats nothing, a death after it
loses nothing, and of two processes that act at once one finds that there is nothing left to do.

Before anything is decided by what a leg traded, its venue is asked how much that was: trades may be on their way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.domain.decimals import plain_text, rounding
from services.domain.refusal import Refusal, RefusalReason
from services.execution.app.closing import mark_of
from services.execution.app.counting import traded
from services.execution.app.gate import Gate
from services.execution.app.intake import BPS, SLIPPAGE_BPS_DEFAULT, Intake
from services.execution.app.rounds import Rounds
from services.execution.model import policy, remedy
from services.execution.model.leg import ZERO, Leg, Role
from services.execution.model.order import NewOrder, Order, mesh_says_no
from services.execution.model.policy import LegPolicy, Remedy
from services.execution.model.remedy import Act
from services.execution.ports import Accounts, Clock, Orders, TradingAccount, Venues, Wake
from services.execution.ports.looking import Books
from services.venues.actions import ActionError, OrderType, Side, TimeInForce

COUNT_S: Final = 0.3
"""How soon an order is looked at again whose trades are still being counted."""
Made = list[Leg] | Refusal
Change = Callable[[Order], Order]


class Remedies:
    """Acts on orders until canceled."""

    def __init__(
        self,
        *,
        intake: Intake,
        orders: Orders,
        accounts: Accounts,
        venues: Venues,
        gate: Gate,
        books: Books,
        clock: Clock,
        wake: Wake,
        tell_fault: Callable[[Order, Exception], None],
    ) -> None:
        self._intake = intake
        self._orders = orders
        self._accounts = accounts
        self._venues = venues
        self._gate = gate
        self._books = books
        self._clock = clock
        self._wake = wake
        self._rounds = Rounds(orders.remedying, self._act, clock=clock, tell_fault=tell_fault)

    async def run(self) -> None:
        """Act on what is due until canceled."""
        await self._rounds.run()

    async def _act(self, order: Order) -> float:
        """Do what is due; return how long to wait before the order is looked at again, 0 where the record says."""
        due, now = remedy.due(order), self._clock.now()
        if due is None or due.time > now:
            return 0.0
        if due.act is Act.FOLLOW:
            await self._change(order, lambda one: _same_due(one, Act.FOLLOW, remedy.followed_on(one, now)))
        elif due.act is Act.CANCEL_REST:
            await self._change(order, lambda one: _same_due(one, Act.CANCEL_REST, remedy.rest_canceled(one, now)))
        elif due.act is Act.KEEP:
            await self._change(order, lambda one: _same_due(one, Act.KEEP, self._over(one, None)))
        else:
            accounts = {one.account_id: one for one in await self._accounts.of_user(order.user_id)}
            unseen = await self._unseen(order, accounts)
            if unseen is None:
                return COUNT_S
            if due.act is Act.REROUTE:
                await self._reroute(order, accounts, unseen)
            else:
                await self._trade_back(order, accounts)
        return 0.0

    async def _change(self, order: Order, change: Change) -> None:
        now = self._clock.now()

        def changed(current: Order) -> Order:
            after = change(current)
            return after if after is current else replace(after, version=current.version + 1, update_time=now)

        await self._orders.schedule(order.user_id, order.order_id, changed)
        self._wake()

    async def _unseen(self, order: Order, accounts: dict[UUID, TradingAccount]) -> Decimal | None:
        """Return what venues say was traded beyond what is counted; None where that is still being told.

        A trade back is never tried again while its venue says that more of the last one was traded than is counted.
        """
        unseen = ZERO
        for leg in order.legs:
            if leg.filled >= leg.size or (account := accounts.get(leg.account_id)) is None:
                continue
            venue = self._venues.at(account.venue, account.environment)
            said = await traded(leg, account, venue, self._orders, self._clock)
            if said is None or (leg.role is Role.UNWIND and said > leg.filled):
                return None
            unseen += said - leg.filled
        return unseen

    # --- routing again ----------------------------------------------------------------------------------------------

    async def _reroute(self, order: Order, accounts: dict[UUID, TradingAccount], unseen: Decimal) -> None:
        missing = policy.to_reroute(order.legs, order.size) - unseen
        made = await self._rerouted(order, accounts, missing) if missing > ZERO else _nothing_missing()

        def rerouted(current: Order) -> Order:
            left = policy.to_reroute(current.legs, current.size) - unseen
            if isinstance(made, Refusal):
                return _same_due(current, Act.REROUTE, self._over(current, made))
            if sum((leg.size for leg in made), ZERO) > left:
                return current  # another did it, or trades were told meanwhile
            return _same_due(current, Act.REROUTE, self._with(current, made, Role.REROUTE))

        await self._change(order, rerouted)

    async def _rerouted(self, order: Order, accounts: dict[UUID, TradingAccount], missing: Decimal) -> Made:
        """Return the legs for what is missing, or why there are none. Raises where routing is away."""
        done = order.remedy.rounds if order.remedy is not None else 0
        is_immediate = order.time_in_force is TimeInForce.IMMEDIATE_OR_CANCEL
        if done >= policy.REROUTE_MAX or (
            is_immediate and self._clock.now() - order.create_time > policy.REROUTE_WITHIN
        ):
            return mesh_says_no(
                RefusalReason.EXPIRED, "It is too late to route again what is missing.", "Place it anew."
            )
        without = {leg.venue for leg in policy.short_legs(order.legs, LegPolicy.REROUTE)}
        others = [
            accounts[one]
            for one in order.account_ids
            if one in accounts and accounts[one].can_trade and accounts[one].venue not in without
        ]
        if not others:
            return mesh_says_no(RefusalReason.NO_ACCOUNT, "There is no other venue that the order may go to.")
        wanted = self._wanted(order, missing)
        able = others if order.reduce_only else self._gate.able(order.user_id, wanted, others)
        if isinstance(able, Refusal):
            return able
        size = self._intake.on_lot(order.market, able, missing)
        if size <= ZERO:
            return mesh_says_no(RefusalReason.SIZE_TOO_SMALL, "What is missing is less than the other venues' lots.")
        await self._intake.look_at(order.market)
        fresh = replace(order, create_time=self._clock.now())
        return await self._intake.routed_again(fresh, replace(wanted, size=size), able)

    @staticmethod
    def _wanted(order: Order, size: Decimal) -> NewOrder:
        """Return what is missing as an order of its own, within the order's own limits."""
        return NewOrder(
            request_id=order.request_id, market=order.market, side=order.side, size=size, size_in_usd=False,
            type=order.type, limit_price=_bound(order), time_in_force=order.time_in_force,
            reduce_only=order.reduce_only, venue="", venues=(), excluded=(), account_ids=(), quote_id=None,
            max_slippage_bps=order.max_slippage_bps, client_order_id="", allow_while_unknown=True,
            expire_time=order.expire_time,
        )  # fmt: skip

    # --- trading back -----------------------------------------------------------------------------------------------

    async def _trade_back(self, order: Order, accounts: dict[UUID, TradingAccount]) -> None:
        wanted = remedy.to_trade_back(order)
        done = order.remedy.rounds if order.remedy is not None else 0
        made: Made
        if done >= policy.UNWIND_MAX:
            made = mesh_says_no(
                RefusalReason.INSUFFICIENT_LIQUIDITY,
                f"It was tried {done} times to trade it back.",
                "Close what is left with ClosePosition.",
            )
        else:
            made = await self._backs(order, wanted, accounts)

        def traded_back(current: Order) -> Order:
            if _sizes(remedy.to_trade_back(current)) != _sizes(wanted):
                return current  # another did it, or trades were told meanwhile
            if isinstance(made, Refusal):
                return _same_due(current, Act.TRADE_BACK, self._over(current, made))
            return _same_due(current, Act.TRADE_BACK, self._with(current, made, Role.UNWIND))

        await self._change(order, traded_back)

    async def _backs(
        self, order: Order, wanted: Sequence[tuple[Leg, Decimal]], accounts: dict[UUID, TradingAccount]
    ) -> Made:
        """Return the legs that trade back, or why there are none. Raises where a venue is away."""
        legs: list[Leg] = []
        why: Refusal | None = None
        for entry, size in wanted:
            account = accounts.get(entry.account_id)
            if account is None:
                why = mesh_says_no(RefusalReason.NO_ACCOUNT, f"The account at {entry.venue} is gone.")
                continue
            made = await self._back(order, entry, size, account)
            if isinstance(made, Refusal):
                why = made
            else:
                legs.append(made)
        if not legs:
            assert why is not None, "what is traded back has a leg, or a reason"
            return why
        return legs

    async def _back(self, order: Order, entry: Leg, size: Decimal, account: TradingAccount) -> Leg | Refusal:
        venue = self._venues.at(account.venue, account.environment)
        state = await venue.state(account.ref)
        held = next((one for one in state.positions if one.market == entry.market and one.size), None)
        if held is None or held.size * entry.side.sign <= 0:
            return mesh_says_no(
                RefusalReason.REDUCE_ONLY,
                f"{plain_text(size)} was to be traded back at {account.venue}, and no position is left there that a "
                "trade back would reduce.",
                venue=account.venue,
            )
        side = entry.side.opposite
        near = self._mid(entry.market, account.venue) or mark_of(held)
        bps = order.hedge.rollback.max_slippage_bps if order.hedge is not None else order.max_slippage_bps
        with rounding():
            price = near * (1 + side.sign * (SLIPPAGE_BPS_DEFAULT if bps is None else bps) / BPS)
        terms = replace(
            order, market=entry.market, side=side, type=OrderType.MARKET, reduce_only=True, expire_time=None,
            time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL, create_time=self._clock.now(),
        )  # fmt: skip
        try:
            made = self._intake.leg(terms, 0, account, min(size, abs(held.size)), price)
        except ActionError as error:
            return mesh_says_no(
                RefusalReason.SIZE_TOO_SMALL, f"What is left at {account.venue} is less than its lot: {error.problem}",
                venue=account.venue,
            )  # fmt: skip
        return replace(made, entry=entry.number, part=entry.part)

    def _mid(self, market: str, venue: str) -> Decimal | None:
        """Return the middle of a venue's own book; None where that is not known."""
        asks, bids = (self._books.now(market, venue, side) for side in (Side.BUY, Side.SELL))
        if not asks or not bids:
            return None
        with rounding():
            return (asks[0][0] + bids[0][0]) / 2

    # --- what is kept -----------------------------------------------------------------------------------------------

    def _with(self, order: Order, made: Sequence[Leg], role: Role) -> Order:
        """Return the order with legs added by its policy or rule."""
        now = self._clock.now()
        first = len(order.legs) + 1
        legs = tuple(replace(leg, number=first + at, role=role) for at, leg in enumerate(made))
        done = remedy.begun(order, now)
        step = replace(
            done,
            added=(*done.added, *(leg.leg_id for leg in legs)),
            rounds=done.rounds + 1,
            next_time=now + policy.pause_after(done.rounds) if role is Role.UNWIND else None,
        )
        return replace(order, legs=(*order.legs, *legs), remedy=step)

    def _over(self, order: Order, refusal: Refusal | None) -> Order:
        """Return the order whose policy or rule goes no further."""
        done: Remedy = remedy.begun(order, self._clock.now())
        return replace(order, remedy=replace(done, refusal=refusal, is_over=True))


def _same_due(order: Order, act: Act, after: Order) -> Order:
    """Return what came of an act where it is still what is due on an order as it now stands; else the order."""
    due = remedy.due(order)
    return after if due is not None and due.act is act else order


def _bound(order: Order) -> Decimal:
    """Return the worst price of an order: its limit, or the worst that any leg of it was sent with."""
    if order.limit_price is not None:
        return order.limit_price
    prices = [leg.limit_price for leg in order.legs if leg.role is Role.ENTRY]
    return max(prices) if order.side is Side.BUY else min(prices)


def _sizes(wanted: Sequence[tuple[Leg, Decimal]]) -> list[tuple[UUID, Decimal]]:
    return [(leg.leg_id, size) for leg, size in wanted]


def _nothing_missing() -> Refusal:
    return mesh_says_no(
        RefusalReason.OUTCOME_UNKNOWN,
        "The venue says that more was traded than it has told of, so that nothing is to be routed again.",
    )
