"""The life of a position: from the fill that opens it to flat. Costs by average and by first in, first out.

What the open size cost is kept as a sum, never as an average: a reduction gives up its share of that sum, rounded once
to 18 decimals, and the rest is what remains. So realized and unrealized profit always add up to what the trading came
to, to the last digit, and at the end of a life both methods agree: everything that was paid has been given up.
A fill that turns a position ends its life and opens another; its fees are shared out by size, exactly.
"""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.portfolio.model.rounding import ZERO, ratio_half_even, share_half_even
from services.portfolio.model.values import Cause, Costs, EventKind, Fill, Payment, derived_id

LOTS_MAX: Final = 10_000
"""How many lots of different prices a position remembers; beyond it the two oldest become one at their mean cost."""

_KINDS: Final = {
    Cause.LIQUIDATION: EventKind.LIQUIDATION,
    Cause.DELEVERAGING: EventKind.DELEVERAGING,
    Cause.SETTLEMENT: EventKind.SETTLEMENT,
}


@dataclass(slots=True)
class Lot:
    """What was opened at one time: a positive size, and what it cost (or brought)."""

    size: Decimal
    cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeEvent:
    """Something that happened to a position; its number counts up within the life from 1."""

    position_id: UUID
    number: int
    side: int
    """Of the position, when it happened."""
    kind: EventKind
    time: datetime
    size_change: Decimal = ZERO
    price: Decimal | None = None
    size_after: Decimal = ZERO
    realized: Decimal | None = None
    costs: tuple[tuple[int, Decimal], ...] = ()
    funding: Decimal = ZERO
    """Positive was paid."""
    cost_after: Decimal = ZERO
    """What the size after it cost, by average."""
    fill_id: UUID | None = None
    order_id: str = ""
    explanation: str = ""
    """Empty where kind and numbers say it all."""
    came: Decimal = ZERO
    """The unrealized profit that came with what was adopted."""

    @property
    def fees(self) -> Decimal:
        """Return the sum of the costs."""
        return sum((amount for _, amount in self.costs), ZERO)


@dataclass(slots=True, kw_only=True)
class Life:
    """A position while it is there, and after."""

    position_id: UUID
    account_id: UUID
    market: str
    side: int
    """1 for a long, -1 for a short."""
    opened: datetime
    updated: datetime
    closed: datetime | None = None
    size: Decimal = ZERO
    """Never negative; the side says the direction."""
    cost: Decimal = ZERO
    """What the open size cost, by average."""
    lots: deque[Lot] = field(default_factory=deque)
    fifo_cost: Decimal = ZERO
    """What the lots still open cost."""
    realized: Decimal = ZERO
    fifo_realized: Decimal = ZERO
    funding_paid: Decimal = ZERO
    costs: Costs = field(default_factory=dict)
    max_size: Decimal = ZERO
    opened_size: Decimal = ZERO
    opened_cost: Decimal = ZERO
    closed_size: Decimal = ZERO
    closed_proceeds: Decimal = ZERO
    counted: Decimal | None = None
    """The net profit with which its end was counted for its day; None before that."""
    events: int = 0
    sequence: int = 0
    """The number of the last log event applied to it."""
    adopted_size: Decimal = ZERO
    """By how much adoptions changed the size, signed."""
    adopted_entry: Decimal | None = None
    adopted_unrealized: Decimal = ZERO
    """The unrealized profit that came with it, which is no profit of the time since."""
    adopted_funding: Decimal = ZERO
    """The funding that the venue had counted by then and our log has not."""
    adopted_at: datetime | None = None

    @property
    def signed_size(self) -> Decimal:
        """Return the size with its sign."""
        return self.size if self.side > 0 else -self.size

    @property
    def fees(self) -> Decimal:
        """Return the sum of all costs."""
        return sum(self.costs.values(), ZERO)

    @property
    def entry_price(self) -> Decimal | None:
        """Return what the open size cost on average, None when flat."""
        return ratio_half_even(self.cost, self.size) if self.size else None

    @property
    def fifo_entry_price(self) -> Decimal | None:
        """Return what the lots still open cost on average when the oldest are closed first, None when flat."""
        return ratio_half_even(self.fifo_cost, self.size) if self.size else None

    @property
    def opened_price(self) -> Decimal | None:
        """Return the average price of what opened or added."""
        return ratio_half_even(self.opened_cost, self.opened_size) if self.opened_size else None

    @property
    def exit_price(self) -> Decimal | None:
        """Return the average price of what reduced, None before that."""
        return ratio_half_even(self.closed_proceeds, self.closed_size) if self.closed_size else None

    @property
    def net_pnl(self) -> Decimal:
        """Return the realized profit less fees and funding."""
        return self.realized - self.fees - self.funding_paid

    @property
    def earned(self) -> Decimal:
        """Return the same without what had been earned when it was adopted."""
        return self.net_pnl - self.adopted_unrealized

    def snapshot(self) -> Life:
        """Return a copy that stands still, to be shown; it has no lots and is not to be traded on."""
        copied = copy.copy(self)
        copied.lots = deque()
        copied.costs = dict(self.costs)
        return copied

    def unrealized(self, mark: Decimal) -> Decimal:
        """Return the profit that closing at `mark` would realize, by average cost."""
        return self.side * (mark * self.size - self.cost)

    def note(self, kind: EventKind, time: datetime, explanation: str = "", *, funding: Decimal = ZERO) -> LifeEvent:
        """Record something that changes no size."""
        self.events += 1
        return LifeEvent(
            position_id=self.position_id,
            number=self.events,
            side=self.side,
            kind=kind,
            time=time,
            size_after=self.signed_size,
            cost_after=self.cost,
            funding=funding,
            explanation=explanation,
        )


def open_life(account_id: UUID, market: str, side: int, time: datetime, cause: str) -> Life:
    """Return a new life; its id is a function of account, market and what opened it."""
    return Life(
        position_id=derived_id("position", str(account_id), market, cause),
        account_id=account_id, market=market, side=side, opened=time, updated=time,
    )  # fmt: skip


def apply_fill(life: Life | None, fill: Fill) -> tuple[list[Life], list[LifeEvent]]:
    """Apply a fill to the life that is open, if any; return the lives touched, the last one current, and the events.

    The last life has size zero and a closing time where the fill made the position flat.
    """
    left, costs = fill.size, fill.costs
    lives: list[Life] = []
    events: list[LifeEvent] = []
    if life is not None and life.size and (life.side > 0) != (left > 0):
        closing = min(abs(left), life.size)
        mine, costs = (costs, ()) if closing == abs(left) else _share(costs, closing, abs(left))
        events.append(_reduce(life, closing, fill, mine))
        lives.append(life)
        left += closing if left < 0 else -closing
        if not left:
            return lives, events
        life = None
    if life is None:
        life = open_life(fill.account_id, fill.market, 1 if left > 0 else -1, fill.time, str(fill.fill_id))
    elif not life.size:
        life.side = 1 if left > 0 else -1  # it was known by a report alone
    events.append(_add(life, abs(left), fill, costs))
    lives.append(life)
    return lives, events


def apply_payment(life: Life, payment: Payment) -> LifeEvent:
    """Apply a funding payment to the life it belongs to, closed or open."""
    life.funding_paid -= payment.amount
    if life.adopted_at is not None and payment.time <= life.adopted_at:
        life.adopted_funding += payment.amount  # it was in what the venue had counted by then
    return life.note(EventKind.FUNDING, payment.time, funding=-payment.amount)


def _share(
    costs: tuple[tuple[int, Decimal], ...], part: Decimal, whole: Decimal
) -> tuple[tuple[tuple[int, Decimal], ...], tuple[tuple[int, Decimal], ...]]:
    first = tuple((kind, share_half_even(amount, part, whole)) for kind, amount in costs)
    rest = tuple((kind, amount - mine) for (kind, amount), (_, mine) in zip(costs, first, strict=True))
    return first, rest


def _add(life: Life, size: Decimal, fill: Fill, costs: tuple[tuple[int, Decimal], ...]) -> LifeEvent:
    cost = fill.price * size
    life.size += size
    life.cost += cost
    life.opened_size += size
    life.opened_cost += cost
    life.max_size = max(life.max_size, life.size)
    last = life.lots[-1] if life.lots else None
    if last is not None and last.cost == fill.price * last.size:
        last.size += size
        last.cost += cost
        life.fifo_cost += cost
    else:
        put_lot(life, size, cost)
    return _traded(life, size, fill, costs, None)


def put_lot(life: Life, size: Decimal, cost: Decimal) -> None:
    """Add the newest lot; beyond the bound the two oldest become one."""
    lots = life.lots
    lots.append(Lot(size, cost))
    life.fifo_cost += cost
    if len(lots) > LOTS_MAX:
        oldest = lots.popleft()
        lots[0].size += oldest.size
        lots[0].cost += oldest.cost


def _reduce(life: Life, size: Decimal, fill: Fill, costs: tuple[tuple[int, Decimal], ...]) -> LifeEvent:
    proceeds = fill.price * size
    given_up = life.cost if size == life.size else share_half_even(life.cost, size, life.size)
    realized = life.side * (proceeds - given_up)
    taken = take_lots(life.lots, size)
    life.fifo_cost -= taken
    life.fifo_realized += life.side * (proceeds - taken)
    life.size -= size
    life.cost -= given_up
    life.realized += realized
    life.closed_size += size
    life.closed_proceeds += proceeds
    if not life.size:
        life.closed = fill.time
    return _traded(life, -size, fill, costs, realized)


def take_lots(lots: deque[Lot], size: Decimal) -> Decimal:
    """Take `size` from the oldest lots and return what it cost."""
    cost = ZERO
    while size:
        lot = lots[0]
        if lot.size <= size:
            size -= lot.size
            cost += lot.cost
            lots.popleft()
        else:
            part = share_half_even(lot.cost, size, lot.size)
            lot.size -= size
            lot.cost -= part
            return cost + part
    return cost


def _traded(
    life: Life, change: Decimal, fill: Fill, costs: tuple[tuple[int, Decimal], ...], realized: Decimal | None
) -> LifeEvent:
    for kind, amount in costs:
        life.costs[kind] = life.costs.get(kind, ZERO) + amount
    life.updated = max(life.updated, fill.time)
    life.events += 1
    return LifeEvent(
        position_id=life.position_id, number=life.events,
        side=life.side, kind=_KINDS.get(fill.cause, EventKind.FILL), time=fill.time,
        size_change=change if life.side > 0 else -change, price=fill.price, size_after=life.signed_size,
        cost_after=life.cost, realized=realized, costs=costs, fill_id=fill.fill_id, order_id=fill.order_id,
    )  # fmt: skip
