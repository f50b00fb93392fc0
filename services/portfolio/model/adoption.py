"""What the venue has and our fills do not explain, taken over at the venue's entry price. Pure.

An adoption is an event of a position's life beside its fills. It is no trade: it changes size and cost, realizes
nothing and costs nothing. So what holds of fills goes on holding to the last digit: realized profit is what fills
realized, the cost of the open size is a sum, average and first-in-first-out agree at the end of a life, and the
balance, which leaves unrealized profit out, is the same before and after. The unrealized profit that comes with the
size is told with the event, so that no performance counts it as earned since.

A trade of before an adoption that the venue tells only later is in what was adopted: as much of that gives way, at the
price it was taken over at, and then the fill counts like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from services.domain.decimals import plain_text, rounding
from services.portfolio.model.life import Life, LifeEvent, put_lot, take_lots
from services.portfolio.model.rounding import ZERO, ratio_half_even, share_half_even
from services.portfolio.model.values import EventKind, ReportedPosition

SETTLE: Final = timedelta(seconds=5)
"""How long a difference that all trades were asked for must last before it is adopted: a trade of the very moment may
still be on its way."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """The last adoption in a market of an account."""

    time: datetime
    """The moment the venue's report speaks of; trades up to it are in what was adopted."""
    price: Decimal
    mark: Decimal | None


@dataclass(frozen=True, slots=True)
class Doubt:
    """A size of ours that a reconciled report contradicts, and since when."""

    size: Decimal
    since: datetime


def is_settled(doubt: Doubt, now: ReportedPosition) -> bool:
    """Say whether a doubt has lasted long enough."""
    return now.as_of - doubt.since >= SETTLE


def mark_of(position: ReportedPosition) -> Decimal | None:
    """Return the mark price of a report: as it says, or as its unrealized profit tells; None where neither does."""
    if position.mark_price is not None or not position.size:
        return position.mark_price
    if position.unrealized_pnl is None or position.entry_price is None:
        return None
    with rounding():
        return ratio_half_even(position.entry_price * position.size + position.unrealized_pnl, position.size)


def can_adopt(life: Life, position: ReportedPosition) -> bool:
    """Say whether the venue tells enough: what grows needs a price, what shrinks has one."""
    grows = abs(position.size) > life.size or (position.size > 0) != (life.side > 0)
    return not (position.size and grows) or bool(position.entry_price)


def adopt(life: Life, position: ReportedPosition, open_other: Life) -> tuple[list[Life], list[LifeEvent], Adopted]:
    """Bring a life to what the venue reports; `open_other` is the life to go on with where the position has turned.

    Return the lives touched, the last one current, the events, and what is to be remembered.
    """
    now, entry, mark = position.as_of, position.entry_price, mark_of(position)
    text = _sentence(position, life)
    lives, events = [life], []
    if life.size and position.size and (position.size > 0) != (life.side > 0):
        events.append(_resize(life, ZERO, -life.cost, mark, now, text))
        lives.append(open_other)
        life = open_other
    if not life.size:
        life.side = 1 if position.size > 0 else -1
    wanted = abs(position.size)
    event = _resize(life, wanted, _moved(life, wanted, entry), mark, now, text)
    events.append(event)
    if position.funding_paid is not None and life.size:
        life.adopted_funding = position.funding_paid - life.funding_paid
    life.adopted_entry = entry
    assert event.price is not None
    return lives, events, Adopted(now, event.price, mark)


def give_way(life: Life, size: Decimal, adopted: Adopted, time: datetime) -> LifeEvent:
    """Take `size` (signed) out of what was adopted, for a trade of that size which is counted after it.

    A life without a size takes the side of what is given back; no more is taken out of one than it has.
    """
    change = -size
    if not life.size:
        life.side = 1 if change > 0 else -1
    wanted = max(ZERO, life.side * (life.signed_size + change))
    moved = (wanted - life.size) * adopted.price
    if not wanted or life.cost + moved < 0:
        moved = _moved(life, wanted, None)
    text = f"The venue told a trade of before the adoption: {plain_text(abs(wanted - life.size))} give way to it."
    return _resize(life, wanted, moved, adopted.mark, max(time, life.opened), text)


def _resize(life: Life, size: Decimal, moved: Decimal, mark: Decimal | None, now: datetime, text: str) -> LifeEvent:
    """Bring a life to another size, which moves its cost, and return the event."""
    change = size - life.size
    if change > 0:
        put_lot(life, change, moved)
        life.opened_size += change
        life.opened_cost += moved
    else:
        taken = take_lots(life.lots, -change)
        life.fifo_cost -= taken
        life.fifo_realized += life.side * (-moved - taken)
    life.size = size
    life.cost += moved
    life.max_size = max(life.max_size, size)
    came = ZERO if mark is None else life.side * (mark * change - moved)
    life.adopted_size += life.side * change
    life.adopted_unrealized += came
    life.adopted_at = life.updated = max(life.updated, now)
    if not size:
        life.closed = now
    life.events += 1
    return LifeEvent(
        position_id=life.position_id, number=life.events, side=life.side, kind=EventKind.ADOPTION, time=now,
        size_change=life.side * change, price=ratio_half_even(abs(moved), abs(change)), size_after=life.signed_size,
        cost_after=life.cost, came=came, explanation=text,
    )  # fmt: skip


def _moved(life: Life, size: Decimal, entry: Decimal | None) -> Decimal:
    """Return by how much the cost changes: to the entry price, unless that contradicts what is there."""
    change = size - life.size
    moved = entry * size - life.cost if entry is not None and size else None
    if change > 0:
        assert entry is not None, "what grows needs a price"
        return moved if moved is not None and moved > 0 else entry * change
    if moved is None or not -life.cost <= moved <= 0:
        return -life.cost if not size else -share_half_even(life.cost, -change, life.size)
    return moved


def _sentence(position: ReportedPosition, life: Life) -> str:
    size, had = plain_text(position.size), plain_text(life.signed_size)
    if not position.size:
        return (
            f"The venue reports none of the {had} of our log and tells no trade that says why: given up at its cost. "
            "What it realized is in the venue's balance alone."
        )
    price = "" if position.entry_price is None else f" at {plain_text(position.entry_price)}"
    return f"The venue reports {size}{price}, our log has {had}, and no trade tells why: taken over from the venue."
