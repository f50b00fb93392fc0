"""The plan in one sentence."""

from __future__ import annotations

from services.domain.decimals import plain_text
from services.routing.model.inputs import Inputs
from services.routing.model.plan import Plan

NAMES = {"hyperliquid": "Hyperliquid", "lighter": "Lighter"}


def explain(inputs: Inputs, plan: Plan) -> str:
    """Return why the plan is as it is."""
    verb = "buys" if inputs.side.sign > 0 else "sells"
    parts = [f"{plain_text(leg.size)} at {name(leg.venue)}" for leg in plan.legs]
    said = f"It {verb} {' and '.join(parts)}"
    others = [one for one in plan.alternatives if one.total_cost is not None and one.extra_cost]
    single = [one for one in others if one.venue]
    if len(plan.legs) > 1:
        if single:
            extra = plain_text(single[0].extra_cost_bps or plan.total_cost_bps * 0)
            other = f"{name(single[0].venue)} alone costs {extra} bps more"
            return f"{said}, where one more unit costs the same at each; {other}."
        return f"{said}, since no venue alone carries the size."
    if single:
        extra = plain_text(single[0].extra_cost_bps or plan.total_cost_bps * 0)
        return f"{said}, where all of it is cheapest; {name(single[0].venue)} costs {extra} bps more."
    return f"{said}, the only venue that carries the size."


def name(venue: str) -> str:
    """Return a venue's name as people write it."""
    return NAMES.get(venue, venue)
