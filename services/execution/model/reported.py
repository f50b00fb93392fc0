"""What an order came to: values, and how they are said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from typing import Final
from uuid import UUID

from services.domain.decimals import plain_text, rounding
from services.execution.model.leg import ZERO
from services.execution.model.order import Order
from services.execution.model.phases import Phase
from services.execution.model.quoted import CostKind, Levels, Quoted

BPS: Final = Decimal(10_000)
BPS_DECIMALS: Final = 6


class Cause(StrEnum):
    """Where a difference comes from; the contract's names, in its order."""

    BOOK_MOVED = "BOOK_MOVED"
    LATENCY = "LATENCY"
    PARTIAL_FILL = "PARTIAL_FILL"
    FEE_TIER = "FEE_TIER"
    ROUNDING = "ROUNDING"
    VENUE = "VENUE"
    POLICY = "POLICY"
    UNEXPLAINED = "UNEXPLAINED"


SENTENCES: Final[Mapping[Cause, str]] = {
    Cause.BOOK_MOVED: "The book of {venue} had moved when the order was sent.",
    Cause.LATENCY: "The book of {venue} moved between the sending and the venue's acting on it.",
    Cause.PARTIAL_FILL: "{filled} of {quoted} was filled at {venue}; what is not filled costs nothing.",
    Cause.FEE_TIER: "{venue} charged other fee rates than were quoted.",
    Cause.ROUNDING: "{venue} cuts each fee to its own decimals, or sizes were rounded to its lots.",
    Cause.VENUE: "{venue} filled otherwise than any book it showed in between.",
    Cause.POLICY: "What was traded at {venue} beyond the plan: routed again, traded back, or an exit.",
    Cause.UNEXPLAINED: "Nobody saw the books of {venue} between the sending and its acting.",
}
NOTHING_UNEXPLAINED: Final = "Nothing is left unexplained."


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """One trade of a leg."""

    price: Decimal
    size: Decimal
    is_maker: bool
    fee: Decimal
    interface_fee: Decimal
    receive_time: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What was seen of a leg's book from its sending on: the side it takes from."""

    sent: Levels | None = None
    """As it stood when the leg was sent; None where it was not known."""
    after: Sequence[Levels] = ()
    """As it stood after each change since, the oldest first."""
    is_whole: bool = False
    """Whether nothing between is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of cost in USD, quoted and achieved; positive is paid."""

    kind: CostKind
    quoted: Decimal
    achieved: Decimal

    @property
    def difference(self) -> Decimal:
        """Achieved less quoted."""
        return self.achieved - self.quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """A part of the difference in USD."""

    cause: Cause
    amount: Decimal
    venue: str
    explanation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LegReport:
    """What one leg was quoted and what it achieved."""

    leg_id: UUID
    venue: str
    quoted_size: Decimal
    quoted_notional: Decimal
    filled_size: Decimal
    notional: Decimal
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an order came to."""

    order: Order
    quoted: Quoted | None
    is_complete: bool
    lines: tuple[Line, ...]
    attributions: tuple[Attribution, ...]
    """They add up to `difference`; what is unexplained is always stated."""
    phases: tuple[Phase, ...]
    legs: tuple[LegReport, ...]
    fill_count: int
    explanation: str
    create_time: datetime

    @property
    def quoted_cost(self) -> Decimal:
        """The sum of what was quoted."""
        return sum((line.quoted for line in self.lines), ZERO)

    @property
    def achieved_cost(self) -> Decimal:
        """The sum of what was achieved."""
        return sum((line.achieved for line in self.lines), ZERO)

    @property
    def difference(self) -> Decimal:
        """Achieved less quoted: positive is worse."""
        return self.achieved_cost - self.quoted_cost

    @property
    def difference_bps(self) -> Decimal | None:
        """The same in basis points of what was filled at the arrival mid price, rounded half to even."""
        base = self.order.gross * self.quoted.arrival_mid_price if self.quoted is not None else ZERO
        if not base:
            return None
        with rounding():
            places = Decimal(1).scaleb(-BPS_DECIMALS)
            return (self.difference * BPS / base).quantize(places, rounding=ROUND_HALF_EVEN)


def explanation(made: Report) -> str:
    """Return the report as one sentence."""
    order, quoted = made.order, made.quoted
    if quoted is None or not order.legs:
        return "It was not sent, so that there is nothing to compare."
    filled = f"{plain_text(order.gross)} of {plain_text(quoted.size)} {'is' if order.gross else 'was'} filled"
    against = "quoted" if quoted.quote_id is not None else "expected by the books at its arrival"
    cost = f"it cost {_usd(made.achieved_cost)} USD, and {_usd(made.quoted_cost)} was {against}"
    if not made.difference:
        return f"{filled}; {cost}: no difference."
    why = ", ".join(
        f"{one.cause.value.lower().replace('_', ' ')} at {one.venue} {_usd(one.amount, sign=True)}"
        for one in made.attributions
        if one.amount
    )
    return f"{filled}; {cost}: {_usd(made.difference, sign=True)} by {why}."


def _usd(amount: Decimal, *, sign: bool = False) -> str:
    """Return an amount as a person reads it, rounded half to even to a ten-thousandth; the fields have it exactly."""
    with rounding():
        shown = plain_text(amount.quantize(Decimal("0.0001"), rounding=ROUND_HALF_EVEN))
    return f"+{shown}" if sign and not shown.startswith("-") else shown
