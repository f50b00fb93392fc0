"""Exits, schedules, callers' keys and refusals as JSON, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.domain.decimals import plain_text
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.execution.model.caller_key import CallerKey
from services.execution.model.order import Exit
from services.execution.model.twap import Terms, Twap

_US: Final = timedelta(microseconds=1)


def exit_json(one: Exit | None) -> str | None:
    """Return an exit as JSON."""
    if one is None:
        return None
    limit = None if one.limit_price is None else plain_text(one.limit_price)
    return json.dumps({"trigger_price": plain_text(one.trigger_price), "limit_price": limit})


def exit_of(text: str | None) -> Exit | None:
    """Return an exit."""
    if text is None:
        return None
    values = json.loads(text)
    limit = values["limit_price"]
    return Exit(trigger_price=Decimal(values["trigger_price"]), limit_price=None if limit is None else Decimal(limit))


def twap_json(schedule: Twap | None) -> str | None:
    """Return a schedule as JSON; times in whole microseconds."""
    if schedule is None:
        return None
    terms = schedule.terms
    values = {
        "duration_us": terms.duration // _US, "interval_us": terms.interval // _US, "randomize": terms.randomize,
        "seed": schedule.seed, "account_ids": [str(one) for one in schedule.account_ids],
        "start": schedule.start_time.isoformat(), "next": schedule.next_slice, "sent": schedule.sent,
        "pause": None if schedule.pause_time is None else schedule.pause_time.isoformat(),
        "paused_us": schedule.paused // _US, "refusal": refusal_json(schedule.refusal),
    }  # fmt: skip
    return json.dumps(values)


def twap_of(text: str | None) -> Twap | None:
    """Return a schedule."""
    if text is None:
        return None
    values = json.loads(text)
    return Twap(
        terms=Terms(
            duration=values["duration_us"] * _US, interval=values["interval_us"] * _US, randomize=values["randomize"]
        ),
        seed=values["seed"],
        account_ids=tuple(UUID(one) for one in values["account_ids"]),
        start_time=datetime.fromisoformat(values["start"]),
        next_slice=values["next"],
        sent=values["sent"],
        pause_time=None if values["pause"] is None else datetime.fromisoformat(values["pause"]),
        paused=values["paused_us"] * _US,
        refusal=refusal_of(values["refusal"]),
    )


def caller_json(key: CallerKey | None) -> str | None:
    """Return a caller's key as JSON."""
    return None if key is None else json.dumps(asdict(key))


def caller_of(text: str | None) -> CallerKey | None:
    """Return a caller's key."""
    return None if text is None else CallerKey(**json.loads(text))


def refusal_json(refusal: Refusal | None) -> str | None:
    """Return a refusal as JSON."""
    return None if refusal is None else json.dumps(asdict(refusal))


def refusal_of(text: str | None) -> Refusal | None:
    """Return a refusal."""
    if text is None:
        return None
    values = json.loads(text)
    return Refusal(**{**values, "reason": RefusalReason(values["reason"]), "origin": Origin(values["origin"])})
