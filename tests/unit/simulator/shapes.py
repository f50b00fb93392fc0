"""Compares the shape of two JSON values: keys, types, and whether a text is a number; never the values."""

from __future__ import annotations

import re
from typing import Any

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def kind(value: Any) -> str:
    """Name a scalar's type; numbers of either JSON form are one kind, texts that hold a number are another."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "number text" if NUMBER.fullmatch(value) else "text"


def differences(captured: Any, ours: Any, path: str = "$", *, optional: frozenset[str] = frozenset()) -> list[str]:
    """Return where two shapes differ. Lists compare every captured row with our first; `optional` names keys that
    either side may leave out."""
    if isinstance(captured, dict) and isinstance(ours, dict):
        found = []
        if captured and ours and _is_map(captured) and _is_map(ours):
            return differences(next(iter(captured.values())), next(iter(ours.values())), f"{path}.*", optional=optional)
        for name in captured.keys() | ours.keys():
            if name in captured and name in ours:
                found += differences(captured[name], ours[name], f"{path}.{name}", optional=optional)
            elif name not in optional:
                found.append(f"{path}.{name}: {'missing in ours' if name in captured else 'only in ours'}")
        return sorted(found)
    if isinstance(captured, list) and isinstance(ours, list):
        if not captured or not ours:
            return []
        if _is_tuple(captured) and len(captured) == len(ours):
            rows = zip(captured, ours, strict=True)
            return [x for i, (a, b) in enumerate(rows) for x in differences(a, b, f"{path}[{i}]", optional=optional)]
        return [x for row in captured[:1] for x in differences(row, ours[0], f"{path}[]", optional=optional)]
    if captured is None or ours is None:
        return []
    if isinstance(captured, dict | list) or isinstance(ours, dict | list):
        return [f"{path}: {type(captured).__name__} against {type(ours).__name__}"]
    a, b = kind(captured), kind(ours)
    return [] if a == b else [f"{path}: {a} against {b}"]


def _is_map(value: dict[str, Any]) -> bool:
    """Maps by market have ids, or coins with Bitcoin among them, as keys."""
    return "BTC" in value or all(key.isdigit() for key in value)


def _is_tuple(rows: list[Any]) -> bool:
    """A list whose elements are of different kinds is a tuple; each position is compared."""
    return len(rows) <= 3 and len({type(row) for row in rows}) > 1
