"""What is said between a signer and its child: one length (4 bytes, big-endian) and one MessagePack map a message."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

FRAME_BYTES_MAX: Final = 64 * 1024
"""The largest message; a transaction with three orders takes two thousand bytes."""
LENGTH_BYTES: Final = 4


class Load(Struct, frozen=True, tag="load"):
    """Make a key usable."""

    id: int
    secret: str
    account_index: int
    api_key_index: int

    def __repr__(self) -> str:
        return f"Load(account_index={self.account_index}, api_key_index={self.api_key_index})"


class Sign(Struct, frozen=True, tag="sign"):
    """Sign a transaction."""

    id: int
    kind: int
    body: dict[str, int | str | list[dict[str, int]]]
    attributes: dict[int, int]
    nonce: int


class Token(Struct, frozen=True, tag="token"):
    """Make an auth token."""

    id: int
    deadline_s: int
    account_index: int
    api_key_index: int


class Generate(Struct, frozen=True, tag="generate"):
    """Make a new key pair."""

    id: int


Request = Load | Sign | Token | Generate


class Answer(Struct, frozen=True):
    """What came of one request: texts in the order of `Library`'s method, or what was wrong."""

    id: int
    texts: tuple[str, ...] = ()
    problem: str = ""


_ENCODER: Final = msgspec.msgpack.Encoder()
REQUESTS: Final = msgspec.msgpack.Decoder(Request)
ANSWERS: Final = msgspec.msgpack.Decoder(Answer)


def frame(message: Request | Answer) -> bytes:
    """Return a message with its length before it. Raises `ValueError` for one above `FRAME_BYTES_MAX`."""
    data = _ENCODER.encode(message)
    if len(data) > FRAME_BYTES_MAX:
        raise ValueError(f"a message of {len(data)} bytes; {FRAME_BYTES_MAX} would pass")
    return len(data).to_bytes(LENGTH_BYTES, "big") + data
