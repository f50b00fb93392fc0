"""What would come of an order: its legs, what each costs and binds, and why it would not pass. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, Decimal
from typing import Final

from services.domain.decimals import plain_text, rounding
from services.domain.refusal import Refusal, RefusalReason
from services.execution.model.leg import ZERO, Leg
from services.execution.model.listing import Listing
from services.execution.model.order import Order, mesh_says_no
from services.execution.model.quoted import CostKind, QuotedLeg, costs_of, expected
from services.venues.account import AccountState
from services.venues.actions import Side, TimeInForce

MARGIN_DECIMALS: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What one account has in the market: None where it is not known."""

    free_margin: Decimal | None
    position: Decimal | None
    """Signed."""
    leverage: Decimal | None

    def closes(self, side: Side) -> Decimal:
        """Return how much of the position a side closes."""
        return max(ZERO, -(self.position or ZERO) * side.sign)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewLeg:
    """A leg as it would be sent."""

    leg: Leg
    costs: Mapping[CostKind, Decimal]
    initial_margin: Decimal | None
    free_margin: Decimal | None
    refusals: tuple[Refusal, ...]
    max_size: Decimal | None
    """The largest size that this leg could have with everything else as it is; None where nothing bounds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would come of an order."""

    order: Order
    refusals: tuple[Refusal, ...]
    legs: tuple[PreviewLeg, ...]
    max_size: Decimal | None

    @property
    def passes(self) -> bool:
        """Whether it would pass now."""
        return not self.refusals

    @property
    def initial_margin(self) -> Decimal | None:
        """The margin over all legs; None where that of one is not known."""
        known = [leg.initial_margin for leg in self.legs if leg.initial_margin is not None]
        return sum(known, ZERO) if self.legs and len(known) == len(self.legs) else None

    @property
    def cost(self) -> Decimal:
        """The expected cost beyond the arrival mid price."""
        return sum((amount for leg in self.legs for amount in leg.costs.values()), ZERO)

    @property
    def explanation(self) -> str:
        """The answer as one sentence."""
        if self.refusals:
            advice = f" {self.refusals[0].advice}" if self.refusals[0].advice else ""
            more = f" {len(self.refusals) - 1} more to mend." if len(self.refusals) > 1 else ""
            return f"It would not pass: {self.refusals[0].message}{advice}{more}"
        if self.order.twap is not None:
            count = self.order.twap.terms.count
            return f"It would pass: {plain_text(self.order.size)} in {count} slices, each planned when it is due."
        where = " and ".join(f"{plain_text(one.leg.size)} at {one.leg.venue}" for one in self.legs)
        return f"It would pass: {where}."


def standing_of(state: AccountState | None, market: str, listing: Listing | None) -> Standing:
    """Return what an account has in a market, by its venue's last word; leverage that nobody set is the most."""
    if state is None:
        return Standing(free_margin=None, position=None, leverage=None)
    position = next((one for one in state.positions if one.market == market), None)
    setting = next((one.leverage for one in state.settings if one.market == market), None)
    most = Decimal(listing.max_leverage) if listing is not None and listing.max_leverage else None
    return Standing(
        free_margin=state.margin.available,
        position=position.size if position is not None else ZERO,
        leverage=position.leverage if position is not None and position.size else setting or most,
    )


def preview_leg(leg: Leg, quoted: QuotedLeg, mid: Decimal, standing: Standing, listing: Listing | None) -> PreviewLeg:
    """Return what would come of a leg."""
    taken = expected(quoted, leg.size, leg.side)
    notional = leg.size * leg.limit_price if leg.may_rest else taken.total  # venues hold what an order may rest at
    margin = _margin(notional, leg, standing)
    most = _most(leg, notional, standing, listing)
    refusals = [*_small(leg, listing), *_reduce(leg, standing)]
    if leg.time_in_force is TimeInForce.POST_ONLY and taken.notional:
        refusals.append(_crossed(leg, quoted, listing))
    if margin is not None and standing.free_margin is not None and margin > standing.free_margin:
        refusals.append(_dear(leg, margin, standing.free_margin, most))
    return PreviewLeg(
        leg=leg,
        costs=costs_of(taken, venue=leg.venue, mid=mid, side=leg.side, rates=quoted.rates, rests=quoted.rests),
        initial_margin=margin,
        free_margin=standing.free_margin,
        refusals=tuple(refusals),
        max_size=most,
    )


def _margin(notional: Decimal, leg: Leg, standing: Standing) -> Decimal | None:
    """Return the margin of what a leg opens, rounded up to a millionth; what closes binds nothing."""
    if standing.leverage is None or not standing.leverage or standing.position is None:
        return None
    opens = ZERO if leg.reduce_only else max(ZERO, leg.size - standing.closes(leg.side))
    with rounding():
        margin = notional * opens / leg.size / standing.leverage
        return margin.quantize(Decimal(1).scaleb(-MARGIN_DECIMALS), rounding=ROUND_CEILING)


def _most(leg: Leg, notional: Decimal, standing: Standing, listing: Listing | None) -> Decimal | None:
    closes = standing.closes(leg.side)
    if leg.trigger_price is not None:
        return None
    if leg.reduce_only:
        most = closes if standing.position is not None else None
    elif standing.free_margin is None or standing.leverage is None:
        most = None
    else:
        with rounding():
            most = max(ZERO, standing.free_margin) * standing.leverage * leg.size / notional + closes
    return listing.rounded_down(most) if most is not None and listing is not None else most


def _small(leg: Leg, listing: Listing | None) -> list[Refusal]:
    if listing is None:
        return []
    least = listing.smallest(leg.venue, leg.limit_price, reduce_only=leg.reduce_only)
    if leg.size >= least:
        return []
    by_size = leg.size < listing.min_size
    reason = RefusalReason.SIZE_TOO_SMALL if by_size else RefusalReason.NOTIONAL_TOO_SMALL
    rule = plain_text(listing.min_size) if by_size else f"worth {plain_text(listing.min_notional)} USD"
    message = f"The smallest order at {leg.venue} is {rule}, and {plain_text(leg.size)} was asked for."
    return [_size(reason, message, f"Ask for {plain_text(least)} or more.", leg, least)]


def _reduce(leg: Leg, standing: Standing) -> list[Refusal]:
    if leg.trigger_price is not None:
        return []  # the position is looked at by the venue when the trigger is reached
    if not leg.reduce_only or standing.position is None or leg.size <= standing.closes(leg.side):
        return []
    held = standing.closes(leg.side)
    message = f"The order may only reduce, and {plain_text(held)} is there to be reduced at {leg.venue}."
    return [_size(RefusalReason.REDUCE_ONLY, message, "Ask for no more than the position.", leg, held)]


def _crossed(leg: Leg, quoted: QuotedLeg, listing: Listing | None) -> Refusal:
    best = (quoted.levels or ((leg.limit_price, ZERO),))[0][0]
    passing = best - leg.side.sign * (listing.tick if listing is not None else ZERO)
    refusal = mesh_says_no(
        RefusalReason.POST_ONLY_CROSSED,
        f"The order is post-only and would trade at once with {plain_text(best)} at {leg.venue}.",
        f"{plain_text(passing)} would rest.",
        field="limit_price",
        given=plain_text(leg.limit_price),
        venue=leg.venue,
    )
    return replace(refusal, passing_value=plain_text(passing))


def _dear(leg: Leg, margin: Decimal, free: Decimal, most: Decimal | None) -> Refusal:
    message = f"The leg at {leg.venue} takes {plain_text(margin)} USD of margin, and {plain_text(free)} USD is free."
    return _size(RefusalReason.INSUFFICIENT_MARGIN, message, "Ask for less, or add margin.", leg, most)


def _size(reason: RefusalReason, message: str, advice: str, leg: Leg, passing: Decimal | None) -> Refusal:
    refusal = mesh_says_no(reason, message, advice, field="size", given=plain_text(leg.size), venue=leg.venue)
    return replace(refusal, passing_value=plain_text(passing)) if passing else refusal


def distinct(refusals: Sequence[Refusal]) -> tuple[Refusal, ...]:
    """Return refusals, each once, in their order."""
    return tuple(dict.fromkeys(refusals))
