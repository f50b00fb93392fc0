"""One seed, from its beginning to the oracle's word."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random

from services.chassis.telemetry import Level, log
from tests.simulation.oracle import attend, judge, unsettled
from tests.simulation.stories import CALM_S, STORIES, over
from tests.simulation.virtual import VirtualLoop
from tests.simulation.world import Player, Variant, ViolationError, World

CHAOS_S = (6.0, 12.0, 25.0)
"""How long faults strike."""


@dataclass(slots=True)
class Result:
    """What came of a seed."""

    seed: int
    digest: str = ""
    problem: str = ""
    steps: int = 0
    virtual_s: float = 0.0
    orders: int = 0
    stories: tuple[str, ...] = ()
    met: Counter[str] = field(default_factory=Counter)
    kinds: frozenset[str] = frozenset()
    """What kinds of things happened."""
    states: frozenset[str] = frozenset()
    last: tuple[str, ...] = ()

    def words(self) -> str:
        """Say how to repeat a failure, and what happened last."""
        line = f"seed {self.seed}: {self.problem}\nrepeat: .venv/bin/python -m tests.simulation {self.seed}"
        return "\n".join((line, *self.last))


def run(seed: int, variant: Variant | None = None) -> Result:
    """Run a seed. What the application logs of failures on the way is left out."""
    level, log.level = log.level, Level.ERROR
    try:
        return _run(seed, variant)
    finally:
        log.level = level


def _run(seed: int, variant: Variant | None) -> Result:
    loop = VirtualLoop(seed)
    asyncio.set_event_loop(loop)
    world = World(loop, seed, variant or Variant())
    result = Result(seed)
    try:
        attend(world)
        loop.run_until_complete(_play(world, result))
        judge(world)
    except Exception as error:  # a violation, or what no client should have been told
        result.problem = f"{type(error).__name__}: {error}"
    finally:
        _end(loop, world)
        asyncio.set_event_loop(None)
        loop.close()
    broken = [one for one in loop.faults if isinstance(one.get("exception"), AssertionError)]
    if broken and not result.problem:
        result.problem = f"{broken[0]['exception']}"
    result.digest, result.steps, result.virtual_s = world.trace.digest(), loop.steps, loop.time()
    result.orders, result.met = len(world.record.orders), world.chaos.met
    result.kinds = frozenset(world.trace.steps)
    result.states = frozenset(leg.state.value for one in world.record.orders.values() for leg in one.legs)
    result.last = tuple(world.trace.last)
    return result


async def _play(world: World, result: Result) -> None:
    rng = Random(f"{world.seed} stories")
    names = world.variant.stories or tuple(rng.sample(sorted(STORIES), rng.choice((1, 1, 2, 3))))
    result.stories = names
    for name in names:
        world.needs |= STORIES[name][1]
    if world.chaos.has("halt"):
        world.needs.add("halts")
    world.open()
    world.begin()
    players = [Player(world, Random(f"{world.seed} {name}"), name) for name in names]
    playing = [asyncio.ensure_future(_story(player)) for player in players]
    chaos_s = rng.choice(CHAOS_S)
    await asyncio.wait(playing, timeout=chaos_s)
    world.heal()
    await asyncio.gather(*playing)
    await world.disturbed()
    end_s = world.loop.time() + CALM_S + world.vault.life_s
    for player in players:
        await over(player)
    while left := unsettled(world):
        if world.loop.time() > end_s:
            raise ViolationError(f"I2: not at rest after {CALM_S + world.vault.life_s:.0f} s: {left[:4]}")
        await asyncio.sleep(1.0)


async def _story(player: Player) -> None:
    await asyncio.sleep(player.rng.random() * 2)
    await STORIES[player.name][0](player)
    await over(player)


def _end(loop: VirtualLoop, world: World) -> None:
    """Let go of everything that still goes on."""
    for process in world.processes:
        process.kill()
    tasks = [task for task in loop.tasks if not task.done()]
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks))
        for task in tasks:
            if not task.cancelled():
                task.exception()
