"""Halts: what stops new orders of everyone, at a venue, or of a user. Look-ups, cancels and what reduces go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from services.domain.refusal import Origin, Refusal, RefusalReason


class HaltKind(StrEnum):
    """What is halted."""

    EVERYTHING = "EVERYTHING"
    VENUE = "VENUE"
    USER = "USER"


@dataclass(frozen=True, slots=True)
class Scope:
    """What a halt is about; `name` is the venue or the user's id, and empty for everything."""

    kind: HaltKind
    name: str = ""

    def takes_in(self, user_id: UUID, venue: str) -> bool:
        """Whether an order of a user at a venue is within it."""
        if self.kind is HaltKind.USER:
            return self.name == str(user_id)
        return self.kind is HaltKind.EVERYTHING or self.name == venue


@dataclass(frozen=True, slots=True, kw_only=True)
class Halt:
    """A halt in force."""

    halt_id: UUID
    scope: Scope
    reason: str
    operator: str
    cancels_orders: bool
    create_time: datetime


def halt_of(halts: Iterable[Halt], user_id: UUID, venue: str) -> Halt | None:
    """Return the oldest halt that takes in an order of a user at a venue."""
    return next((halt for halt in halts if halt.scope.takes_in(user_id, venue)), None)


def halted(halt: Halt) -> Refusal:
    """Return why an order is not taken, or not sent."""
    whom = {HaltKind.EVERYTHING: "all trading", HaltKind.VENUE: f"trading at {halt.scope.name}"}
    return Refusal(
        reason=RefusalReason.HALTED,
        origin=Origin.MESH,
        message=f"The operator halted {whom.get(halt.scope.kind, 'your trading')}: {halt.reason}",
        advice="Cancel and reduce as you like (reduce_only, or ClosePosition); place it again when the halt has ended.",
        field="reduce_only",
        given_value="false",
        passing_value="true",
        venue=halt.scope.name if halt.scope.kind is HaltKind.VENUE else "",
    )
