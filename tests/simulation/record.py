"""What execution keeps, in memory: every method is one transaction of `services/execution/store`, whole or not at all.

The rules are the model's own (`exits.follow`, `fill`, `succeed`), as they are in PostgreSQL's store; what is written
again here is what SQL does there: who may claim, when a row is due, which keys are unique. A referee
(`tests/integration/execution/test_execution_store.py`) gives both the same calls and compares every answer and row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from services.domain.errors import DomainError, Reason
from services.execution.model import exits, remedy
from services.execution.model.canceling import EVERYWHERE, CancelScope, to_cancel
from services.execution.model.leg import Leg, LegState, Trade, fill
from services.execution.model.order import NewOrder, Order, OrderState, concluded, name_taken, with_leg
from services.execution.model.replacing import ReplaceAsked, succeed
from services.execution.ports import Look, Observed, TradingAccount, Work
from services.execution.store.quick import FOLLOW_S, HOLD_S, LATE
from services.execution.store.rows import due_of
from tests.simulation.around import Around, LegRow

Change = Callable[[Leg], Leg]


@dataclass(slots=True)
class FillRow:
    """A trade as it was counted."""

    number: int
    user_id: UUID
    order_id: UUID | None
    leg_id: UUID | None
    trade: Trade


@dataclass(slots=True)
class Record(Around):
    """The tables. `said` is the log: what each transaction had to say, in the order of commit."""

    requests: dict[tuple[UUID, UUID], UUID] = field(default_factory=dict)
    clients: dict[tuple[UUID, str], UUID] = field(default_factory=dict)
    fills: dict[UUID, FillRow] = field(default_factory=dict)
    replacements: dict[tuple[UUID, UUID], bytes] = field(default_factory=dict)
    moved: dict[UUID, int] = field(default_factory=dict)
    said: list[tuple[str, object]] = field(default_factory=list)

    # --- orders ---------------------------------------------------------------------------------------------------

    def by_request(self, user_id: UUID, request_id: UUID) -> Order | None:
        found = self.requests.get((user_id, request_id))
        return None if found is None else self.orders[found]

    def get(self, user_id: UUID, order_id: UUID) -> Order | None:
        found = self.orders.get(order_id)
        return found if found is not None and found.user_id == user_id else None

    def add(self, order: Order, now: datetime, *, lease_s: float | None = None) -> Order:
        name = (order.user_id, order.request_id)
        if name in self.requests:
            return self.orders[self.requests[name]]
        named = self._named(order)
        if named is not None:
            raise name_taken(order.client_order_id, named)
        self.requests[name] = order.order_id
        kept = replace(order, quoted=None)
        self.orders[order.order_id] = kept
        for leg in order.legs:
            self._add_leg(order, leg, due_of(leg, now))
            if lease_s is not None and leg.state is LegState.PREPARED and not leg.awaits_signature:
                row = self.legs[leg.leg_id]
                row.due = row.lease = now + timedelta(seconds=lease_s)
                row.fence = 1
        self.said.append(("order", kept))
        return order

    def _named(self, order: Order) -> UUID | None:
        """Return another open order of the user that has the order's name, where that has one and is open."""
        if not order.client_order_id or order.finish_time is not None:
            return None
        for one in self.orders.values():
            if one.finish_time is None and (one.user_id, one.client_order_id) == (order.user_id, order.client_order_id):
                return one.order_id
        return None

    def _add_leg(self, order: Order, leg: Leg, due: datetime | None) -> None:
        assert (leg.account_id, leg.client_id) not in self.clients, "client ids are unique"
        assert leg.leg_id not in self.legs, "legs are unique"
        self.clients[leg.account_id, leg.client_id] = leg.leg_id
        self.legs[leg.leg_id] = LegRow(order.order_id, due)

    def claim(self, count: int, lease_s: float, now: datetime, *, urgent: bool = False) -> list[Work]:
        ripe = []
        for leg_id, row in self.legs.items():
            if _is_due(row, now):
                hurries = _hurries(self.leg(leg_id))
                if hurries or not urgent:
                    ripe.append((not hurries, row.due, leg_id))
        ripe.sort(key=lambda one: one[:2])
        works = []
        for _, _, leg_id in ripe[:count]:
            row = self.legs[leg_id]
            row.fence += 1
            row.lease = now + timedelta(seconds=lease_s)
            works.append(Work(order=self.orders[row.order_id], leg=self.leg(leg_id), fence=row.fence))
        return works

    def waiting(self, most: int, now: datetime) -> tuple[int, int]:
        due = []
        for leg_id, row in self.legs.items():
            if row.due is not None and _is_due(row, now):
                leg = self.leg(leg_id)
                if leg.state is LegState.PREPARED and not leg.cancel_wanted:
                    due.append(row.due)
        oldest = sorted(due)[:most]
        return len(oldest), round(oldest[0].timestamp() * 1e9) if oldest else 0

    def leg(self, leg_id: UUID) -> Leg:
        order = self.orders[self.legs[leg_id].order_id]
        return next(one for one in order.legs if one.leg_id == leg_id)

    def release(self, now: datetime) -> None:
        for row in self.legs.values():
            if row.lease is not None:
                row.lease, row.due = None, now

    def change(self, work: Work, change: Change, now: datetime, *, due_s: float) -> Work | None:
        row = self.legs[work.leg.leg_id]
        if row.fence != work.fence:
            return None
        was_held = work.leg.state is LegState.HELD
        order, leg = self._apply(self.orders[row.order_id], work.leg.leg_id, change, now, ripe=was_held)
        is_held = due_s == HOLD_S
        wait_s = 0.0 if leg.cancel_wanted > work.leg.cancel_wanted and not is_held else due_s
        follows = leg.is_final and order.is_replacing(leg)
        ended = leg.is_final and leg.is_settled and not follows
        if follows and not is_held:
            wait_s = min(wait_s, FOLLOW_S)
        due = None if ended else now + timedelta(seconds=wait_s)
        if was_held:
            due = due_of(leg, now)
        if due is not None and leg.take_down_time is not None and not is_held:
            due = min(due, max(leg.take_down_time, now + LATE))
        row.due, row.lease = due, due if is_held and not was_held else None
        return Work(order=order, leg=leg, fence=work.fence)

    def told(
        self, account_id: UUID, venue_order_id: str, client_id: str, change: Change, now: datetime,
        *, look_s: float | None = None,
    ) -> bool:  # fmt: skip
        leg_id = self._find(account_id, client_id, venue_order_id)
        if leg_id is None:
            return False
        row = self.legs[leg_id]
        _, leg = self._apply(self.orders[row.order_id], leg_id, change, now)
        if look_s is not None and not leg.is_final and row.lease is None:
            due = now + timedelta(seconds=look_s)
            row.due = due if row.due is None else min(row.due, due)
        return True

    def doubt(self, account_id: UUID, open_ids: Iterable[str], before: datetime, now: datetime) -> int:
        count, names = 0, set(open_ids)
        for leg_id, row in self.legs.items():
            if row.due is None or row.due <= now or row.lease is not None:
                continue
            leg = self.leg(leg_id)
            stands = leg.state in (LegState.OPEN, LegState.PARTIALLY_FILLED) and leg.account_id == account_id
            if stands and leg.update_time < before and leg.client_id not in names:
                row.due = now
                count += 1
        return count

    def hasten(self, account_id: UUID, within_s: float, now: datetime) -> None:
        at = now + timedelta(seconds=within_s)
        for leg_id, row in self.legs.items():
            if row.due is not None and row.due > at and row.lease is None:
                leg = self.leg(leg_id)
                if leg.state in (LegState.OPEN, LegState.PARTIALLY_FILLED) and leg.account_id == account_id:
                    row.due = at

    def count(self, account: TradingAccount, trade: Trade, now: datetime) -> bool:
        leg_id = self._find(account.account_id, trade.client_id, trade.venue_order_id)
        if trade.fill_id in self.fills:
            return False
        order_id = None if leg_id is None else self.legs[leg_id].order_id
        row = FillRow(len(self.fills) + 1, account.user_id, order_id, leg_id, trade)
        self.fills[trade.fill_id] = row
        self.said.append(("fill", row))
        if leg_id is not None:
            assert order_id is not None
            self._apply(self.orders[order_id], leg_id, lambda leg: fill(leg, trade, now), now)
        return True

    def observe(self, observed: Observed) -> None:
        account_id = observed.account.account_id
        self.said.append(("account", account_id))
        if observed.transfers:
            last_ms = max(one.time_ms for one in observed.transfers)
            self.moved[account_id] = max(last_ms, self.moved.get(account_id, 0))

    def last_transfer_ms(self, account_id: UUID) -> int:
        return self.moved.get(account_id, 0)

    def want_cancel(
        self, user_id: UUID, order_id: UUID, now: datetime, scope: CancelScope = EVERYWHERE
    ) -> Order | None:
        return self.schedule(user_id, order_id, lambda order: to_cancel(order, scope, now), now)

    def remedying(self, count: int, now: datetime) -> list[Order]:
        due = [one for one in self.orders.values() if one.remedy_time is not None and one.remedy_time <= now]
        return sorted(due, key=lambda one: one.remedy_time or now)[:count]

    def was_replaced(self, order: Order, asked: ReplaceAsked) -> bool:
        known = self.replacements.get((order.order_id, asked.request_id))
        if known is not None and known != asked.digest:
            raise DomainError(Reason.REQUEST_ID_REUSED, "used for other terms")
        return known is not None

    def slicing(self, count: int, now: datetime) -> list[Order]:
        due = [one for one in self.orders.values() if one.slice_time is not None and one.slice_time <= now]
        return sorted(due, key=lambda one: one.slice_time or now)[:count]

    def schedule(self, user_id: UUID, order_id: UUID, change: Callable[[Order], Order], now: datetime) -> Order | None:
        order = self.get(user_id, order_id)
        if order is None or (changed := change(order)) is order:
            return order
        return self._keep(self._followed(order, changed, now, hurry=True))

    def replace(self, order: Order, asked: ReplaceAsked, decide: Callable[[Order], Order], now: datetime) -> Order:
        order = self.orders[order.order_id]
        if self.was_replaced(order, asked):
            return order
        after = decide(order)
        self.replacements[order.order_id, asked.request_id] = asked.digest
        if after is order or after.replacement is None:
            return order
        old = after.replacement.leg_id
        self.legs[old].due = now
        legs = tuple(replace(leg, cancel_wanted=True) if leg.leg_id == old else leg for leg in after.legs)
        return self._keep(replace(after, legs=legs, version=order.version + 1, update_time=now))

    def succeed(self, work: Work, consumed: Decimal, now: datetime) -> None:
        row = self.legs[work.leg.leg_id]
        if row.fence != work.fence:
            return
        order = self.orders[row.order_id]
        if order.is_replacing(work.leg):
            after, _ = succeed(order, consumed, now)
            after = replace(after, version=order.version + 1, update_time=now)
            self._keep(self._followed(order, after, now))
        row.due = row.lease = None

    def last_fill_ms(self, account_id: UUID) -> int:
        times = [row.trade.fill_time for row in self.fills.values() if row.trade.account_id == account_id]
        return int(max(times).timestamp() * 1_000) if times else 0

    def _find(self, account_id: UUID, client_id: str, venue_order_id: str) -> UUID | None:
        found = self.clients.get((account_id, client_id)) if client_id else None
        if found is not None or not venue_order_id:
            return found
        return next(
            (
                leg.leg_id
                for order in self.orders.values()
                for leg in order.legs
                if leg.venue_order_id == venue_order_id and leg.account_id == account_id
            ),
            None,
        )

    def _apply(
        self, order: Order, leg_id: UUID, change: Change, now: datetime, *, ripe: bool = False
    ) -> tuple[Order, Leg]:
        before = next(one for one in order.legs if one.leg_id == leg_id)
        leg = change(before)
        if leg.venue_order_id != before.venue_order_id:
            leg = self._adopted(order, leg, now)
        changed = order if leg == before else with_leg(order, leg, now)
        made = self._followed(order, changed, now, ripe=ripe)
        if made is not order:
            made = self._keep(made)
        return made, next(one for one in made.legs if one.leg_id == leg_id)

    def _adopted(self, order: Order, leg: Leg, now: datetime) -> Leg:
        for row in self.fills.values():
            trade = row.trade
            if row.leg_id is None and (trade.account_id, trade.venue_order_id) == (leg.account_id, leg.venue_order_id):
                row.order_id, row.leg_id = order.order_id, leg.leg_id
                leg = fill(leg, replace(trade, client_id=leg.client_id), now)
        return leg

    def _followed(
        self, before: Order, after: Order, now: datetime, *, ripe: bool = False, hurry: bool = False
    ) -> Order:
        made = remedy.follow(exits.follow(after, now, ripe=ripe), now)
        if made is before:
            return before
        known = {leg.leg_id: leg for leg in before.legs}
        told = {leg.leg_id: leg for leg in after.legs}
        for leg in made.legs:
            old = known.get(leg.leg_id)
            if old is None:
                self._add_leg(made, leg, due_of(leg, now))
            elif leg != old and (hurry or leg != told[leg.leg_id]) and not leg.is_final:
                self.legs[leg.leg_id].due = now
        if exits.waits(before, made):
            for leg in made.legs:
                row = self.legs[leg.leg_id]
                if leg.state is LegState.HELD and row.lease is None and row.due is None:
                    row.due = now + timedelta(seconds=exits.WAIT_S)
        if made.version == before.version:
            made = replace(made, version=before.version + 1, update_time=now)
        return concluded(made, now)

    def _keep(self, order: Order) -> Order:
        if order.quoted is not None:
            order = replace(order, quoted=None)
        for leg in order.legs:
            assert leg.size > 0 or leg.state in (LegState.HELD, LegState.CANCELED), "legs_size_check"
            assert leg.limit_price > 0, "prices are above zero"
            assert leg.filled >= 0, "sums do not fall below zero"
        self.orders[order.order_id] = order
        self.said.append(("order", order))
        return order

    # --- what intake looks at -------------------------------------------------------------------------------------

    def look(self, user_id: UUID, wanted: NewOrder | None, open_max: int) -> Look:
        alive = [one for one in self.orders.values() if one.user_id == user_id and one.finish_time is None]
        count = min(len(alive), open_max)
        if wanted is None:
            return Look(open_count=count)
        name = wanted.client_order_id
        twin = next((one.order_id for one in alive if name and one.client_order_id == name), None)
        terms = (wanted.market, wanted.side, wanted.size)
        unknown = next(
            (
                one.order_id
                for one in alive
                if one.state is OrderState.SUBMIT_UNKNOWN and (one.market, one.side, one.size) == terms
            ),
            None,
        )
        return Look(open_count=count, twin_id=twin, unknown_id=unknown)


def _is_due(row: LegRow, now: datetime) -> bool:
    return row.due is not None and row.due <= now and (row.lease is None or row.lease < now)


def _hurries(leg: Leg) -> bool:
    return leg.cancel_wanted or leg.expiring or leg.state in (LegState.SUBMITTED, LegState.SUBMIT_UNKNOWN)
