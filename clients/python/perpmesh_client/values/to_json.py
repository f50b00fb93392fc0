"""A value as the JSON that REST gives for it: the same keys, the same spelling of every value.

So one `jq` program reads the command line, REST and the WebSocket alike. Source: the mapping of proto3 to JSON, with
the proto's own field names and with empty fields printed; absent messages are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType

WIDE: Mapping[str, bool] = MappingProxyType({"wide": True})
"""Marks a field of 64 bits, which JSON carries as a string because JavaScript's numbers end at 53."""


def to_json(value: object) -> dict[str, object]:
    """Return the JSON object of a value of this package."""
    result: dict[str, object] = {}
    for item in fields(value):  # type: ignore[arg-type]
        content = getattr(value, item.name)
        if content is None:
            if "Decimal" in str(item.type):
                result[item.name] = ""
            continue
        result[item.name] = str(content) if item.metadata.get("wide") else _plain(content)
    return result


def _plain(content: object) -> object:
    if isinstance(content, StrEnum):
        return content.value
    if isinstance(content, str | bool | int):
        return content
    if isinstance(content, Decimal):
        return format(content, "f")
    if isinstance(content, datetime):
        return _time(content)
    if isinstance(content, timedelta):
        return _span(content)
    if isinstance(content, tuple):
        return [_plain(item) for item in content]
    return to_json(content)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}{_fraction(moment.microsecond)}Z"


def _span(length: timedelta) -> str:
    sign = "-" if length < timedelta(0) else ""
    length = abs(length)
    return f"{sign}{length.days * 86_400 + length.seconds}{_fraction(length.microseconds)}s"


def _fraction(microseconds: int) -> str:
    if microseconds == 0:
        return ""
    return f".{microseconds:06d}" if microseconds % 1_000 else f".{microseconds // 1_000:03d}"
