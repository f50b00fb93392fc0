"""How long each step of an order took, by our own clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.execution.model.leg import Leg
from services.execution.model.order import Order
from services.execution.model.quoted import Quoted

_Timed = tuple["PhaseKind", UUID | None, timedelta]


class PhaseKind(StrEnum):
    """A step of an order; the contract's names.

    Bytes are noted as signed in the transaction that notes them as sent, so that there is no step between the two.
    """

    ACCEPT = "ACCEPT"
    SIGN = "SIGN"
    ACKNOWLEDGE = "ACKNOWLEDGE"
    FIRST_FILL = "FIRST_FILL"
    LAST_FILL = "LAST_FILL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """How long a step took; `leg_id` is None for the order as a whole."""

    kind: PhaseKind
    leg_id: UUID | None
    duration: timedelta


def phases_of(order: Order, quoted: Quoted | None, received: Mapping[UUID, Sequence[datetime]]) -> tuple[Phase, ...]:
    """Return the steps: those of the order as a whole first, then each leg's. `received` is when fills came, by leg."""
    accepted = timedelta(microseconds=quoted.accept_us if quoted is not None else 0)
    found: list[_Timed] = [(PhaseKind.ACCEPT, None, accepted)] if accepted else []
    trading = [leg for leg in order.legs if leg.role.trades_the_order]
    sent = min((leg.submit_time for leg in trading if leg.submit_time is not None), default=None)
    moments = [moment for leg in trading for moment in received.get(leg.leg_id, ())]
    if sent is not None and moments:
        found.append((PhaseKind.FIRST_FILL, None, min(moments) - sent))
        found.append((PhaseKind.LAST_FILL, None, max(moments) - sent))
    for leg in order.legs:
        with_order = leg.create_time == order.create_time
        found += _of_leg(leg, accepted if with_order else timedelta(0), received.get(leg.leg_id, ()))
    return tuple(
        Phase(kind=kind, leg_id=leg_id, duration=max(duration, timedelta(0))) for kind, leg_id, duration in found
    )


def _of_leg(leg: Leg, accepted: timedelta, received: Sequence[datetime]) -> list[_Timed]:
    if leg.submit_time is None:
        return []
    found: list[_Timed] = []
    if leg.role.trades_the_order:  # an exit is made with its order, and waits before it is signed
        found.append((PhaseKind.SIGN, leg.leg_id, leg.submit_time - leg.create_time - accepted))
    if leg.acknowledge_time is not None:
        found.append((PhaseKind.ACKNOWLEDGE, leg.leg_id, leg.acknowledge_time - leg.submit_time))
    if received:
        found.append((PhaseKind.FIRST_FILL, leg.leg_id, min(received) - leg.submit_time))
        found.append((PhaseKind.LAST_FILL, leg.leg_id, max(received) - leg.submit_time))
    return found
