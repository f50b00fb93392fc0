"""The only chance in the house: ids, tokens and seeds.

Ids are UUIDs of version 7 (RFC 9562, 5.7): opaque text to everyone, yet in order of creation, which keeps indexes of
the database compact. Secrets come from the operating system. Anything that only has to be varied (jitter, a simulated
market) takes a `random.Random` made here, whose seed can be printed and given again.
"""

from __future__ import annotations

import itertools
import random
import secrets
import threading
import uuid
from collections.abc import Callable

from services.chassis.clock import SYSTEM, Clock

_COUNTER_MAX = 0xFFF
_lock = threading.Lock()
_last_ms = 0
_counter = 0


def new_uuid(clock: Clock = SYSTEM) -> uuid.UUID:
    """Return a new UUIDv7; within a process each is greater than the one before, even if the wall clock steps back.

    Layout: 48 bits of milliseconds, 12 bits that count up within a millisecond (from a random start below half), 62
    random bits. A counter that runs over borrows the next millisecond.
    """
    global _last_ms, _counter
    now_ms = clock.time_ns() // 1_000_000
    tail = secrets.randbits(62 + 11)
    with _lock:
        if now_ms > _last_ms:
            _last_ms, _counter = now_ms, tail >> 62
        elif _counter < _COUNTER_MAX:
            _counter += 1
        else:
            _last_ms, _counter = _last_ms + 1, 0
        stamp, count = _last_ms, _counter
    return uuid.UUID(int=stamp << 80 | 0x7 << 76 | count << 64 | 0b10 << 62 | tail & ((1 << 62) - 1))


def new_id(clock: Clock = SYSTEM) -> str:
    """Return a new UUIDv7 as text of 36 characters."""
    return str(new_uuid(clock))


def request_ids() -> Callable[[], str]:
    """Return a maker of request ids: a random start for the process and a count, ten times cheaper than a UUID.

    They are unique across processes (64 random bits) and need not be secret.
    """
    start = secrets.token_hex(8)
    count = itertools.count(1).__next__
    return lambda: f"{start}-{count():x}"


def token(size_bytes: int = 32) -> str:
    """Return a secret of `size_bytes` random bytes (at least 16) as URL-safe text without padding."""
    if size_bytes < 16:
        raise ValueError(f"a token needs at least 16 bytes to be unguessable; {size_bytes} were asked for")
    return secrets.token_urlsafe(size_bytes)


def secret(size_bytes: int) -> bytes:
    """Return `size_bytes` random bytes (at least 12, a nonce of AES-GCM) that nobody can guess."""
    if size_bytes < 12:
        raise ValueError(f"a secret needs at least 12 bytes; {size_bytes} were asked for")
    return secrets.token_bytes(size_bytes)


def same_secret(left: str | bytes, right: str | bytes) -> bool:
    """Compare two secrets in a time that does not depend on where they differ."""
    return secrets.compare_digest(_as_bytes(left), _as_bytes(right))


def new_seed() -> int:
    """Return a fresh 64-bit seed, to be printed and given to `seeded_random`."""
    return secrets.randbits(64)


def seeded_random(seed: int | None = None) -> random.Random:
    """Return a generator for what need not be secret; without a seed it takes a fresh one."""
    return random.Random(new_seed() if seed is None else seed)  # noqa: S311 - says so in its name


def _as_bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
