"""Taking orders in: look, plan, decide, make durable. Sending is another's work, resumable after a crash."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.domain.decimals import Price, Size, plain_text, rounding
from services.domain.errors import DomainError, Reason
from services.domain.refusal import Refusal, RefusalReason
from services.execution.app import bracketing, slicing
from services.execution.app.choosing import Chooser
from services.execution.app.door import Door
from services.execution.app.gate import Gate
from services.execution.app.quoting import with_quoted
from services.execution.model import expiry, preparing, twap
from services.execution.model.canceling import EVERYWHERE, CancelScope
from services.execution.model.clients import venue_client_id
from services.execution.model.leg import Leg, LegState
from services.execution.model.order import Asked, NewOrder, Order, denied, mesh_says_no
from services.execution.model.policy import LegPolicy
from services.execution.ports import (
    Accounts,
    Chance,
    Clock,
    Look,
    Orders,
    Planner,
    Route,
    TradingAccount,
    Venues,
    Wake,
    Work,
    Workers,
)
from services.execution.ports.looking import Books, Standings
from services.venues.actions import ActionError, OrderTerms, OrderType, Side, TimeInForce

SLIPPAGE_BPS_DEFAULT: Final = 100
"""What bounds a market order that states no limit."""
TRIGGER_SLIPPAGE_BPS_DEFAULT: Final = 1_000
"""What bounds a stop or take-profit market order that states no limit, counted from its trigger: as far as the venues'
own pages set it, since a stop that finds no taker within its limit protects nothing."""
BIRTH_S: Final = 10.0
"""How long legs are held that are made in a worker's hands; noting that they are sent holds them for longer."""
_ANY_PRICE: Final = Price(Decimal(1_000))
BPS: Final = Decimal(10_000)


class Intake:
    """The use cases of a caller's own orders."""

    def __init__(
        self,
        *,
        orders: Orders,
        accounts: Accounts,
        planner: Planner,
        venues: Venues,
        clock: Clock,
        chance: Chance,
        wake: Wake,
        gate: Gate,
        books: Books,
        standings: Standings,
        door: Door,
        workers: Workers,
    ) -> None:
        self._orders = orders
        self._books = books
        self._standings = standings
        self._chooser = Chooser(accounts, clock)
        self._planner = planner
        self._venues = venues
        self._clock = clock
        self._chance = chance
        self._wake = wake
        self._gate = gate
        self._door = door
        self._workers = workers

    async def place(self, user_id: UUID, wanted: NewOrder) -> Order:
        """Accept an order, make it durable, then have it sent. Raises LIMIT_REACHED where too many come."""
        with self.entered(reduces=wanted.reduce_only):
            return await self._place(user_id, wanted)

    def entered(self, *, reduces: bool) -> AbstractContextManager[None]:
        """Be let in for the time of a block that takes an order in. Raises LIMIT_REACHED."""
        return self._door.entered(reduces=reduces)

    async def _place(self, user_id: UUID, wanted: NewOrder) -> Order:
        with self._chooser.begun(user_id, wanted) as choosing:  # the vault is asked while the record is
            look = await self._gate.look(user_id, wanted)
            if look.known:  # answered from the record, whatever the vault says
                known = await self._orders.by_request(user_id, wanted.request_id)
                assert known is not None, "orders are never deleted"
                return known.answer_to(wanted)
            order_id = self.new_id()
            empty = self.draft(user_id, order_id, wanted)
            accounts = await self._let_in(user_id, wanted, await choosing, look=look)
        if isinstance(accounts, Refusal):
            order = denied(empty, accounts)
        elif (refusal := preparing.judge(wanted, usable(accounts), empty.create_time)) is not None:
            order = denied(empty, refusal)
        else:
            order = preparing.for_callers(await self.planned(empty, wanted, accounts), wanted)
        return await self.keep(order, wanted)

    async def keep(self, order: Order, wanted: Asked) -> Order:
        """Make an order durable and have it sent; of two twins the winner is returned."""
        if order.refusal is None:
            for market in dict.fromkeys((order.market, *(leg.market for leg in order.legs))):
                await self.look_at(market)
        order = with_quoted(order, self._books, self._standings, self._clock.now())
        # A caller who leaves meanwhile must not leave legs behind that nobody works on.
        kept = await asyncio.shield(asyncio.ensure_future(self._hand_over(order)))
        return kept.answer_to(wanted)

    async def _hand_over(self, order: Order) -> Order:
        """Make an order durable and give its legs to workers who are free, or have them look."""
        legs = [leg for leg in order.legs if leg.state is LegState.PREPARED and not leg.awaits_signature]
        reserved = bool(legs) and self._workers.reserve(len(legs))
        try:
            kept = await self._orders.add(order, lease_s=BIRTH_S if reserved else None)
        except BaseException:
            if reserved:
                self._workers.give_back(len(legs))
            raise
        is_ours = kept.order_id == order.order_id
        if reserved and is_ours:
            self._workers.take([Work(order=kept, leg=leg, fence=1) for leg in legs])
        elif reserved:
            self._workers.give_back(len(legs))
        elif legs and is_ours:
            self._door.added(len(legs))
        self._wake()
        return kept

    async def look_at(self, market: str) -> None:
        """Have the books of a market followed that is about to be traded in, so that reports know them."""
        await self._books.ready(market)

    async def cancel(self, user_id: UUID, order_id: UUID, scope: CancelScope = EVERYWHERE) -> Order:
        """Ask for what is open of an order in a scope to be canceled; one that has ended is answered as it is."""
        order = await self._orders.want_cancel(user_id, order_id, scope)
        if order is None:
            raise unknown_order(order_id)
        self._wake()
        return order

    async def get(self, user_id: UUID, order_id: UUID) -> Order:
        """Return an order of the caller's."""
        order = await self._orders.get(user_id, order_id)
        if order is None:
            raise unknown_order(order_id)
        return order

    def new_id(self) -> UUID:
        """Return the id of a new order."""
        return self._chance.uuid()

    def draft(self, user_id: UUID, order_id: UUID, wanted: NewOrder) -> Order:
        """Return an order as it is wanted, without legs."""
        now = self._clock.now()
        return Order(
            order_id=order_id,
            user_id=user_id,
            request_id=wanted.request_id,
            digest=wanted.digest,
            market=wanted.market,
            side=wanted.side,
            size=wanted.size,
            type=wanted.type,
            limit_price=wanted.limit_price,
            time_in_force=wanted.time_in_force,
            reduce_only=wanted.reduce_only,
            client_order_id=wanted.client_order_id,
            quote_id=wanted.quote_id,
            max_slippage_bps=wanted.max_slippage_bps,
            expire_time=wanted.expire_time,
            trigger_price=wanted.trigger_price,
            take_profit=wanted.take_profit,
            stop_loss=wanted.stop_loss,
            caller_signed=bool(wanted.signers),
            twap=None if wanted.twap is None else _schedule(wanted.twap, order_id, now),
            leg_policy=wanted.leg_policy,
            legs=(),
            create_time=now,
            update_time=now,
        )

    async def admitted(
        self, user_id: UUID, wanted: NewOrder, *, counts: bool = True, look: Look | None = None
    ) -> Sequence[TradingAccount] | Refusal:
        """Return the accounts that an order may trade from now, or why there is none; a look counts nothing."""
        return await self._let_in(user_id, wanted, await self.chosen(user_id, wanted), counts=counts, look=look)

    async def _let_in(
        self,
        user_id: UUID,
        wanted: NewOrder,
        accounts: Sequence[TradingAccount] | Refusal,
        *,
        counts: bool = True,
        look: Look | None = None,
    ) -> Sequence[TradingAccount] | Refusal:
        if isinstance(accounts, Refusal):
            return accounts
        return await self._gate.admit(user_id, wanted, accounts, counts=counts, look=look)

    async def chosen(self, user_id: UUID, wanted: NewOrder) -> Sequence[TradingAccount] | Refusal:
        """Return at most one account a venue, of one environment, or why there is none."""
        return await self._chooser.chosen(user_id, wanted)

    async def planned(
        self, order: Order, wanted: NewOrder, accounts: Sequence[TradingAccount], route: Route | None = None
    ) -> Order:
        """Return an order with its legs, or denied; `route` is the plan to follow where one was made already."""
        if wanted.twap is not None:
            begun = await slicing.begin(order, accounts, planner=self._planner, on_lot=self.on_lot)
            return denied(order, begun) if isinstance(begun, Refusal) else begun
        if wanted.type.has_trigger and len(accounts) > 1:
            return denied(order, _which_venue(accounts))
        if needs_route(wanted, accounts):
            route = route or await self._planner.plan(wanted, accounts, order.order_id)
            if route.refusal is not None:
                return denied(order, route.refusal)
            parts = _parts(wanted, accounts, route)
            order = replace(order, size=route.size, quote_id=route.quote_id, quoted=route.quoted)
        else:  # one venue is all there is: it waits there whether or not routing can be asked
            parts = [(accounts[0], wanted.size, resting_price(wanted))]
        legs = self._legs(order, parts)
        if isinstance(legs, Refusal):
            return denied(order, legs)
        off = next((found for leg in legs if (found := off_grid(leg, wanted)) is not None), None)
        if off is not None:
            return denied(order, off)
        again = tuple(one.account_id for one in accounts) if order.leg_policy is LegPolicy.REROUTE else ()
        order = replace(order, size=sum((leg.size for leg in legs), Decimal(0)), legs=tuple(legs), account_ids=again)
        return self._with_exits(order, wanted, accounts)

    def _legs(self, order: Order, parts: Sequence[tuple[TradingAccount, Decimal, Decimal]]) -> list[Leg] | Refusal:
        """Return the legs of an order by account, size and price, or why one of them cannot be."""
        for account, _, _ in parts:
            late = expiry.judge(order.expire_time, account.venue, order.create_time)
            if late is not None:
                return late
        try:
            return [self.leg(order, number, *part) for number, part in enumerate(parts, 1)]
        except ActionError as error:
            return ungridded(error)

    async def routed_again(
        self, order: Order, wanted: NewOrder, accounts: Sequence[TradingAccount]
    ) -> list[Leg] | Refusal:
        """Return legs for a part of an order that is wanted anew, or why there are none."""
        if not needs_route(wanted, accounts):
            return self._legs(order, [(accounts[0], wanted.size, resting_price(wanted))])
        route = await self._planner.plan(wanted, accounts, order.order_id)
        if route.refusal is not None:
            return route.refusal
        return self._legs(order, _parts(wanted, accounts, route))

    def _with_exits(self, order: Order, wanted: NewOrder, accounts: Sequence[TradingAccount]) -> Order:
        """Return the order with the exits that it asks for, each waiting for its entry."""
        by_id = {one.account_id: one for one in accounts}
        try:
            exits = bracketing.judge(wanted) or bracketing.held(order, wanted, by_id, self.leg, resting_price, off_grid)
        except ActionError as error:
            exits = mesh_says_no(RefusalReason.PRICE_OFF_TICK, error.problem, field=error.field)
        if isinstance(exits, Refusal):
            return denied(order, exits)
        return replace(order, legs=(*order.legs, *exits))

    def immediate(self, order: Order, wanted: NewOrder, accounts: Sequence[TradingAccount], route: Route) -> list[Leg]:
        """Return the legs of an order that is routed and trades at once. Raises `ActionError`."""
        return [self.leg(order, number, *part) for number, part in enumerate(_parts(wanted, accounts, route), 1)]

    def on_lot(self, market: str, accounts: Sequence[TradingAccount], size: Decimal) -> Decimal:
        """Return a size rounded down to the finest lot of the venues that may carry it; zero where it is below all."""
        found = Decimal(0)
        for account in usable(accounts):
            terms = OrderTerms(
                market=market, venue_market_id=0, side=Side.BUY, size=Size(size), limit_price=_ANY_PRICE,
                type=OrderType.LIMIT, time_in_force=TimeInForce.GOOD_TILL_CANCELED, client_id="",
            )  # fmt: skip
            with contextlib.suppress(ActionError):
                found = max(found, self._venues.at(account.venue, account.environment).rounded(terms).size)
        return found

    def leg(self, order: Order, number: int, account: TradingAccount, size: Decimal, price: Decimal) -> Leg:
        """Return a leg on its venue's grid. Raises `ActionError` where nothing is left of it."""
        leg_id = self._chance.uuid()
        terms = self._venues.at(account.venue, account.environment).rounded(
            OrderTerms(
                market=order.market,
                venue_market_id=0,
                side=order.side,
                size=Size(size),
                limit_price=Price(price),
                type=order.type,
                time_in_force=order.time_in_force,
                client_id=venue_client_id(account.venue, leg_id),
                reduce_only=order.reduce_only,
                trigger_price=None if order.trigger_price is None else Price(order.trigger_price),
            )
        )
        return Leg(
            leg_id=leg_id,
            number=number,
            venue=account.venue,
            account_id=account.account_id,
            market=order.market,
            venue_market_id=terms.venue_market_id,
            side=order.side,
            size=terms.size,
            limit_price=terms.limit_price,
            type=order.type,
            time_in_force=order.time_in_force,
            reduce_only=order.reduce_only,
            client_id=terms.client_id,
            create_time=order.create_time,
            update_time=order.create_time,
            expire_time=order.expire_time,
            trigger_price=terms.trigger_price,
        )


def ungridded(error: ActionError) -> Refusal:
    """Return why terms are not on a venue's grid."""
    reason = RefusalReason.SIZE_TOO_SMALL if error.field == "size" else RefusalReason.PRICE_OFF_TICK
    if error.field == "market":
        reason = RefusalReason.MARKET_NOT_LISTED
    return mesh_says_no(reason, error.problem, field=error.field)


def needs_route(wanted: NewOrder, accounts: Sequence[TradingAccount]) -> bool:
    """Whether routing is asked where an order goes: what takes, and what waits where several venues are allowed.

    What waits for a trigger is not routed, and an order in slices is routed slice by slice.
    """
    if wanted.twap is not None or wanted.type.has_trigger:
        return False
    return wanted.time_in_force is TimeInForce.IMMEDIATE_OR_CANCEL or len(accounts) > 1


def usable(accounts: Sequence[TradingAccount]) -> list[TradingAccount]:
    """Return the accounts that a plan may give a part to: those whose venues let them send."""
    return [one for one in accounts if not one.budget_spent]


def _which_venue(accounts: Sequence[TradingAccount]) -> Refusal:
    """Return the refusal of a trigger that could wait at several venues: each has a mark price of its own."""
    at = " and ".join(sorted(one.venue for one in accounts))
    return mesh_says_no(
        RefusalReason.NOT_SUPPORTED,
        f"An order with a trigger waits at one venue, for its mark price, and it could go to {at}.",
        "Name one of them in venue.",
        field="venue",
    )


def _parts(
    wanted: NewOrder, accounts: Sequence[TradingAccount], route: Route
) -> list[tuple[TradingAccount, Decimal, Decimal]]:
    """Return the account, size and worst price of each part of a route: its limit, or the slippage from the mid."""
    by_venue = {one.venue: one for one in accounts}
    price = worst_price(route.arrival_mid_price, wanted) if wanted.limit_price is None else wanted.limit_price
    return [(by_venue[leg.venue], leg.size, price) for leg in route.legs if leg.venue in by_venue]


def off_grid(leg: Leg, wanted: NewOrder) -> Refusal | None:
    """Say which price of an order is not on its venue's grid, and which would pass; it is never moved silently."""
    stated = [("trigger_price", wanted.trigger_price, leg.trigger_price)]
    if wanted.type is not OrderType.MARKET:
        stated.append(("limit_price", wanted.limit_price, leg.limit_price))
    for field, given, passing in stated:
        if given is not None and passing is not None and given != passing:
            return mesh_says_no(
                RefusalReason.PRICE_OFF_TICK,
                f"The price {plain_text(given)} is not on the price grid of {leg.venue}.",
                f"{plain_text(passing)} would pass.",
                field=field,
                given=plain_text(given),
                venue=leg.venue,
                passing=plain_text(passing),
            )
    return None


def resting_price(wanted: NewOrder) -> Decimal:
    """Return the worst price of an order that rests or waits: its limit, or its trigger and the slippage allowed."""
    if wanted.limit_price is not None:
        return wanted.limit_price
    assert wanted.trigger_price is not None, "the contract demands a limit of what has no trigger"
    return worst_price(wanted.trigger_price, wanted, TRIGGER_SLIPPAGE_BPS_DEFAULT)


def _schedule(terms: twap.Terms, order_id: UUID, now: datetime) -> twap.Twap:
    return twap.Twap(terms=terms, seed=order_id.int % 2**63, account_ids=(), start_time=now)


def worst_price(near: Decimal, wanted: NewOrder, default_bps: int = SLIPPAGE_BPS_DEFAULT) -> Decimal:
    """Return the worst price of an order that states none: a price near the market, and the slippage allowed."""
    slippage = default_bps if wanted.max_slippage_bps is None else wanted.max_slippage_bps
    with rounding():
        return near * (1 + wanted.side.sign * slippage / BPS)


def unknown_order(order_id: UUID) -> DomainError:
    """Return the refusal of an order that is not the caller's."""
    return DomainError(
        Reason.RESOURCE_UNKNOWN,
        f"There is no order {order_id} of yours.",
        metadata={"field": "order_id", "order_id": str(order_id)},
    )
