"""The session: its whole table, and the promises that hold under every order of events."""

from __future__ import annotations

import itertools

import pytest

from services.domain.feed import FeedState
from services.venues.lifecycle import (
    SOCKET,
    TABLE,
    Action,
    Changed,
    Close,
    Connect,
    Kind,
    Lost,
    Refused,
    Send,
    State,
)
from services.venues.session import Session
from tests.unit.venues.sessions import PING, SECOND, make, of, sent, subs


def open_session(session: Session, now: int = 0) -> list[Action]:
    """Take a fresh session to OPEN and return what it said."""
    actions = [*session.start(now), *session.tick(now), *session.opened(now)]
    assert session.state is State.OPEN
    return actions


def drive(session: Session, state: State) -> int:
    """Take a fresh session that expects a greeting to `state`; return the time it is then."""
    now = 0
    if state is State.IDLE:
        return now
    if state is State.STOPPED:
        session.stop(now)
        return now
    session.start(now)
    if state is State.WAITING:
        return now
    session.tick(now)
    if state is State.CONNECTING:
        return now
    session.opened(now)
    if state is State.GREETING:
        return now
    session.greeted(now)
    if state is State.CLOSING:
        session.recycle("test", now)
        return now
    for wanted in (State.OPEN, State.PROBING, State.SILENT):
        if session.state is wanted is state:
            return now
        now = session.next_due_ns(now)
        while session.state is wanted:
            session.tick(now)
            now += 10_000_000
        now -= 10_000_000
    return now


EVENTS = {
    Kind.START: lambda s, now: s.start(now),
    Kind.OPENED: lambda s, now: s.opened(now),
    Kind.GREETED: lambda s, now: s.greeted(now),
    Kind.FRAME: lambda s, now: s.frame(now),
    Kind.RECYCLE: lambda s, now: s.recycle("test", now),
    Kind.CLOSED: lambda s, now: s.closed("test", now),
    Kind.STOP: lambda s, now: s.stop(now),
    Kind.TIMEOUT: lambda s, now: s.tick(now + 3_600 * SECOND),
}


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("state", list(State))
def test_every_state_answers_every_event_as_the_table_says(state: State, kind: Kind) -> None:
    session, _ = make(expects_greeting=True)
    now = drive(session, state)
    assert session.state is state
    actions = EVENTS[kind](session, now)
    assert session.state is TABLE.get((state, kind), state)
    closes, connects = of(Close, actions), of(Connect, actions)
    assert bool(connects) == (state is State.WAITING and kind is Kind.TIMEOUT)
    assert bool(closes) == (state in SOCKET and session.state in (State.CLOSING, State.STOPPED))
    if (state, kind) not in TABLE:
        assert not [action for action in actions if not isinstance(action, Send)]


def test_every_pair_of_the_table_is_reachable_and_only_stopped_is_final() -> None:
    reached = {State.IDLE}
    while True:
        more = reached | {after for (before, _), after in TABLE.items() if before in reached}
        if more == reached:
            break
        reached = more
    assert reached == set(State)
    assert {before for before, _ in TABLE} == set(State) - {State.STOPPED}


def test_nothing_is_asked_before_the_greeting() -> None:
    session, _ = make(expects_greeting=True)
    session.want(subs("a"), 0)
    session.start(0)
    assert sent([*session.tick(0), *session.opened(0), *session.frame(1), *session.tick(2)]) == []
    assert sent(session.greeted(3)) == ["+a"]


def test_the_most_urgent_come_first_when_the_message_budget_makes_some_wait() -> None:
    session, _ = make(messages=8, reserve=2)
    session.want(subs("a", "b", "c", "d", "e", "f", "g", "h"), 0)
    assert sent(open_session(session)) == ["+a", "+b", "+c", "+d", "+e"]  # one more is kept free for a leave
    for key in "abcde":
        session.acked(key, SECOND)
    later: list[tuple[int, str]] = []
    for now in range(SECOND, 200 * SECOND, SECOND):
        session.frame(now)
        for text in sent(session.tick(now)):
            if text != PING:
                later.append((now, text))
                session.acked(text[1:], now)
    assert [text for _, text in later] == ["+f", "+g", "+h"]
    assert later[0][0] >= 60 * SECOND


def test_silence_is_probed_then_stale_within_three_seconds_then_given_up() -> None:
    session, _ = make()
    open_session(session)
    assert session.next_due_ns(0) == 2 * SECOND
    assert sent(session.tick(2 * SECOND)) == [PING]
    stale = of(Changed, session.tick(session.next_due_ns(2 * SECOND)))
    assert [action.state for action in stale] == [FeedState.STALE]
    assert session.state is State.SILENT
    now = session.next_due_ns(3 * SECOND)
    assert now <= 4.1 * SECOND
    assert of(Close, session.tick(now))


def test_a_pong_alone_keeps_the_connection_live() -> None:
    session, _ = make()
    open_session(session)
    assert sent(session.tick(2 * SECOND)) == [PING]
    assert session.frame(2 * SECOND + 90_000_000) == ()
    assert session.state is State.OPEN


def test_a_stale_socket_that_speaks_again_is_live_again() -> None:
    session, _ = make()
    open_session(session)
    session.tick(2 * SECOND)
    session.tick(3 * SECOND)
    assert [action.state for action in of(Changed, session.frame(3 * SECOND + 1))] == [FeedState.LIVE]


def test_a_busy_socket_is_still_pinged() -> None:
    session, config = make()
    open_session(session)
    pings = 0
    for now in range(0, 61 * SECOND, SECOND // 2):
        session.frame(now)
        pings += sent(session.tick(now)).count(PING)
    assert pings == int(60 / config.ping_interval_s)


def test_a_refused_subscription_leaves_the_others_alone_and_is_tried_later() -> None:
    session, config = make()
    session.want(subs("a", "bad", "c"), 0)
    open_session(session)
    session.acked("a", 1)
    actions = session.refused("bad", "Invalid Channel", 2)
    assert actions == [Refused("bad", "Invalid Channel", config.refused_retry_s)]
    session.acked("c", 3)
    assert session.acked_count == 2
    assert session.state is State.OPEN
    later = round((config.refused_retry_s + 1) * SECOND)
    session.frame(later)
    assert "+bad" in sent(session.tick(later))


def test_what_is_not_answered_is_left_and_asked_again_then_counted_as_refused() -> None:
    session, config = make()
    session.want(subs("a", "mute"), 0)
    open_session(session)
    session.acked("a", 1)
    heard: list[str] = []
    refusals: list[Action] = []
    for now in range(0, 20 * SECOND, SECOND):
        session.frame(now)
        actions = session.tick(now)
        heard += [text for text in sent(actions) if text != PING]
        refusals += of(Refused, actions)
    assert heard == ["-mute", "+mute"] * (config.ack_attempts_max - 1)
    assert len(refusals) == 1
    assert session.acked_count == 1


def test_a_renewal_leaves_and_asks_again_and_repeats_ever_more_slowly() -> None:
    session, _ = make()
    session.want(subs("a"), 0)
    open_session(session)
    session.acked("a", 0)
    now, times = 0, []
    for _ in range(6):
        actions = list(session.renew("a", now))
        while not sent(actions):
            now += 10_000_000
            session.frame(now)
            actions += session.tick(now)
        assert [text for text in sent(actions) if text != PING] == ["-a", "+a"]
        times.append(now)
        session.acked("a", now)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == sorted(gaps)
    assert times[0] == 0
    assert gaps[-1] >= 4 * SECOND


def test_everything_is_asked_for_again_after_a_reconnect() -> None:
    session, _ = make()
    session.want(subs("a", "b"), 0)
    open_session(session)
    session.acked("a", 1)
    session.acked("b", 1)
    actions = session.closed("cut", SECOND)
    assert of(Lost, actions) == [Lost(("a", "b"), "cut")]
    due = session.next_due_ns(SECOND)
    assert due - SECOND <= 0.1 * SECOND
    assert of(Connect, session.tick(due))
    assert sent(session.opened(due + 1)) == ["+a", "+b"]


@pytest.mark.parametrize("outage_s", [1, 5, 20, 60])
def test_the_wait_between_attempts_stays_within_a_second_or_a_tenth_of_the_outage(outage_s: int) -> None:
    session, _ = make(connects=10_000)
    session.start(0)
    session.tick(0)
    now, waits = 0, []
    while now < outage_s * SECOND:
        session.closed("refused", now)
        due = session.next_due_ns(now)
        waits.append((due - now) / SECOND)
        now = due
        session.tick(now)
        assert session.state is State.CONNECTING
    assert max(waits) <= max(1.0, outage_s / 10)
    assert len(waits) >= min(outage_s, 10)


def test_an_open_breaker_sets_the_wait() -> None:
    session, _ = make()
    session.start(0)
    session.tick(0)
    session.closed("breaker open", 0, wait_s=7.5)
    assert session.next_due_ns(0) == 7.5 * SECOND


def test_the_subscription_for_which_a_venue_closes_the_socket_is_found_and_left_out() -> None:
    """A venue that answers within 10 ms, and closes the socket 100 ms after it is asked for `evil`."""
    session, _ = make(closes_on_bad_subscription=True, messages=2_000, connects=1_000)
    names = [f"m{n}" for n in range(30)]
    session.want(subs(*names[:15], "evil", *names[15:]), 0)
    now, closed_count = 0, 0
    pending: list[Action] = [*session.start(0)]
    while session.acked_count < 30 and now < 60 * SECOND:
        now += 1_000_000
        actions, pending = pending, []
        for action in [*actions, *session.tick(now)]:
            if isinstance(action, Connect):
                pending += session.opened(now)
            elif isinstance(action, Send) and action.text == "+evil":
                now += 100_000_000
                closed_count += 1
                pending = list(session.closed("cut without a word", now))
                break
            elif isinstance(action, Send):
                pending += [*session.frame(now), *session.acked(action.text[1:], now)]
    assert session.acked_count == 30
    assert session.counts.quarantined == 1
    assert not session.is_acked("evil")
    assert closed_count == 3  # once among others, twice alone


def test_throttling_pauses_and_asks_again() -> None:
    session, _ = make()
    session.want(subs("a", "b"), 0)
    open_session(session)
    session.acked("a", 1)
    session.throttle(5.0, 2)
    session.frame(4 * SECOND)
    assert "+b" not in sent(session.tick(4 * SECOND))
    session.frame(6 * SECOND)
    assert "+b" in sent(session.tick(6 * SECOND))


def test_wanting_less_leaves_and_wanting_again_renews() -> None:
    session, _ = make()
    session.want(subs("a", "b"), 0)
    open_session(session)
    session.acked("a", 1)
    session.acked("b", 1)
    assert sent(session.want(subs("b"), 2)) == ["-a"]
    assert sent(session.want(subs("a", "b"), 3)) == ["+a"]


def test_more_than_the_venue_allows_is_counted_not_asked() -> None:
    session, _ = make(subscriptions_max=3)
    session.want(subs("a", "b", "c", "d", "e"), 0)
    assert sent(open_session(session)) == ["+a", "+b", "+c"]
    assert session.overflow_count == 2
