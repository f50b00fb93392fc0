"""What execution keeps around orders, in memory: deeds, switches, halts, troubles; see `record`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from services.execution.model.deed import Deed, DeedKind
from services.execution.model.halt import Halt, HaltKind, Scope
from services.execution.model.order import Order
from services.execution.model.switch import Switch
from services.execution.model.trouble import Failing


@dataclass(slots=True)
class LegRow:
    """What of a leg's row is no part of the leg."""

    order_id: UUID
    due: datetime | None
    lease: datetime | None = None
    fence: int = 0


@dataclass(slots=True)
class DeedRow:
    """A deed as it is kept."""

    deed: Deed
    due: datetime | None
    lease: datetime | None = None


@dataclass(slots=True)
class Around:
    """The tables; orders and legs are looked at, and changed by `Record` alone."""

    orders: dict[UUID, Order] = field(default_factory=dict)
    legs: dict[UUID, LegRow] = field(default_factory=dict)
    deeds: dict[UUID, DeedRow] = field(default_factory=dict)
    switches: dict[UUID, Switch] = field(default_factory=dict)
    halts: dict[UUID, tuple[Halt, datetime | None]] = field(default_factory=dict)
    troubles: dict[UUID, tuple[Failing, datetime | None]] = field(default_factory=dict)

    # --- deeds ----------------------------------------------------------------------------------------------------

    def add_deed(self, deed: Deed) -> bool:
        for row in self.deeds.values():
            one = row.deed
            same = (one.account_id, one.kind, one.subject) == (deed.account_id, deed.kind, deed.subject)
            asked = deed.request_id is not None and one.request_id == deed.request_id and one.user_id == deed.user_id
            if asked or (same and row.due is not None):
                return False
        self.deeds[deed.deed_id] = DeedRow(deed, deed.create_time)
        return True

    def deed(self, deed_id: UUID) -> Deed:
        return self.deeds[deed_id].deed

    def deed_by_request(self, user_id: UUID, request_id: UUID) -> Deed | None:
        rows = (row.deed for row in self.deeds.values())
        return next((one for one in rows if (one.user_id, one.request_id) == (user_id, request_id)), None)

    def under_way(self, account_id: UUID, kind: DeedKind, subject: str) -> Deed | None:
        for row in self.deeds.values():
            one = row.deed
            if row.due is not None and (one.account_id, one.kind, one.subject) == (account_id, kind, subject):
                return one
        return None

    def claim_deeds(self, count: int, lease_s: float, now: datetime) -> list[Deed]:
        ripe = [
            row
            for row in self.deeds.values()
            if row.due is not None and row.due <= now and (row.lease is None or row.lease < now)
        ]
        for row in sorted(ripe, key=lambda one: one.due or now)[:count]:
            row.deed = replace(row.deed, fence=row.deed.fence + 1)
            row.lease = now + timedelta(seconds=lease_s)
        return [row.deed for row in sorted(ripe, key=lambda one: one.due or now)[:count]]

    def release_deeds(self, now: datetime) -> None:
        for row in self.deeds.values():
            if row.lease is not None and row.due is not None:
                row.lease, row.due = None, now

    def change_deed(self, deed: Deed, now: datetime, *, due_s: float, holds: bool = False) -> bool:
        row = self.deeds[deed.deed_id]
        if row.deed.fence != deed.fence:
            return False
        row.deed = deed
        row.due = None if deed.is_over else now + timedelta(seconds=due_s)
        row.lease = row.due if holds else None
        return True

    # --- switches, halts, troubles --------------------------------------------------------------------------------

    def switch(self, account_id: UUID) -> Switch | None:
        return self.switches.get(account_id)

    def keep_switch(self, switch: Switch) -> Switch:
        known = self.switches.get(switch.account_id)
        day, count = (None, 0) if known is None else (known.fire_day, known.fire_count)
        kept = replace(switch, fire_day=day, fire_count=count)
        self.switches[switch.account_id] = kept
        return kept

    def due_switches(self, now: datetime, count: int) -> list[Switch]:
        due = [one for one in self.switches.values() if one.cancel_time is not None and one.cancel_time <= now]
        return sorted(due, key=lambda one: one.cancel_time or now)[:count]

    def fired(self, switch: Switch) -> None:
        known = self.switches.get(switch.account_id)
        if known is None or switch.cancel_time is None or known.cancel_time != switch.cancel_time:
            return
        day = switch.cancel_time.date()
        count = known.fire_count + 1 if known.fire_day == day else 1
        self.switches[switch.account_id] = replace(known, cancel_time=None, fire_day=day, fire_count=count)

    def open_orders_of(self, account_id: UUID) -> list[UUID]:
        return [
            one.order_id
            for one in self.orders.values()
            if one.finish_time is None and one.cancel_time is None
            and any(leg.account_id == account_id for leg in one.legs)
        ]  # fmt: skip

    def begin_halt(self, halt: Halt) -> Halt:
        for halt_id, (one, end) in self.halts.items():
            if end is None and one.scope == halt.scope:
                kept = replace(one, cancels_orders=one.cancels_orders or halt.cancels_orders)
                self.halts[halt_id] = (kept, None)
                return kept
        self.halts[halt.halt_id] = (halt, None)
        return halt

    def end_halt(self, scope: Scope, now: datetime) -> None:
        for halt_id, (one, end) in self.halts.items():
            if end is None and one.scope == scope:
                self.halts[halt_id] = (one, now)

    def in_force(self) -> tuple[Halt, ...]:
        alive = [one for one, end in self.halts.values() if end is None]
        return tuple(sorted(alive, key=lambda one: (one.create_time, one.halt_id)))

    def open_orders_in(self, scope: Scope, count: int) -> list[tuple[UUID, UUID]]:
        def within(one: Order) -> bool:
            if scope.kind is HaltKind.USER:
                return str(one.user_id) == scope.name
            return scope.kind is HaltKind.EVERYTHING or any(leg.venue == scope.name for leg in one.legs)

        return [
            (one.user_id, one.order_id)
            for one in self.orders.values()
            if one.finish_time is None and one.cancel_time is None and within(one)
        ][:count]

    def keep_trouble(self, failing: Failing) -> None:
        self.troubles[failing.work_id] = (failing, None)

    def settle_trouble(self, work_id: UUID, now: datetime) -> None:
        found = self.troubles.get(work_id)
        if found is not None and found[1] is None:
            self.troubles[work_id] = (found[0], now)

    def settle_ended(self, now: datetime) -> Sequence[UUID]:
        ended = []
        for work_id, (failing, settled) in self.troubles.items():
            leg, deed = self.legs.get(work_id), self.deeds.get(work_id)
            if settled is None and ((leg is not None and leg.due is None) or (deed is not None and deed.due is None)):
                self.troubles[work_id] = (failing, now)
                ended.append(work_id)
        return ended

    def failing(self) -> list[Failing]:
        return [one for one, settled in self.troubles.values() if settled is None]
