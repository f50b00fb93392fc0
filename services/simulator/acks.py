"""What the faults do to an answer whose action was carried out: later, never, or as an error that is not true."""

from __future__ import annotations

from dataclasses import dataclass

from services.simulator.connection import Rim
from services.simulator.faults import ACK_KINDS, DOWN_KINDS, Rule


@dataclass(frozen=True, slots=True)
class Spoil:
    """What happens to one answer: a delay, its loss together with the line, or an error in its place."""

    delay_s: float = 0.0
    lost: bool = False
    error: Rule | None = None

    @property
    def status(self) -> int:
        """Return the HTTP status of the error."""
        return 200 if self.error is None else int(self.error.number("status", 502))

    @property
    def text(self) -> str:
        """Return the text of the error, empty for the venue's own."""
        return "" if self.error is None else str(self.error.params.get("text") or "")


def spoil(rim: Rim, channel: str, what: str) -> Spoil:
    """Draw what happens to the answer of an action or transaction `what` that came by `channel`."""
    now = rim.clock.monotonic()
    delay, lost, error = 0.0, False, None
    for rule in list(rim.faults.active(ACK_KINDS, rim.venue, channel, what, now)):
        rim.faults.note(rule, rim.venue, channel, what, 0, now)
        if rule.kind == "ack_late":
            delay += rule.number("ms", 1000.0) / 1000
        elif rule.kind == "ack_lost":
            lost = True
        else:
            error = rule
    return Spoil(delay, lost, error)


def maintenance(rim: Rim, channel: str, what: str) -> str:
    """Return how a venue is in maintenance: `down`, `post_only`, or not at all."""
    now = rim.clock.monotonic()
    for rule in list(rim.faults.active(DOWN_KINDS, rim.venue, channel, what, now)):
        rim.faults.note(rule, rim.venue, channel, what, 0, now)
        return str(rule.params.get("mode") or "down")
    return ""
