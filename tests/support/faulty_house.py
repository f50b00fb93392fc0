"""A house whose surroundings fail while orders live in it, and what its callers are told."""

# ruff: noqa: ASYNC110 - what is awaited is in other processes

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.type.v1 import order_type_pb2, side_pb2

from tests.support.execution_room import Brittle, Trader
from tests.support.simulator import ROOT
from tests.support.vault import middle
from tests.support.vault_room import Client

WAIT_S = 120.0


@dataclass
class House:
    """A room whose surroundings fail, and who trades in it."""

    room: Brittle
    vault: Client
    traders: dict[str, Trader] = field(default_factory=dict)

    async def trader(self, venue: str) -> Trader:
        """Return who trades at a venue."""
        if venue not in self.traders:
            owner = await self.vault.owner(venue, default=True)
            await owner.ready()
            owner.account = (await owner.get()).account
            self.traders[venue] = Trader(self.room, owner, venue)
        found = self.traders[venue]
        found.price = int(await middle(self.room.ground.http, self.room.ground.face(venue), venue))
        # Breakers that the faults of a test before have opened are closed once an order passes.
        order = await found.until_taken(
            side=side_pb2.SIDE_BUY,
            size="0.01",
            type=order_type_pb2.ORDER_TYPE_LIMIT,
            limit_price=str(found.price * 85 // 100),
        )
        await found.cancel(order.order_id)
        await found.ended(order.order_id)
        return found

    async def fault(self, kind: str, **rule: Any) -> None:
        """Have the simulator do something wrong."""
        await self.room.ground.simulator.fault(kind, **rule)

    async def heal(self) -> None:
        """Have the simulator do right again."""
        await self.room.ground.simulator.clear_faults()

    async def script(self, *steps: dict[str, Any]) -> None:
        """Move the venues' crowd by hand."""
        await self.room.ground.simulator.source("script", steps=[{"market": "BTC", **step} for step in steps])


@dataclass
class Told:
    """What WatchOrders told its caller, order by order."""

    states: dict[str, list[int]] = field(default_factory=dict)
    versions: dict[str, list[int]] = field(default_factory=dict)

    def of(self, order_id: str) -> list[int]:
        """Return the states that an order went through."""
        return self.states.get(order_id, [])


@contextlib.asynccontextmanager
async def watching(trader: Trader) -> AsyncIterator[Told]:
    """Watch a user's orders, from the present on."""
    told, live = Told(), asyncio.Event()

    async def read() -> None:
        async for said in trader.brittle.stub.WatchOrders(pb.WatchOrdersRequest(), metadata=trader.owner.metadata):
            if said.HasField("order"):
                told.states.setdefault(said.order.order_id, []).append(said.order.state)
                told.versions.setdefault(said.order.order_id, []).append(said.order.version)
            elif said.HasField("live"):
                live.set()

    task = asyncio.create_task(read())
    try:
        async with asyncio.timeout(WAIT_S):
            await live.wait()
        yield told
    finally:
        task.cancel()
        await asyncio.wait((task,))
    for versions in told.versions.values():
        assert versions == sorted(set(versions)), "every change once, in order"


async def operator(house: House, *words: str) -> None:
    """Run a command of execution's operator."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PERPMESH_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.execution", *words, env={**outside, **house.room.settings}, cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


async def at_rest(house: House, order_id: str) -> None:
    """Wait until an order is left alone because the stream would tell of it: nobody is to look for a while."""
    connection = await asyncpg.connect(house.room.ground.postgres.url())
    try:
        async with asyncio.timeout(WAIT_S):
            while not await connection.fetchval(
                "SELECT due_time > now() + interval '1 minute' FROM execution.legs WHERE order_id = $1",
                uuid.UUID(order_id),
            ):
                await asyncio.sleep(0.1)
    finally:
        await connection.close()
