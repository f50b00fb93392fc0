"""Sending an order in slices over time: each slice is planned, made durable with its place in the schedule, then sent.

The schedule is the record's. A slice and the step of the schedule past it are one transaction, so that after a crash a
slice is in the record whole or not at all, and no two processes make the same one. Legs of a slice are ordinary legs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Refusal, RefusalReason
from services.execution.app.gate import Gate
from services.execution.app.intake import Intake, unknown_order
from services.execution.app.rounds import Rounds
from services.execution.app.slicing import slice_of
from services.execution.model import twap
from services.execution.model.leg import ZERO, Leg, Role
from services.execution.model.order import Order, mesh_says_no
from services.execution.model.quoted import Quoted, carried
from services.execution.ports import Accounts, Clock, Orders, Planner, Wake
from services.venues.actions import ActionError


@dataclass(frozen=True, slots=True)
class _Slice:
    """The legs of a slice, none where nothing is missing, and what its plan expects of them."""

    legs: tuple[Leg, ...] = ()
    quoted: Quoted | None = None


class Pacer:
    """Sends slices when they are due, and pauses and resumes orders."""

    def __init__(
        self,
        *,
        intake: Intake,
        orders: Orders,
        accounts: Accounts,
        planner: Planner,
        gate: Gate,
        clock: Clock,
        wake: Wake,
        tell_fault: Callable[[Order, Exception], None],
    ) -> None:
        self._intake = intake
        self._orders = orders
        self._accounts = accounts
        self._planner = planner
        self._gate = gate
        self._clock = clock
        self._wake = wake
        self._rounds = Rounds(orders.slicing, self._slice, clock=clock, tell_fault=tell_fault)

    async def run(self) -> None:
        """Send what is due until canceled; a slice that fails is tried again, later as a part of the next."""
        await self._rounds.run()

    async def pause(self, user_id: UUID, order_id: UUID, *, cancel: bool) -> Order:
        """Send no further slice; with `cancel`, what is out of the present one is canceled too."""
        now = self._clock.now()

        def paused(order: Order) -> Order:
            schedule = _schedule_of(order)
            if not order.is_slicing or schedule.pause_time is not None:
                return order
            legs = tuple(replace(leg, cancel_wanted=True) if cancel and not leg.is_final else leg for leg in order.legs)
            return _changed(replace(order, twap=replace(schedule, pause_time=now), legs=legs), now)

        return await self._scheduled(user_id, order_id, paused)

    async def resume(self, user_id: UUID, order_id: UUID) -> Order:
        """Go on; what is to come is as much later as the pause was long."""
        now = self._clock.now()

        def resumed(order: Order) -> Order:
            schedule = _schedule_of(order)
            if not order.is_slicing or schedule.pause_time is None:
                return order
            longer = schedule.paused + (now - schedule.pause_time)
            return _changed(replace(order, twap=replace(schedule, pause_time=None, paused=longer)), now)

        return await self._scheduled(user_id, order_id, resumed)

    async def _scheduled(self, user_id: UUID, order_id: UUID, change: Callable[[Order], Order]) -> Order:
        order = await self._orders.schedule(user_id, order_id, change)
        if order is None:
            raise unknown_order(order_id)
        self._wake()
        return order

    async def _slice(self, order: Order) -> float:
        """Plan the slice that is due and make it durable, or note why there is none."""
        schedule = _schedule_of(order)
        number = schedule.due_slice(self._clock.now())
        if number is None:
            return 0.0
        size = schedule.slice_size(number, order.size, order.filled, order.out)
        made: _Slice | Refusal = _Slice()
        if size > ZERO:
            await self._intake.look_at(order.market)
            made = await self._planned(order, schedule, size)
        now = self._clock.now()

        def sliced(current: Order) -> Order:
            kept = _schedule_of(current)
            if not current.is_slicing or kept.pause_time is not None or kept.next_slice > number:
                return current  # paused, canceled, or made by another meanwhile
            legs, refusal = ((), made) if isinstance(made, Refusal) else (made.legs, None)
            stepped = replace(kept, next_slice=number + 1, sent=kept.sent + bool(legs), refusal=refusal)
            first = len(current.legs) + 1
            added = tuple(replace(leg, number=first + at, role=Role.SLICE, part=number) for at, leg in enumerate(legs))
            quoted = None if isinstance(made, Refusal) else made.quoted
            return _changed(replace(current, twap=stepped, legs=(*current.legs, *added), quoted=quoted), now)

        await self._orders.schedule(order.user_id, order.order_id, sliced)
        self._wake()
        return 0.0

    async def _planned(self, order: Order, schedule: twap.Twap, size: Decimal) -> _Slice | Refusal:
        """Return the legs of a slice, or why there are none now."""
        every = {one.account_id: one for one in await self._accounts.of_user(order.user_id)}
        accounts = [every[one] for one in schedule.account_ids if one in every and every[one].can_trade]
        if not accounts:
            return mesh_says_no(RefusalReason.NO_ACCOUNT, "None of the order's accounts can trade now.")
        wanted = slice_of(order, size)
        admitted = accounts if order.reduce_only else self._gate.able(order.user_id, wanted, accounts)
        if isinstance(admitted, Refusal):
            return admitted
        accounts = list(admitted)
        size = self._intake.on_lot(order.market, accounts, size)
        if size <= ZERO:
            return mesh_says_no(RefusalReason.SIZE_TOO_SMALL, "What was due is less than the venues' lots.")
        wanted = replace(wanted, size=size)
        route = await self._planner.plan(wanted, accounts, order.order_id)
        if route.refusal is not None:
            return route.refusal
        try:
            legs = self._intake.immediate(replace(order, create_time=self._clock.now()), wanted, accounts, route)
        except ActionError as error:
            return mesh_says_no(RefusalReason.SIZE_TOO_SMALL, error.problem, field=error.field)
        return _Slice(tuple(legs), None if route.quoted is None else carried(route.quoted, legs))


def _schedule_of(order: Order) -> twap.Twap:
    if order.twap is None:
        raise DomainError(
            Reason.STATE_FORBIDS,
            f"The order {order.order_id} is not sent in slices: only ORDER_TYPE_TWAP can be paused. Cancel it instead.",
            metadata={"field": "order_id", "order_id": str(order.order_id), "type": order.type.value},
        )
    return order.twap


def _changed(order: Order, now: datetime) -> Order:
    return replace(order, version=order.version + 1, update_time=now)
