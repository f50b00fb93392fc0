"""Every bound of the door that a connection can meet, with its unit, and what happens there."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one connection and of its topics. The first four are stated to the client in `welcome`."""

    topics_max: int = 200
    """Topics on a connection; a further one is refused with LIMIT_REACHED."""
    frames_per_minute_max: int = 600
    """Client frames in any 60 seconds; a further one is answered by an error and not acted on. As many refusals in a
    row again and the connection is closed with 1008."""
    frame_bytes_max: int = 16_384
    """Bytes of a client frame; a larger one is answered by an error, one of more than four times as much closes the
    connection with 1009."""
    topics_per_frame_max: int = 100
    """Topics named in one frame; more are answered by an error."""
    batch_interval_s: float = 0.05
    """How often collapsible topics are sent at most when the client names no `min_interval`."""
    heartbeat_interval_s: float = 15.0
    """Silence toward the client after which a heartbeat is sent."""
    control_frames_max: int = 2_048
    """Unsent answers on a connection; one more and it counts as a slow consumer."""
    trades_queued_max: int = 1_000
    """Unsent trades of a topic on a connection; further ones are lost and named in a gap."""
    deltas_queued_max: int = 256
    """Unsent deltas of a book on a connection; one more and all give way to a fresh snapshot."""
    candles_queued_max: int = 64
    """Unsent candles of a topic on a connection, each in its last state; further ones push out the oldest, and a gap
    says so."""
    flush_bytes_max: int = 262_144
    """Bytes handed to a socket at once; the rest waits, and collapses, until the socket takes more."""
    stall_timeout_s: float = 10.0
    """How long a socket may take to empty its buffer; beyond, the connection ends as a slow consumer with 1013."""
