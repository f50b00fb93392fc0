"""Messages of the socket, encoded once."""

from __future__ import annotations

import base64
import zlib

import msgspec

from services.simulator.faults import Frame

encode = msgspec.json.Encoder().encode


def frame(channel: str, data: object, market: str = "", kind: str = "data") -> Frame:
    """Return a message of a channel."""
    return Frame(encode({"channel": channel, "data": data}), channel, market, kind)


def packed(rows: dict[str, dict[str, object]]) -> Frame:
    """Return a message of fastAssetCtxs: JSON, deflated without a header, in base64."""
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
    raw = squeeze.compress(encode(rows)) + squeeze.flush()
    return frame("fastAssetCtxs", base64.b64encode(raw).decode())


def number(value: object) -> int | None:
    """Return a whole number, None for anything else."""
    return value if isinstance(value, int) else None
