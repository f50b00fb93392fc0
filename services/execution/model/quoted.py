"""What an order was expected to cost when it arrived: the quote's plan, or the books of that moment where none is.

Stored with the order, and changed only when its owner gives it new terms, so that what it came to is measured against
what was known when it was wished.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from services.domain.market import HYPERLIQUID
from services.execution.model.leg import ZERO, Leg
from services.venues.actions import Side

Levels = tuple[tuple[Decimal, Decimal], ...]
"""One side of a book: (price in USD, size in units of the base asset), best first."""


class CostKind(StrEnum):
    """What an execution is paid for; the contract's names, in its order.

    What a quote expects of the time after it (funding, closing) or only weighs with (latency, staleness) is no cost of
    the execution, and is left out of what is compared.
    """

    BOOK = "BOOK"
    VENUE_FEE = "VENUE_FEE"
    BUILDER_FEE = "BUILDER_FEE"
    INTEGRATOR_FEE = "INTEGRATOR_FEE"
    PLATFORM_FEE = "PLATFORM_FEE"
    PRIORITY_FEE = "PRIORITY_FEE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What a venue charges an account, as fractions of the notional."""

    taker: Decimal = ZERO
    maker: Decimal = ZERO
    interface: Decimal = ZERO
    priority: Decimal = ZERO
    """Paid on what takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotedLeg:
    """What one venue was expected to carry."""

    venue: str
    size: Decimal
    rates: Rates
    levels: Levels | None
    """The side of the book to take from, as deep as the size needs; None where no book was known."""
    limit: Decimal | None = None
    """No worse price is taken; None for a plan, whose levels are what it takes."""
    rest_at: Decimal
    """The price of what is not taken at once: the order's limit, or what stands in where no book is known."""
    rests: bool = False
    """Whether what is not taken waits as a maker."""
    mid: Decimal | None = None
    """The mid price of its market at the arrival; None where that is the order's."""
    leg_id: UUID | None = None
    """The leg that carries it; None where the plan had a leg that the order has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quoted:
    """What an order was expected to cost."""

    quote_id: UUID | None
    """None where the order was not routed."""
    arrival_mid_price: Decimal
    size: Decimal
    legs: tuple[QuotedLeg, ...]
    single_venue_costs: tuple[tuple[str, Decimal], ...] = ()
    """What the size would have cost at each venue alone, where one can carry it."""
    accept_us: int = 0
    """From the call to the order's being written, in microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What comes of a size at a book: what is taken at once, and what rests at the limit."""

    size: Decimal
    notional: Decimal
    resting: Decimal
    """The notional of what rests."""

    @property
    def total(self) -> Decimal:
        """The notional of all."""
        return self.notional + self.resting


def walk(levels: Levels | None, size: Decimal, *, side: Side, limit: Decimal | None, rest_at: Decimal) -> Taken:
    """Return what a size takes of a book no worse than `limit`; what is left counts at `rest_at`."""
    left, notional = size, ZERO
    for price, there in levels or ():
        if left <= 0 or (limit is not None and side.sign * (price - limit) > 0):
            break
        part = min(left, there)
        notional += part * price
        left -= part
    return Taken(size=size, notional=notional, resting=left * rest_at)


def expected(quoted: QuotedLeg, size: Decimal, side: Side) -> Taken:
    """Return what a size was expected to take."""
    return walk(quoted.levels, size, side=side, limit=quoted.limit, rest_at=quoted.rest_at)


def enough(levels: Iterable[tuple[Decimal, Decimal]], size: Decimal) -> Levels:
    """Return as many levels as a size needs, and one more."""
    kept: list[tuple[Decimal, Decimal]] = []
    held = ZERO
    for price, there in levels:
        kept.append((price, there))
        if held >= size:
            break
        held += there
    return tuple(kept)


def costs_of(
    taken: Taken, *, venue: str, mid: Decimal, side: Side, rates: Rates, rests: bool
) -> dict[CostKind, Decimal]:
    """Return the cost by line; what an order that may not rest leaves at its limit counts as taken there."""
    maker = rates.maker if rests else rates.taker
    found = {
        CostKind.BOOK: side.sign * (taken.total - mid * taken.size),
        CostKind.VENUE_FEE: taken.notional * rates.taker + taken.resting * maker,
        interface_kind(venue): taken.total * rates.interface,
        CostKind.PLATFORM_FEE: ZERO,
    }
    if rates.priority:
        found[CostKind.PRIORITY_FEE] = (taken.notional if rests else taken.total) * rates.priority
    return found


def interface_kind(venue: str) -> CostKind:
    """Return what a venue calls the fee that it pays on to an interface."""
    return CostKind.BUILDER_FEE if venue == HYPERLIQUID else CostKind.INTEGRATOR_FEE


def replaced(quoted: Quoted, old: Leg, fresh: Leg, levels: Levels | None) -> Quoted:
    """Return the quote of an order whose owner gave it new terms: of the old leg what it filled, of the next all."""
    kept = tuple(replace(one, size=old.filled) if one.leg_id == old.leg_id else one for one in quoted.legs)
    rates = next((one.rates for one in quoted.legs if one.leg_id == old.leg_id), Rates())
    added = QuotedLeg(
        venue=fresh.venue,
        size=fresh.size,
        rates=rates,
        levels=None if levels is None else enough(levels, fresh.size),
        limit=fresh.limit_price,
        rest_at=fresh.limit_price,
        rests=fresh.may_rest,
        leg_id=fresh.leg_id,
    )
    return replace(quoted, legs=(*kept, added), size=sum((one.size for one in (*kept, added)), ZERO))


def joined(quoted: Quoted, part: Quoted) -> Quoted:
    """Return the quote of an order in slices with the plan of its next one; all is measured from its arrival."""
    return replace(quoted, legs=(*quoted.legs, *part.legs), size=quoted.size + part.size)


def carried(quoted: Quoted, legs: Sequence[Leg]) -> Quoted:
    """Return the quote with the legs that carry it, by venue; a leg that is carried already stays with that."""
    by_venue = {leg.venue: leg.leg_id for leg in reversed(legs)}
    return replace(
        quoted, legs=tuple(replace(one, leg_id=one.leg_id or by_venue.get(one.venue)) for one in quoted.legs)
    )
