"""`QuoteInputs`, both ways: what a plan was made from, so that it can be made again from the bytes alone."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.routing.v1 import quote_inputs_pb2 as pb
from perpmesh.type.v1 import side_pb2, size_unit_pb2

from services.domain.decimals import plain_text, to_units, units_text
from services.routing.model.books import Levels
from services.routing.model.inputs import Cap, CapKind, Inputs, Side, VenueInputs
from services.routing.model.reach import units_down
from services.routing.rpc.wire import block, number, span, tags, text, varint, whole

SIDES: Final = {Side.BUY: side_pb2.SIDE_BUY, Side.SELL: side_pb2.SIDE_SELL}
SIDES_BACK: Final = {value: key for key, value in SIDES.items()}
_CAPS: Final = {kind: pb.QuoteInputs.Cap.Kind.Value(f"KIND_{kind.value}") for kind in CapKind}
_CAPS_BACK: Final = {value: key for key, value in _CAPS.items()}
_SIDE, _SIZE, _UNIT, _AS_OF, _VENUES = tags(pb.QuoteInputs, "side", "size", "size_unit", "as_of_time", "venues")
_LEVEL_PRICE, _LEVEL_SIZE = tags(pb.QuoteInputs.Level, "price", "size")
(_BOOK_AGE,) = tags(pb.QuoteInputs.VenueInputs, "book_age")
_LEVELS: Final = pb.QuoteInputs.VenueInputs.LEVELS_FIELD_NUMBER
_AGE: Final = pb.QuoteInputs.VenueInputs.BOOK_AGE_FIELD_NUMBER
_OWN_LEVELS: Final = pb.QuoteInputs.VenueInputs.OWN_LEVELS_FIELD_NUMBER


class InputsWriter:
    """Writes the inputs of all quotes over the same books, which differ in size, times, and how many levels they need.

    Bytes are the library's for the same message; what the quotes have in common is written once.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._venues = [_VenueWriter(inputs, venue) for venue in inputs.venues]
        self._side = whole(_SIDE, SIDES[inputs.side])
        before = pb.QuoteInputs(
            limit_price="" if inputs.limit_price is None else plain_text(inputs.limit_price),
            max_slippage_bps=inputs.max_slippage_bps,
            reduce_only=inputs.reduce_only,
            arrival_mid_price=plain_text(inputs.arrival_mid_price),
            volatility=plain_text(inputs.volatility),
            risk_factor=plain_text(inputs.risk_factor),
        )
        set_duration(before.holding_time, inputs.holding_s)
        self._before = before.SerializeToString(deterministic=True)
        self._after = pb.QuoteInputs(
            market=inputs.market,
            price_decimals=inputs.price_decimals,
            size_decimals=inputs.size_decimals,
            resting=inputs.resting,
            post_only=inputs.post_only,
            split_resting=inputs.split_resting,
        ).SerializeToString(deterministic=True)

    def write(self, inputs: Inputs) -> bytes:
        """Return a `QuoteInputs`, serialized; each venue's levels are the first of those this was made with."""
        unit = size_unit_pb2.SIZE_UNIT_USD if inputs.size_in_usd else size_unit_pb2.SIZE_UNIT_BASE
        venues = [
            block(_VENUES, writer.write(venue)) for writer, venue in zip(self._venues, inputs.venues, strict=True)
        ]
        head = self._side + number(_SIZE, inputs.size) + whole(_UNIT, unit) + self._before
        return b"".join((head, span(_AS_OF, inputs.time_ns), *venues, self._after))


class _VenueWriter:
    """Writes one venue of `InputsWriter`."""

    def __init__(self, inputs: Inputs, venue: VenueInputs) -> None:
        constant = _venue_message(inputs, venue)
        self._first, self._middle, self._last = (
            _fields(constant, numbers) for numbers in (range(_LEVELS), range(_LEVELS, _AGE), range(_AGE, _OWN_LEVELS))
        )
        self._levels = _LevelWriter(_LEVELS, venue.levels, inputs)
        self._own_levels = _LevelWriter(_OWN_LEVELS, venue.own_levels, inputs)

    def write(self, venue: VenueInputs) -> bytes:
        """Return the venue with as many levels as it has."""
        levels, own = self._levels.write(len(venue.levels)), self._own_levels.write(len(venue.own_levels))
        age = span(_BOOK_AGE, int(venue.book_age_s.scaleb(9)))
        return b"".join((self._first, levels, self._middle, age, self._last, own))


class _LevelWriter:
    """Writes the first levels of a side, each once, as far as they are asked for."""

    def __init__(self, number_of_field: int, levels: Levels, inputs: Inputs) -> None:
        self._tag = varint(number_of_field << 3 | 2)
        self._levels = levels
        self._decimals = inputs.price_decimals, inputs.size_decimals
        self._written = bytearray()
        self._ends = [0]

    def write(self, count: int) -> bytes:
        """Return the first levels."""
        prices, sizes = self._decimals
        for price, size in self._levels[len(self._ends) - 1 : count]:
            level = text(_LEVEL_PRICE, units_text(price, prices)) + text(_LEVEL_SIZE, units_text(size, sizes))
            self._written += block(self._tag, level)
            self._ends.append(len(self._written))
        return bytes(self._written[: self._ends[count]])


def _fields(message: Message, numbers: range) -> bytes:
    """Return the fields of a message whose numbers are among `numbers`, serialized."""
    part = type(message)()
    part.CopyFrom(message)
    for field, _ in message.ListFields():
        if field.number not in numbers:
            part.ClearField(field.name)
    return part.SerializeToString(deterministic=True)


def inputs_message(inputs: Inputs) -> pb.QuoteInputs:
    """Return prepared inputs as a message."""
    return pb.QuoteInputs.FromString(InputsWriter(inputs).write(inputs))


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
