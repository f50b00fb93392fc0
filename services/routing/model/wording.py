"""The plan in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

from services.domain.decimals import plain_text
from services.routing.model.inputs import ZERO, Inputs
from services.routing.model.plan import Alternative, PlanLeg

NAMES = {"hyperliquid": "Hyperliquid", "lighter": "Lighter"}


def explain(inputs: Inputs, legs: Sequence[PlanLeg], alternatives: Sequence[Alternative]) -> str:
    """Return why the plan is as it is."""
    verb = "buys" if inputs.side.sign > 0 else "sells"
    parts = [f"{plain_text(leg.size)} at {name(leg.venue)}" for leg in legs]
    said = f"It {verb} {' and '.join(parts)}"
    single = [one for one in alternatives if one.venue and one.total_cost is not None and one.extra_cost]
    extra = plain_text(single[0].extra_cost_bps or ZERO) if single else ""
    if len(legs) > 1:
        if single:
            other = f"{name(single[0].venue)} alone costs {extra} bps more"
            return f"{said}, where one more unit costs the same at each; {other}."
        return f"{said}, since no venue alone carries the size."
    if single:
        return f"{said}, where all of it is cheapest; {name(single[0].venue)} costs {extra} bps more."
    return f"{said}, the only venue that carries the size."


def name(venue: str) -> str:
    """Return a venue's name as people write it."""
    return NAMES.get(venue, venue)
