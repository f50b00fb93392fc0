"""Rows to values, values to rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from services.execution.model.leg import Evidence, Leg, LegState, Role
from services.execution.model.order import Order, Replacement
from services.execution.store.plans import exit_json, exit_of, refusal_json, refusal_of, twap_json, twap_of
from services.venues.actions import OrderType, Side, TimeInForce

ORDER: Final = (
    "order_id", "user_id", "request_id", "digest", "market", "side", "size", "type", "limit_price", "time_in_force",
    "reduce_only", "client_order_id", "quote_id", "max_slippage_bps", "refusal", "state", "version", "create_time",
    "update_time", "cancel_time", "finish_time", "replacement", "expire_time", "trigger_price", "take_profit",
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


def order_json(order: Order) -> str:
    """Return a new order's values as JSON, by the names of `ORDER`."""
    row: dict[str, object] = {name: getattr(order, name) for name in ORDER}
    row["digest"] = "\\x" + order.digest.hex()
    for name, text in (
        ("refusal", refusal_json(order.refusal)),
        ("take_profit", exit_json(order.take_profit)),
        ("stop_loss", exit_json(order.stop_loss)),
        ("twap", twap_json(order.twap)),
        ("replacement", replacement_json(order.replacement)),
    ):
        row[name] = raw_json(text)
    return msgspec.json.encode(row).decode()


def legs_json(order: Order, now: datetime, lease_s: float | None) -> str:
    """Return a new order's legs as JSON, by the names of `LEG`: due now, or held; what waits for another is neither."""
    rows = []
    for leg in order.legs:
        row = leg_values(leg, order.order_id, LEG)
        is_held = lease_s is not None and leg.state is LegState.PREPARED
        lease = now + timedelta(seconds=lease_s) if lease_s is not None and is_held else None
        row["due_time"] = lease or (None if leg.state is LegState.HELD else now)
        row["lease_time"], row["fence"] = lease, int(is_held)
        rows.append(row)
    return msgspec.json.encode(rows).decode()


def leg_values(leg: Leg, order_id: UUID | None, names: Sequence[str]) -> dict[str, object]:
    """Return a leg's values by the names of columns, as JSON takes them."""
    row: dict[str, object] = {name: getattr(leg, name, None) for name in names}
    row["leg_id"], row["order_id"] = leg.leg_id, order_id
    row["refusal"] = raw_json(refusal_json(leg.refusal))
    return row


def raw_json(text: str | None) -> msgspec.Raw | None:
    """Return JSON that is a part of other JSON."""
    return None if text is None else msgspec.Raw(text.encode())


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
        "take_profit": exit_of(row["take_profit"]),
        "stop_loss": exit_of(row["stop_loss"]),
        "twap": twap_of(row["twap"]),
        "replacement": replacement_of(row["replacement"]),
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


def replacement_json(replacement: Replacement | None) -> str | None:
    """Return the terms that an order is to get as JSON."""
    return None if replacement is None else json.dumps({k: str(v) for k, v in asdict(replacement).items()})


def replacement_of(text: str | None) -> Replacement | None:
    """Return the terms that an order is to get."""
    if text is None:
        return None
    values = json.loads(text)
    return Replacement(
        request_id=UUID(values["request_id"]),
        leg_id=UUID(values["leg_id"]),
        new_leg_id=UUID(values["new_leg_id"]),
        size=Decimal(values["size"]),
        limit_price=Decimal(values["limit_price"]),
    )
