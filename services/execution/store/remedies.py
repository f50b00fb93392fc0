"""Hedges and what policies did, as JSON, and back."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from services.domain.decimals import plain_text
from services.execution.model.hedge import Action, Hedge, HedgeSide, Rollback
from services.execution.model.policy import LegPolicy, Remedy
from services.execution.store.plans import refusal_json, refusal_of

_US: Final = timedelta(microseconds=1)


def hedge_json(pair: Hedge | None) -> str | None:
    """Return a hedge as JSON; times in whole microseconds."""
    if pair is None:
        return None
    rule = pair.rollback
    values = {
        "action": rule.action.value, "tolerated": plain_text(rule.tolerated), "patience_us": rule.patience // _US,
        "max_slippage_bps": rule.max_slippage_bps, "lead": pair.lead, "differ": _text(pair.differ_time),
        "sides": [
            {name: plain_text(getattr(one, name)) for name in ("size", "lot", "least")} for one in pair.sides
        ],
    }  # fmt: skip
    return json.dumps(values)


def hedge_of(text: str | None) -> Hedge | None:
    """Return a hedge."""
    if text is None:
        return None
    values = json.loads(text)
    first, second = (HedgeSide(**{name: Decimal(value) for name, value in one.items()}) for one in values["sides"])
    return Hedge(
        rollback=Rollback(
            action=Action(values["action"]),
            tolerated=Decimal(values["tolerated"]),
            patience=values["patience_us"] * _US,
            max_slippage_bps=values["max_slippage_bps"],
        ),
        sides=(first, second),
        lead=values["lead"],
        differ_time=_moment(values["differ"]),
    )


def remedy_json(done: Remedy | None) -> str | None:
    """Return what a policy did as JSON."""
    if done is None:
        return None
    values = {
        "policy": done.policy.value, "leg_id": str(done.leg_id), "missing": plain_text(done.missing),
        "act": _text(done.act_time), "added": [str(one) for one in done.added], "rounds": done.rounds,
        "next": _text(done.next_time), "refusal": refusal_json(done.refusal), "is_over": done.is_over,
    }  # fmt: skip
    return json.dumps(values)


def remedy_of(text: str | None) -> Remedy | None:
    """Return what a policy did."""
    if text is None:
        return None
    values = json.loads(text)
    return Remedy(
        policy=LegPolicy(values["policy"]),
        leg_id=UUID(values["leg_id"]),
        missing=Decimal(values["missing"]),
        act_time=datetime.fromisoformat(values["act"]),
        added=tuple(UUID(one) for one in values["added"]),
        rounds=values["rounds"],
        next_time=_moment(values["next"]),
        refusal=refusal_of(values["refusal"]),
        is_over=values["is_over"],
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: Any) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
