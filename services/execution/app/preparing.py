"""Orders that their callers sign: made durable, prepared by the vault, and sent once the signatures hold.

Nothing is leased before the order is in the record, and nothing is taken for signed before the vault has checked and
kept the signature: a crash between any two steps leaves what the same request goes on with. From SubmitOrder on such
a leg is a worker's like any other.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from services.domain.errors import DomainError, Reason, field_invalid
from services.domain.refusal import Refusal
from services.execution.app.canceling import cancel_of
from services.execution.app.intake import Intake, unknown_order
from services.execution.app.placing import place_of
from services.execution.model import preparing
from services.execution.model.leg import Leg
from services.execution.model.order import NewOrder, Order
from services.execution.model.preparing import Signable
from services.execution.ports import Accounts, Clock, Wake, Work
from services.execution.ports.callers import CallerOrders, CallerSigner
from services.venues.actions import Action

T = TypeVar("T")
FENCED_MAX: Final = 3
"""How often what repeats itself is asked again when a worker took the leg up meanwhile."""


class Preparer:
    """The use cases of callers who sign."""

    def __init__(
        self,
        *,
        intake: Intake,
        orders: CallerOrders,
        accounts: Accounts,
        signer: CallerSigner,
        clock: Clock,
        wake: Wake,
    ) -> None:
        self._intake = intake
        self._orders = orders
        self._accounts = accounts
        self._signer = signer
        self._clock = clock
        self._wake = wake

    async def prepare(self, user_id: UUID, wanted: NewOrder) -> tuple[Order, Sequence[Signable]]:
        """Accept an order, make it durable, and return what its caller has to sign; the same again for the same one."""
        signers = dict(wanted.signers)
        if not wanted.account_ids:
            wanted = replace(wanted, account_ids=tuple(signers))
        if await self._orders.by_request(user_id, wanted.request_id) is None:
            named = [one for one in await self._accounts.of_user(user_id) if one.account_id in wanted.account_ids]
            preparing.check_signers(signers, named)
        order = await self._intake.place(user_id, wanted)
        return await self._signables(order)

    async def submit(self, user_id: UUID, order_id: UUID, signatures: Mapping[UUID, str]) -> Order:
        """Take signatures, all or none, and have what they are of sent."""
        order = await self._intake.get(user_id, order_id)
        if order.state.is_final and order.caller_signed:
            return order
        legs = preparing.take(order, signatures, self._clock.now())
        for leg in legs:
            await self._accepted(order, leg, signatures[leg.leg_id])
        taken = {(leg.leg_id, leg.action_number): signatures[leg.leg_id] for leg in legs}
        return await self._change(order, lambda one: preparing.sign(one, taken, self._clock.now()))

    async def cancel(self, user_id: UUID, order_id: UUID) -> tuple[Order, Sequence[Signable]]:
        """Ask for what is open of an order to be canceled; return what only its caller can sign for that."""
        order = await self._intake.cancel(user_id, order_id)
        if not order.caller_signed or order.state.is_final:
            return order, ()
        ours = {one.account_id for one in await self._accounts.of_user(user_id) if one.has_our_key}
        order = await self._change(order, lambda one: preparing.ask_cancels(one, ours, self._clock.now()))
        return await self._signables(order)

    async def _signables(self, order: Order) -> tuple[Order, Sequence[Signable]]:
        """Return what waits for signatures; a leg that the vault would not prepare is denied."""
        found: list[Signable] = []
        for leg in order.legs:
            if not leg.awaits_signature:
                continue
            prepared = await self._fenced(order, leg, partial(self._prepare, action=_action(leg)))
            if not isinstance(prepared, Refusal):
                found += [Signable(leg=leg, prepared=prepared)] if prepared.payload else []
            elif leg.action_number == 0:
                order = await self._change(order, partial(self._denied, leg_id=leg.leg_id, refusal=prepared))
            else:
                raise DomainError(
                    Reason.STATE_FORBIDS,
                    f"{prepared.message} {prepared.advice}",
                    metadata={"order_id": str(order.order_id), "leg_id": str(leg.leg_id), "state": leg.state.value},
                )
        return order, found

    def _denied(self, order: Order, *, leg_id: UUID, refusal: Refusal) -> Order:
        return preparing.deny(order, leg_id, refusal, self._clock.now())

    async def _prepare(self, work: Work, *, action: Action) -> preparing.Prepared | Refusal:
        return await self._signer.prepare(work, action, work.leg.action_number)

    async def _accepted(self, order: Order, leg: Leg, signature: str) -> None:
        """Have the vault check and keep a signature. Raises FIELD_INVALID where it does not hold."""

        async def accept(work: Work) -> Refusal | bool:
            signed = await self._signer.accept(work, _action(leg), leg.action_number, signature)
            return signed if isinstance(signed, Refusal) else bool(signed.body)

        try:
            taken = await self._fenced(order, leg, accept)
        except DomainError as error:
            if error.reason is Reason.RESOURCE_UNKNOWN:  # it was never prepared: the call that was to ended before
                raise field_invalid("signatures", "ask PrepareOrder again, and sign what it answers") from None
            raise
        if isinstance(taken, Refusal):
            raise field_invalid("signatures", f"leg {leg.leg_id}: {taken.message} {taken.advice}")
        if not taken:
            raise DomainError(
                Reason.STATE_FORBIDS,
                f"The time to sign the leg {leg.leg_id} ran out: prepare it anew.",
                metadata={"order_id": str(order.order_id), "leg_id": str(leg.leg_id), "state": "EXPIRED"},
            )

    async def _fenced(self, order: Order, leg: Leg, ask: Callable[[Work], Awaitable[T]]) -> T:
        """Ask the vault for what repeats itself, in the name of whoever holds the leg now."""
        for last in range(FENCED_MAX):
            fence = await self._orders.fence(leg.leg_id)
            try:
                return await ask(Work(order=order, leg=leg, fence=fence))
            except DomainError as error:
                if error.reason is not Reason.FENCED or last == FENCED_MAX - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    async def _change(self, order: Order, change: Callable[[Order], Order]) -> Order:
        """Change an order as it now stands, and have workers look at what changed."""
        changed = await self._orders.schedule(order.user_id, order.order_id, change)
        if changed is None:
            raise unknown_order(order.order_id)
        self._wake()
        return changed


def _action(leg: Leg) -> Action:
    """Return what a leg's caller is to sign: a function of the leg, so that it is the same after any crash."""
    return place_of(leg) if leg.action_number == 0 else cancel_of(leg)
