"""Execution as a process that can be made to die, over a real vault, database, bus and simulated venues.

Routing is not there: orders that rest, or that cross at one venue with a limit, are placed without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import grpc
from perpmesh.execution.v1 import execution_service_pb2 as pb
from perpmesh.execution.v1 import leg_pb2, order_pb2
from perpmesh.execution.v1.execution_service_pb2_grpc import ExecutionServiceStub

from services.chassis.migrate import folder_of, migrate, read_migrations
from services.chassis.postgres import connect
from services.launcher import certificates
from tests.support.crash import CrashingRoom, crashing
from tests.support.valkey import free_port
from tests.support.vault import MARKET, Owner
from tests.support.vault_room import Client, Grounds, client, facts, grounds

ENDED = frozenset(
    order_pb2.Order.State.Value(f"STATE_{name}")
    for name in ("DONE", "PARTIALLY_DONE", "CANCELED", "EXPIRED", "DENIED", "REJECTED", "FAILED", "ABORTED")
)
GONE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
)
BUSY = "connections to the database are in use"
"""What a room says that has much to do after its death."""
MODULE = "services.execution.__main__"
CALL_S = 20.0
PATIENCE_S = float(os.environ.get("PERPMESH_TEST_PATIENCE_S", "150"))
"""Lighter's 60 requests a minute may hold work up for a whole minute, and twice where a death spent them."""
SIZE_STEP = Decimal("0.00001")
"""What the venues' journals count BTC in."""


@dataclass(slots=True)
class Brittle:
    """An execution room that dies and comes back, and a client that goes on through it."""

    ground: Grounds
    room: CrashingRoom
    run_file: Path
    vault: CrashingRoom
    settings: dict[str, str]
    """The environment of the room."""
    deaths: int = 0
    _channel: grpc.aio.Channel | None = None

    async def start(self) -> None:
        """Start it and connect."""
        await self.close()
        self.run_file.unlink(missing_ok=True)
        self.room.start()
        told = await facts(self.run_file)
        self._channel = _channel(self.ground, told["port"])

    async def turn_to(self, run_file: Path) -> None:
        """Talk to another execution room from now on."""
        await self.close()
        self._channel = _channel(self.ground, (await facts(run_file))["port"])

    @property
    def stub(self) -> Any:
        """The calls, made once: what a caller sees who does not ask again."""
        return ExecutionServiceStub(self._channel)  # type: ignore[arg-type]

    @contextlib.contextmanager
    def twin(self) -> Iterator[tuple[CrashingRoom, Path]]:
        """Have a second execution room over the same record, not started yet, and the run file it will write."""
        run_file = self.run_file.with_name("twin.json")
        run_file.unlink(missing_ok=True)
        given = {**self.settings, "PERPMESH_RUN_FILE": str(run_file)}
        with crashing(MODULE, "execution", given, self.run_file.with_name("twin.log")) as room:
            yield room, run_file

    async def close(self) -> None:
        """Let go of the connection."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def revive(self) -> None:
        """Start it again if it died; count that."""
        if self.room.died:
            self.deaths += 1
            await self.start()

    async def ask(self, method: str, request: Any, metadata: Any) -> Any:
        """Make a call as a client does whose server may die: the same request again, until it is answered."""
        async with asyncio.timeout(60):
            while True:
                try:
                    return await getattr(self.stub, method)(request, metadata=metadata, timeout=CALL_S)
                except grpc.aio.AioRpcError as error:
                    if error.code() not in GONE and BUSY not in (error.details() or ""):
                        raise
                    await self.room.gone(0.5)
                    await self.revive()


@dataclass(slots=True)
class Trader:
    """A user with an account at one venue, placing orders at a room that may die."""

    brittle: Brittle
    owner: Owner
    venue: str
    price: int = 0
    """Near the middle of the book."""
    placed: list[str] = field(default_factory=list)

    async def place(self, **fields: Any) -> order_pb2.Order:
        """Place an order, surely."""
        request = pb.PlaceOrderRequest(
            request_id=str(uuid.uuid4()), market=MARKET, account_ids=[self.owner.account_id], **fields
        )
        order = (await self.brittle.ask("PlaceOrder", request, self.owner.metadata)).order
        again = (await self.brittle.ask("PlaceOrder", request, self.owner.metadata)).order
        assert again.order_id == order.order_id, "the same request, two orders"
        self.placed.append(order.order_id)
        return order

    async def get(self, order_id: str) -> order_pb2.Order:
        """Return an order as it now stands."""
        answer = await self.brittle.ask("GetOrder", pb.GetOrderRequest(order_id=order_id), self.owner.metadata)
        return answer.order

    async def cancel(self, order_id: str) -> None:
        """Ask for a cancel."""
        await self.brittle.ask("CancelOrder", pb.CancelOrderRequest(order_id=order_id), self.owner.metadata)

    async def until(self, order_id: str, good: Callable[[order_pb2.Order], bool]) -> order_pb2.Order:
        """Wait until an order stands as wanted, and say how it stands where it never does."""
        give_up = time.monotonic() + PATIENCE_S
        while not good(order := await self.get(order_id)):
            assert time.monotonic() < give_up, f"not within {PATIENCE_S:g} s; it stands so:\n{order}"
            await self.brittle.revive()
            await asyncio.sleep(0.02)
        return order

    async def until_taken(self, **fields: Any) -> order_pb2.Order:
        """Place an order until it is neither denied nor kept from a venue until it expired; its venue then holds it.

        So it is where a breaker of a fault before has not closed yet.
        """
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            order = await self.place(**fields)
            if order.state != order_pb2.Order.STATE_DENIED:
                order = await self.until(
                    order.order_id, lambda one: bool(one.legs[0].venue_order_id) or one.state in ENDED
                )
                if order.legs[0].evidence != leg_pb2.Leg.EVIDENCE_NOT_SENT:
                    return order
            await asyncio.sleep(0.1)
        raise AssertionError(order)

    async def ended(self, order_id: str) -> order_pb2.Order:
        """Wait for an order's end."""
        return await self.until(order_id, lambda order: order.state in ENDED)

    async def fills(self, order_id: str) -> Decimal:
        """Return the size of an order's fills."""
        request = pb.ListFillsRequest(order_id=order_id, page_size=500)
        answer = await self.brittle.ask("ListFills", request, self.owner.metadata)
        assert len({fill.fill_id for fill in answer.fills}) == len(answer.fills)
        return sum((Decimal(fill.size) for fill in answer.fills), Decimal(0))

    async def _journal(self, account: str) -> AsyncIterator[Any]:
        after = 0
        simulator = self.brittle.ground.simulator
        while True:
            page = await simulator.journal(self.venue, account=account, after=str(after), limit="10000")
            assert page["dropped"] == 0, "the witness forgot: shorten the run"
            for entry in page["entries"]:
                yield entry
                after = entry["seq"]
            if not page["entries"]:
                return

    async def compare(self) -> None:
        """Hold what execution says against the venue's own journal: nothing lost, doubled or invented."""
        account = str(self.owner.account.venue_account or self.owner.wallet.address)
        orders: defaultdict[int, set[int]] = defaultdict(set)
        filled: defaultdict[int, Decimal] = defaultdict(Decimal)
        async for entry in self._journal(account):
            if entry["kind"] == "order":
                orders[_number(entry["body"]["client"])].add(entry["body"]["oid"])
            elif entry["kind"] == "fill":
                filled[_number(entry["body"]["client"])] += Decimal(entry["body"]["size"]) * SIZE_STEP
        ours: set[int] = set()
        for order_id in self.placed:
            order = await self.ended(order_id)
            for leg in order.legs:
                number = _number(leg.venue_client_id)
                ours.add(number)
                assert len(orders[number]) <= 1, f"doubled at the venue: {orders[number]}"
                told = Decimal(leg.filled_size)
                assert filled[number] == told, f"{self.venue} traded {filled[number]}, we say {told}: {order}"
                if leg.venue_order_id:
                    assert orders[number], f"invented: {order}"
            await self._reported(order)
            assert await self.fills(order_id) == sum(Decimal(leg.filled_size) for leg in order.legs)
            traded = [leg for leg in order.legs if leg.role != leg_pb2.Leg.ROLE_UNWIND and leg.market == order.market]
            assert sum(Decimal(leg.filled_size) for leg in traded) <= Decimal(order.size)
        assert set(orders) <= ours, "an order at the venue that nobody placed"

    async def _reported(self, order: order_pb2.Order) -> None:
        """Hold an ended order's report against the order, and against what the log was told of it."""
        request = pb.GetExecutionReportRequest(order_id=order.order_id)
        report = (await self.brittle.ask("GetExecutionReport", request, self.owner.metadata)).report
        assert report.complete, f"no report of an order that has ended: {order}"
        planned = [leg for leg in order.legs if leg.role != leg_pb2.Leg.ROLE_UNWIND]
        traded = sum(Decimal(leg.filled_size) for leg in planned) if len(planned) < len(order.legs) else None
        assert Decimal(report.filled_size) == (Decimal(order.filled_size) if traded is None else traded), (
            f"{report}\n{order}"
        )
        parts = sum((Decimal(one.amount) for one in report.attributions), Decimal(0))
        assert parts == Decimal(report.difference or "0"), report


def _number(client: Any) -> int:
    text = str(client or 0)
    return int(text, 16) if text.startswith("0x") else int(text)


def _channel(ground: Grounds, port: int) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        (ground.tls / certificates.AUTHORITY).read_bytes(),
        certificates.key_of(ground.tls, "edge").read_bytes(),
        certificates.cert_of(ground.tls, "edge").read_bytes(),
    )
    options = [("grpc.ssl_target_name_override", "execution.perpmesh"), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)


def environ(ground: Grounds, run_file: Path, signer_port: int) -> dict[str, str]:
    """Return the environment of an execution room."""
    given: dict[str, object] = {
        "listen": "127.0.0.1:0", "callers": "edge", "run_file": run_file,
        "tls_cert": certificates.cert_of(ground.tls, "execution"),
        "tls_key": certificates.key_of(ground.tls, "execution"), "tls_ca": ground.tls / certificates.AUTHORITY,
        "postgres_url": ground.postgres.url(), "valkey_url": ground.valkey.url, "auth_url": ground.auth_url,
        "metrics_port": -1, "event_loop": "asyncio", "drain_grace_s": 1,
        "hyperliquid_url": ground.simulator.hyperliquid_http, "lighter_url": ground.simulator.lighter_http,
        "signer_address": f"127.0.0.1:{signer_port}", "routing_address": "127.0.0.1:1",
        # As the simulator's: a room that dies again and again asks more of a venue than one that lives.
        "execution_hyperliquid_weight": 1_000_000, "execution_lighter_requests": 1_000_000,
        "execution_lighter_sends": 1_000_000, "execution_lighter_sends_of_a_kind": 1_000_000,
    }  # fmt: skip
    return {f"PERPMESH_{name.upper()}": str(value) for name, value in given.items()}


@contextlib.asynccontextmanager
async def brittle(folder: Path, **options: object) -> AsyncIterator[tuple[Brittle, Client]]:
    """Have everything, and an execution room that can be made to die; `options` are the simulator's."""
    async with grounds(folder, **options) as ground:
        connection = await connect(ground.postgres.url())
        await connection.execute("CREATE SCHEMA IF NOT EXISTS execution")
        await connection.execute("SET search_path = execution")
        await migrate(connection, "execution", read_migrations(folder_of("execution")))  # type: ignore[arg-type]
        await connection.close()
        vault_file, run_file = folder / "vault.json", folder / "execution.json"
        ports = {name: f"127.0.0.1:{free_port()}" for name in ("listen", "signer_listen")}  # a vault comes back there
        known = ground.environ(vault_file, **ports)
        with crashing("services.vault.__main__", "vault", known, folder / "vault.log") as vault:
            vault.start()
            told = await facts(vault_file)
            given = environ(ground, run_file, told["signer_port"])
            with crashing(MODULE, "execution", given, folder / "execution.log") as room:
                made = Brittle(ground, room, run_file, vault, given)
                await made.start()
                async with client(ground, vault_file) as spoken:
                    try:
                        yield made, spoken
                    finally:
                        await made.close()
