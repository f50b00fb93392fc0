"""Two sides that belong together, and the rule for when one stands alone. Pure.

Each side is a leg at its venue. Where one may rest it leads: it is sent first, and the other, HELD until then, follows
its fills with immediate legs for the same share. Otherwise both are sent at once.

How far a side stands alone is counted by shares: of 2 BTC against 30 ETH, 1 BTC filled against 10 ETH leaves a sixth of
the whole alone, 0.333 BTC. What is less than the lot of the side that stands alone is unavoidable, and while legs are
out also what is less than the other venue takes as an order.

The rollback comes when a side can catch up no more, or when the two have differed for as long as the rule has
patience. First what is out of both sides is canceled; when all has ended by evidence, and so never while an outcome is
unknown, what stands alone is traded back, reduce-only, or kept where the rule says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.domain.decimals import plain_text, rounding
from services.execution.model.leg import ZERO, Leg, LegState, Role
from services.venues.actions import Side, TimeInForce

PATIENCE: Final = timedelta(seconds=10)
SLIPPAGE_BPS: Final = 100
AGAIN: Final = timedelta(seconds=1)
"""How soon a leg that follows is followed by another where it fell short."""
FOLLOW_MAX: Final = 100
"""Legs that follow, at most: an order is told whole with every change."""
_REFUSED: Final = (LegState.REJECTED, LegState.DENIED)


class Action(StrEnum):
    """What is done with the side that stands alone; the contract's names."""

    UNWIND = "UNWIND"
    KEEP = "KEEP"


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeLegAsked:
    """One side as a caller asks for it."""

    market: str
    side: Side
    size: Decimal
    venue: str
    account_id: UUID | None
    limit_price: Decimal | None
    time_in_force: TimeInForce
    reduce_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollback:
    """When a hedged order is rolled back, and how."""

    action: Action = Action.UNWIND
    tolerated: Decimal = ZERO
    """How much may stand alone, in units of that side's base asset."""
    patience: timedelta = PATIENCE
    max_slippage_bps: int = SLIPPAGE_BPS


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeAsked:
    """What a caller asks for."""

    request_id: UUID
    legs: tuple[HedgeLegAsked, HedgeLegAsked]
    rollback: Rollback
    max_slippage_bps: int | None
    expire_time: datetime | None
    client_order_id: str

    @property
    def digest(self) -> bytes:
        """What tells the same content under one request_id from other content."""
        legs = [
            (one.market, one.side.value, plain_text(one.size), one.venue, str(one.account_id),
             "" if one.limit_price is None else plain_text(one.limit_price), one.time_in_force.value,
             str(one.reduce_only))
            for one in self.legs
        ]  # fmt: skip
        rule = self.rollback
        stated = (
            "hedge", rule.action.value, plain_text(rule.tolerated), str(rule.patience), str(rule.max_slippage_bps),
            str(self.max_slippage_bps), str(self.expire_time), self.client_order_id,
        )  # fmt: skip
        return hashlib.sha256("\0".join((*stated, *(part for leg in legs for part in leg))).encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class HedgeSide:
    """One side as it was taken in."""

    size: Decimal
    lot: Decimal
    least: Decimal
    """The smallest order that its venue takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """The two sides of an order, and its rule."""

    rollback: Rollback
    sides: tuple[HedgeSide, HedgeSide]
    lead: int = 0
    """Which side is sent first, 1 or 2; 0 where both are sent at once."""
    differ_time: datetime | None = None
    """Since when the sides differ by more than is tolerated."""

    def side(self, number: int) -> HedgeSide:
        """Return side 1 or 2."""
        return self.sides[number - 1]

    @property
    def follower(self) -> int:
        """The side that follows; 0 for none."""
        return 3 - self.lead if self.lead else 0


def other(side: int) -> int:
    """Return the other side."""
    return 3 - side


def legs_of(legs: Sequence[Leg], side: int) -> list[Leg]:
    """Return the legs that trade a side."""
    return [leg for leg in legs if leg.role is Role.HEDGE and leg.part == side]


def gross(legs: Sequence[Leg], side: int) -> Decimal:
    """Return what a side filled."""
    return sum((leg.filled for leg in legs_of(legs, side)), ZERO)


def net(legs: Sequence[Leg], side: int) -> Decimal:
    """Return what a side filled, less what was traded back."""
    back = sum((leg.filled for leg in legs if leg.role is Role.UNWIND and leg.part == side), ZERO)
    return gross(legs, side) - back


def alone(hedge: Hedge, legs: Sequence[Leg]) -> tuple[int, Decimal]:
    """Return the side that stands alone, and how much of it on its lot; (0, 0) where neither does."""
    one, two = hedge.sides
    with rounding():
        gap = net(legs, 1) * two.size - net(legs, 2) * one.size
        side = 1 if gap > 0 else 2
        size = floor(abs(gap) / hedge.side(other(side)).size, hedge.side(side).lot)
    return (side, size) if size > ZERO and size > hedge.rollback.tolerated else (0, ZERO)


def can_be_hedged(hedge: Hedge, side: int, size: Decimal) -> bool:
    """Whether a size of one side is worth an order at the other's venue."""
    mine, theirs = hedge.side(side), hedge.side(other(side))
    return size * theirs.size >= theirs.least * mine.size


def to_follow(hedge: Hedge, legs: Sequence[Leg]) -> Decimal:
    """Return what the side that follows is short of its lead's share, on its lot; nothing where that is no order."""
    if not hedge.lead:
        return ZERO
    lead, mine = hedge.side(hedge.lead), hedge.side(hedge.follower)
    out = sum((leg.filled if leg.is_final else leg.size for leg in followers(hedge, legs)), ZERO)
    with rounding():
        share = floor(gross(legs, hedge.lead) * mine.size / lead.size, mine.lot)
    return share - out if share - out >= mine.least else ZERO


def followers(hedge: Hedge, legs: Sequence[Leg]) -> list[Leg]:
    """Return the legs that follow and were released."""
    return [leg for leg in legs_of(legs, hedge.follower) if leg.state is not LegState.HELD]


def is_spent(hedge: Hedge, legs: Sequence[Leg], side: int) -> bool:
    """Whether a side that is not filled can catch up no more: it was refused, or nothing of it is out or to come."""
    mine = legs_of(legs, side)
    if gross(legs, side) >= hedge.side(side).size:
        return False
    if side != hedge.follower:
        return all(leg.is_final for leg in mine)
    released = followers(hedge, legs)
    if any(not leg.is_final for leg in released):
        return False
    return len(released) >= FOLLOW_MAX or (bool(released) and released[-1].state in _REFUSED)


def follows_at(hedge: Hedge, legs: Sequence[Leg]) -> datetime | None:
    """Return when another leg is to follow the last one, which fell short; None where none is."""
    released = followers(hedge, legs)
    if not released or not released[-1].is_final or is_spent(hedge, legs, hedge.follower):
        return None
    return released[-1].update_time + AGAIN if to_follow(hedge, legs) else None


def marked(hedge: Hedge, legs: Sequence[Leg], now: datetime) -> Hedge:
    """Return the hedge with the time since when its sides differ by what could be hedged."""
    side, size = alone(hedge, legs)
    if not side or not can_be_hedged(hedge, side, size):
        return replace(hedge, differ_time=None) if hedge.differ_time is not None else hedge
    return replace(hedge, differ_time=now) if hedge.differ_time is None else hedge


def floor(size: Decimal, lot: Decimal) -> Decimal:
    """Return a size rounded down to a lot."""
    with rounding():
        return (size / lot).to_integral_value(rounding=ROUND_FLOOR) * lot
