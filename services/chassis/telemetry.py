"""Logs: one JSON line per event worth knowing, to standard error, never blocking and never flooding.

    log.event("feed.gap", venue="lighter", market="BTC-PERP", missed=3)

A line has `time`, `level`, `room`, `event`, the request id of the call being served, and the given fields. What
bounds it: a line is at most `LINE_BYTES_MAX` long; each event has a token bucket (`per_second`, `burst`), and the next
line of an event after some were left out says how many (`suppressed`); lines wait in a queue of `QUEUE_LINES_MAX` for
the one thread that writes, and when that is full (nobody reads standard error) new lines are dropped and counted.
Fields whose names speak of secrets are hidden. Metrics are in `metrics.py`, the HTTP page that shows them is
`probes.py`.
"""

from __future__ import annotations

import atexit
import logging
import os
import re
import threading
import traceback
from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgspec

from services.chassis import call
from services.chassis.clock import SYSTEM, Clock
from services.chassis.config import setting

LINE_BYTES_MAX = 4_096
TEXT_CHARS_MAX = 1_024
QUEUE_LINES_MAX = 10_000
EVENTS_MAX = 2_000
"""Different event names that get a bucket of their own; further ones share one."""

_BATCH_PAUSE_S = 0.005
_BATCH_LINES_MAX = 200
_FLUSH_STEP_S = 0.001
_EXIT_WAIT_S = 1.0
_STANDARD_ERROR = 2
_SECRET = re.compile(r"secret|password|passwd|token|authorization|cookie|private|api_?key|signature|seed_phrase", re.I)
_HIDDEN = "[hidden]"


class Level(IntEnum):
    """How much a line matters."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


_LEVEL_WORDS = {level: level.name.lower() for level in Level}


@dataclass(frozen=True, kw_only=True)
class TelemetryConfig:
    """What a process says about itself."""

    log_level: str = setting(
        "PERPMESH_LOG_LEVEL",
        "The least level of log lines written to standard error.",
        default="info",
        choices=("debug", "info", "warning", "error"),
    )
    log_lines_per_second: float = setting(
        "PERPMESH_LOG_LINES_PER_SECOND",
        "How many lines of one event are written per second on average; further ones are counted.",
        default=50.0,
        minimum=0.1,
        maximum=100_000,
    )
    log_burst: int = setting(
        "PERPMESH_LOG_BURST",
        "How many lines of one event may come at once after a quiet time.",
        default=200,
        minimum=1,
        maximum=100_000,
    )
    metrics_host: str = setting(
        "PERPMESH_METRICS_HOST",
        "The address that /metrics, /livez and /readyz are served on; they say nothing secret and check nobody.",
        default="127.0.0.1",
    )
    metrics_port: int = setting(
        "PERPMESH_METRICS_PORT",
        "The port of /metrics, /livez and /readyz; 0 lets the system choose, -1 serves none.",
        default=0,
        minimum=-1,
        maximum=65_535,
    )


class _Bucket:
    __slots__ = ("at", "suppressed", "tokens")

    def __init__(self, tokens: float, at: float) -> None:
        self.tokens = tokens
        self.at = at
        self.suppressed = 0


class _Writer:
    """The one thread that writes lines, so that a slow reader of standard error stops nobody else."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: deque[bytes] = deque()
        self._wake = threading.Event()
        self._never = threading.Event()
        self._writing = False
        self._thread: threading.Thread | None = None
        self._start_lock = threading.Lock()
        self.dropped = 0

    def put(self, line: bytes) -> None:
        if len(self._lines) >= QUEUE_LINES_MAX:
            self.dropped += 1
            return
        self._lines.append(line)
        if self._thread is None:
            self._start()
        if not self._wake.is_set():
            self._wake.set()

    def flush(self, wait_s: float) -> bool:
        """Wait until all lines are written; return whether they were in time."""
        left = wait_s
        while self._lines or self._writing:
            if left <= 0:
                return False
            self._never.wait(_FLUSH_STEP_S)
            left -= _FLUSH_STEP_S
        return True

    def _start(self) -> None:
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._lines:
                self._writing = True
                count = min(len(self._lines), _BATCH_LINES_MAX)
                self._write(b"".join([self._lines.popleft() for _ in range(count)]))
                self._writing = False
            self._never.wait(_BATCH_PAUSE_S)  # lets lines gather, so that a busy room makes few writes

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            self.dropped += 1  # standard error is closed: there is nobody to tell


class Log:
    """Writes events as JSON lines. One per process is enough: `log`."""

    def __init__(
        self,
        *,
        descriptor: int = _STANDARD_ERROR,
        clock: Clock = SYSTEM,
        room: str = "",
        level: Level = Level.INFO,
        per_second: float = 50.0,
        burst: int = 200,
    ) -> None:
        self._writer = _Writer(descriptor)
        self._clock = clock
        self._buckets: dict[str, _Bucket] = {}
        self._encoder = msgspec.json.Encoder(enc_hook=str, decimal_format="string")
        self.configure(room=room, level=level, per_second=per_second, burst=burst)

    def configure(self, *, room: str, level: Level, per_second: float, burst: int) -> None:
        """Set what `setup` reads from the environment."""
        self.room = room
        self.level = level
        self.per_second = per_second
        self.burst = burst

    @property
    def dropped(self) -> int:
        """Return how many lines were lost because nobody read them."""
        return self._writer.dropped

    def event(self, name: str, /, *, level: Level = Level.INFO, **fields: object) -> None:
        """Write one line: the event's dotted name and its fields. An exception as a value becomes type and trace."""
        if level < self.level:
            return
        suppressed = self._admit(name)
        if suppressed < 0:
            return
        line: dict[str, Any] = {
            "time": self._clock.now(),
            "level": _LEVEL_WORDS[level],
            "room": self.room,
            "event": name,
        }
        request_id = call.request_id()
        if request_id:
            line["request_id"] = request_id
        for key, value in fields.items():
            line[key] = _HIDDEN if _SECRET.search(key) else _bounded(value)
        if suppressed:
            line["suppressed"] = suppressed
        self._writer.put(self._encode(name, line))

    def warning(self, name: str, /, **fields: object) -> None:
        """Write an event that someone should look at when it repeats."""
        self.event(name, level=Level.WARNING, **fields)

    def error(self, name: str, /, **fields: object) -> None:
        """Write an event that is a fault of ours or stops a task."""
        self.event(name, level=Level.ERROR, **fields)

    def flush(self, wait_s: float = _EXIT_WAIT_S) -> bool:
        """Wait at most `wait_s` until all lines are written; return whether they were."""
        return self._writer.flush(wait_s)

    def _admit(self, name: str) -> int:
        """Return how many lines of the event were left out before this one, or -1 if this one is left out too."""
        now = self._clock.monotonic()
        bucket = self._buckets.get(name)
        if bucket is None:
            if len(self._buckets) >= EVENTS_MAX:
                name = ""
            bucket = self._buckets.setdefault(name, _Bucket(self.burst, now))
        bucket.tokens = min(self.burst, bucket.tokens + (now - bucket.at) * self.per_second)
        bucket.at = now
        if bucket.tokens < 1:
            bucket.suppressed += 1
            return -1
        bucket.tokens -= 1
        suppressed, bucket.suppressed = bucket.suppressed, 0
        return suppressed

    def _encode(self, name: str, line: dict[str, Any]) -> bytes:
        try:
            encoded = self._encoder.encode(line)
        except Exception as error:  # a value that cannot be written must not stop its writer
            encoded = self._encoder.encode({**_head(line), "log_error": repr(error)[:TEXT_CHARS_MAX]})
        if len(encoded) >= LINE_BYTES_MAX:
            encoded = self._encoder.encode({**_head(line), "cut": True, "fields": sorted(line)[:40]})
        return encoded + b"\n"


def _head(line: dict[str, Any]) -> dict[str, Any]:
    return {key: line[key] for key in ("time", "level", "room", "event", "request_id") if key in line}


def _bounded(value: object) -> object:
    if isinstance(value, str):
        return value if len(value) <= TEXT_CHARS_MAX else value[:TEXT_CHARS_MAX] + "..."
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, BaseException):
        trace = "".join(traceback.format_exception(value)[-8:])
        return {"type": type(value).__name__, "text": str(value)[:TEXT_CHARS_MAX], "trace": trace[-2_000:]}
    return value


class _Forward(logging.Handler):
    """Brings what libraries log into our lines."""

    def __init__(self, target: Log) -> None:
        super().__init__(logging.WARNING)
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        level = Level.ERROR if record.levelno >= logging.ERROR else Level.WARNING
        fields: dict[str, object] = {"logger": record.name, "text": record.getMessage()}
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = record.exc_info[1]
        self._target.event("library.log", level=level, **fields)


log = Log()
"""The log of this process."""


def setup(room: str, config: TelemetryConfig, target: Log = log) -> None:
    """Give the process its log: the room's name, level and rates; warnings of libraries come along."""
    target.configure(
        room=room,
        level=Level[config.log_level.upper()],
        per_second=config.log_lines_per_second,
        burst=config.log_burst,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Forward(target)]
    root.setLevel(logging.WARNING)
    atexit.register(target.flush)
