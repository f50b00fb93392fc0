"""Replacing orders: the wish is durable first; the old leg is canceled, and when all it traded is known, followed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Final
from uuid import UUID

from services.domain.decimals import Price, Size, plain_text
from services.domain.errors import DomainError, FieldViolation, Reason, field_invalid
from services.domain.refusal import Refusal
from services.execution.app.counting import traded
from services.execution.app.intake import unknown_order
from services.execution.app.placing import place_of
from services.execution.model.leg import ZERO, Leg
from services.execution.model.order import Order, Replacement
from services.execution.model.replacing import ReplaceAsked, to_replace, wished
from services.execution.ports import Accounts, Chance, Clock, Orders, Signer, TradingAccount, Venues, Wake, Work
from services.venues.actions import ActionError, OrderTerms
from services.venues.trading import TradingVenue

AGAIN_S: Final = 0.3


class Replacer:
    """Takes wishes to replace."""

    def __init__(
        self,
        *,
        orders: Orders,
        accounts: Accounts,
        venues: Venues,
        chance: Chance,
        wake: Wake,
        stops: Callable[[UUID, str], Refusal | None],
        signer: Signer,
    ) -> None:
        """Prepare; `stops` says why no new order may leave."""
        self._signer = signer
        self._orders = orders
        self._accounts = accounts
        self._venues = venues
        self._chance = chance
        self._wake = wake
        self._stops = stops

    async def replace(self, user_id: UUID, asked: ReplaceAsked) -> Order:
        """Have an order get new terms. The same request changes it once, whatever became of it since."""
        order = await self._orders.get(user_id, asked.order_id)
        if order is None:
            raise unknown_order(asked.order_id)
        decide = partial(self._decide, user_id, asked, await self._grid(user_id, order))
        if not await self._orders.was_replaced(order, asked):
            await self._review(decide(order))
        replaced = await self._orders.replace(order, asked, decide)
        self._wake()
        return replaced

    async def _review(self, after: Order) -> None:
        """Have the vault look at the new terms while the old ones stand. Raises STATE_FORBIDS where it would not sign.

        What changes between this look and the signing can still end in a leg that is denied; the order says so then.
        """
        if after.replacement is None:
            return
        terms = after.replacement
        old = next(leg for leg in after.legs if leg.leg_id == terms.leg_id)
        rest = terms.size - sum((leg.filled for leg in after.legs), ZERO)
        if rest <= ZERO:
            return
        fresh = replace(old, size=rest, limit_price=terms.limit_price)
        refusal = await self._signer.review(old.account_id, place_of(fresh))
        if refusal is not None:
            field = refusal.field.removeprefix("action.place.orders[0].")
            raise DomainError(
                Reason.STATE_FORBIDS,
                f"The new terms would not be signed, so the order stands as it is: {refusal.message} {refusal.advice}",
                metadata={
                    "order_id": str(after.order_id), "refusal": refusal.reason.value, "field": field,
                    "passing_value": refusal.passing_value,
                },
            )  # fmt: skip

    def _decide(
        self, user_id: UUID, asked: ReplaceAsked, grid: Callable[[OrderTerms], OrderTerms], order: Order
    ) -> Order:
        """Return the order as it is to be, from how it stands while nobody else can change it."""
        leg = next((one for one in reversed(order.legs) if not one.is_final), order.legs[-1] if order.legs else None)
        if leg is None:
            return to_replace(order, asked, _nothing(order))  # it was denied, which is said
        size, price = wished(order)
        terms = Replacement(
            request_id=asked.request_id,
            leg_id=leg.leg_id if order.replacement is None else order.replacement.leg_id,
            new_leg_id=self._chance.uuid(),
            size=asked.size if asked.size is not None else size,
            limit_price=asked.limit_price or price or leg.limit_price,
        )
        after = to_replace(order, asked, _rounded(terms, leg, asked, grid))
        halted = None if order.reduce_only else self._stops(user_id, leg.venue)
        if after is not order and halted is not None:
            raise DomainError(
                Reason.STATE_FORBIDS,
                f"{halted.message} {halted.advice}",
                metadata={"order_id": str(order.order_id), "state": "HALTED"},
            )
        return after

    async def _grid(self, user_id: UUID, order: Order) -> Callable[[OrderTerms], OrderTerms]:
        """Return what puts terms on the grid of an order's venue."""
        if not order.legs:
            return lambda terms: terms
        account_id = order.legs[-1].account_id
        for one in await self._accounts.of_user(user_id):
            if one.account_id == account_id:
                return self._venues.at(one.venue, one.environment).rounded
        raise DomainError(
            Reason.RESOURCE_UNKNOWN, f"The account {account_id} is gone.", metadata={"account_id": str(account_id)}
        )


def _rounded(
    terms: Replacement, leg: Leg, asked: ReplaceAsked, grid: Callable[[OrderTerms], OrderTerms]
) -> Replacement:
    """Return terms on the venue's grid: a size rounded down, a price that is on it. Raises FIELD_INVALID."""
    try:
        found = grid(
            OrderTerms(
                market=leg.market,
                venue_market_id=leg.venue_market_id,
                side=leg.side,
                size=Size(terms.size),
                limit_price=Price(terms.limit_price),
                type=leg.type,
                time_in_force=leg.time_in_force,
                client_id=leg.client_id,
                reduce_only=leg.reduce_only,
            )
        )
    except ActionError as error:
        raise field_invalid(error.field, error.problem) from None
    if asked.limit_price is not None and found.limit_price != asked.limit_price:
        advice = f"{plain_text(found.limit_price)} would pass: the nearest on the price grid of {leg.venue}"
        raise DomainError(
            Reason.FIELD_INVALID,
            f"limit_price: {advice}",
            metadata={"field": "limit_price", "passing_value": plain_text(found.limit_price)},
            fields=(FieldViolation("limit_price", advice),),
        )
    return replace(terms, size=Decimal(found.size))


def _nothing(order: Order) -> Replacement:
    return Replacement(
        request_id=order.request_id,
        leg_id=order.order_id,
        new_leg_id=order.order_id,
        size=order.size,
        limit_price=order.limit_price or ZERO,
    )


class Succession:
    """Has a leg that was to be replaced, and has ended, followed by the next."""

    def __init__(self, orders: Orders, clock: Clock) -> None:
        self._orders = orders
        self._clock = clock

    async def follow(self, work: Work, account: TradingAccount, venue: TradingVenue) -> None:
        """Make the next leg once all trades of this one are counted; until then, have it looked at again soon."""
        consumed = await traded(work.leg, account, venue, self._orders, self._clock)
        if consumed is None:
            await self._orders.change(work, lambda one: one, due_s=AGAIN_S)
        else:
            await self._orders.succeed(work, consumed)
