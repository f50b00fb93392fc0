"""Rows to values, values to rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from services.domain.decimals import plain_text
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.execution.model.leg import Evidence, Leg, LegState, Role
from services.execution.model.order import Exit, Order
from services.execution.model.twap import Terms, Twap
from services.venues.actions import OrderType, Side, TimeInForce

_US: Final = timedelta(microseconds=1)
ORDER: Final = (
    "order_id", "user_id", "request_id", "digest", "market", "side", "size", "type", "limit_price", "time_in_force",
    "reduce_only", "client_order_id", "quote_id", "max_slippage_bps", "refusal", "state", "version", "create_time",
    "update_time", "cancel_time", "finish_time", "expire_time", "trigger_price", "take_profit",
    "stop_loss", "twap", "slice_time",
)  # fmt: skip
LEG: Final = (
    "leg_id", "order_id", "number", "venue", "account_id", "market", "venue_market_id", "side", "size", "limit_price",
    "type", "time_in_force", "reduce_only", "client_id", "state", "evidence", "refusal", "filled", "notional", "fees",
    "interface_fees", "venue_order_id", "transaction_hash", "nonce", "key_index", "expire_ms", "send_count",
    "action_number", "cancel_wanted", "create_time", "submit_time", "acknowledge_time", "execute_time", "update_time",
    "resolve_time", "settled", "cancel_send_time", "expire_time", "expiring",
    "trigger_price", "trigger_time", "role", "entry", "part",
)  # fmt: skip
LEG_CHANGES: Final = ("size", *LEG[14:29], *LEG[30:])
"""What a leg's life changes."""


def marks(count: int, start: int = 1) -> str:
    """Return `$1, $2, ...`."""
    return ", ".join(f"${at}" for at in range(start, start + count))


def order_row(order: Order) -> list[object]:
    """Return an order's values in the order of `ORDER`."""
    values: dict[str, object] = {
        name: getattr(order, name) for name in ORDER if name not in ("refusal", "state", "twap")
    }
    values |= {
        "side": order.side.value,
        "type": order.type.value,
        "time_in_force": order.time_in_force.value,
        "refusal": refusal_json(order.refusal),
        "state": order.state.value,
        "take_profit": _exit_json(order.take_profit),
        "stop_loss": _exit_json(order.stop_loss),
        "twap": twap_json(order.twap),
    }
    return [values[name] for name in ORDER]


def leg_row(leg: Leg, order: Order, names: Sequence[str] = LEG) -> list[object]:
    """Return a leg's values in the order of `names`."""
    values = {name: getattr(leg, name) for name in LEG if name not in ("order_id", "refusal")}
    values |= {
        "order_id": order.order_id,
        "side": leg.side.value,
        "type": leg.type.value,
        "time_in_force": leg.time_in_force.value,
        "state": leg.state.value,
        "evidence": leg.evidence.value,
        "refusal": refusal_json(leg.refusal),
        "role": leg.role.value,
    }
    return [values[name] for name in names]


def order_of(row: Any, legs: Sequence[Any]) -> Order:
    """Return an order."""
    values = {name: row[name] for name in ORDER if name not in ("state", "slice_time")}
    values |= {
        "side": Side(row["side"]),
        "type": OrderType(row["type"]),
        "time_in_force": TimeInForce(row["time_in_force"]),
        "refusal": refusal_of(row["refusal"]),
        "take_profit": _exit_of(row["take_profit"]),
        "stop_loss": _exit_of(row["stop_loss"]),
        "twap": _twap_of(row["twap"]),
    }
    return Order(**values, legs=tuple(leg_of(one) for one in legs))


def leg_of(row: Any) -> Leg:
    """Return a leg."""
    values = {name: row[name] for name in LEG if name != "order_id"}
    values |= {
        "side": Side(row["side"]),
        "type": OrderType(row["type"]),
        "time_in_force": TimeInForce(row["time_in_force"]),
        "state": LegState(row["state"]),
        "evidence": Evidence(row["evidence"]),
        "refusal": refusal_of(row["refusal"]),
        "role": Role(row["role"]),
        "nonce": int(row["nonce"]),
    }
    return Leg(**values)


def _exit_json(one: Exit | None) -> str | None:
    if one is None:
        return None
    limit = None if one.limit_price is None else plain_text(one.limit_price)
    return json.dumps({"trigger_price": plain_text(one.trigger_price), "limit_price": limit})


def _exit_of(text: str | None) -> Exit | None:
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


def _twap_of(text: str | None) -> Twap | None:
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


def refusal_json(refusal: Refusal | None) -> str | None:
    """Return a refusal as JSON."""
    return None if refusal is None else json.dumps(asdict(refusal))


def refusal_of(text: str | None) -> Refusal | None:
    """Return a refusal."""
    if text is None:
        return None
    values = json.loads(text)
    return Refusal(**{**values, "reason": RefusalReason(values["reason"]), "origin": Origin(values["origin"])})
