"""The session under random events in every order: its promises hold, and it always ends with what is wanted."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.venues.lifecycle import Action, Close, Connect, Send, State
from tests.unit.venues.sessions import SECOND, make, subs


class SessionMachine(RuleBasedStateMachine):
    """Random events in every order, with a driver that behaves: it opens and closes only what was asked."""

    MESSAGES, CONNECTS, MAX = 30, 12, 8

    def __init__(self) -> None:
        super().__init__()
        self.session, self.config = make(
            messages=self.MESSAGES,
            reserve=5,
            connects=self.CONNECTS,
            subscriptions_max=self.MAX,
            in_flight_max=3,
            expects_greeting=True,
            closes_on_bad_subscription=True,
            quarantine_s=20.0,
            refused_retry_s=20.0,
        )
        self.now = 0
        self.socket = False  # connecting or open
        self.is_open = False
        self.sends: list[int] = []
        self.connects: list[int] = []
        self.at_venue: set[str] = set()
        self.wanted: list[str] = []
        self.ended = False
        self.do(self.session.start(0))

    def do(self, actions: Sequence[Action]) -> None:
        for action in list(actions):
            if isinstance(action, Connect):
                assert not self.socket, "two connections at once"
                self.socket, self.is_open, self.at_venue = True, False, set()
                self.connects.append(self.now)
            elif isinstance(action, Send):
                assert self.is_open, "sent without a socket"
                self.sends.append(self.now)
                if action.text.startswith("+"):
                    assert action.text[1:] not in self.at_venue, "asked for twice without leaving"
                    self.at_venue.add(action.text[1:])
                elif action.text.startswith("-"):
                    self.at_venue.discard(action.text[1:])
            elif isinstance(action, Close):
                assert self.socket, "closed what was not there"
                self.socket = self.is_open = False
                self.do(self.session.closed("asked", self.now))

    @rule(ms=st.sampled_from([1, 40, 300, 900, 2_500, 20_000, 70_000]))
    def time_passes(self, ms: int) -> None:
        end = self.now + ms * 1_000_000
        for _ in range(2_000):
            due = self.session.next_due_ns(self.now)
            if due > end:
                break
            self.now = max(self.now + 1, due)
            self.do(self.session.tick(self.now))
        else:
            raise AssertionError("the timers spin")
        self.now = max(self.now, end)
        self.do(self.session.tick(self.now))

    @rule()
    def the_socket_opens(self) -> None:
        if self.socket and not self.is_open and self.session.state is State.CONNECTING:
            self.is_open = True
            self.do(self.session.opened(self.now))

    @rule()
    def the_venue_greets(self) -> None:
        if self.is_open:
            self.do(self.session.frame(self.now))
            self.do(self.session.greeted(self.now))

    @rule()
    def a_frame_comes(self) -> None:
        if self.is_open:
            self.do(self.session.frame(self.now))

    @rule()
    def the_socket_is_cut(self) -> None:
        if self.socket:
            self.socket = self.is_open = False
            self.do(self.session.closed("cut", self.now))

    @rule(n=st.integers(0, 11))
    def an_answer_comes(self, n: int) -> None:
        self.do(self.session.acked(f"k{n}", self.now))

    @rule(n=st.integers(0, 11))
    def a_refusal_comes(self, n: int) -> None:
        if f"k{n}" in self.at_venue:
            self.at_venue.discard(f"k{n}")
            self.do(self.session.refused(f"k{n}", "no", self.now))

    @rule(keys=st.lists(st.integers(0, 11), max_size=10))
    def wants_change(self, keys: list[int]) -> None:
        self.wanted = list(dict.fromkeys(f"k{n}" for n in keys))[: self.MAX]
        self.do(self.session.want(subs(*[f"k{n}" for n in keys]), self.now))

    @rule(n=st.integers(0, 11), again=st.booleans())
    def a_chain_breaks(self, n: int, again: bool) -> None:
        self.do(self.session.renew(f"k{n}", self.now, again=again))

    @rule()
    def the_venue_announces_a_restart(self) -> None:
        self.do(self.session.recycle("restart", self.now))

    @rule()
    def late_news_comes(self) -> None:
        if not self.socket:
            self.do(self.session.opened(self.now))
            self.do(self.session.greeted(self.now))
            self.do(self.session.frame(self.now))

    @invariant()
    def the_message_budget_holds(self) -> None:
        recent = [at for at in self.sends if at > self.now - 60 * SECOND]
        assert len(recent) <= self.MESSAGES
        recent = [at for at in self.connects if at > self.now - 60 * SECOND]
        assert len(recent) <= self.CONNECTS

    @invariant()
    def memory_is_bounded(self) -> None:
        ledger = self.session._ledger
        assert len(ledger._records) <= 2 * self.MAX + 12
        assert sum(len(of_phase) for of_phase in ledger._by_phase.values()) == len(ledger._records)
        assert len(self.session._actions) == 0

    def teardown(self) -> None:
        """Whatever happened: with a venue that behaves from now on, everything wanted is delivered again."""
        for _ in range(6_000):
            if self.socket and not self.is_open:
                self.is_open = True
                self.do(self.session.opened(self.now))
                self.do(self.session.greeted(self.now))
            if self.is_open:
                self.do(self.session.frame(self.now))
                for key in sorted(self.at_venue):
                    if not self.session.is_acked(key):
                        self.do(self.session.acked(key, self.now))
            if all(self.session.is_acked(key) for key in self.wanted) and self.session.state is State.OPEN:
                break
            self.now = max(self.now + 1_000_000, min(self.session.next_due_ns(self.now), self.now + SECOND))
            self.do(self.session.tick(self.now))
        assert [key for key in self.wanted if not self.session.is_acked(key)] == []
        assert set(self.wanted) <= self.at_venue


TestSessionMachine = SessionMachine.TestCase
TestSessionMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
