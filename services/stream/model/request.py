"""What a client may say: the proto3 JSON of `perpmesh.stream.v1.ClientFrame`, and how often.

A frame is taken whole or refused whole. Unknown fields are refused, since a misspelling that is ignored never shows.
`id` may also be a number, as the contract says. `min_interval` may be written `minInterval`, as proto3 JSON allows.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.domain.errors import DomainError, Reason, field_invalid
from services.stream.model.limits import Limits
from services.stream.model.private import Private
from services.stream.model.topic import DEFAULT_DEPTH, DEPTHS, TOPIC_CHARS_MAX

ID_CHARS_MAX = 64
CURSOR_CHARS_MAX = 128
MIN_INTERVAL_S_MAX = 60.0
WINDOW_S = 60.0
EXAMPLE = '{"subscribe": {"topics": ["prices:BTC-PERP"]}}'

_DURATION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?s", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscribe:
    """Follow topics."""

    id: str
    topics: tuple[str, ...]
    min_interval_s: float | None
    """The shortest time between two collapsible messages of a topic; None for the connection's batches."""
    depth: int
    cursor: str = ""
    """Where a caller's own topic goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe:
    """Follow topics no longer."""

    id: str
    topics: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """Ask for a sign of life."""

    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticate:
    """Say who calls."""

    id: str
    access_token: str = field(repr=False)


Request = Subscribe | Unsubscribe | Ping | Authenticate
_REQUESTS = ("subscribe", "unsubscribe", "ping", "authenticate")


class BadFrameError(Exception):
    """A client frame that cannot be acted on: the refusal, and the frame's id where that much could be read."""

    def __init__(self, error: DomainError, frame_id: str = "") -> None:
        super().__init__(error.message)
        self.error = error
        self.frame_id = frame_id


def parse_request(text: str, limits: Limits) -> Request:
    """Return what a client frame asks for, or raise `BadFrameError`."""
    frame = _object(text)
    frame_id = ""
    try:
        frame_id = _id(frame.get("id"))
        _only(frame, "", ("id", *_REQUESTS))
        asked = [name for name in _REQUESTS if frame.get(name) is not None]
        if len(asked) != 1:
            raise field_invalid(
                "request",
                f"give exactly one of subscribe, unsubscribe, ping and authenticate, such as {EXAMPLE}; "
                f"got {len(asked)}.",
            )
        body = frame[asked[0]]
        if not isinstance(body, dict):
            raise field_invalid(asked[0], f"must be an object, such as in {EXAMPLE}, not {_kind(body)}.")
        if asked[0] == "ping":
            _only(body, "ping.", ())
            return Ping(id=frame_id)
        if asked[0] == "authenticate":
            return _authenticate(body, frame_id)
        if asked[0] == "unsubscribe":
            _only(body, "unsubscribe.", ("topics",))
            return Unsubscribe(id=frame_id, topics=_topics(body, "unsubscribe.topics", limits))
        return _subscribe(body, frame_id, limits)
    except DomainError as error:
        raise BadFrameError(error, frame_id) from None


def _authenticate(body: dict[str, object], frame_id: str) -> Authenticate:
    _only(body, "authenticate.", ("access_token", "accessToken"))
    token = body.get("access_token", body.get("accessToken"))
    if not isinstance(token, str) or not token:
        raise field_invalid("authenticate.access_token", "must be an access token, as CreateSession gives it.")
    return Authenticate(id=frame_id, access_token=token)


def too_large(size_bytes: int, limits: Limits) -> BadFrameError:
    """Return the refusal of a frame of too many bytes."""
    return BadFrameError(
        DomainError(
            Reason.REQUEST_TOO_LARGE,
            f"The frame has {size_bytes} bytes; at most {limits.frame_bytes_max} pass. Name fewer topics in one frame.",
            metadata={"frame_bytes_max": str(limits.frame_bytes_max)},
        )
    )


def not_text() -> BadFrameError:
    """Return the refusal of a binary frame."""
    return BadFrameError(
        DomainError(Reason.REQUEST_UNREADABLE, f"The frame is binary; send a text frame with JSON, such as {EXAMPLE}.")
    )


def too_many(limits: Limits) -> BadFrameError:
    """Return the refusal of a frame beyond the rate."""
    return BadFrameError(
        DomainError(
            Reason.LIMIT_REACHED,
            f"More than {limits.frames_per_minute_max} frames came in {WINDOW_S:.0f} s; this one was not acted on. "
            "Wait, or name more topics in one frame.",
            metadata={"frames_per_minute_max": str(limits.frames_per_minute_max)},
        )
    )


class Meter:
    """Counts the frames of one connection over a sliding window of 60 seconds; what is refused does not count."""

    __slots__ = ("_admitted", "_limit", "refused_in_a_row")

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.frames_per_minute_max
        self._admitted: deque[float] = deque()
        self.refused_in_a_row = 0

    def admit(self, now: float) -> bool:
        """Say whether a frame that came at `now` is within the rate."""
        while self._admitted and self._admitted[0] <= now - WINDOW_S:
            self._admitted.popleft()
        if len(self._admitted) >= self._limit:
            self.refused_in_a_row += 1
            return False
        self._admitted.append(now)
        self.refused_in_a_row = 0
        return True

    @property
    def abused(self) -> bool:
        """Say whether the client goes on sending as if nothing had been refused."""
        return self.refused_in_a_row > self._limit


class _RepeatedFieldError(ValueError):
    pass


def _pairs(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _RepeatedFieldError("a field occurs twice")
    return made


def _refuse_constant(word: str) -> object:
    raise ValueError(f"{word} is no JSON")


def _object(text: str) -> dict[str, object]:
    try:
        frame = json.loads(text, object_pairs_hook=_pairs, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, _RepeatedFieldError | json.JSONDecodeError) else "it cannot be read"
        raise BadFrameError(
            DomainError(
                Reason.REQUEST_UNREADABLE, f"The frame is no JSON object: {why:.120}. What passes looks like {EXAMPLE}."
            )
        ) from None
    if not isinstance(frame, dict):
        raise BadFrameError(
            DomainError(
                Reason.REQUEST_UNREADABLE, f"The frame is {_kind(frame)}; what passes is an object, such as {EXAMPLE}."
            )
        )
    return frame


def _subscribe(body: Mapping[str, object], frame_id: str, limits: Limits) -> Subscribe:
    _only(body, "subscribe.", ("topics", "min_interval", "minInterval", "depth", "cursor"))
    spelled = [body[name] for name in ("min_interval", "minInterval") if body.get(name) is not None]
    if len(spelled) > 1:
        raise field_invalid("subscribe.min_interval", "is given twice, as min_interval and minInterval; give one.")
    topics = _topics(body, "subscribe.topics", limits)
    return Subscribe(
        id=frame_id,
        topics=topics,
        cursor=_cursor(body.get("cursor"), topics),
        min_interval_s=_interval(spelled[0]) if spelled else None,
        depth=_depth(body.get("depth")),
    )


def _topics(body: Mapping[str, object], field: str, limits: Limits) -> tuple[str, ...]:
    topics = body.get("topics")
    if not isinstance(topics, list) or not topics:
        raise field_invalid(field, 'must be a list of at least one topic, such as ["prices:BTC-PERP"].')
    if len(topics) > limits.topics_per_frame_max:
        raise field_invalid(
            field, f"names {len(topics)} topics; at most {limits.topics_per_frame_max} pass in a frame."
        )
    for index, topic in enumerate(topics):
        if not isinstance(topic, str):
            raise field_invalid(f"{field}[{index}]", f'must be a text, such as "prices:BTC-PERP", not {_kind(topic)}.')
        if len(topic) > TOPIC_CHARS_MAX or not _is_plain(topic):
            raise field_invalid(
                f"{field}[{index}]", f"must be at most {TOPIC_CHARS_MAX} printable characters, such as prices:BTC-PERP."
            )
    return tuple(dict.fromkeys(topics))


def _interval(value: object) -> float:
    if not isinstance(value, str) or not _DURATION.fullmatch(value) or float(value[:-1]) > MIN_INTERVAL_S_MAX:
        raise field_invalid(
            "subscribe.min_interval", f'must be a text from "0s" to "{MIN_INTERVAL_S_MAX:.0f}s", such as "0.5s".'
        )
    return float(value[:-1])


def _cursor(value: object, topics: tuple[str, ...]) -> str:
    if value is None or value == "":
        return ""
    if not isinstance(value, str) or len(value) > CURSOR_CHARS_MAX or not _is_plain(value):
        raise field_invalid("subscribe.cursor", "must be the text that came with the topic, exactly as received.")
    if len(topics) != 1 or topics[0] not in Private.__members__.values():
        raise field_invalid("subscribe.cursor", f"goes beside one topic alone, of {', '.join(Private)}.")
    return value


def _depth(value: object) -> int:
    if value is None:
        return DEFAULT_DEPTH
    whole: int | float | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        whole = value
    elif isinstance(value, str) and _WHOLE.fullmatch(value):
        whole = int(value)
    if whole == 0:
        return DEFAULT_DEPTH
    if whole not in DEPTHS:
        raise field_invalid("subscribe.depth", f"must be one of {', '.join(map(str, DEPTHS))}, or 0 for 20.")
    return int(whole)


def _id(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= 10**20:
            raise field_invalid("id", "must be a number below 10^20 or a text.")
        return str(value)
    if isinstance(value, str) and len(value) <= ID_CHARS_MAX and _is_plain(value):
        return value
    raise field_invalid("id", f"must be a whole number or a text of at most {ID_CHARS_MAX} printable characters.")


def _only(body: Mapping[str, object], path: str, names: tuple[str, ...]) -> None:
    for name in body:
        if name not in names:
            shown = name if len(name) <= ID_CHARS_MAX and _is_plain(name) else "?"
            what = f"what passes is {', '.join(names)}" if names else "it takes none"
            raise field_invalid(f"{path}{shown}", f"is no field; {what}.")


def _is_plain(text: str) -> bool:
    """Say whether a text is printable, and so free of lone surrogates and control characters."""
    return text.isprintable()


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    words = {int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return words.get(type(value), "something else")
