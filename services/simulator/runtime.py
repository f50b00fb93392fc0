"""What runs: the pump that moves the market with the wall clock, the faces, the faults, the listeners.

Time can be frozen, so that a test can compare what a client holds with what is true, and stepped while frozen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Protocol

from aiohttp import web

from services.chassis.clock import Clock
from services.simulator import replay, script
from services.simulator.catalog import Catalog
from services.simulator.catalog import load as load_catalog
from services.simulator.config import Config
from services.simulator.connection import Rim
from services.simulator.dialects.hyperliquid.face import HyperliquidFace
from services.simulator.dialects.lighter.face import LighterFace
from services.simulator.faults import LISTENER_KINDS, NOTICE_KINDS, Faults, Frame, Rule
from services.simulator.instrument import VenueName
from services.simulator.ledger import Ledger
from services.simulator.listener import Listener, make_app
from services.simulator.market import Event, Market
from services.simulator.paper.source import Paper
from services.simulator.sockets import Sockets

NOTICE = "Simulated venue: every price, size and trade here is synthetic or replayed; nothing is real."
PAPER_NOTICE = "Simulated venue on live prices: accounts, orders, fills and money are invented; nothing is real."
CATCH_UP_NS = 2_000_000_000
"""Behind by more than this (a suspended machine), the market jumps instead of catching up."""
STEP_S_MAX = 0.05
STEP_S_MIN = 0.001


def venue_named(venue: str) -> VenueName:
    """Return a venue's name as its type."""
    return "hyperliquid" if venue == "hyperliquid" else "lighter"


class Face(Protocol):
    """A venue's dialect, as the pump knows it."""

    venue: str
    rim: Rim
    sockets: Sockets
    replays: replay.Replays | None

    def routes(self, app: web.Application) -> None:
        """Add the venue's paths."""

    def on_event(self, event: Event) -> None:
        """Print something that happened."""

    def tick(self, now: float) -> None:
        """Do what is due."""

    def replay(self, recording: replay.Recording | None) -> None:
        """Change the source."""


class Runtime:
    """Everything of one simulator process."""

    def __init__(
        self, config: Config, clock: Clock, catalog: Catalog | None = None, paper: Paper | None = None
    ) -> None:
        """Build the market and the faces over what is listed; nothing listens yet. `paper` follows live prices."""
        self.paper = paper
        self.config = config
        self.clock = clock
        start_ns = config.start_ms * 1_000_000 or clock.time_ns()
        self.market = Market(catalog or load_catalog(), seed=config.seed, start_ns=start_ns)
        self.faults = Faults(config.seed)
        self.ledger = Ledger()
        self.frozen = config.frozen
        self.script: list[script.Step] = []
        self.script_began = 0.0
        self.script_errors: list[str] = []
        # Building the market takes a while: one that runs with the wall clock catches up, and is not that much late.
        self._offset_ns = start_ns - clock.time_ns() if config.start_ms else 0
        self._tasks: set[asyncio.Task[None]] = set()
        rims = {venue: Rim(venue, clock, self.faults, self.ledger) for venue in ("hyperliquid", "lighter")}
        self.hyperliquid = HyperliquidFace(self.market, rims["hyperliquid"], config)
        self.lighter = LighterFace(self.market, rims["lighter"], config)
        self.faces: dict[str, Face] = {"hyperliquid": self.hyperliquid, "lighter": self.lighter}
        ports = {"hyperliquid": config.hyperliquid_port, "lighter": config.lighter_port}
        self.listeners: dict[str, Listener] = {}
        for venue, face in self.faces.items():
            app = make_app(face.rim)
            face.routes(app)
            self.listeners[venue] = Listener(app, config.host, ports[venue])

    @property
    def notice(self) -> str:
        """Return what a user must know about what is shown here."""
        return NOTICE if self.paper is None else PAPER_NOTICE

    async def open(self) -> None:
        """Load the configured source and listen. Raises OSError or ValueError."""
        if self.config.recording:
            venue = self.config.recording_venue or "lighter"
            self.use_recording(replay.load(self.config.recording, venue, self.config.recording_speed))
        if self.config.script:
            self.use_script(script.load(self.config.script))
        if self.paper is not None:
            self.paper.follow(self.market)
        for listener in self.listeners.values():
            await listener.open()

    async def close(self) -> None:
        """Cut every client and stop listening."""
        for task in list(self._tasks):
            task.cancel()
        if self.paper is not None:
            await self.paper.close()
        for face in self.faces.values():
            face.sockets.cut_all("the simulator stops")
        for listener in self.listeners.values():
            await listener.close()

    async def run(self) -> None:
        """Move the market with the wall clock until cancelled."""
        while True:
            self.pump()
            wait = STEP_S_MAX if self.frozen else (self.market.next_due_ns() - self._now()) / 1e9
            await self.clock.sleep(min(STEP_S_MAX, max(STEP_S_MIN, wait)))

    def _now(self) -> int:
        """Return the market's wall time; a machine clock that is set back does not set the market back."""
        now = self.clock.time_ns() + self._offset_ns
        if now < self.market.now_ns - CATCH_UP_NS:
            self._offset_ns += self.market.now_ns - now
            now = self.market.now_ns
        return now

    def pump(self) -> None:
        """Publish what is due."""
        if not self.frozen:
            now = self._now()
            if now > self.market.now_ns + CATCH_UP_NS:
                self.market.skip_to(now)
            self._publish(self.market.advance(now))
        self._play_script()
        monotonic = self.clock.monotonic()
        for face in self.faces.values():
            face.tick(monotonic)

    def _publish(self, events: list[Event]) -> None:
        for event in events:
            for face in self.faces.values():
                face.on_event(event)

    def _play_script(self) -> None:
        now = self.clock.monotonic()
        while self.script and now - self.script_began >= self.script[0].at_ms / 1000:
            step = self.script.pop(0)
            try:
                script.apply(step, self.market, self.faults, now)
            except ValueError as error:
                self.script_errors.append(f"{step.action} at {step.at_ms} ms: {error}")

    def freeze(self) -> None:
        """Let the market stand still."""
        self.frozen = True

    def thaw(self) -> None:
        """Let the market go on; the time in which it stood still is skipped."""
        self.frozen = False
        self.market.skip_to(self._now())

    def step(self, milliseconds: int) -> None:
        """Move a frozen market forward, publishing as it goes."""
        self._publish(self.market.advance(self.market.now_ns + milliseconds * 1_000_000))

    def use_recording(self, recording: replay.Recording) -> None:
        """Let one venue replay."""
        self.faces[recording.venue].replay(recording)

    def use_synthetic(self, venue: str) -> None:
        """Let one venue, or both with `*`, print the market again."""
        for name, face in self.faces.items():
            if venue in ("*", name):
                face.replay(None)
                for instrument in self.market.venues[venue_named(name)].values():
                    instrument.scripted = False
        self.script = []
        self.market.flow_on = True

    def use_script(self, steps: list[script.Step]) -> None:
        """Begin a scenario now."""
        self.script = list(steps)
        self.script_began = self.clock.monotonic()
        self.script_errors = []

    def fault(self, spec: dict[str, object]) -> Rule:
        """Put a fault in force; those that act on lines and listeners act at once. Raises ValueError."""
        now = self.clock.monotonic()
        rule = self.faults.add(spec, now)
        at_once = rule.kind == "close" and "probability" not in spec
        if rule.kind in LISTENER_KINDS:
            self._spawn(self._refuse(rule))
        elif rule.kind in NOTICE_KINDS:
            self._spawn(self._shutdown(rule))
        elif at_once:
            self._cut(rule, now)
        return rule

    def _cut(self, rule: Rule, now: float) -> None:
        """Cut lines at once, at most `count` of them; the rule is spent."""
        left = rule.count
        for venue, face in self.faces.items():
            if rule.venue not in ("*", venue):
                continue
            for connection in list(face.sockets.connections.values())[:left]:
                self.faults.note(rule, venue, "*", "*", connection.number, now)
                connection.cut("fault: close")
                left = None if left is None else left - 1
        self.faults.clear(rule.id)

    async def _refuse(self, rule: Rule) -> None:
        """Shut listeners while a rule is in force, then open them again."""
        chosen = [listener for venue, listener in self.listeners.items() if rule.venue in ("*", venue)]
        now = self.clock.monotonic()
        self.faults.note(rule, rule.venue, "*", "*", 0, now)
        for listener in chosen:
            await listener.shutter()
        while rule in self.faults.rules and (rule.until is None or self.clock.monotonic() < rule.until):
            await self.clock.sleep(STEP_S_MAX)
        self.faults.clear(rule.id)
        for listener in chosen:
            await listener.open()

    async def _shutdown(self, rule: Rule) -> None:
        """Announce a restart to every Lighter client, as that venue does, and cut them when the time is over."""
        sockets = self.faces["lighter"].sockets
        ms = int(rule.number("close_in_ms", 1000))
        self.faults.note(rule, "lighter", "shutdown", "", 0, self.clock.monotonic())
        told = list(sockets.connections.values())
        for connection in told:
            connection.send(Frame(b'{"type":"shutdown","close_in_ms":%d}' % ms, "shutdown", kind="hello"))
        await self.clock.sleep(ms / 1000)
        for connection in told:
            connection.cut("the announced restart")
        self.faults.clear(rule.id)

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
