"""Server frames as JSON text: the proto3 JSON of `perpmesh.stream.v1.ServerFrame` with the contract's field names.

A field without presence is always printed, as the edge's transcoder does for REST, so that both faces agree: `id` is
there even when empty, a uint64 is text, a duration reads "0.050s". What a topic says is encoded once; every socket
gets the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from services.domain.errors import DomainError
from services.stream.model.limits import Limits

SUBSCRIBED = "STATE_SUBSCRIBED"
UNSUBSCRIBED = "STATE_UNSUBSCRIBED"
REFUSED = "STATE_REFUSED"
INTERRUPTED = "STATE_INTERRUPTED"


class Frame:
    """One frame, ready to be sent to any number of sockets."""

    __slots__ = ("payload", "wire")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        """The JSON object, UTF-8."""
        self.wire: bytes | None = None
        """The payload as the socket's adapter writes it, made by the first that does."""


def data(topic: str, event: str, body: bytes) -> Frame:
    """Return a frame of a topic around a message that is JSON already."""
    return Frame(b'{"topic":%b,"id":"","%b":%b}' % (json.dumps(topic).encode(), event.encode(), body))


def welcome(connection_id: str, limits: Limits, now: datetime) -> Frame:
    """Return the first frame of a connection."""
    return _frame(
        "",
        "",
        "welcome",
        {
            "connection_id": connection_id,
            "topics_max": limits.topics_max,
            "frames_per_minute_max": limits.frames_per_minute_max,
            "frame_bytes_max": limits.frame_bytes_max,
            "batch_interval": duration(limits.batch_interval_s),
            "heartbeat_interval": duration(limits.heartbeat_interval_s),
            "server_time": timestamp(now),
        },
    )


def status(topic: str, state: str, frame_id: str = "", error: DomainError | None = None) -> Frame:
    """Return how a subscription stands; `error` is the cause of a refusal or an interruption."""
    reason, message = (error.reason.value, error.message) if error is not None else ("", "")
    return _frame(topic, frame_id, "status", {"state": state, "reason": reason, "message": message})


def live(topic: str, now: datetime) -> Frame:
    """Return the mark after a topic's present."""
    return _frame(topic, "", "live", {"send_time": timestamp(now)})


def heartbeat(now: datetime, watermark: datetime | None) -> Frame:
    """Return a sign of life; `watermark` is up to when everything has been sent, None where that cannot be said."""
    body = {"send_time": timestamp(now)}
    if watermark is not None:
        body["watermark_time"] = timestamp(watermark)
    return _frame("", "", "heartbeat", body)


def gap(topic: str, market: str, first: int, last: int, message: str) -> Frame:
    """Return the notice of lost messages `first` to `last`, both zero where the numbers are not known."""
    return _frame(
        topic,
        "",
        "gap",
        {"market": market, "venue": "", "from_sequence": str(first), "to_sequence": str(last), "message": message},
    )


def end(error: DomainError, *, resumable: bool) -> Frame:
    """Return the last frame of a connection that the server closes."""
    return _frame("", "", "end", {"reason": error.reason.value, "message": error.message, "resumable": resumable})


def authenticated(frame_id: str, user: str, expire: datetime) -> Frame:
    """Return the answer to a caller who is known now."""
    return _frame("", frame_id, "authenticated", {"user_id": user, "expire_time": timestamp(expire)})


def pong(frame_id: str, now: datetime) -> Frame:
    """Return the answer to a ping."""
    return _frame("", frame_id, "pong", {"server_time": timestamp(now)})


def error_frame(error: DomainError, frame_id: str) -> Frame:
    """Return the answer to a frame that could not be acted on."""
    field = error.fields[0].field if error.fields else ""
    return _frame("", frame_id, "error", {"reason": error.reason.value, "message": error.message, "field": field})


def timestamp(when: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with 0, 3 or 6 decimals, as proto3 JSON has it."""
    when = when.astimezone(UTC)
    whole = when.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}{_fraction(when.microsecond)}Z"


def duration(seconds: float) -> str:
    """Return a span as proto3 JSON has it, to the microsecond."""
    whole, micros = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{whole}{_fraction(micros)}s"


def _fraction(micros: int) -> str:
    if micros == 0:
        return ""
    return f".{micros // 1000:03d}" if micros % 1000 == 0 else f".{micros:06d}"


def _frame(topic: str, frame_id: str, event: str, body: Mapping[str, object]) -> Frame:
    text = json.dumps({"topic": topic, "id": frame_id, event: body}, separators=(",", ":"))
    return Frame(text.encode())
