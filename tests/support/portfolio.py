"""The portfolio room over a real PostgreSQL and Valkey, a log writer that does what the contract says of execution, and
a market_data that says what a test tells it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import redis.asyncio as redis
from grpc import aio
from perpmesh.execution.v1 import account_observed_pb2 as observed_pb
from perpmesh.execution.v1 import fill_pb2, log_event_pb2
from perpmesh.execution.v1 import operator_service_pb2 as operator_pb
from perpmesh.execution.v1.operator_service_pb2_grpc import (
    OperatorServiceServicer,
    add_OperatorServiceServicer_to_server,
)
from perpmesh.marketdata.v1 import market_data_service_pb2 as market_pb
from perpmesh.marketdata.v1 import market_pb2, price_pb2, state_pb2
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import (
    MarketDataServiceServicer,
    add_MarketDataServiceServicer_to_server,
)
from perpmesh.portfolio.v1.account_state_service_pb2_grpc import AccountStateServiceStub
from perpmesh.portfolio.v1.analytics_service_pb2_grpc import AnalyticsServiceStub
from perpmesh.portfolio.v1.portfolio_service_pb2_grpc import PortfolioServiceStub
from perpmesh.type.v1 import cost_pb2, environment_pb2, side_pb2

from services.chassis import migrate
from services.chassis.tls import TlsConfig, channel_credentials, server_credentials, server_name
from services.launcher import certificates
from services.portfolio.peers.log import STREAM
from tests.support.postgres import Postgres
from tests.support.tokens import Issuer

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 9, 1, 12, tzinfo=UTC)
READY_S = 30.0


def identity(folder: Path, part: str) -> TlsConfig:
    """Return what a part of the mesh proves itself with."""
    return TlsConfig(
        cert=certificates.cert_of(folder, part),
        key=certificates.key_of(folder, part),
        authority=folder / certificates.AUTHORITY,
    )


def new_ids(count: int) -> list[str]:
    """Return fresh ids."""
    return [str(uuid.uuid4()) for _ in range(count)]


def fill(
    account: str, side: str, size: str, price: str, *, market: str = "BTC-PERP", venue: str = "hyperliquid",
    fees: Iterable[tuple[int, str]] = (), at: datetime = START, cause: int = 1, order_id: str = "",
) -> fill_pb2.Fill:  # fmt: skip
    """Return a fill as execution records it."""
    message = fill_pb2.Fill(
        fill_id=str(uuid.uuid4()), order_id=order_id, venue=venue, account_id=account, market=market,
        side=side_pb2.SIDE_BUY if side == "buy" else side_pb2.SIDE_SELL, price=price, size=size, cause=cause,
        costs=[cost_pb2.Cost(kind=kind, amount=amount, asset="USDC") for kind, amount in fees],
    )  # fmt: skip
    message.fill_time.FromDatetime(at)
    message.receive_time.FromDatetime(at)
    return message


def observed(
    account: str, *, venue: str = "hyperliquid", at: datetime = START, complete: bool = True,
    positions: Iterable[dict[str, Any]] = (), balances: Iterable[dict[str, str]] = (),
    funding: Iterable[dict[str, Any]] = (), transfers: Iterable[dict[str, Any]] = (), **fields: Any,
) -> observed_pb.AccountObserved:  # fmt: skip
    """Return what a venue says of an account."""
    message = observed_pb.AccountObserved(
        account_id=account, venue=venue, complete=complete,
        positions=[observed_pb.ObservedPosition(**one) for one in positions],
        balances=[observed_pb.ObservedBalance(**one) for one in balances],
        environment=environment_pb2.ENVIRONMENT_SIMULATED, **fields,
    )  # fmt: skip
    message.receive_time.FromDatetime(at)
    for one in funding:
        paid = message.funding_payments.add(**{key: value for key, value in one.items() if key != "at"})
        paid.payment_time.FromDatetime(one["at"])
    for one in transfers:
        moved = message.transfers.add(**{key: value for key, value in one.items() if key != "at"})
        moved.transfer_time.FromDatetime(one["at"])
    return message


class LogWriter(OperatorServiceServicer):
    """Execution's relay: numbers events densely, keeps them, and appends them to the stream."""

    def __init__(self, valkey_url: str, tls: TlsConfig) -> None:
        self._client = redis.Redis.from_url(valkey_url)
        self.events: list[log_event_pb2.LogEvent] = []
        self.reads = 0
        self._server = aio.server()
        add_OperatorServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_secure_port("127.0.0.1:0", server_credentials(tls))

    async def start(self) -> None:
        """Serve ReadLog."""
        await self._server.start()

    async def close(self) -> None:
        """Stop."""
        await self._server.stop(None)
        await self._client.aclose()

    async def write(self, user: str, *messages: Any, told: bool = True) -> int:
        """Write events of one user; `told` False leaves a hole in the stream. Return the last number."""
        pipe = self._client.pipeline(transaction=False)
        for message in messages:
            event = log_event_pb2.LogEvent(sequence=len(self.events) + 1, user_id=user)
            if isinstance(message, fill_pb2.Fill):
                event.fill_recorded.fill.CopyFrom(message)
            elif isinstance(message, observed_pb.AccountObserved):
                event.account_observed.CopyFrom(message)
            elif isinstance(message, log_event_pb2.ExecutionReported):
                event.execution_reported.CopyFrom(message)
            else:
                event.order_changed.order.CopyFrom(message)
            event.write_time.FromDatetime(datetime.now(UTC))
            self.events.append(event)
            if told:
                pipe.xadd(STREAM, {"event": event.SerializeToString()}, id=f"{event.sequence}-0")
        if len(pipe):
            await pipe.execute()
        return len(self.events)

    async def flush(self) -> None:
        """Lose the whole stream."""
        await self._client.delete(STREAM)

    async def ReadLog(self, request: operator_pb.ReadLogRequest, context: Any) -> operator_pb.ReadLogResponse:
        """Answer from a number on."""
        self.reads += 1
        start = request.from_sequence - 1
        events = self.events[start : start + (request.event_count_max or 1_000)]
        return operator_pb.ReadLogResponse(events=events, last_sequence=len(self.events))


class Street(MarketDataServiceServicer):
    """market_data as a test tells it: marks by venue and market, and the venues' rules."""

    def __init__(self, tls: TlsConfig) -> None:
        self.marks: dict[tuple[str, str], str] = {}
        self.funding: dict[tuple[str, str], str] = {}
        self._server = aio.server()
        add_MarketDataServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]
        self.port = self._server.add_secure_port("127.0.0.1:0", server_credentials(tls))

    async def start(self) -> None:
        """Serve."""
        await self._server.start()

    async def close(self) -> None:
        """Stop."""
        await self._server.stop(None)

    def set(self, market: str, mark: str, *, venues: Iterable[str] = ("hyperliquid", "lighter")) -> None:
        """Set a mark price."""
        for venue in venues:
            self.marks[venue, market] = mark

    async def ListMarkets(self, request: Any, context: Any) -> market_pb.ListMarketsResponse:
        """List what there is."""
        answer = market_pb.ListMarketsResponse()
        for market in sorted({key[1] for key in self.marks}):
            message = answer.markets.add(market=market)
            for venue in ("hyperliquid", "lighter"):
                listing = message.listings.add(venue=venue, max_leverage=40, source=state_pb2.SOURCE_SIMULATED)
                listing.funding_interval.seconds = 3_600
                maintenance = "0.0125" if venue == "hyperliquid" else "0.012"
                listing.leverage_tiers.append(
                    market_pb2.Market.LeverageTier(lower_notional="0", max_leverage=40, maintenance_margin=maintenance)
                )
        return answer

    async def BatchGetPrices(self, request: Any, context: Any) -> market_pb.BatchGetPricesResponse:
        """Return prices."""
        answer = market_pb.BatchGetPricesResponse()
        for market in request.markets or sorted({key[1] for key in self.marks}):
            price = price_pb2.Price(market=market)
            for venue in ("hyperliquid", "lighter"):
                if (venue, market) in self.marks:
                    said = price.venues.add(
                        venue=venue, mark_price=self.marks[venue, market], state=state_pb2.STATE_LIVE,
                        funding_rate=self.funding.get((venue, market), "0.0001"),
                    )  # fmt: skip
                    said.receive_time.FromDatetime(datetime.now(UTC))
            answer.prices.append(price)
        return answer


class Keys:
    """Auth's page, as far as a room asks for it: one key, nothing revoked."""

    def __init__(self) -> None:
        self.issuer = Issuer()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        """Serve the page."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        said = {
            "epoch": "test", "last": 0, "whole": True, "ended": [], "keys_digest": "one",
            "keys": {"keys": [self.issuer.jwk]},
        }  # fmt: skip
        body = json.dumps(said).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    def metadata(self, user: str) -> tuple[tuple[str, str], ...]:
        """Return what a user's call carries."""
        return (("authorization", f"Bearer {self.issuer.token(datetime.now(UTC).timestamp(), sub=user)}"),)


@dataclass(slots=True)
class Room:
    """A running room: a process of its own, which `kill` ends as a crash does."""

    folder: Path
    environ: dict[str, str]
    keys: Keys
    process: subprocess.Popen[bytes] | None = None
    channel: grpc.aio.Channel | None = None
    """As the edge."""
    internal: grpc.aio.Channel | None = None
    """As routing."""
    port: int = 0
    log: Path = field(default=Path())

    async def start(self) -> None:
        """Start it and wait until it serves."""
        run_file = self.folder / "portfolio.json"
        run_file.unlink(missing_ok=True)
        self.log = self.folder / "portfolio.log"
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(  # noqa: ASYNC220 - it returns at once
                [sys.executable, "-m", "services.portfolio"], cwd=ROOT, env=self.environ, stdout=out, stderr=out
            )
        async with asyncio.timeout(READY_S):
            while not run_file.exists():
                assert self.process.poll() is None, self.log.read_text()[-2_000:]
                await asyncio.sleep(0.01)
        self.port = json.loads(run_file.read_text())["port"]
        self.channel, self.internal = (self._channel(part) for part in ("edge", "routing"))

    def _channel(self, part: str) -> grpc.aio.Channel:
        options = [("grpc.ssl_target_name_override", server_name("portfolio"))]
        credentials = channel_credentials(identity(self.folder, part))
        return grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options)

    async def _hang_up(self) -> None:
        for channel in (self.channel, self.internal):
            if channel is not None:
                await channel.close()
        self.channel = self.internal = None

    async def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None
        await self._hang_up()

    async def close(self) -> None:
        """End it as asked, and take its exit code."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(self.process.wait, 20)
            assert code == 0, self.log.read_text()[-2_000:]
            self.process = None
        await self._hang_up()

    @property
    def calls(self) -> Any:
        """The public calls."""
        assert self.channel is not None
        return PortfolioServiceStub(self.channel)

    @property
    def analytics(self) -> Any:
        """The calls of AnalyticsService."""
        assert self.channel is not None
        return AnalyticsServiceStub(self.channel)

    @property
    def states(self) -> Any:
        """The internal calls."""
        assert self.internal is not None
        return AccountStateServiceStub(self.internal)


@dataclass(slots=True)
class House:
    """The room and all it needs."""

    room: Room
    writer: LogWriter
    street: Street
    keys: Keys
    database_url: str

    def mine(self, user: str) -> tuple[tuple[str, str], ...]:
        """Return what a user's call carries."""
        return self.keys.metadata(user)

    async def caught_up(self) -> None:
        """Wait until the room has applied the whole log."""
        await self.reached(len(self.writer.events))

    async def reached(self, sequence: int) -> None:
        """Wait until the room has applied the log to a number."""
        connection = await asyncpg.connect(self.database_url)
        try:
            async with asyncio.timeout(READY_S):
                while await connection.fetchval("SELECT sequence FROM portfolio.log_cursor") < sequence:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            await connection.close()


async def new_database(server: Postgres) -> str:
    """Make a database with the room's schema; return its address."""
    name = f"portfolio_{uuid.uuid4().hex[:12]}"
    admin = await asyncpg.connect(server.url())
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    url = server.url(database=name)
    connection = await asyncpg.connect(url)
    await migrate.migrate(
        connection, "portfolio", migrate.read_migrations(migrate.folder_of("portfolio"))  # type: ignore[arg-type]
    )  # fmt: skip
    await connection.close()
    return url


@contextlib.asynccontextmanager
async def running_house(
    folder: Path, *, server: Postgres, valkey_url: str, marks: Mapping[str, str] | None = None, **settings: object
) -> AsyncIterator[House]:
    """Run the room and what it needs; `settings` are settings in lower case without their prefix."""
    url = await new_database(server)
    certificates.make(folder, ("edge", "routing", "portfolio", "execution", "market_data"))
    writer = LogWriter(valkey_url, identity(folder, "execution"))
    street, keys = Street(identity(folder, "market_data")), Keys()
    await writer.flush()
    for market, mark in (marks or {}).items():
        street.set(market, mark)
    for part in (writer, street, keys):
        await part.start()
    given = {
        "postgres_url": url,
        "valkey_url": valkey_url,
        "market_data_address": f"127.0.0.1:{street.port}",
        "execution_address": f"127.0.0.1:{writer.port}",
        "auth_url": f"http://127.0.0.1:{keys.port}",
        "auth_issuer": "perpmesh",
        "auth_audience": "perpmesh",
        "page_secret": "only-for-tests",
        "listen": "127.0.0.1:0",
        "run_file": folder / "portfolio.json",
        "metrics_port": -1,
        "drain_grace_s": 1,
        "tls_cert": certificates.cert_of(folder, "portfolio"),
        "tls_key": certificates.key_of(folder, "portfolio"),
        "tls_ca": folder / certificates.AUTHORITY,
        "callers": "edge,routing,execution",
        **settings,
    }
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PERPMESH_")}
    environ |= {f"PERPMESH_{name.upper()}": str(value) for name, value in given.items()}
    environ["PYTHONPATH"] = os.pathsep.join(str(ROOT / part) for part in ("", "gen", "clients/python"))
    room = Room(folder=folder, environ=environ, keys=keys)
    try:
        await room.start()
        yield House(room=room, writer=writer, street=street, keys=keys, database_url=url)
    finally:
        await room.kill()
        for part in (writer, street, keys):
            await part.close()


def minutes(count: int) -> datetime:
    """Return a moment some minutes after START."""
    return START + timedelta(minutes=count)
