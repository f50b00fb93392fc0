"""Taking hedged orders in: both sides are looked at as their venues would before either is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.domain.decimals import plain_text
from services.domain.refusal import Refusal, RefusalReason
from services.execution.app.intake import Intake, off_grid, ungridded, worst_price
from services.execution.app.placing import place_of
from services.execution.app.quoting import with_quoted
from services.execution.model import expiry
from services.execution.model.hedge import Hedge, HedgeAsked, HedgeLegAsked, HedgeSide
from services.execution.model.leg import Leg, LegState, Role
from services.execution.model.order import NewOrder, Order, denied, mesh_says_no
from services.execution.model.preview import preview_leg, standing_of
from services.execution.model.quoted import QuotedLeg
from services.execution.ports import Clock, Orders, Signer, TradingAccount, Venues
from services.execution.ports.looking import Books, Standings
from services.venues.account import AccountState
from services.venues.actions import ActionError, OrderType, TimeInForce

_OF_THE_ACCOUNT: Final = (RefusalReason.INSUFFICIENT_MARGIN, RefusalReason.REDUCE_ONLY)


class Hedger:
    """Takes hedged orders in."""

    def __init__(
        self,
        *,
        intake: Intake,
        orders: Orders,
        signer: Signer,
        venues: Venues,
        books: Books,
        standings: Standings,
        clock: Clock,
    ) -> None:
        self._intake = intake
        self._orders = orders
        self._signer = signer
        self._venues = venues
        self._books = books
        self._standings = standings
        self._clock = clock

    async def place(self, user_id: UUID, asked: HedgeAsked) -> Order:
        """Accept a hedged order, make it durable, then have it sent. The same request gets it again.

        Raises LIMIT_REACHED where too many come.
        """
        with self._intake.entered(reduces=all(one.reduce_only for one in asked.legs)):
            return await self._place(user_id, asked)

    async def _place(self, user_id: UUID, asked: HedgeAsked) -> Order:
        known = await self._orders.by_request(user_id, asked.request_id)
        if known is not None:
            return known.answer_to(asked)
        wanted = [_wanted(asked, one) for one in asked.legs]
        order = replace(self._intake.draft(user_id, self._intake.new_id(), wanted[0]), digest=asked.digest)
        made = await self._sides(user_id, order, asked, wanted)
        order = denied(order, made) if isinstance(made, Refusal) else made
        return await self._intake.keep(order, asked)

    async def _sides(
        self, user_id: UUID, order: Order, asked: HedgeAsked, wanted: Sequence[NewOrder]
    ) -> Order | Refusal:
        """Return the order with both legs, or why there is none."""
        accounts: list[TradingAccount] = []
        for number, one in enumerate(wanted):
            admitted = await self._intake.admitted(user_id, one, counts=number == 0)
            if isinstance(admitted, Refusal):
                return _about(number, admitted)
            accounts.append(admitted[0])
        if accounts[0].environment != accounts[1].environment:
            return mesh_says_no(
                RefusalReason.NO_ACCOUNT,
                "The accounts of the two legs are of different environments.",
                "Name accounts of one environment.",
                field="legs[1].account_id",
            )
        legs: list[Leg] = []
        for number, (one, account) in enumerate(zip(wanted, accounts, strict=True)):
            made = await self._leg(order, number, one, account)
            if isinstance(made, Refusal):
                return _about(number, made)
            legs.append(made)
        lead = _lead(legs)
        sides = [self._side(leg) for leg in legs]
        if lead:
            legs[2 - lead] = replace(legs[2 - lead], state=LegState.HELD)
        pair = Hedge(rollback=asked.rollback, sides=(sides[0], sides[1]), lead=lead)
        order = replace(order, size=legs[0].size, legs=tuple(legs), hedge=pair)
        return await self._judged(order, accounts) or order

    async def _leg(self, order: Order, number: int, one: NewOrder, account: TradingAccount) -> Leg | Refusal:
        """Return a side as a leg on its venue's grid, or why it cannot be."""
        late = expiry.judge(one.expire_time, account.venue, order.create_time)
        if late is not None:
            return late
        await self._books.ready(one.market)
        price = one.limit_price
        if price is None:
            mid = self._books.mid(one.market)
            if mid is None:
                return mesh_says_no(
                    RefusalReason.VENUE_STALE,
                    f"There is no price of {one.market} now that would bound a market order.",
                    "State a limit_price, or try again in a moment.",
                    field="limit_price",
                )
            price = worst_price(mid, one)
        terms = replace(
            order, market=one.market, side=one.side, type=one.type, time_in_force=one.time_in_force,
            reduce_only=one.reduce_only, expire_time=one.expire_time,
        )  # fmt: skip
        try:
            leg = self._intake.leg(terms, number + 1, account, one.size, price)
        except ActionError as error:
            return ungridded(error)
        return off_grid(leg, one) or replace(leg, role=Role.HEDGE, part=number + 1)

    def _side(self, leg: Leg) -> HedgeSide:
        listing = self._books.listing(leg.market, leg.venue)
        if listing is None:  # nothing is known of the venue's lots but that this size is on them
            return HedgeSide(size=leg.size, lot=_last_digit(leg.size), least=_last_digit(leg.size))
        least = listing.smallest(leg.venue, leg.limit_price, reduce_only=leg.reduce_only)
        return HedgeSide(size=leg.size, lot=listing.lot, least=min(least, leg.size))

    async def _judged(self, order: Order, accounts: Sequence[TradingAccount]) -> Refusal | None:
        """Say why a venue or the vault would refuse a side: before the other is sent, and stands alone for it."""
        quoted = with_quoted(order, self._books, self._standings, self._clock.now()).quoted
        assert quoted is not None, "an order with legs is quoted"
        for number, (leg, account) in enumerate(zip(order.legs, accounts, strict=True)):
            expected = next(one for one in quoted.legs if one.leg_id == leg.leg_id)
            mid = expected.mid or quoted.arrival_mid_price
            refusal = self._previewed(leg, expected, mid, self._standings.state(leg.account_id))
            if refusal is not None and refusal.reason in _OF_THE_ACCOUNT:  # what was last seen may be seconds old
                venue = self._venues.at(account.venue, account.environment)
                refusal = self._previewed(leg, expected, mid, await venue.state(account.ref))
            refusal = refusal or await self._signer.review(leg.account_id, place_of(leg))
            if refusal is not None:
                field = refusal.field.removeprefix("action.place.orders[0].")
                return _about(number, replace(refusal, field=field, venue=refusal.venue or leg.venue))
        return None

    def _previewed(self, leg: Leg, expected: QuotedLeg, mid: Decimal, state: AccountState | None) -> Refusal | None:
        listing = self._books.listing(leg.market, leg.venue)
        seen = preview_leg(leg, expected, mid, standing_of(state, leg.market, listing), listing).refusals
        return seen[0] if seen else None


def _wanted(asked: HedgeAsked, one: HedgeLegAsked) -> NewOrder:
    """Return one side as an order of its own."""
    return NewOrder(
        request_id=asked.request_id, market=one.market, side=one.side, size=one.size, size_in_usd=False,
        type=OrderType.MARKET if one.limit_price is None else OrderType.LIMIT, limit_price=one.limit_price,
        time_in_force=one.time_in_force, reduce_only=one.reduce_only, venue=one.venue, venues=(), excluded=(),
        account_ids=() if one.account_id is None else (one.account_id,), quote_id=None,
        max_slippage_bps=asked.max_slippage_bps, client_order_id=asked.client_order_id, allow_while_unknown=False,
        expire_time=asked.expire_time if one.time_in_force is not TimeInForce.IMMEDIATE_OR_CANCEL else None,
    )  # fmt: skip


def _lead(legs: Sequence[Leg]) -> int:
    """Return which side is sent first: the one that may rest where the other may not; 0 for both at once."""
    rests = [leg.may_rest for leg in legs]
    return 0 if rests[0] == rests[1] else rests.index(True) + 1


def _about(number: int, refusal: Refusal) -> Refusal:
    """Return a refusal of one side that names the side."""
    field = f"legs[{number}].{refusal.field}" if refusal.field else f"legs[{number}]"
    return refusal if refusal.field.startswith("legs[") else replace(refusal, field=field)


def _last_digit(size: Decimal) -> Decimal:
    """Return the place of a number's last digit that is not zero."""
    exponent = Decimal(plain_text(size)).as_tuple().exponent
    assert isinstance(exponent, int), "sizes are finite"
    return Decimal(1).scaleb(min(0, exponent))
