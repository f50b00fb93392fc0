"""Background work that never dies silently: supervised tasks, bounded queues, backoff.

A room starts its long-lived tasks in one `Supervisor`. A task that fails is logged once with its name, counted, and
started again after a backoff; while it is down the supervisor says so in `failing`, which readiness may show. Queues
have a bound and a stated policy for what happens at it.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from dataclasses import dataclass
from enum import Enum, StrEnum
from types import TracebackType
from typing import Any, Final, Generic, TypeVar

from services.chassis.clock import SYSTEM, Clock
from services.chassis.ids import seeded_random
from services.chassis.metrics import METRICS, Metrics
from services.chassis.telemetry import Log, log
from services.domain.errors import DomainError, Reason

T = TypeVar("T")
Work = Callable[[], Awaitable[None]]
"""What a supervised task does; called anew for every start."""


class Backoff:
    """Growing delays with jitter, pure: `next` gives seconds, `reset` starts over.

    The n-th delay is `base_s * factor**n`, at most `max_s`, less a random share of up to `jitter` of it, so that many
    who failed together do not return together.
    """

    def __init__(
        self,
        *,
        base_s: float = 0.1,
        factor: float = 2.0,
        max_s: float = 30.0,
        jitter: float = 0.5,
        rng: random.Random,
    ) -> None:
        if not (base_s > 0 and factor >= 1 and max_s >= base_s and 0 <= jitter <= 1):
            raise ValueError("a backoff needs base_s > 0, factor >= 1, max_s >= base_s and jitter from 0 to 1")
        self._base_s = base_s
        self._factor = factor
        self._max_s = max_s
        self._jitter = jitter
        self._rng = rng
        self._delay_s = base_s
        self.attempts = 0

    def next(self) -> float:
        """Return the next delay in seconds."""
        delay, self._delay_s = self._delay_s, min(self._max_s, self._delay_s * self._factor)
        self.attempts += 1
        return delay * (1 - self._jitter * self._rng.random())

    def reset(self) -> None:
        """Start over, after a success that lasted."""
        self._delay_s = self._base_s
        self.attempts = 0


class Restart(StrEnum):
    """When a supervised task is started again."""

    ALWAYS = "always"
    """After a failure and after an ordinary end: for work that should never end."""
    ON_FAILURE = "on_failure"
    """After a failure only."""
    NEVER = "never"
    """A failure ends the supervisor: its `async with` block raises it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """How a failed task comes back."""

    when: Restart = Restart.ALWAYS
    base_s: float = 0.1
    max_s: float = 30.0
    healthy_after_s: float = 60.0
    """A run this long makes the next failure count as the first."""


FOREVER = RestartPolicy()
ONCE = RestartPolicy(when=Restart.NEVER)


LINGER_S: Final = 2.0
"""How long a task may take to end before it is canceled once more."""


def _where(task: asyncio.Task[None]) -> str:
    """Return the innermost places at which a task stands."""
    frames: list[str] = []
    at: Any = task.get_coro()
    while at is not None:
        frame = getattr(at, "cr_frame", None)
        if frame is not None:
            frames.append(f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {frame.f_code.co_name}")
        at = getattr(at, "cr_await", None)
    return " > ".join(frames[-6:])


class Supervisor:
    """Starts tasks by name, restarts them by their policy, and ends all of them with its `async with` block."""

    def __init__(
        self,
        *,
        clock: Clock = SYSTEM,
        rng: random.Random | None = None,
        metrics: Metrics = METRICS,
        logger: Log = log,
    ) -> None:
        self._clock = clock
        self._rng = rng or seeded_random()
        self._log = logger
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._failing: dict[str, str] = {}
        self._fatal: asyncio.Future[None] | None = None
        self._failures = metrics.counter("perpmesh_task_failures_total", "Failures of background tasks.", ("task",))

    @property
    def failing(self) -> dict[str, str]:
        """Return the tasks that are down now, each with what stopped it."""
        return dict(self._failing)

    @property
    def running(self) -> frozenset[str]:
        """Return the names of the tasks under way, those waiting for their restart included."""
        return frozenset(self._tasks)

    async def __aenter__(self) -> Supervisor:
        """Open the supervisor."""
        self._fatal = asyncio.get_running_loop().create_future()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel every task, wait for all to end, and raise what stopped a task that may not be restarted."""
        await self._end(set(self._tasks.values()))
        fatal = self._fatal
        if fatal is not None and fatal.done() and not fatal.cancelled():
            failure = fatal.exception()
            if failure is not None and error is None:
                raise failure

    async def _end(self, tasks: set[asyncio.Task[None]]) -> None:
        """Cancel tasks until all have ended: a library may take a cancellation for its own and lose it."""
        pending = tasks
        while pending:
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=LINGER_S)
            for task in pending:
                self._log.warning("task.lingers", task=task.get_name(), where=_where(task))
        await asyncio.gather(*tasks, return_exceptions=True)

    def start(self, name: str, work: Work, policy: RestartPolicy = FOREVER) -> asyncio.Task[None]:
        """Start a task; its name must be from a small fixed set and not be in use."""
        if name in self._tasks:
            raise ValueError(f"a task named {name!r} is already running")
        # An empty context: the task belongs to the room and not to the call that happened to start it.
        task = asyncio.get_running_loop().create_task(self._supervise(name, work, policy), name=name, context=Context())
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._forget(name, task))
        return task

    async def stop(self, name: str) -> None:
        """Cancel one task and wait for its end; nothing happens when there is none of that name."""
        task = self._tasks.get(name)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def wait(self, stop: asyncio.Event) -> None:
        """Return when `stop` is set; raise what stopped a task that may not be restarted, if that comes first."""
        assert self._fatal is not None
        waiting = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((waiting, self._fatal), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._fatal.done():
            self._fatal.result()

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
            self._failing.pop(name, None)

    async def _supervise(self, name: str, work: Work, policy: RestartPolicy) -> None:
        backoff = Backoff(base_s=policy.base_s, max_s=max(policy.base_s, policy.max_s), rng=self._rng)
        while True:
            begun = self._clock.monotonic()
            try:
                await work()
            except Exception as error:
                self._failures.labels(name).inc()
                self._failing[name] = repr(error)[:200]
                if policy.when is Restart.NEVER:
                    self._log.error("task.failed", task=name, error=error, restart=False)
                    if self._fatal is not None and not self._fatal.done():
                        self._fatal.set_exception(error)
                        self._fatal.exception()  # marked as seen; `wait` and `__aexit__` raise it
                    return
                if self._clock.monotonic() - begun >= policy.healthy_after_s:
                    backoff.reset()
                delay = backoff.next()
                self._log.error("task.failed", task=name, error=error, again_in_s=round(delay, 3))
            else:
                if policy.when is not Restart.ALWAYS:
                    return
                backoff.reset()
                delay = backoff.next()
                self._log.event("task.ended", task=name, again_in_s=round(delay, 3))
            await self._clock.sleep(delay)
            self._failing.pop(name, None)


class Overflow(Enum):
    """What a full queue does with one more item."""

    DROP_OLDEST = "drop_oldest"
    """The oldest item goes; for state, where the newest is worth most."""
    DROP_NEWEST = "drop_newest"
    """The new item is not taken."""
    REFUSE = "refuse"
    """The new item is refused with LIMIT_REACHED, so that its sender knows."""


class BoundedQueue(Generic[T]):
    """A queue between tasks of one event loop, with a bound, a stated policy at the bound, and a count of losses.

    `put` never waits. One or more tasks may take; after `close` they get what is left and then `QueueClosedError`.
    """

    def __init__(self, name: str, items_max: int, overflow: Overflow) -> None:
        if items_max < 1:
            raise ValueError("a queue needs room for at least one item")
        self.name = name
        self.items_max = items_max
        self.dropped = 0
        """How many items were lost to the bound so far."""
        self._overflow = overflow
        self._items: deque[T] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        """Return how many items wait."""
        return len(self._items)

    def put(self, item: T) -> bool:
        """Add an item; return whether nothing was lost by it. Raises LIMIT_REACHED where the policy is REFUSE."""
        if self._closed:
            return False
        whole = True
        if len(self._items) >= self.items_max:
            if self._overflow is Overflow.REFUSE:
                raise DomainError(
                    Reason.LIMIT_REACHED,
                    f"The queue {self.name} is full ({self.items_max}): wait a moment.",
                    metadata={"limit": self.name, "items_max": str(self.items_max)},
                    retry_after_s=1.0,
                )
            self.dropped += 1
            whole = False
            if self._overflow is Overflow.DROP_NEWEST:
                return False
            self._items.popleft()
        self._items.append(item)
        self._wake()
        return whole

    async def get(self) -> T:
        """Return the next item, waiting for one; raise QueueClosedError after the last."""
        await self._filled()
        return self._items.popleft()

    async def get_all(self, items_max: int | None = None) -> list[T]:
        """Return all items that wait (at most `items_max`), at least one; raise QueueClosedError after the last."""
        await self._filled()
        if items_max is None or len(self._items) <= items_max:
            taken = list(self._items)
            self._items.clear()
            return taken
        return [self._items.popleft() for _ in range(items_max)]

    def close(self) -> None:
        """Take no more items; takers get what is left."""
        self._closed = True
        while self._waiting:
            self._wake()

    async def _filled(self) -> None:
        while not self._items:
            if self._closed:
                raise QueueClosedError(self.name)
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled() and self._items:
                    self._wake()  # the wake-up was for somebody; pass it on
                raise
            finally:
                if waiter in self._waiting:
                    self._waiting.remove(waiter)

    def _wake(self) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return


class QueueClosedError(Exception):
    """The queue was closed and is empty."""


def describe_queue(queue: BoundedQueue[Any], metrics: Metrics = METRICS) -> None:
    """Show a queue's length, bound and losses as metrics under its name."""
    shown: tuple[tuple[str, str, Callable[[], float]], ...] = (
        ("perpmesh_queue_items", "Items waiting in a queue.", lambda: float(len(queue))),
        ("perpmesh_queue_items_max", "The bound of a queue.", lambda: float(queue.items_max)),
        ("perpmesh_queue_dropped", "Items lost to the bound of a queue since the start.", lambda: float(queue.dropped)),
    )
    for name, about, read in shown:
        metrics.gauge(name, about, ("queue",)).labels(queue.name).set_function(read)
