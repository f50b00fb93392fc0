"""The wire format of the contract's messages, written straight, for those that go out by the thousand.

A quote has some sixty numbers in twenty messages: having the library make them takes three times as long as writing
them. Field numbers come from the contract's descriptors, and fields are written in the order of their numbers and left
out where they are empty, as the library does, so that the bytes are those that it would write.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from services.domain.decimals import plain_text

SMALL: Final = 512
"""Smaller numbers, among them nearly every length, are looked up."""
REMEMBERED: Final = 512
"""Names and rates whose bytes are kept: few are used, again and again."""
_BLOCK: Final = 2
_BLOCKS: Final = frozenset({FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES, FieldDescriptor.TYPE_MESSAGE})


def varint(value: int) -> bytes:
    """Return a number that is not negative in groups of seven bits, the lowest first."""
    if value < 0:
        raise ValueError("negative numbers are not written here")
    if 1 << 28 <= value < 1 << 35:  # what seconds and most nanoseconds are: five groups, without the loop
        low, mid = value & 0x7F | 0x80, value >> 7 & 0x7F | 0x80
        return bytes((low, mid, value >> 14 & 0x7F | 0x80, value >> 21 & 0x7F | 0x80, value >> 28))
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


_VARINTS: Final = tuple(varint(value) for value in range(SMALL))


def tags(message: type[Message], *names: str) -> Sequence[bytes]:
    """Return what stands before each of the named fields of a message: its number and how its value is written."""
    fields = message.DESCRIPTOR.fields_by_name
    return [varint(fields[name].number << 3 | (_BLOCK if fields[name].type in _BLOCKS else 0)) for name in names]


def block(tag: bytes, body: bytes) -> bytes:
    """Return a field that holds a message or text, which may be empty."""
    length = len(body)
    return tag + (_VARINTS[length] if length < SMALL else varint(length)) + body


def text(tag: bytes, value: str) -> bytes:
    """Return a field of text; nothing where it is empty."""
    return block(tag, value.encode()) if value else b""


def number(tag: bytes, value: Decimal) -> bytes:
    """Return a field of a decimal as plain text, zero too."""
    if not value:
        return tag + b"\x010"
    said = str(value)
    if "E" in said:
        said = plain_text(value)
    elif said[-1] == "0" and "." in said:
        said = said.rstrip("0").rstrip(".")
    raw = said.encode()
    return tag + _VARINTS[len(raw)] + raw


def whole(tag: bytes, value: int) -> bytes:
    """Return a field of a whole number; nothing for zero."""
    if not value:
        return b""
    return tag + (_VARINTS[value] if value < SMALL else varint(value))


def span(tag: bytes, nanoseconds: int) -> bytes:
    """Return a field of a `Duration` or a `Timestamp`, zero too."""
    seconds, nanos = divmod(nanoseconds, 1_000_000_000)
    body = _seconds(seconds) + whole(b"\x10", nanos)
    return tag + _VARINTS[len(body)] + body


@lru_cache(REMEMBERED)
def _seconds(value: int) -> bytes:
    return whole(b"\x08", value)


name = lru_cache(REMEMBERED)(text)
"""`text` for the few that come again and again."""
rate = lru_cache(REMEMBERED)(number)
"""`number` for the few that come again and again; equal decimals are one text."""
