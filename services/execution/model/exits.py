"""The exits of an order: a take-profit and a stop for what an entry has filled. Pure.

They are the venue's own trigger orders, placed by us once there is something to protect, and not the venues' groups:
Hyperliquid's children come alive only when their parent has filled whole, and die with a parent that was canceled
half-filled; Lighter's only when it has ended. Ours scale with what was filled.

* Each entry leg has its own exits, at its venue. They are HELD until it fills.
* When an entry has ended, or a part of it has rested for a second, a pair is placed with the size that no pair covers
  yet. While the entry still works, another follows when a quarter of it is uncovered; at most five pairs come of it.
* When one of a pair is filled, or has ended with a part filled, the other is canceled.
* One that was surely never sent, or proven never to have landed, is placed again, a few times at most.
* An order whose cancellation was asked for gets no new exits, and those it has are canceled with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from services.execution.model.clients import venue_client_id
from services.execution.model.leg import ZERO, Evidence, Leg, LegState, Role, Told, tell
from services.execution.model.order import Order

STEP: Final = 4
"""A further pair is placed when this part of an entry, as a fraction one over it, is uncovered."""
AGAIN_MAX: Final = 5
"""How often one that never came to be is placed in all."""
WAIT_S: Final = 1.0
"""How long a part that was filled may grow before a pair is placed for it."""
_EXITS: Final = (Role.TAKE_PROFIT, Role.STOP_LOSS)


@dataclass(slots=True)
class _Legs:
    """The legs of an order while exits are worked out; each is found by its number."""

    order: Order
    legs: list[Leg]
    now: datetime

    def put(self, leg: Leg) -> None:
        """Set a leg in the place of that with its number."""
        if leg != self.legs[leg.number - 1]:
            self.legs[leg.number - 1] = replace(leg, update_time=self.now)

    def add(self, model: Leg, **changes: object) -> None:
        """Add a leg like another, under an id that is a function of what it is for."""
        number = len(self.legs) + 1
        leg_id = exit_id(self.order.order_id, number)
        fresh = Leg(
            leg_id=leg_id, number=number, venue=model.venue, account_id=model.account_id, market=model.market,
            venue_market_id=model.venue_market_id, side=model.side, size=model.size, limit_price=model.limit_price,
            type=model.type, time_in_force=model.time_in_force, reduce_only=True,
            client_id=venue_client_id(model.venue, leg_id), trigger_price=model.trigger_price, role=model.role,
            entry=model.entry, part=model.part, create_time=self.now, update_time=self.now,
        )  # fmt: skip
        self.legs.append(replace(fresh, **changes))  # type: ignore[arg-type]


def follow(order: Order, now: datetime, *, ripe: bool) -> Order:
    """Return the order with its exits as its entries demand them; `ripe` where a part filled has waited long enough."""
    if order.take_profit is None and order.stop_loss is None:
        return order
    work = _Legs(order, list(order.legs), now)
    for entry in [leg for leg in order.legs if leg.role is Role.ENTRY]:
        if order.cancel_time is None:
            _cover(work, entry, ripe=ripe)
            _again(work, entry)
        else:
            _drop(work, entry)
        _one_cancels_other(work, entry)
    return order if tuple(work.legs) == order.legs else replace(order, legs=tuple(work.legs))


def waits(before: Order, after: Order) -> bool:
    """Whether a part was filled by a change, so that exits are due soon."""
    return sum((leg.filled for leg in after.legs), ZERO) > sum((leg.filled for leg in before.legs), ZERO)


def _of(work: _Legs, entry: Leg) -> list[Leg]:
    return [leg for leg in work.legs if leg.entry == entry.number]


def _pairs(exits: Sequence[Leg]) -> Iterator[list[Leg]]:
    """Yield the exits that belong together and were placed, pair by pair."""
    for part in sorted({leg.part for leg in exits if leg.size}):
        yield [leg for leg in exits if leg.part == part and leg.size]


def _cover(work: _Legs, entry: Leg, *, ripe: bool) -> None:
    """Place a pair for what no pair covers yet, where it is time."""
    exits = _of(work, entry)
    held = [leg for leg in exits if leg.state is LegState.HELD]
    pairs = list(_pairs(exits))
    missing = entry.filled - sum((pair[0].size for pair in pairs), ZERO)
    due = entry.is_final or (ripe and (not pairs or missing * STEP >= entry.size))
    if missing > 0 and due:
        part = len(pairs) + 1
        if held:
            for leg in held:
                released = tell(leg, Told.RELEASE, Evidence.NOT_SENT, work.now)
                work.put(replace(released, size=missing, part=part))
        else:  # a trade that was told after the end
            for leg in _models(exits):
                work.add(leg, size=missing, part=part)
        if not entry.is_final:
            for leg in _models(exits):
                work.add(leg, size=ZERO, part=part + 1, state=LegState.HELD)
    elif entry.is_final and missing <= 0:
        _drop(work, entry)


def _models(exits: Sequence[Leg]) -> list[Leg]:
    """Return one exit of each kind, to make others like it."""
    return [next(leg for leg in exits if leg.role is role) for role in _EXITS if any(one.role is role for one in exits)]


def _drop(work: _Legs, entry: Leg) -> None:
    """End the exits that have nothing to wait for."""
    for leg in _of(work, entry):
        if leg.state is LegState.HELD:
            work.put(tell(leg, Told.CANCEL, Evidence.NOT_SENT, work.now))


def _again(work: _Legs, entry: Leg) -> None:
    """Place again what never came to be."""
    for pair in list(_pairs(_of(work, entry))):
        if any(leg.filled for leg in pair):
            continue
        for role in _EXITS:
            made = [leg for leg in pair if leg.role is role]
            if made and len(made) < AGAIN_MAX and all(_is_lost(leg) for leg in made):
                work.add(made[-1])


def _is_lost(leg: Leg) -> bool:
    never_sent = leg.state is LegState.EXPIRED and leg.evidence is Evidence.NOT_SENT
    return never_sent or leg.state is LegState.FAILED


def _one_cancels_other(work: _Legs, entry: Leg) -> None:
    for pair in list(_pairs(_of(work, entry))):
        done = next((leg for leg in pair if leg.filled and leg.is_final), None)
        if done is None:
            continue
        for other in pair:
            if other.role is not done.role and not other.wants_cancel and not other.is_final:
                work.put(replace(other, cancel_wanted=True))


def exit_id(order_id: UUID, number: int) -> UUID:
    """Return the id of an exit that is made with its order."""
    return uuid5(order_id, f"exit {number}")
