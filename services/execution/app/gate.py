"""What is looked at before an order is taken in, beside what the vault judges from each action when it signs.

The vault holds an account's own limits (notional, price band, position, loss of the day, orders a minute, leverage,
markets), judged from the bytes to be signed; they are not judged here a second time. Here is what the record alone
knows: halts, orders under way, and the budgets of venues, so that work stops before the venue stops it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.domain.refusal import Refusal, RefusalReason
from services.execution.model.order import NewOrder, mesh_says_no, name_taken
from services.execution.ports import Clock, Look, Standing, TradingAccount, Venues
from services.venues.actions import TimeInForce
from services.venues.budget import Allowance, Budget

USERS_MAX: Final = 20_000
"""Users whose orders are counted; beyond, those who placed none for the longest time begin anew."""
BUDGET_WAIT_MAX_S: Final = 30.0
"""An immediate order that a venue's budget would keep waiting for longer is not taken: its price would be too old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """How much of one of our limits a user has used; `window_s` is 0 for one without a window."""

    name: str
    limit: int
    used: int
    window_s: float = 0.0
    free_s: float = 0.0


class Gate:
    """Lets orders in."""

    def __init__(
        self,
        *,
        stops: Callable[[UUID, str], Refusal | None],
        standing: Standing,
        venues: Venues,
        clock: Clock,
        monotonic_ns: Callable[[], int],
        orders_per_minute: int,
        open_orders_max: int,
    ) -> None:
        """Prepare; `stops` says why no new order of a user may leave for a venue."""
        self._stops = stops
        self._standing = standing
        self._venues = venues
        self._clock = clock
        self._now_ns = monotonic_ns
        self._rate = Allowance(units=orders_per_minute, seconds=60)
        self._open_max = open_orders_max
        self._placed: OrderedDict[UUID, Budget] = OrderedDict()

    async def look(self, user_id: UUID, wanted: NewOrder) -> Look:
        """Return what stands of a user's orders beside one that is wanted."""
        return await self._standing.look(user_id, wanted, self._open_max)

    async def admit(
        self,
        user_id: UUID,
        wanted: NewOrder,
        accounts: Sequence[TradingAccount],
        *,
        counts: bool = True,
        look: Look | None = None,
    ) -> Sequence[TradingAccount] | Refusal:
        """Return the accounts that an order may be routed to, or why there is none. What only reduces passes.

        `look` is what stands, where that was looked at already. A look at an order (`counts` is false) takes nothing of
        the user's rate. Raises LIMIT_REACHED for orders that come too fast, REQUEST_ID_REUSED for a client_order_id
        that is in use.
        """
        if counts:
            self._count(user_id)
        refusal = self._judged(wanted, look or await self.look(user_id, wanted))
        if refusal is not None or wanted.reduce_only:
            return refusal or accounts
        return self.able(user_id, wanted, accounts)

    def able(
        self, user_id: UUID, wanted: NewOrder, accounts: Sequence[TradingAccount]
    ) -> Sequence[TradingAccount] | Refusal:
        """Return the accounts that a new leg may be sent from now, or why there is none; it counts as no order.

        An account whose budget is used up stays beside others, marked: the plan gives it nothing and says why.
        """
        stopped = [self._stops(user_id, one.venue) for one in accounts]
        running = [one for one, found in zip(accounts, stopped, strict=True) if found is None]
        if not running:
            return next(found for found in stopped if found is not None)
        spent = [self._spent(one, wanted) for one in running]
        refusal = next((found for found in spent if found is not None), None)
        if refusal is not None and all(spent):
            return refusal
        return [
            replace(one, budget_spent=found is not None)
            for one, found in zip(running, spent, strict=True)
            if found is None or not wanted.type.has_trigger  # what waits for a trigger is not routed
        ]

    async def usage(self, user_id: UUID) -> Sequence[Used]:
        """Return how much of our limits a user has used, ordered by name."""
        look = await self._standing.look(user_id, None, self._open_max)
        budget, now_ns = self._budget(user_id), self._now_ns()
        used, limit = budget.used(now_ns)
        free_s = max(0, budget.free_at_ns(now_ns) - now_ns) / 1e9
        return (
            Used(name="open_orders", limit=self._open_max, used=look.open_count),
            Used(name="orders", limit=limit, used=used, window_s=self._rate.seconds, free_s=free_s),
        )

    def _judged(self, wanted: NewOrder, look: Look) -> Refusal | None:
        if look.twin_id is not None:
            raise name_taken(wanted.client_order_id, look.twin_id)
        if look.unknown_id is not None and not wanted.allow_while_unknown:
            return mesh_says_no(
                RefusalReason.OUTCOME_UNKNOWN,
                f"The same order is out as {look.unknown_id}, and whether its venue acted on it is being found out.",
                "Wait for its end (GetOrder, WatchOrders), or set allow_while_unknown if two are wished.",
                field="allow_while_unknown",
                given="false",
            )
        if look.open_count >= self._open_max and not wanted.reduce_only:
            refusal = mesh_says_no(
                RefusalReason.TOO_MANY_OPEN_ORDERS,
                f"{self._open_max} orders of yours are open, which is the most.",
                "Cancel some first; orders that only reduce are taken.",
                field="reduce_only",
                given="false",
            )
            return replace(refusal, passing_value="true")
        return None

    def _spent(self, account: TradingAccount, wanted: NewOrder) -> Refusal | None:
        """Say that a venue's budget would keep an immediate order waiting for too long; one that rests can wait."""
        if wanted.time_in_force is not TimeInForce.IMMEDIATE_OR_CANCEL:
            return None
        try:
            wait_s = self._venues.at(account.venue, account.environment).order_wait_s(account.ref)
        except DomainError:
            return None  # a venue that does not trade here, or was not read yet: what needs it says so
        if wait_s <= BUDGET_WAIT_MAX_S:
            return None
        refusal = mesh_says_no(
            RefusalReason.VENUE_BUDGET,
            f"What {account.venue} lets the account send is used up for the next {wait_s:.0f} s.",
            "Wait until retry_time; GetVenueBudget shows what is left.",
            venue=account.venue,
        )
        return replace(refusal, retry_time_ns=self._clock.time_ns() + round(wait_s * 1e9))

    def _count(self, user_id: UUID) -> None:
        budget, now_ns = self._budget(user_id), self._now_ns()
        if budget.take(now_ns):
            return
        wait_s = (budget.free_at_ns(now_ns) - now_ns) / 1e9
        raise DomainError(
            Reason.LIMIT_REACHED,
            f"{self._rate.units} orders of yours came within a minute: place the next in {wait_s:.1f} s.",
            metadata={"limit": "orders", "orders_per_minute": str(self._rate.units)},
            retry_after_s=wait_s,
        )

    def _budget(self, user_id: UUID) -> Budget:
        found = self._placed.get(user_id)
        if found is None:
            found = self._placed[user_id] = Budget(self._rate)
            if len(self._placed) > USERS_MAX:
                self._placed.popitem(last=False)
        self._placed.move_to_end(user_id)
        return found
