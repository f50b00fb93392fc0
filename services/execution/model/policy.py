"""What happens to the other legs of an order when one is refused or falls short. Pure.

    KEEP      the others stand
    REROUTE   what is missing is routed again over the other venues
    UNWIND    what the others brought is traded back

A policy acts when every leg has ended by evidence, never while one is out or its outcome is unknown: what is unknown
may have traded. A leg that its owner canceled has not fallen short, and neither has one that rested until its venue or
its owner ended it there: nobody wants that placed anew elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.domain.refusal import Refusal
from services.execution.model.leg import ZERO, Leg, LegState, Role

REROUTE_MAX: Final = 8
"""How often what is missing is routed again at most; each time the venues that fell short are left out."""
REROUTE_WITHIN: Final = timedelta(seconds=60)
"""How long after its placing an immediate order is routed again: after that its price is of another market."""
UNWIND_MAX: Final = 12
"""How often a trade back is tried that falls short itself; over some two minutes."""
_PAUSE_S, _PAUSE_MAX_S = 0.5, 15.0
_REFUSED: Final = (LegState.REJECTED, LegState.DENIED, LegState.FAILED)


class LegPolicy(StrEnum):
    """The policies; the contract's names."""

    KEEP = "KEEP"
    REROUTE = "REROUTE"
    UNWIND = "UNWIND"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What a policy, or the rule of a hedged order, did so far. Durable before anything of it is sent."""

    policy: LegPolicy
    leg_id: UUID
    """The leg that was refused or fell short."""
    missing: Decimal
    """What was missing when it acted first."""
    act_time: datetime
    added: tuple[UUID, ...] = ()
    rounds: int = 0
    """How often legs were added."""
    next_time: datetime | None = None
    """Before this no further legs are added."""
    refusal: Refusal | None = None
    """Why it went no further."""
    is_over: bool = False
    """Whether it goes no further."""


def pause_after(rounds: int) -> timedelta:
    """Return how long to wait before a trade back is tried again."""
    return timedelta(seconds=min(_PAUSE_S * 2**rounds, _PAUSE_MAX_S))


def is_short(leg: Leg, policy: LegPolicy) -> bool:
    """Whether a leg that trades its order was refused or fell short of its size, without its owner's doing."""
    if not leg.role.trades_the_order or not leg.is_final or leg.filled >= leg.size or leg.cancel_wanted:
        return False
    if leg.state in _REFUSED or not leg.may_rest:
        return True
    return policy is LegPolicy.UNWIND and leg.state is LegState.EXPIRED


def short_legs(legs: Sequence[Leg], policy: LegPolicy) -> list[Leg]:
    """Return the legs that were refused or fell short."""
    return [leg for leg in legs if is_short(leg, policy)]


def to_reroute(legs: Sequence[Leg], size: Decimal) -> Decimal:
    """Return what fell short and no other leg was made for yet: never more than is left of the order's size."""
    trading = [leg for leg in legs if leg.role.trades_the_order]
    short = sum((leg.size - leg.filled for leg in short_legs(trading, LegPolicy.REROUTE)), ZERO)
    made = sum((leg.size for leg in trading if leg.role is Role.REROUTE), ZERO)
    taken = sum((leg.filled if leg.is_final else leg.size for leg in trading), ZERO)
    return max(ZERO, min(short - made, size - taken))


def to_trade_back(legs: Sequence[Leg]) -> list[tuple[Leg, Decimal]]:
    """Return the legs that traded, each with what was not traded back of it yet."""
    left = [(leg, leg.filled - traded_back(legs, leg.number)) for leg in legs if leg.role.trades_the_order]
    return [(leg, size) for leg, size in left if size > ZERO]


def traded_back(legs: Sequence[Leg], entry: int) -> Decimal:
    """Return what was traded back of the leg with a number."""
    return sum((leg.filled for leg in legs if leg.role is Role.UNWIND and leg.entry == entry), ZERO)
