"""The chain of audit rows of an account: each row's hash covers its text and the hash before. Pure.

The hash is keyed (HMAC-SHA-256, RFC 2104) with a key that the database does not hold in clear, so who can write rows
cannot make a chain that verifies. A chain cut at its end still verifies; the log's copy of the heads shows that.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

START: Final = bytes(32)
"""What the first row of a chain names as the one before."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, chained."""

    seq: int
    kind: str
    detail: str
    hash: bytes


def audit_key(data_key: bytes, account_id: str) -> bytes:
    """Return the key of an account's chain, made from the account's data key."""
    return hmac.digest(data_key, b"perpmesh audit\0" + account_id.encode(), hashlib.sha256)


def chained(key: bytes, seq: int, before: bytes, kind: str, detail: Mapping[str, object]) -> Row:
    """Return the row that follows number `seq`, whose hash is `before`."""
    text = json.dumps(detail, sort_keys=True, separators=(",", ":"))
    return Row(seq + 1, kind, text, _hash(key, seq + 1, before, kind, text))


def first_broken(key: bytes, rows: Iterable[Row], head: tuple[int, bytes]) -> int | None:
    """Return the number of the first row that does not follow, one more than the last where rows are missing."""
    seq, before = 0, START
    for row in rows:
        if row.seq != seq + 1 or not hmac.compare_digest(row.hash, _hash(key, row.seq, before, row.kind, row.detail)):
            return seq + 1
        seq, before = row.seq, row.hash
    return None if (seq, before) == head else seq + 1


def _hash(key: bytes, seq: int, before: bytes, kind: str, detail: str) -> bytes:
    return hmac.digest(key, before + seq.to_bytes(8, "big") + f"{kind}\0{detail}".encode(), hashlib.sha256)
