"""Messages to values."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.type.v1 import environment_pb2, margin_mode_pb2, order_type_pb2, side_pb2, time_in_force_pb2
from perpmesh.vault.v1 import account_pb2, action_pb2
from perpmesh.vault.v1 import signer_service_pb2 as pb

from services.domain.decimals import Price, Rate, Size, parse_decimal
from services.domain.errors import field_invalid
from services.vault.model.account import AccountKind, Custody, Environment, Limits
from services.vault.model.lane import Outcome
from services.vault.model.signing import Leg, Report, Wanted
from services.venues import actions

EXPIRY_MAX_MS: Final = 24 * 3_600_000
"""How far ahead bytes may expire."""
_GROUPINGS: Final = {
    action_pb2.PlaceAction.GROUPING_UNSPECIFIED: actions.Grouping.NONE,
    action_pb2.PlaceAction.GROUPING_ENTRY_WITH_EXITS: actions.Grouping.ENTRY_WITH_EXITS,
    action_pb2.PlaceAction.GROUPING_EXITS: actions.Grouping.EXITS,
}


def environment(value: int) -> Environment:
    """Return where an account lives."""
    return Environment(environment_pb2.Environment.Name(value).removeprefix("ENVIRONMENT_"))  # type: ignore[arg-type]


def kind(value: int) -> AccountKind:
    """Return what an account is; unspecified is the main one."""
    name = account_pb2.Account.Kind.Name(value).removeprefix("KIND_")  # type: ignore[arg-type]
    return AccountKind.MAIN if name == "UNSPECIFIED" else AccountKind(name)


def custody(value: int) -> Custody:
    """Return who holds the key; unspecified is us."""
    name = account_pb2.Account.Custody.Name(value).removeprefix("CUSTODY_")  # type: ignore[arg-type]
    return Custody.DELEGATED if name == "UNSPECIFIED" else Custody(name)


def amount(text: str) -> Decimal | None:
    """Return an amount; None for the empty text."""
    return parse_decimal(text) if text else None


def limits(message: account_pb2.TradingLimits) -> Limits:
    """Return limits."""
    return Limits(
        max_order_notional=amount(message.max_order_notional),
        max_day_notional=amount(message.max_day_notional),
        max_position_notional=amount(message.max_position_notional),
        max_day_loss=amount(message.max_day_loss),
        markets=tuple(message.markets),
        max_leverage=message.max_leverage,
        max_orders_per_minute=message.max_orders_per_minute,
        price_band_bps=message.price_band_bps if message.HasField("price_band_bps") else None,
        reduce_only=message.reduce_only,
    )


def leg(request: Any) -> Leg:
    """Return the leg, number and fence of a request."""
    return Leg(UUID(request.leg_id), request.action_number, request.fence)


def wanted(request: Any, now_ms: int) -> Wanted:
    """Return what is to be signed or prepared. Raises FIELD_INVALID."""
    expire_ms = milliseconds(request.expire_time)
    if expire_ms > now_ms + EXPIRY_MAX_MS:
        raise field_invalid("expire_time", "a moment within a day would pass: bytes that live longer are a danger")
    # What differs in the way it is written only must not be another action.
    raw = request.action.SerializeToString(deterministic=True)
    return Wanted(
        leg=leg(request),
        account_id=UUID(request.account_id),
        action=action(request.action),
        digest=hashlib.sha256(raw).digest(),
        expire_ms=expire_ms,
        order_id=UUID(request.order_id) if request.order_id else None,
    )


def report(request: pb.ReportOutcomeRequest) -> Report:
    """Return what became of an action."""
    name = pb.ReportOutcomeRequest.Outcome.Name(request.outcome).removeprefix("OUTCOME_")
    if name == "UNSPECIFIED":
        raise field_invalid("outcome", "one of the named outcomes would pass")
    return Report(
        leg=leg(request),
        outcome=Outcome(name),
        venue_code=request.venue_code,
        venue_message=request.venue_message.replace("\0", ""),
    )


def action(message: action_pb2.Action) -> actions.Action:
    """Return the one action that a message holds. There is none for anything else."""
    which = message.WhichOneof("action")
    if which == "place":
        place = message.place
        rate = amount(place.interface_fee_rate)
        return actions.Place(
            orders=tuple(_terms(order, f"action.place.orders[{n}]") for n, order in enumerate(place.orders)),
            grouping=_GROUPINGS[place.grouping],
            priority_fee_bps=place.priority_fee_bps,
            interface_fee_rate=Rate(rate) if rate else None,
        )
    if which == "modify":
        return actions.Modify(
            order=_reference(message.modify.order), terms=_terms(message.modify.terms, "action.modify.terms")
        )
    if which == "cancel":
        return actions.Cancel(orders=tuple(_reference(order) for order in message.cancel.orders))
    if which == "cancel_all":
        return actions.CancelAll(market=message.cancel_all.market)
    if which == "leverage":
        leverage = message.leverage
        mode = margin_mode_pb2.MarginMode.Name(leverage.margin_mode).removeprefix("MARGIN_MODE_")
        return actions.SetLeverage(
            market=leverage.market,
            venue_market_id=leverage.venue_market_id,
            leverage=leverage.leverage,
            margin_mode=actions.MarginMode(mode),
        )
    assert which == "scheduled_cancel", "validated: one of the actions"
    scheduled = message.scheduled_cancel
    at = milliseconds(scheduled.cancel_time) if scheduled.HasField("cancel_time") else None
    return actions.ScheduleCancel(cancel_time_ms=at)


def _terms(message: action_pb2.OrderTerms, path: str) -> actions.OrderTerms:
    type_name = order_type_pb2.OrderType.Name(message.type).removeprefix("ORDER_TYPE_")
    tif = time_in_force_pb2.TimeInForce.Name(message.time_in_force).removeprefix("TIME_IN_FORCE_")
    if tif == "UNSPECIFIED":
        tif = "GOOD_TILL_CANCELED" if "LIMIT" in type_name else "IMMEDIATE_OR_CANCEL"
    if tif not in actions.TimeInForce.__members__ or type_name not in actions.OrderType.__members__:
        raise field_invalid(path, f"no venue takes a {type_name} order that is {tif}")
    return actions.OrderTerms(
        market=message.market,
        venue_market_id=message.venue_market_id,
        side=actions.Side(side_pb2.Side.Name(message.side).removeprefix("SIDE_")),
        size=Size(parse_decimal(message.size)),
        limit_price=Price(parse_decimal(message.limit_price)),
        type=actions.OrderType(type_name),
        time_in_force=actions.TimeInForce(tif),
        client_id=message.venue_client_id,
        reduce_only=message.reduce_only,
        trigger_price=Price(parse_decimal(message.trigger_price)) if message.HasField("trigger_price") else None,
        expire_time_ms=milliseconds(message.order_expire_time) if message.HasField("order_expire_time") else None,
    )


def _reference(message: action_pb2.OrderReference) -> actions.OrderReference:
    if not message.venue_client_id and not message.venue_order_id:
        raise field_invalid("orders", "each order is named by venue_client_id or venue_order_id")
    return actions.OrderReference(
        market=message.market,
        venue_market_id=message.venue_market_id,
        client_id=message.venue_client_id,
        order_id=message.venue_order_id,
    )


def milliseconds(moment: Timestamp) -> int:
    """Return a time in milliseconds since 1970."""
    return moment.seconds * 1000 + moment.nanos // 1_000_000
