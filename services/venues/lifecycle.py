"""The words of a session: its states and events, the table between them, what it may be told and what it answers.

Kept apart from the machine in `session.py` so that the whole lifecycle is on one screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from services.domain.feed import FeedState

NEVER: Final = 1 << 62
"""A time that does not come, in nanoseconds."""


class State(Enum):
    """Where the connection stands."""

    IDLE = auto()
    WAITING = auto()
    """Between two attempts."""
    CONNECTING = auto()
    GREETING = auto()
    """Open, but the venue's first frame is still to come; nothing is asked before it."""
    OPEN = auto()
    PROBING = auto()
    """Silent for `probe_after_s`; a ping is out."""
    SILENT = auto()
    """The ping was not answered in time: what is known is stale."""
    CLOSING = auto()
    STOPPED = auto()


class Kind(Enum):
    """What can happen to the connection. A TIMEOUT is the deadline of the state itself."""

    START = auto()
    TIMEOUT = auto()
    OPENED = auto()
    GREETED = auto()
    FRAME = auto()
    RECYCLE = auto()
    CLOSED = auto()
    STOP = auto()


TABLE: Final[dict[tuple[State, Kind], State]] = {
    (State.IDLE, Kind.START): State.WAITING,
    (State.IDLE, Kind.STOP): State.STOPPED,
    (State.WAITING, Kind.TIMEOUT): State.CONNECTING,
    (State.WAITING, Kind.STOP): State.STOPPED,
    (State.CONNECTING, Kind.OPENED): State.GREETING,
    (State.CONNECTING, Kind.TIMEOUT): State.CLOSING,
    (State.CONNECTING, Kind.CLOSED): State.WAITING,
    (State.CONNECTING, Kind.STOP): State.STOPPED,
    (State.GREETING, Kind.GREETED): State.OPEN,
    (State.GREETING, Kind.TIMEOUT): State.CLOSING,
    (State.GREETING, Kind.RECYCLE): State.CLOSING,
    (State.GREETING, Kind.CLOSED): State.WAITING,
    (State.GREETING, Kind.STOP): State.STOPPED,
    (State.OPEN, Kind.TIMEOUT): State.PROBING,
    (State.OPEN, Kind.RECYCLE): State.CLOSING,
    (State.OPEN, Kind.CLOSED): State.WAITING,
    (State.OPEN, Kind.STOP): State.STOPPED,
    (State.PROBING, Kind.FRAME): State.OPEN,
    (State.PROBING, Kind.TIMEOUT): State.SILENT,
    (State.PROBING, Kind.RECYCLE): State.CLOSING,
    (State.PROBING, Kind.CLOSED): State.WAITING,
    (State.PROBING, Kind.STOP): State.STOPPED,
    (State.SILENT, Kind.FRAME): State.OPEN,
    (State.SILENT, Kind.TIMEOUT): State.CLOSING,
    (State.SILENT, Kind.RECYCLE): State.CLOSING,
    (State.SILENT, Kind.CLOSED): State.WAITING,
    (State.SILENT, Kind.STOP): State.STOPPED,
    (State.CLOSING, Kind.CLOSED): State.WAITING,
    (State.CLOSING, Kind.STOP): State.STOPPED,
}
"""The whole lifecycle. A pair that is not here changes nothing: it is late news of a socket already given up."""

TALKING: Final = frozenset((State.OPEN, State.PROBING, State.SILENT))
SOCKET: Final = frozenset((State.CONNECTING, State.GREETING, State.OPEN, State.PROBING, State.SILENT))


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """What one venue's socket allows and expects. Times in seconds."""

    ping: str
    """The frame that asks for a sign of life; any frame answers it."""
    expects_greeting: bool = False
    """Whether the venue speaks first, and must be heard (`greeted`) before anything is asked."""
    closes_on_bad_subscription: bool = False
    """Whether the venue answers one bad subscription by closing the socket, so that the culprit must be found."""
    subscriptions_max: int
    in_flight_max: int = 40
    """How many subscriptions may be unanswered at a time."""
    open_timeout_s: float = 3.0
    """For the first attempts; grows to `open_timeout_max_s` while attempts fail."""
    open_timeout_max_s: float = 10.0
    ping_interval_s: float = 15.0
    probe_after_s: float = 2.0
    probe_timeout_s: float = 0.8
    """With `probe_after_s`, silence is STALE after 2.8 s."""
    silence_give_up_s: float = 1.2
    """How long a stale socket may still come back before it is given up; venues' sockets are seen to pause for 3 s."""
    ack_timeout_s: float = 5.0
    ack_attempts_max: int = 3
    refused_retry_s: float = 300.0
    backoff_first_s: float = 0.1
    backoff_floor_s: float = 1.0
    """The longest wait while the outage is short; a longer outage waits up to a tenth of its own length."""
    backoff_max_s: float = 15.0
    stable_after_s: float = 10.0
    """A connection that lived this long makes the next failure the first again."""
    suspect_window_s: float = 2.0
    quarantine_s: float = 900.0
    """How long a subscription that closed the socket twice, alone, is left out; doubles each time, at most a day."""


@dataclass(frozen=True, slots=True)
class Connect:
    """Open a socket; report `opened` or `closed`. Give up after `timeout_s`."""

    timeout_s: float


@dataclass(frozen=True, slots=True)
class Send:
    """Send this text frame."""

    text: str


@dataclass(frozen=True, slots=True)
class Close:
    """Drop the socket, at once and without waiting for the peer; report `closed`."""

    reason: str


@dataclass(frozen=True, slots=True)
class Changed:
    """The connection as a whole is now LIVE, STALE or RECOVERING."""

    state: FeedState
    reason: str


@dataclass(frozen=True, slots=True)
class Lost:
    """These subscriptions, once answered, no longer deliver; they are asked for again by the session."""

    keys: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The venue will not give this subscription; it is tried again after `retry_s`. The others are untouched."""

    key: str
    reason: str
    retry_s: float


Action = Connect | Send | Close | Changed | Lost | Refused


@dataclass(slots=True)
class SessionCounts:
    """What has happened since the start."""

    connects: int = 0
    closes: int = 0
    frames: int = 0
    probes: int = 0
    ack_timeouts: int = 0
    refused: int = 0
    quarantined: int = 0
    renewals: int = 0
