"""A wish, answered: the plan, its costs line by line, what else could be done, and the proof. Values only.

What a quote has many of is a named tuple, which is made in a third of a dataclass's time.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from services.domain.refusal import Refusal


class CostKind(StrEnum):
    """What a cost is paid for; the contract's names."""

    BOOK = "BOOK"
    VENUE_FEE = "VENUE_FEE"
    BUILDER_FEE = "BUILDER_FEE"
    INTEGRATOR_FEE = "INTEGRATOR_FEE"
    PLATFORM_FEE = "PLATFORM_FEE"
    PRIORITY_FEE = "PRIORITY_FEE"
    FUNDING = "FUNDING"
    CLOSING = "CLOSING"
    LATENCY = "LATENCY"
    STALENESS = "STALENESS"


class Method(StrEnum):
    """How the bounds were found; the contract's names."""

    WATER_FILLING = "WATER_FILLING"
    COARSE_LOT_SEARCH = "COARSE_LOT_SEARCH"
    DYNAMIC_PROGRAMMING = "DYNAMIC_PROGRAMMING"


class Line(NamedTuple):
    """One line of a cost in USD; positive is paid. `rate` is the fraction of the notional behind it, where one is."""

    kind: CostKind
    amount: Decimal
    rate: Decimal | None = None


class PlanLeg(NamedTuple):
    """What one venue carries."""

    venue: str
    size: Decimal
    average_price: Decimal
    worst_price: Decimal
    costs: tuple[Line, ...]
    total_cost: Decimal
    level_count: int
    resting: bool = False
    account_id: str = ""
    initial_margin: Decimal | None = None


class Alternative(NamedTuple):
    """A plan that was not chosen: one venue alone, or the even split where `venue` is empty."""

    venue: str
    legs: tuple[PlanLeg, ...] = ()
    total_cost: Decimal | None = None
    extra_cost: Decimal | None = None
    extra_cost_bps: Decimal | None = None
    refusal: Refusal | None = None


class SetProof(NamedTuple):
    """The bound of one set of venues; with a refusal in place of numbers where the set cannot carry the size."""

    venues: tuple[str, ...]
    multiplier: Decimal | None = None
    bound: Decimal | None = None
    cost: Decimal | None = None
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbors:
    """For two venues: the money with one lot less and one lot more at the venue of the coarse lot."""

    venue: str
    lot: Decimal
    size: Decimal
    below: Decimal | None
    above: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The certificate, in USD."""

    method: Method
    cost: Decimal
    lower_bound: Decimal
    gap: Decimal
    gap_bps: Decimal
    sets: tuple[SetProof, ...]
    neighbors: Neighbors | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The answer. Without legs it is infeasible, and `refusals` and `nearest_sizes` say what would pass."""

    size: Decimal
    legs: tuple[PlanLeg, ...] = ()
    costs: tuple[Line, ...] = ()
    total_cost: Decimal = Decimal(0)
    total_cost_bps: Decimal = Decimal(0)
    average_price: Decimal | None = None
    fee_truncation_bound: Decimal = Decimal(0)
    alternatives: tuple[Alternative, ...] = ()
    proof: Proof | None = None
    explanation: str = ""
    refusals: tuple[Refusal, ...] = ()
    nearest_sizes: tuple[Decimal, ...] = ()
    break_even_s: Decimal | None = None
    break_even_venue: str = ""
    priority_advice: str = ""

    @property
    def is_feasible(self) -> bool:
        """Whether the legs carry the whole size."""
        return bool(self.legs)
