"""An event loop whose time is virtual, and processes that die: the ground every simulated run stands on.

Nothing waits: when no task is ready, time jumps to the next timer. Timers that are due together come in an order that
the seed decides; everything else is asyncio's own. There is no selector, so no socket and no signal can get in, and
with one seed every run takes the same steps.

A `Process` is one start of the room. When it dies, its tasks are canceled and every port refuses it from then on, so
that whatever its code does while it unwinds (its `finally`, its `except`) reaches nobody: the same as `kill -9`. While
it is frozen (SIGSTOP) whatever it asked for waits, and goes on afterwards without knowing that time has passed.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import heapq
import os
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START_NS = 1_790_000_000_000_000_000
"""The wall time at which every run begins."""
STEPS_MAX = 3_000_000
EVENTS_KEPT = int(os.environ.get("PERPMESH_SIMULATION_EVENTS", "60"))
"""How many of the last events a failing seed prints."""


class StuckError(Exception):
    """The loop has nothing more to do, or does not come to an end."""


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop that never waits."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._virtual_s = 0.0
        self._ties = Random(f"{seed} ties")
        self._timers: list[tuple[float, int, asyncio.Handle]] = []
        self._count = 0
        self.steps = 0
        self.tasks: list[asyncio.Task[Any]] = []
        self.faults: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _loop, context: self.faults.append(context))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual_s

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """Set a timer; of those that are due together the seed says which comes first."""
        handle = asyncio.Handle(callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when + self._ties.random() * 1e-7, self._count, handle))
        return handle

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """Set a timer."""
        return self.call_at(self._virtual_s + delay, callback, *args, context=context)

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> asyncio.Handle:
        """Have it called in the next round."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def get_debug(self) -> bool:
        """Never."""
        return False

    def _run_once(self) -> None:
        ready, timers = self._ready, self._timers  # type: ignore[attr-defined]
        if not ready:
            while timers and timers[0][2]._cancelled:  # type: ignore[attr-defined]
                heapq.heappop(timers)
            if not timers:
                raise StuckError("nothing is left to happen")
            self._virtual_s = max(self._virtual_s, timers[0][0])
        while timers and timers[0][0] <= self._virtual_s:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:  # type: ignore[attr-defined]
                ready.append(handle)
        count = len(ready)
        self.steps += count
        if self.steps > STEPS_MAX:
            raise StuckError(f"{STEPS_MAX} steps and no end")
        for _ in range(count):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _process_events(self, event_list: Any) -> None:
        raise AssertionError("there is no selector")

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""


class Trace:
    """Everything that happened, as one hash, and the last of it in words."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._hash = hashlib.sha256()
        self.last: deque[str] = deque(maxlen=EVENTS_KEPT)
        self.steps: set[str] = set()
        """What kinds of things happened."""

    def note(self, who: str, what: str, detail: object = "") -> None:
        """Note an event."""
        line = f"{self._loop.time():.6f} {who} {what} {detail}"
        self._hash.update(line.encode())
        self.last.append(line)
        self.steps.add(what)

    def digest(self) -> str:
        """Return the hash of all that was noted."""
        return self._hash.hexdigest()


CURRENT: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Process:
    """One start of the room."""

    def __init__(self, loop: VirtualLoop, name: str) -> None:
        self.loop = loop
        self.name = name
        self.is_alive = True
        self.frozen_until = 0.0
        self.tasks: list[asyncio.Task[Any]] = []
        self.context = contextvars.copy_context()
        self.context.run(CURRENT.set, self)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that dies with the process."""
        return self.loop.create_task(work, context=self.context)

    async def breathe(self) -> None:
        """Wait while the process is frozen; end here where it is dead."""
        while self.is_alive and self.frozen_until > self.loop.time():  # noqa: ASYNC110  (time is virtual)
            await asyncio.sleep(self.frozen_until - self.loop.time())
        if not self.is_alive:
            raise asyncio.CancelledError

    def kill(self) -> None:
        """Die: nothing of it goes on."""
        self.is_alive = False
        for task in self.tasks:
            if not task.done():
                task.cancel()


def adopt(loop: VirtualLoop) -> None:
    """Have every task belong to the process that starts it."""

    def factory(_loop: Any, work: Any, context: Any = None) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, context=context)
        loop.tasks.append(task)
        process = CURRENT.get() if context is None else context.get(CURRENT)
        if process is not None:
            process.tasks.append(task)
            if not process.is_alive:
                task.cancel()
        return task

    loop.set_task_factory(factory)  # type: ignore[arg-type]


class WallClock:
    """The clock of our machine: virtual time, and an offset that a time server may move."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.offset_ns = 0

    def now(self) -> datetime:
        """Return the wall time."""
        return EPOCH + timedelta(microseconds=self.time_ns() // 1_000)

    def time_ns(self) -> int:
        """Return the wall time in nanoseconds."""
        return self.true_ns() + self.offset_ns

    def true_ns(self) -> int:
        """Return the time that the venues' clocks tell."""
        return START_NS + round(self._loop.time() * 1e9)

    def monotonic(self) -> float:
        """Return the virtual time."""
        return self._loop.time()

    def monotonic_ns(self) -> int:
        """Return the virtual time in nanoseconds."""
        return round(self._loop.time() * 1e9)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(max(0.0, seconds))
        process = CURRENT.get()
        if process is not None:
            await process.breathe()


Effect = Callable[[], Any]


def apart(loop: VirtualLoop, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start a task of the world's: it goes on when whoever asked for it dies."""
    context = contextvars.copy_context()
    context.run(CURRENT.set, None)
    return loop.create_task(work, context=context)
