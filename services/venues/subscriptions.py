"""What a session has asked of its venue and what of it was answered: one small lifecycle per subscription.

A subscription waits to be asked for, is sent, then answered (acked), refused for a while, or left. `Ledger` keeps them
by phase and says which frame is to be sent next: the most urgent first, suspects last and alone. A *suspect* was being
asked for when the venue closed the socket; alone and closed upon again, it is the culprit and is left out for long.

Pure, and private to `session.py`. Its memory is bounded: at most `subscriptions_max` wanted, as many being left, and
`QUARANTINE_MAX` remembered culprits (the oldest is forgotten, and would be found again).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

NEVER: Final = 1 << 62
QUARANTINE_MAX: Final = 1_024
RENEW_CALM_NS: Final = 10_000_000_000
"""A renewal this long after the one before is the first again."""
RENEW_FIRST_NS: Final = 250_000_000
RENEW_MAX_NS: Final = 4_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """One thing a venue can be asked to send. `key` names it; the frames are in the venue's words."""

    key: str
    subscribe: str
    unsubscribe: str


class Phase(Enum):
    """Where one subscription stands."""

    WAITING = auto()
    SENT = auto()
    ACKED = auto()
    REFUSED = auto()
    LEAVING = auto()


@dataclass(slots=True)
class Record:
    """One subscription's state. `due_ns`: not before (WAITING), ack expected by (SENT), tried again at (REFUSED)."""

    subscription: Subscription
    rank: int
    phase: Phase = Phase.WAITING
    due_ns: int = 0
    sent_ns: int = 0
    attempts: int = 0
    asked: bool = False
    """Whether it was asked for on this socket and neither refused nor left, so that the venue may deliver it."""
    leave_first: bool = False
    """Whether asking again starts with leaving."""
    suspect: bool = False
    strikes: int = 0
    quarantines: int = 0
    renewals: int = 0
    renewed_ns: int = -RENEW_CALM_NS

    @property
    def key(self) -> str:
        """The subscription's name."""
        return self.subscription.key


class Ledger:
    """All subscriptions of one session, by phase."""

    def __init__(self, subscriptions_max: int) -> None:
        self._max = subscriptions_max
        self._records: dict[str, Record] = {}
        self._by_phase: dict[Phase, dict[str, Record]] = {phase: {} for phase in Phase}
        self._culprits: dict[str, tuple[int, int]] = {}
        self.overflow_count = 0

    @property
    def acked_count(self) -> int:
        """How many are answered."""
        return len(self._by_phase[Phase.ACKED])

    @property
    def leaving_count(self) -> int:
        """How many are no longer wanted but still to be left."""
        return len(self._by_phase[Phase.LEAVING])

    def is_acked(self, key: str) -> bool:
        """Whether `key` is answered."""
        return key in self._by_phase[Phase.ACKED]

    def want(self, subscriptions: Iterable[Subscription], *, talking: bool) -> None:
        """Replace what is wanted, most urgent first; what is beyond the maximum is counted and not kept."""
        wanted: dict[str, Subscription] = {}
        overflow = 0
        for subscription in subscriptions:
            if len(wanted) < self._max or subscription.key in wanted:
                wanted.setdefault(subscription.key, subscription)
            else:
                overflow += 1
        self.overflow_count = overflow
        for key in [key for key in self._records if key not in wanted]:
            self._unwant(self._records[key], talking=talking)
        for rank, (key, subscription) in enumerate(wanted.items()):
            record = self._records.get(key)
            if record is None:
                self._add(subscription, rank)
                continue
            record.rank, record.subscription = rank, subscription
            if record.phase is Phase.LEAVING:
                record.leave_first, record.due_ns = True, 0
                self._move(record, Phase.WAITING)

    def acked(self, key: str) -> None:
        """Note the venue's answer; an answer to what was not asked changes nothing."""
        record = self._records.get(key)
        if record is not None and record.asked and record.phase in (Phase.SENT, Phase.WAITING):
            record.attempts = record.strikes = record.quarantines = 0
            record.leave_first = record.suspect = False
            self._culprits.pop(key, None)
            self._move(record, Phase.ACKED)

    def refuse(self, key: str, until_ns: int) -> bool:
        """Leave `key` out until then. Returns whether it was wanted."""
        record = self._records.get(key)
        if record is None or record.phase is Phase.LEAVING:
            self._forget(record)
            return False
        record.due_ns, record.attempts, record.leave_first, record.asked = until_ns, 0, False, False
        if record.quarantines:
            self._culprits.pop(key, None)
            self._culprits[key] = (until_ns, record.quarantines)
            if len(self._culprits) > QUARANTINE_MAX:
                del self._culprits[next(iter(self._culprits))]
        self._move(record, Phase.REFUSED)
        return True

    def renew(self, key: str, now_ns: int, *, again: bool) -> bool:
        """Have an answered subscription left and asked for again; with `again`, one that is being asked for too."""
        record = self._records.get(key)
        if record is None or not (record.phase is Phase.ACKED or (again and record.phase is Phase.SENT)):
            return False
        if now_ns - record.renewed_ns >= RENEW_CALM_NS + _renew_wait_ns(record.renewals):
            record.renewals = 0
        record.due_ns = now_ns + _renew_wait_ns(record.renewals)
        record.renewals += 1
        record.renewed_ns = now_ns
        record.leave_first = True
        self._move(record, Phase.WAITING)
        return True

    def unsend(self) -> None:
        """Count what is sent and not answered as not asked."""
        for record in list(self._by_phase[Phase.SENT].values()):
            record.due_ns = 0
            self._move(record, Phase.WAITING)

    def overdue(self, now_ns: int, attempts_max: int) -> list[str]:
        """Return what was asked `attempts_max` times in vain."""
        sent = self._by_phase[Phase.SENT].values()
        return [record.key for record in sent if record.due_ns <= now_ns and record.attempts >= attempts_max]

    def retry(self, now_ns: int) -> int:
        """Have what was not answered in time, or refused long enough ago, asked again; return how many unanswered."""
        late = [record for record in self._by_phase[Phase.SENT].values() if record.due_ns <= now_ns]
        for record in late:
            record.leave_first, record.due_ns = True, 0
            self._move(record, Phase.WAITING)
        for record in [r for r in self._by_phase[Phase.REFUSED].values() if r.due_ns <= now_ns]:
            self._move(record, Phase.WAITING)
        return len(late)

    def next_due_ns(self) -> int:
        """Return when `overdue` or `retry` next has something to do."""
        sent, refused = self._by_phase[Phase.SENT], self._by_phase[Phase.REFUSED]
        return min(
            min((record.due_ns for record in sent.values()), default=NEVER),
            min((record.due_ns for record in refused.values()), default=NEVER),
        )

    def ready_ns(self, in_flight_max: int) -> int:
        """Return from when on `next_frames` has something to send; `NEVER` while it has nothing."""
        if self._by_phase[Phase.LEAVING]:
            return 0
        sent = self._by_phase[Phase.SENT]
        if len(sent) >= in_flight_max or any(record.suspect for record in sent.values()):
            return NEVER
        waiting = self._by_phase[Phase.WAITING].values()
        return min((record.due_ns for record in waiting if not (record.suspect and sent)), default=NEVER)

    def next_frames(self, now_ns: int, ack_due_ns: int, in_flight_max: int) -> tuple[str, ...]:
        """Return the one or two frames to send now, and count them as sent; none when nothing is ready."""
        record = self._next_ask(now_ns, in_flight_max)
        if record is None:
            leaving = self._by_phase[Phase.LEAVING]
            if not leaving:
                return ()
            record = next(iter(leaving.values()))
            self._forget(record)
            return (record.subscription.unsubscribe,)
        subscription = record.subscription
        leave = (subscription.unsubscribe,) if record.leave_first else ()
        record.sent_ns, record.due_ns, record.leave_first, record.asked = now_ns, ack_due_ns, False, True
        record.attempts += 1
        self._move(record, Phase.SENT)
        return (*leave, subscription.subscribe)

    def suspect(self, now_ns: int, window_ns: int) -> Record | None:
        """The venue closed the socket: mark who was just being asked for; return the culprit if it is now known."""
        asked = [r for r in self._by_phase[Phase.SENT].values() if now_ns - r.sent_ns <= window_ns]
        if len(asked) == 1 and asked[0].suspect:
            record = asked[0]
            record.strikes += 1
            if record.strikes >= 2 or record.quarantines:
                record.quarantines += 1
                return record
        for record in asked:
            record.suspect = True
        return None

    def lose(self) -> tuple[str, ...]:
        """The socket is gone: ask for everything again when there is a new one. Returns what was being delivered."""
        lost = tuple(self._by_phase[Phase.ACKED])
        for record in list(self._by_phase[Phase.LEAVING].values()):
            self._forget(record)
        for phase in (Phase.SENT, Phase.ACKED, Phase.WAITING):
            for record in list(self._by_phase[phase].values()):
                record.due_ns, record.attempts, record.leave_first, record.asked = 0, 0, False, False
                self._move(record, Phase.WAITING)
        return lost

    def _next_ask(self, now_ns: int, in_flight_max: int) -> Record | None:
        sent = self._by_phase[Phase.SENT]
        if len(sent) >= in_flight_max or any(record.suspect for record in sent.values()):
            return None
        if len(sent) + self.acked_count + self.leaving_count >= self._max and self.leaving_count:
            return None
        ready = [
            record
            for record in self._by_phase[Phase.WAITING].values()
            if record.due_ns <= now_ns and not (record.suspect and sent)
        ]
        return min(ready, key=lambda record: (record.suspect, record.rank), default=None)

    def _add(self, subscription: Subscription, rank: int) -> None:
        record = Record(subscription, rank)
        if subscription.key in self._culprits:
            record.due_ns, record.quarantines = self._culprits[subscription.key]
            record.suspect, record.phase = True, Phase.REFUSED
        self._records[record.key] = record
        self._by_phase[record.phase][record.key] = record

    def _unwant(self, record: Record, *, talking: bool) -> None:
        if record.phase is Phase.LEAVING:
            return
        if talking and record.asked:
            self._move(record, Phase.LEAVING)
        else:
            self._forget(record)

    def _move(self, record: Record, phase: Phase) -> None:
        del self._by_phase[record.phase][record.key]
        record.phase = phase
        self._by_phase[phase][record.key] = record

    def _forget(self, record: Record | None) -> None:
        if record is not None:
            del self._by_phase[record.phase][record.key]
            del self._records[record.key]


def _renew_wait_ns(renewals: int) -> int:
    """Return how long the next renewal waits after `renewals` of them in close succession."""
    return min(RENEW_FIRST_NS << min(renewals - 1, 10), RENEW_MAX_NS) if renewals else 0
