"""Replaying a recording of raw frames with the venue's subscription semantics.

A recording is a file of JSON lines `{"ts": seconds | "receive_time_ns": ns, "venue"?: ..., "msg": text or object}`.
Frames are sorted into streams by channel and market. A client that subscribes gets its stream from the recorded
snapshot on, at the recorded pace times a speed, or as fast as it reads ("max"); every subscription starts from the
beginning, so a client that resubscribes gets a snapshot again. What was not recorded stays silent, and
books and trades are not answered over HTTP meanwhile: they would be the synthetic market's.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import msgspec

from services.simulator.connection import Connection, Rim
from services.simulator.faults import Frame

RECORDING_BYTES_MAX = 512 * 1024 * 1024
BACKLOG_FRAMES_MAX = 500
_PAUSE_S = 0.002
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Recording:
    """Frames by stream, each with its time in seconds; `speed` None means as fast as possible."""

    path: str
    venue: str
    speed: float | None
    streams: dict[Key, list[tuple[float, Frame]]]
    skipped: int

    @property
    def frames(self) -> int:
        """Return how many frames can be replayed."""
        return sum(len(stream) for stream in self.streams.values())


def load(path: str, venue: str, speed: str | float) -> Recording:
    """Read a recording. Raises ValueError that says which line is wrong and what would pass."""
    factor = parse_speed(speed)
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"recording: {path!r} is no file; a file of JSON lines would pass")
    if file.stat().st_size > RECORDING_BYTES_MAX:
        raise ValueError(f"recording: {path!r} is larger than {RECORDING_BYTES_MAX} bytes; cut it into pieces")
    streams: defaultdict[Key, list[tuple[float, Frame]]] = defaultdict(list)
    skipped = 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = msgspec.json.decode(line)
                at, payload, message = _row(row)
            except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f'recording: line {number} of {path!r}: {error}; {{"ts": seconds, "msg": frame}} would pass'
                ) from None
            key = _key(message, venue) if row.get("venue", venue) == venue else None
            if key is None or (not streams[key] and not _may_begin(message, venue)):
                skipped += 1
                continue
            streams[key].append((at, _frame(payload, message, key)))
    found = {key: stream for key, stream in streams.items() if stream}
    if not found:
        raise ValueError(f"recording: {path!r} has no frame of {venue}")
    return Recording(path, venue, factor, found, skipped)


def parse_speed(speed: str | float) -> float | None:
    """Return a speed factor; None for "max". Raises ValueError otherwise."""
    if speed == "max":
        return None
    try:
        factor = float(speed)
    except (TypeError, ValueError):
        factor = 0.0
    if not 0.0 < factor <= 10_000:
        raise ValueError(f'speed: {speed!r}; a factor above 0 such as 10, or "max", would pass')
    return factor


def _row(row: dict[str, object]) -> tuple[float, bytes, dict[str, object]]:
    """Return time in seconds, raw bytes and decoded message of a line."""
    nanoseconds, seconds, raw = row.get("receive_time_ns"), row.get("ts"), row["msg"]
    if isinstance(nanoseconds, int):
        at = nanoseconds / 1e9
    elif isinstance(seconds, (int, float)):
        at = float(seconds)
    else:
        raise ValueError("no time")
    payload = raw.encode() if isinstance(raw, str) else msgspec.json.encode(raw)
    try:
        message = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        message = None  # recorded as it came, but nobody knows whose stream it was
    return at, payload, message if isinstance(message, dict) else {}


def _key(message: dict[str, object], venue: str) -> Key | None:
    """Return the stream of a frame, None for frames that belong to the connection and not to a subscription."""
    channel = message.get("channel")
    if not isinstance(channel, str):
        return None
    if venue == "lighter":
        if message.get("type") == "unsubscribed":
            return None
        name, _, market = channel.partition(":")
        return name, market
    if channel in ("subscriptionResponse", "pong", "error", "post"):
        return None
    data = message.get("data")
    first = data[0] if isinstance(data, list) and data else data
    coin = (first.get("coin") or first.get("s") or "") if isinstance(first, dict) else ""
    name = "activeAssetCtx" if channel == "activeSpotAssetCtx" else channel
    return name, str(coin)


def _may_begin(message: dict[str, object], venue: str) -> bool:
    """Lighter's streams begin with their snapshot; Hyperliquid's with any frame."""
    return venue != "lighter" or str(message.get("type", "")).startswith("subscribed/")


def _frame(payload: bytes, message: dict[str, object], key: Key) -> Frame:
    kind, begin = "data", None
    if str(message.get("type", "")).startswith("subscribed/"):
        kind = "snapshot"
    elif isinstance(book := message.get("order_book"), dict):
        kind, begin = "delta", book.get("begin_nonce")
    return Frame(payload, key[0], key[1], kind, begin if isinstance(begin, int) else None)


class Replays:
    """The players of one venue's connections."""

    def __init__(self, recording: Recording, rim: Rim) -> None:
        """Take what to play."""
        self.recording = recording
        self._rim = rim
        self._players: dict[tuple[int, Key], asyncio.Task[None]] = {}
        self.finished = 0

    def start(self, connection: Connection, key: Key) -> bool:
        """Begin a stream for a connection; say whether it was recorded."""
        stream = self.recording.streams.get(key)
        if stream is None:
            return False
        self.stop(connection, key)
        task = asyncio.get_running_loop().create_task(self._play(connection, stream))
        self._players[connection.number, key] = task
        return True

    def stop(self, connection: Connection, key: Key) -> None:
        """End a stream."""
        task = self._players.pop((connection.number, key), None)
        if task is not None:
            task.cancel()

    def forget(self, connection: Connection) -> None:
        """End all streams of a connection."""
        for number, key in [item for item in self._players if item[0] == connection.number]:
            self._players.pop((number, key)).cancel()

    async def _play(self, connection: Connection, stream: list[tuple[float, Frame]]) -> None:
        clock, speed = self._rim.clock, self.recording.speed
        began, first = clock.monotonic(), stream[0][0]
        for at, frame in stream:
            if speed is not None:
                wait = began + (at - first) / speed - clock.monotonic()
                if wait > 0:
                    await clock.sleep(wait)
            while connection.backlog() > BACKLOG_FRAMES_MAX:
                await clock.sleep(_PAUSE_S)
            if connection.cut_reason is not None:
                return
            connection.send(frame)
        self.finished += 1
