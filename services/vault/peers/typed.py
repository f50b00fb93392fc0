"""Actions as text and back, for what is prepared now and sealed later."""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from enum import Enum
from typing import Any, Final, cast

import msgspec

from services.venues import actions
from services.venues.actions import Action

_KINDS: Final = {
    kind.__name__: kind
    for kind in (
        actions.Place, actions.Modify, actions.Cancel, actions.CancelAll, actions.SetLeverage, actions.ScheduleCancel,
    )
}  # fmt: skip


def action_text(action: Action) -> str:
    """Return an action as JSON."""
    return msgspec.json.encode({"kind": type(action).__name__, "fields": asdict(action)}, enc_hook=_plain).decode()


def action_of(text: str) -> Action:
    """Return the action of such a text."""
    held = msgspec.json.decode(text, type=dict[str, Any])
    made: Any = msgspec.convert(held["fields"], type=_KINDS[held["kind"]], dec_hook=_read, strict=False)
    return cast("Action", made)


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    raise NotImplementedError(type(value).__name__)


def _read(kind: type, value: object) -> object:
    return Decimal(str(value)) if kind is Decimal else value
