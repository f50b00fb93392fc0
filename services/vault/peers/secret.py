"""Opened secrets, and overwriting copies of them: as far as Python lets us."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from services.venues.hyperliquid.sign import Key

Opener = Callable[[], AbstractAsyncContextManager[bytearray]]
"""Opens a secret for the time of a block."""

_HEAD = sys.getsizeof(b"") - 1
"""How far into a bytes object its bytes begin, in CPython."""


def erase(value: bytes | Key) -> None:
    """Overwrite bytes that nobody else holds; of a signing key, the copy inside it."""
    if isinstance(value, Key):
        inner = getattr(getattr(value, "_secret", None), "_key", None)
        copy = getattr(inner, "secret", None)
        if isinstance(copy, bytes):
            erase(copy)
        return
    if sys.implementation.name == "cpython" and value:
        ctypes.memset(id(value) + _HEAD, 0, len(value))
