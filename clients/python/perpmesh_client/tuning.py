"""When to wait, when to try again and when to give up: the numbers, and the rules as pure functions."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perpmesh_client.errors import PerpmeshError


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The waits and bounds of a `Perpmesh`, in seconds unless they say otherwise. The defaults suit most."""

    call_timeout_s: float = 10.0
    """The deadline of a call that is no stream, its retries included."""
    call_attempts_max: int = 4
    """How often such a call is sent while the mesh is UNAVAILABLE."""
    connect_timeout_s: float | None = 10.0
    """How long a stream that has never had an answer keeps trying before it raises; None means for ever. A stream
    that has been answered once is made again for as long as it is read."""
    silence_timeout_s: float = 20.0
    """How long a stream may be silent before its connection counts as dead and another is made. The mesh sends a
    heartbeat after 15 seconds of silence, so less than that finds faults where there are none."""
    backoff_first_s: float = 0.1
    """The wait before the first new attempt; it doubles with each one that fails."""
    backoff_max_s: float = 2.0
    """The longest wait, and how long a stream must have stood before the doubling starts afresh."""
    retry_after_max_s: float = 60.0
    """The longest wait that the mesh may ask for and get; more is cut to this."""
    fill_trades_max: int = 10_000
    """How many lost trades are fetched for one gap; what goes beyond stays a gap."""


class Verdict(Enum):
    """What a stream does about an error."""

    RESUME = auto()
    """Open it again after a wait, with the last cursor."""
    RESTART = auto()
    """Open it again without a cursor: the one sent is of no use."""
    RAISE = auto()
    """Tell the caller: the same request would fail again."""


_CURSOR_REASONS = frozenset({"CURSOR_EXPIRED", "CURSOR_INVALID"})
_RESUME_CODES = frozenset({"UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED"})


def judge(error: PerpmeshError, *, had_cursor: bool, answered: bool) -> Verdict:
    """Say what a stream does about `error`.

    `had_cursor`: whether the failed attempt sent one. `answered`: whether the stream ever had a message; a limit that
    is reached right at the start is the caller's to know, and later on it is the storm after a restart.
    """
    if had_cursor and (error.code == "OUT_OF_RANGE" or error.reason in _CURSOR_REASONS):
        return Verdict.RESTART
    if error.code in _RESUME_CODES or error.from_transport:
        return Verdict.RESUME
    if error.code == "RESOURCE_EXHAUSTED" and answered and error.reason != "REQUEST_TOO_LARGE":
        return Verdict.RESUME
    return Verdict.RAISE


def backoff_s(tuning: Tuning, failures: int, dice: random.Random, *, retry_after_s: float = 0.0) -> float:
    """Return how long to wait after so many failures in a row: doubling, capped, and spread so that clients part.

    The spread is half to all of the step, so a wait is never next to nothing. A wait the mesh asked for is a floor.
    """
    step = min(tuning.backoff_max_s, tuning.backoff_first_s * 2.0 ** min(failures - 1, 30))
    return max(step * dice.uniform(0.5, 1.0), min(retry_after_s, tuning.retry_after_max_s))
