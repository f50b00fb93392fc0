"""`QuoteInputs`, both ways: what a plan was made from, so that it can be made again from the bytes alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.routing.v1 import quote_inputs_pb2 as pb
from perpmesh.type.v1 import side_pb2, size_unit_pb2

from services.domain.decimals import plain_text, to_units, units_text
from services.routing.model.inputs import Cap, CapKind, Inputs, Side, VenueInputs
from services.routing.model.reach import units_down

SIDES: Final = {Side.BUY: side_pb2.SIDE_BUY, Side.SELL: side_pb2.SIDE_SELL}
SIDES_BACK: Final = {value: key for key, value in SIDES.items()}
_CAPS: Final = {kind: pb.QuoteInputs.Cap.Kind.Value(f"KIND_{kind.value}") for kind in CapKind}
_CAPS_BACK: Final = {value: key for key, value in _CAPS.items()}


def inputs_message(inputs: Inputs, same: Sequence[pb.QuoteInputs.VenueInputs] = ()) -> pb.QuoteInputs:
    """Return prepared inputs as a message; `same` are the venues' messages without what each quote has of its own."""
    message = pb.QuoteInputs(
        side=SIDES[inputs.side],
        size=plain_text(inputs.size),
        size_unit=size_unit_pb2.SIZE_UNIT_USD if inputs.size_in_usd else size_unit_pb2.SIZE_UNIT_BASE,
        limit_price="" if inputs.limit_price is None else plain_text(inputs.limit_price),
        max_slippage_bps=inputs.max_slippage_bps,
        reduce_only=inputs.reduce_only,
        arrival_mid_price=plain_text(inputs.arrival_mid_price),
        volatility=plain_text(inputs.volatility),
        risk_factor=plain_text(inputs.risk_factor),
        market=inputs.market,
        price_decimals=inputs.price_decimals,
        size_decimals=inputs.size_decimals,
        resting=inputs.resting,
        post_only=inputs.post_only,
        split_resting=inputs.split_resting,
    )
    set_duration(message.holding_time, inputs.holding_s)
    set_time(message.as_of_time, inputs.time_ns)
    prices, sizes = inputs.price_decimals, inputs.size_decimals
    for venue, known in zip(inputs.venues, same or venue_messages(inputs), strict=True):
        one = message.venues.add()
        one.CopyFrom(known)
        for price, size in venue.levels:
            one.levels.add(price=units_text(price, prices), size=units_text(size, sizes))
        for price, size in venue.own_levels:
            one.own_levels.add(price=units_text(price, prices), size=units_text(size, sizes))
        set_duration(one.book_age, venue.book_age_s)
    return message


def venue_messages(inputs: Inputs) -> list[pb.QuoteInputs.VenueInputs]:
    """Return the venues' messages without their levels and ages."""
    return [_venue_message(inputs, venue) for venue in inputs.venues]


def _venue_message(inputs: Inputs, venue: VenueInputs) -> pb.QuoteInputs.VenueInputs:
    sizes = inputs.size_decimals
    largest = min((cap.size for cap in venue.caps), default=None)
    most = "" if largest is None else units_text(units_down(largest, sizes) // venue.lot * venue.lot, sizes)
    one = pb.QuoteInputs.VenueInputs(
        venue=venue.venue,
        book_version=venue.book_version,
        tick=plain_text(venue.tick),
        price_significant_figures=venue.price_significant_figures,
        price_decimals=venue.price_decimals,
        lot=units_text(venue.lot, sizes),
        min_size=plain_text(venue.min_size),
        max_size=most,
        taker_fee_rate=plain_text(venue.taker_fee_rate),
        maker_fee_rate=plain_text(venue.maker_fee_rate),
        interface_fee_rate=plain_text(venue.interface_fee_rate),
        platform_fee_rate=plain_text(venue.platform_fee_rate),
        priority_fee_rate=plain_text(venue.priority_fee_rate),
        funding_rate_hourly=plain_text(venue.funding_rate_hourly),
        mark_price=plain_text(venue.mark_price),
        fee_decimals=venue.fee_decimals,
        closing_cost_rate=plain_text(venue.closing_cost_rate),
        fee_table_version=venue.fee_table_version,
        position_size=plain_text(venue.position_size),
        min_notional=plain_text(venue.min_notional) if venue.min_notional else "",
        account_id=venue.account_id,
        max_leverage=venue.max_leverage,
        sells_priority=venue.sells_priority,
    )
    for cap in venue.caps:
        one.caps.add(kind=_CAPS[cap.kind], size=plain_text(cap.size))
    set_duration(one.latency, venue.latency_s)
    return one


def inputs_value(message: pb.QuoteInputs) -> Inputs:
    """Return the prepared inputs that a message holds; what was altered may be any text and raises `ValueError`."""
    prices, sizes = message.price_decimals, message.size_decimals
    return Inputs(
        market=message.market,
        side=SIDES_BACK[message.side],
        size=Decimal(message.size),
        size_in_usd=message.size_unit == size_unit_pb2.SIZE_UNIT_USD,
        limit_price=Decimal(message.limit_price) if message.limit_price else None,
        max_slippage_bps=message.max_slippage_bps if message.HasField("max_slippage_bps") else None,
        reduce_only=message.reduce_only,
        holding_s=seconds(message.holding_time),
        arrival_mid_price=Decimal(message.arrival_mid_price),
        volatility=Decimal(message.volatility),
        risk_factor=Decimal(message.risk_factor),
        time_ns=message.as_of_time.ToNanoseconds(),
        price_decimals=prices,
        size_decimals=sizes,
        resting=message.resting,
        post_only=message.post_only,
        split_resting=message.split_resting,
        venues=tuple(_venue_value(one, prices, sizes) for one in message.venues),
    )


def _venue_value(one: pb.QuoteInputs.VenueInputs, prices: int, sizes: int) -> VenueInputs:
    return VenueInputs(
        venue=one.venue,
        book_version=one.book_version,
        levels=_levels(one.levels, prices, sizes),
        own_levels=_levels(one.own_levels, prices, sizes),
        lot=to_units(one.lot, sizes),
        tick=Decimal(one.tick),
        price_significant_figures=one.price_significant_figures,
        price_decimals=one.price_decimals,
        min_size=Decimal(one.min_size),
        min_notional=Decimal(one.min_notional or "0"),
        caps=tuple(Cap(_CAPS_BACK[cap.kind], Decimal(cap.size)) for cap in one.caps),
        taker_fee_rate=Decimal(one.taker_fee_rate),
        maker_fee_rate=Decimal(one.maker_fee_rate),
        interface_fee_rate=Decimal(one.interface_fee_rate),
        platform_fee_rate=Decimal(one.platform_fee_rate),
        priority_fee_rate=Decimal(one.priority_fee_rate),
        funding_rate_hourly=Decimal(one.funding_rate_hourly),
        mark_price=Decimal(one.mark_price),
        latency_s=seconds(one.latency),
        book_age_s=seconds(one.book_age),
        fee_decimals=one.fee_decimals,
        closing_cost_rate=Decimal(one.closing_cost_rate),
        fee_table_version=one.fee_table_version,
        position_size=Decimal(one.position_size),
        account_id=one.account_id,
        max_leverage=one.max_leverage,
        sells_priority=one.sells_priority,
    )


def _levels(levels: Iterable[pb.QuoteInputs.Level], prices: int, sizes: int) -> tuple[tuple[int, int], ...]:
    return tuple((to_units(level.price, prices), to_units(level.size, sizes)) for level in levels)


def set_duration(message: Duration, span_s: Decimal) -> None:
    """Write seconds with at most nine decimals into a duration, zero too: it is then present."""
    seconds, nanos = divmod(int(span_s.scaleb(9)), 1_000_000_000)
    message.seconds, message.nanos = seconds, nanos
    if not (seconds or nanos):
        message.SetInParent()


def set_time(message: Timestamp, at_ns: int) -> None:
    """Write nanoseconds since 1970 into a timestamp."""
    message.seconds, message.nanos = divmod(at_ns, 1_000_000_000)


def seconds(span: Duration) -> Decimal:
    """Return a duration in seconds."""
    return Decimal(span.seconds * 1_000_000_000 + span.nanos).scaleb(-9)
