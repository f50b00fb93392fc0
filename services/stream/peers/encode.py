"""Proto3 JSON of any message, about four times faster than `json_format`.

An encoder is compiled from a message's descriptor, so no field of the contract can be forgotten. It says what
`json_format.MessageToDict` says with `preserving_proto_field_name` and `always_print_fields_with_no_presence`, which
is how the edge's transcoder is set: REST and the WebSocket print the same. A test holds the two equal on random
messages. What is not needed is refused when the encoder is made: maps, bytes, floats, groups, other well-known types.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from operator import attrgetter
from typing import Any

import msgspec
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

Shape = dict[str, object]
"""A message as what `to_json` takes."""

Shaper = Callable[[Any], Shape]
"""Turns a message of one type into its shape."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECONDS_KEPT = 4_096
_PLAIN = frozenset(
    {
        FieldDescriptor.CPPTYPE_STRING,
        FieldDescriptor.CPPTYPE_BOOL,
        FieldDescriptor.CPPTYPE_INT32,
        FieldDescriptor.CPPTYPE_UINT32,
    }
)
_AS_TEXT = frozenset({FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_UINT64})

_encoder = msgspec.json.Encoder()
to_json: Callable[[object], bytes] = _encoder.encode
"""Returns a shape, or a part of one, as JSON in UTF-8."""


def timestamp(value: Any) -> str:
    """Return a `google.protobuf.Timestamp` as RFC 3339 with 0, 3, 6 or 9 decimals."""
    return f"{_second(value.seconds)}{_fraction(value.nanos)}Z"


def duration(value: Any) -> str:
    """Return a `google.protobuf.Duration` as seconds with 0, 3, 6 or 9 decimals and an `s`."""
    seconds, nanos = value.seconds, value.nanos
    sign = ""
    if seconds < 0 or nanos < 0:
        seconds, nanos, sign = -seconds, -nanos, "-"
    return f"{sign}{seconds}{_fraction(nanos)}s"


_WELL_KNOWN: dict[str, Callable[[Any], str]] = {
    "google.protobuf.Timestamp": timestamp,
    "google.protobuf.Duration": duration,
}


@cache  # one entry for each message type of the contract
def shaper(descriptor: Descriptor) -> Shaper:
    """Return what turns a message of this type into its shape; raises `TypeError` for a type that is not covered."""
    plain: list[str] = []
    convert: list[tuple[str, Callable[[Any], object]]] = []
    repeated: list[tuple[str, Callable[[Any], object]]] = []
    present: list[tuple[str, Callable[[Any], object]]] = []
    for field in descriptor.fields:
        converter = _converter(field)
        if field.is_repeated:
            repeated.append((field.name, converter))
        elif field.has_presence:
            present.append((field.name, converter))
        elif converter is _same:
            plain.append(field.name)
        else:
            convert.append((field.name, converter))
    get_plain = _getter(plain)

    def shape(message: Any) -> Shape:
        made: Shape = dict(zip(plain, get_plain(message), strict=True))
        for name, converter in convert:
            made[name] = converter(getattr(message, name))
        for name, converter in repeated:
            made[name] = [converter(item) for item in getattr(message, name)]
        for name, converter in present:
            if message.HasField(name):
                made[name] = converter(getattr(message, name))
        return made

    return shape


def _getter(names: list[str]) -> Callable[[Any], tuple[object, ...]]:
    if not names:
        return lambda message: ()
    if len(names) == 1:
        (only,) = names
        return lambda message: (getattr(message, only),)
    return attrgetter(*names)


def _converter(field: FieldDescriptor) -> Callable[[Any], object]:
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            raise TypeError(f"{field.full_name} is a map, which is not covered")
        known = _WELL_KNOWN.get(field.message_type.full_name)
        return known if known is not None else shaper(field.message_type)
    if field.enum_type is not None:
        return _enum(field.enum_type)
    if field.cpp_type in _AS_TEXT:
        return str
    if field.cpp_type in _PLAIN and field.type != FieldDescriptor.TYPE_BYTES:
        return _same
    raise TypeError(f"{field.full_name} is of a type that is not covered")


def _enum(descriptor: EnumDescriptor) -> Callable[[int], object]:
    names = {value.number: value.name for value in descriptor.values}
    return lambda number: names.get(number, number)  # a value newer than we are travels as its number


def _same(value: object) -> object:
    return value


@lru_cache(maxsize=_SECONDS_KEPT)
def _second(seconds: int) -> str:
    when = _EPOCH + timedelta(seconds=seconds)
    return f"{when.year:04d}-{when.month:02d}-{when.day:02d}T{when.hour:02d}:{when.minute:02d}:{when.second:02d}"


def _fraction(nanos: int) -> str:
    if nanos == 0:
        return ""
    if nanos % 1_000:
        return f".{nanos:09d}"
    if nanos % 1_000_000:
        return f".{nanos // 1_000:06d}"
    return f".{nanos // 1_000_000:03d}"
