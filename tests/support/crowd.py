"""Traders who place orders at a steady rate through the edge, whatever the answers, and keep books of every answer.

Of four orders one takes at Hyperliquid, one at Lighter, one is routed over both, and one rests far from the market and
is canceled a moment later. Buys and sales alternate, so that positions stay small.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from perpmesh.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub
from perpmesh.type.v1 import order_type_pb2, side_pb2, time_in_force_pb2
from perpmesh.vault.v1.vault_service_pb2_grpc import VaultServiceStub

from services.chassis.errors import from_rpc_error
from tests.support.auth import bearer, sign_in
from tests.support.mesh import Mesh
from tests.support.trading_desk import VENUES, ready
from tests.support.vault import Owner, own
from tests.support.waiting import until
from tests.support.wallet import Wallet

MARKET = "BTC-PERP"
SIZE = "0.002"
RESTS_S = 1.0
"""How long an order that rests is left before it is canceled."""
CALL_S = 20.0
"""How long a call may take; one that takes longer is a failure."""
SIGN_IN_S = 240.0
"""How often everyone signs in anew: access tokens end."""
CHANNELS = 4


@dataclass(slots=True)
class Trader:
    """A user with an account at each venue."""

    wallet: Wallet
    token: str = ""
    owners: dict[str, Owner] = field(default_factory=dict)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What calls carry."""
        return bearer(self.token)


@dataclass(slots=True)
class Books:
    """What became of calls."""

    acknowledged: list[str] = field(default_factory=list)
    """The ids of orders that were taken in."""
    ack_ms: list[float] = field(default_factory=list)
    shed: Counter[str] = field(default_factory=Counter)
    """Calls refused with RESOURCE_EXHAUSTED, by the limit that was reached."""
    shed_ms: list[float] = field(default_factory=list)
    untimed: int = 0
    """Of these, those that did not say when to come again."""
    failed: Counter[str] = field(default_factory=Counter)
    """Calls that failed in any other way."""
    states: Counter[str] = field(default_factory=Counter)
    cancels: int = 0
    cancel_ms: list[float] = field(default_factory=list)
    late: int = 0
    """Calls that could not be begun within 100 ms of their time, since this process had no turn."""


class Crowd:
    """Traders at one mesh."""

    def __init__(self, mesh: Mesh, traders: int, price: str) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = [grpc.aio.insecure_channel(mesh.edge, options=options) for _ in range(CHANNELS)]
        self._stubs: list[Any] = [ExecutionServiceStub(one) for one in self._channels]
        self._rests_at = str(int(price) * 95 // 100)
        self._running: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count()
        self.traders = [Trader(Wallet()) for _ in range(traders)]
        self.books = Books()

    async def close(self) -> None:
        """Let go of the connections."""
        for channel in self._channels:
            await channel.close()

    async def begin(self) -> None:
        """Sign everyone in, with accounts that can trade."""
        await self.sign_in()
        vault = VaultServiceStub(self._channels[0])  # type: ignore[no-untyped-call]
        for trader in self.traders:
            for venue in VENUES:
                owner = await own(vault, trader.wallet, trader.token, venue, default=True)
                await until(lambda owner=owner: ready(owner), bool, timeout_s=120, why="the account can trade")  # type: ignore[misc]
                owner.account = (await owner.get()).account
                trader.owners[venue] = owner

    async def sign_in(self) -> None:
        """Sign everyone in, or in anew."""
        auth = AuthServiceStub(self._channels[0])  # type: ignore[no-untyped-call]
        for trader in self.traders:
            trader.token = (await sign_in(auth, trader.wallet)).access_token

    async def trade(self, per_s: float, seconds: float) -> Books:
        """Place orders at a rate for a time, and wait for every answer; return the books of that time."""
        self.books = books = Books()
        began, signed = time.monotonic(), time.monotonic()
        for number in range(round(per_s * seconds)):
            at = began + number / per_s
            await asyncio.sleep(max(0.0, at - time.monotonic()))
            books.late += time.monotonic() - at > 0.1
            if time.monotonic() - signed > SIGN_IN_S:
                signed = time.monotonic()
                self._start(self.sign_in())
            self._start(self._one(next(self._numbers), books))
        while self._running:
            await asyncio.gather(*self._running)
        return books

    def _start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _one(self, number: int, books: Books) -> None:
        trader = self.traders[number % len(self.traders)]
        turn = number // len(self.traders)
        kind = (turn + number % len(self.traders)) % 4
        request = pb.PlaceOrderRequest(
            request_id=str(uuid.uuid4()),
            market=MARKET,
            side=side_pb2.SIDE_BUY if kind == 3 or turn // 4 % 2 else side_pb2.SIDE_SELL,
            size=SIZE,
            type=order_type_pb2.ORDER_TYPE_MARKET,
            venue=VENUES[kind] if kind < 2 else "",
        )
        if kind == 3:
            request.type = order_type_pb2.ORDER_TYPE_LIMIT
            request.limit_price = self._rests_at
            request.time_in_force = time_in_force_pb2.TIME_IN_FORCE_GOOD_TILL_CANCELED
            request.venue = VENUES[turn // 4 % 2]
        stub = self._stubs[number % CHANNELS]
        began = time.perf_counter()
        try:
            order = (await stub.PlaceOrder(request, metadata=trader.metadata, timeout=CALL_S)).order
        except grpc.aio.AioRpcError as error:
            _note(error, books, (time.perf_counter() - began) * 1e3)
            return
        books.ack_ms.append((time.perf_counter() - began) * 1e3)
        books.acknowledged.append(order.order_id)
        books.states[order.State.Name(order.state).removeprefix("STATE_")] += 1
        if kind == 3:
            await asyncio.sleep(RESTS_S)
            await self._cancel(stub, order.order_id, trader, books)

    async def _cancel(self, stub: Any, order_id: str, trader: Trader, books: Books) -> None:
        began = time.perf_counter()
        try:
            await stub.CancelOrder(pb.CancelOrderRequest(order_id=order_id), metadata=trader.metadata, timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            books.failed[f"cancel: {error.code().name}: {error.details()}"[:200]] += 1
            return
        books.cancels += 1
        books.cancel_ms.append((time.perf_counter() - began) * 1e3)


def _note(error: grpc.aio.AioRpcError, books: Books, ms: float) -> None:
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
        books.failed[f"{error.code().name}: {error.details()}"[:200]] += 1
        return
    found = from_rpc_error(error)
    books.shed[found.metadata.get("limit", "unnamed")] += 1
    books.shed_ms.append(ms)
    books.untimed += not found.retry_after_s


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile of values; nothing is 0."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
