"""Closing positions: read from the venues themselves, reduce-only, rounded down, so that a close never opens.

Nothing but the vault and the venue is needed: a close must work while routing or prices are away. Its worst price
is the venue's own mark and the slippage allowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from uuid import UUID, uuid5

from services.domain.decimals import rounding
from services.domain.errors import DomainError, FieldViolation, Reason
from services.domain.refusal import RefusalReason
from services.execution.app.intake import Intake, worst_price
from services.execution.model.leg import ZERO, Leg
from services.execution.model.order import NewOrder, Order, denied, mesh_says_no
from services.execution.ports import Accounts, Orders, TradingAccount, Venues
from services.venues.account import Position
from services.venues.actions import ActionError, OrderType, Side, TimeInForce
from services.venues.port import VenueError


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """What a caller asks to be closed; without a size, all."""

    request_id: UUID
    market: str
    venue: str
    account_ids: tuple[UUID, ...]
    size: Decimal | None
    limit_price: Decimal | None
    max_slippage_bps: int | None


Held = tuple[TradingAccount, Position]


class Closer:
    """Closes positions."""

    def __init__(self, *, intake: Intake, orders: Orders, accounts: Accounts, venues: Venues) -> None:
        self._intake = intake
        self._orders = orders
        self._accounts = accounts
        self._venues = venues

    async def close(self, user_id: UUID, asked: Close) -> list[Order]:
        """Return the orders that close: at most one that sells and one that buys. The same request gets them again."""
        before = [await self._orders.by_request(user_id, _id_of(asked, side)) for side in (Side.SELL, Side.BUY)]
        if known := [order for order in before if order is not None]:
            if any(order.market != asked.market for order in known):
                raise DomainError(
                    Reason.REQUEST_ID_REUSED,
                    f"request_id {asked.request_id} was used to close another market: choose a new UUID.",
                    metadata={"field": "request_id"},
                )
            return known
        held = await self._held(user_id, asked)
        orders = []
        for side in (Side.SELL, Side.BUY):
            mine = [(account, position) for account, position in held if position.size * side.sign < 0]
            if mine:
                orders.append(await self._surely(user_id, asked, side, mine))
        return orders

    async def _surely(self, user_id: UUID, asked: Close, side: Side, held: Sequence[Held]) -> Order:
        """Return the order that closes; where the same close came twice at once, and what is held moved, the first."""
        try:
            return await self._order(user_id, asked, side, held)
        except DomainError as error:
            if error.reason is not Reason.REQUEST_ID_REUSED:
                raise
            twin = await self._orders.by_request(user_id, _id_of(asked, side))
            if twin is None or twin.market != asked.market:
                raise
            return twin

    async def _held(self, user_id: UUID, asked: Close) -> list[Held]:
        accounts = [
            one
            for one in await self._accounts.of_user(user_id)
            if one.can_trade
            and asked.venue in ("", one.venue)
            and (not asked.account_ids or one.account_id in asked.account_ids)
        ]
        missing = set(asked.account_ids) - {one.account_id for one in accounts}
        if missing:
            raise DomainError(
                Reason.RESOURCE_UNKNOWN,
                f"There is no account {min(missing)} of yours that can trade there.",
                metadata={"field": "account_ids", "account_id": str(min(missing))},
            )
        try:
            states = await asyncio.gather(
                *(self._venues.at(one.venue, one.environment).state(one.ref) for one in accounts)
            )
        except VenueError as error:
            raise DomainError(
                Reason.VENUE_UNAVAILABLE,
                f"A venue does not say what is held there: {error}",
                metadata={"venues": ",".join(sorted({one.venue for one in accounts}))},
                retry_after_s=1.0,
            ) from None
        return [
            (account, position)
            for account, state in zip(accounts, states, strict=True)
            for position in state.positions
            if position.market == asked.market and position.size
        ]

    async def _order(self, user_id: UUID, asked: Close, side: Side, held: Sequence[Held]) -> Order:
        total = sum((abs(position.size) for _, position in held), ZERO)
        size = total if asked.size is None else min(asked.size, total)
        if size < total and len(held) > 1:
            advice = f"{asked.market} is held at several accounts: name one of them in account_ids, or close all"
            raise DomainError(
                Reason.FIELD_INVALID,
                f"size: {advice}",
                metadata={"field": "size"},
                fields=(FieldViolation("size", advice),),
            )
        wanted = NewOrder(
            request_id=_id_of(asked, side), market=asked.market, side=side, size=size, size_in_usd=False,
            type=OrderType.MARKET if asked.limit_price is None else OrderType.LIMIT, limit_price=asked.limit_price,
            time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL, reduce_only=True, venue=asked.venue, venues=(), excluded=(),
            account_ids=asked.account_ids, quote_id=None, max_slippage_bps=asked.max_slippage_bps, client_order_id="",
            allow_while_unknown=True,
        )  # fmt: skip
        order = self._intake.draft(user_id, self._intake.new_id(), wanted)
        legs: list[Leg] = []
        dust: ActionError | None = None
        for account, position in held:
            part = min(abs(position.size), size)
            price = asked.limit_price or worst_price(mark_of(position), wanted)
            try:
                legs.append(self._intake.leg(order, len(legs) + 1, account, part, price))
            except ActionError as error:
                dust = error
        if not legs:
            assert dust is not None, "what is held has a leg, or a reason"
            return await self._intake.keep(
                denied(order, mesh_says_no(_reason(dust), dust.problem, field="size")), wanted
            )
        order = replace(order, legs=tuple(legs), size=sum((leg.size for leg in legs), ZERO))
        return await self._intake.keep(order, wanted)


def mark_of(position: Position) -> Decimal:
    """Return the price at which the venue values a position."""
    if position.mark_price is not None:
        return position.mark_price
    with rounding():
        return abs(position.notional / position.size)


def _id_of(asked: Close, side: Side) -> UUID:
    return uuid5(asked.request_id, f"close {side.value}")


def _reason(error: ActionError) -> RefusalReason:
    return RefusalReason.SIZE_TOO_SMALL if error.field == "size" else RefusalReason.PRICE_OFF_TICK
