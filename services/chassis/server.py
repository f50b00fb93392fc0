"""The gRPC server of a room: what is served, where, and how it stops.

    server = Server("market_data", config.chassis.server)
    server.add("perpmesh.marketdata.v1.MarketDataService", MarketDataRpc(app))
    await server.start()
    await stop.wait()
    await server.stop()

Only what the servicer's own class defines is served; the rest of a known service answers UNIMPLEMENTED with the reason
CALL_NOT_SERVED. Stopping drains: health says NOT_SERVING while calls are still taken (the notice), then `draining` is
set so that streams end by themselves, the connections are told to go away (GOAWAY), and calls in flight get the grace
time to finish.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2

from services.chassis import health, reflection
from services.chassis.clock import SYSTEM, Clock
from services.chassis.config import ConfigError, group, setting
from services.chassis.interceptors import Surroundings, Verifier, foreign, refuse, wrap
from services.chassis.methods import service_methods
from services.chassis.metrics import METRICS, Metrics
from services.chassis.telemetry import Log, log
from services.chassis.tls import TlsConfig, server_credentials

PING_INTERVAL_MIN_S = 10
"""Clients may ping this often; `client.py` pings every 20 s, which is agreed with it."""

HEADER_BYTES_MAX = 16_384


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Where a room listens and what bounds it."""

    listen: str = setting(
        "PERPMESH_LISTEN",
        "The host and port the room listens on, such as 127.0.0.1:7001; port 0 lets the system choose.",
        default="127.0.0.1:0",
    )
    tls: TlsConfig = group(TlsConfig, default=TlsConfig())
    run_file: Path | None = setting(
        "PERPMESH_RUN_FILE",
        "The file that gets the room's ports and process id as JSON once it is ready.",
        default=None,
    )
    reflection: bool = setting(
        "PERPMESH_REFLECTION", "Whether the room describes its services to tools such as grpcurl.", default=True
    )
    described: tuple[str, ...] = setting(
        "PERPMESH_DESCRIBED_SERVICES",
        "Services of other rooms that reflection describes here too: for the room that answers for the whole mesh.",
        default=(),
    )
    call_deadline_s: float = setting(
        "PERPMESH_CALL_DEADLINE_S",
        "The longest a unary call may take, in seconds, whatever its caller allows.",
        default=30.0,
        minimum=0.1,
        maximum=300,
    )
    receive_bytes_max: int = setting(
        "PERPMESH_RECEIVE_BYTES_MAX",
        "The largest request, in bytes; a larger one is refused.",
        default=1_048_576,
        minimum=1_024,
        maximum=67_108_864,
    )
    connection_streams_max: int = setting(
        "PERPMESH_CONNECTION_STREAMS_MAX",
        "How many calls and streams one connection may have open.",
        default=4_096,
        minimum=1,
        maximum=1_000_000,
    )
    calls_max: int = setting(
        "PERPMESH_CALLS_MAX",
        "How many calls and streams the room serves at once; further ones are refused.",
        default=16_384,
        minimum=1,
        maximum=1_000_000,
    )
    drain_notice_s: float = setting(
        "PERPMESH_DRAIN_NOTICE_S",
        "How long a stopping room still takes calls while health says it is going.",
        default=0.0,
        minimum=0,
        maximum=60,
    )
    drain_grace_s: float = setting(
        "PERPMESH_DRAIN_GRACE_S",
        "How long calls in flight may take to finish when the room stops.",
        default=10.0,
        minimum=0,
        maximum=60,
    )


class _Routes(grpc.GenericRpcHandler):
    """Finds the handler of a path in one dictionary."""

    def __init__(self, handlers: Mapping[str, Any]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> Any:
        path = handler_call_details.method
        found = self._handlers.get(path)
        if found is None and path.startswith("/perpmesh."):
            return refuse(f"{path[1:101]} is not served here: server reflection lists what is.")
        return found  # None lets grpc say UNIMPLEMENTED, which tools expect of unknown services


class Server:
    """The gRPC server of one room."""

    def __init__(
        self,
        room: str,
        config: ServerConfig,
        *,
        ready: Callable[[], str | None] = lambda: None,
        verifier: Verifier | None = None,
        clock: Clock = SYSTEM,
        metrics: Metrics = METRICS,
        logger: Log = log,
    ) -> None:
        """Make a server that does not listen yet; `ready` returns why the room cannot work now, or None."""
        self.room = room
        self.draining = asyncio.Event()
        """Set when the room takes no new streams any more; streams wait on it and end."""
        self.leaving = asyncio.Event()
        """Set when the room begins to stop: health says so, while calls and streams are still taken."""
        self.port = 0
        self.services: list[str] = []
        self._config = config
        self._ready = ready
        self._clock = clock
        self._log = logger
        self._around = Surroundings(
            clock=clock,
            log=logger,
            metrics=metrics,
            draining=self.draining,
            verifier=verifier,
            callers=frozenset(config.tls.callers) if config.tls.is_on else None,
        )
        self._handlers: dict[str, Any] = {}
        self._described: tuple[tuple[str, ...], descriptor_pb2.FileDescriptorSet] | None = None
        self._server: grpc.aio.Server | None = None
        self._stopped = False

    def add(self, service: str, servicer: object, *, deadlines_s: Mapping[str, float] | None = None) -> None:
        """Serve those methods of `service` that the servicer's own class defines.

        `deadlines_s` gives single methods another cap than the room's.
        """
        caps = dict(deadlines_s or {})
        methods = service_methods(service)
        if unknown := set(caps) - set(methods):
            raise ValueError(f"{service} has no method {', '.join(sorted(unknown))} to give a deadline")
        served = 0
        for name, method in methods.items():
            if _defined(type(servicer), name):
                cap = caps.get(name, self._config.call_deadline_s)
                self._handlers[method.path] = wrap(method, getattr(servicer, name), self._around, cap)
                served += 1
            else:
                self._handlers[method.path] = refuse(
                    f"{method.full_name} is part of the contract and is not served by this version."
                )
        if not served:
            raise ValueError(f"{type(servicer).__name__} defines no method of {service}")
        self.services.append(service)

    def add_foreign(self, path: str, handler: Callable[[bytes, Any], Awaitable[bytes]]) -> None:
        """Serve one call of somebody else's contract, bytes for bytes, to the parts that may call this room."""
        self._handlers[path] = foreign(path, handler, self._around)

    def describe(self, services: tuple[str, ...], descriptors: descriptor_pb2.FileDescriptorSet) -> None:
        """Let reflection answer for other services too, from a descriptor set: for the room behind the edge."""
        self._described = (services, descriptors)

    async def start(self, *, run: Mapping[str, object] | None = None) -> int:
        """Listen, write the run file (with the entries of `run` added) and return the port."""
        config = self._config
        handlers = dict(self._handlers)
        handlers.update(health.Health(self.services, self._ready, self.leaving, self._clock).handlers())
        if config.reflection:
            handlers.update(self._reflection())
        server = grpc.aio.server(options=_options(config), maximum_concurrent_rpcs=config.calls_max)
        server.add_generic_rpc_handlers((_Routes(handlers),))
        try:
            if config.tls.is_on:
                self.port = server.add_secure_port(config.listen, server_credentials(config.tls))
            else:
                self.port = server.add_insecure_port(config.listen)
        except RuntimeError:
            raise ConfigError(
                f"The room {self.room} cannot listen on {config.listen}: "
                "set PERPMESH_LISTEN to a free host:port, or to port 0 to let the system choose."
            ) from None
        await server.start()
        self._server = server
        if config.run_file is not None:
            host = config.listen.rpartition(":")[0]
            facts = {"room": self.room, "pid": os.getpid(), "host": host, "port": self.port}
            write_run_file(config.run_file, {**facts, **(run or {})})
        self._log.event("server.started", port=self.port, services=self.services)
        return self.port

    async def notice(self) -> None:
        """Say by health that the room is going, and go on as before until whoever chooses replicas has seen it.

        What a room does before it ends its streams, so that they are opened again elsewhere. Safe to call twice.
        """
        if not self.leaving.is_set():
            self.leaving.set()
            if self._config.drain_notice_s:
                await self._clock.sleep(self._config.drain_notice_s)

    async def stop(self) -> None:
        """Give notice, drain and stop; safe to call twice."""
        if self._server is None or self._stopped:
            return
        self._stopped = True
        start = self._clock.monotonic()
        await self.notice()
        self.draining.set()
        await self._server.stop(self._config.drain_grace_s)
        if self._config.run_file is not None:
            self._config.run_file.unlink(missing_ok=True)
        self._log.event("server.stopped", seconds=round(self._clock.monotonic() - start, 3))

    def _reflection(self) -> dict[str, Any]:
        if self._described is None:
            others = [name for name in self._config.described if name not in self.services]
            try:
                reflection.load(others)
            except ImportError:
                raise ConfigError(
                    f"PERPMESH_DESCRIBED_SERVICES names what the contract lacks, among {', '.join(others)}: correct it."
                ) from None
            shown = [*self.services, *others, health.SERVICE]
            return reflection.handlers(shown, reflection.pool_of_services(shown))
        services, descriptors = self._described
        return reflection.handlers(services, reflection.pool_of_set(descriptors))


def write_run_file(path: Path, facts: Mapping[str, object]) -> None:
    """Write `facts` as JSON so that a reader sees the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(dict(facts)) + "\n", encoding="utf-8")
    part.replace(path)


def _defined(cls: type, name: str) -> bool:
    """Say whether a class or a parent of ours defines `name`, the generated base (which only refuses) left out."""
    return any(name in vars(part) for part in cls.__mro__ if not part.__module__.endswith("_pb2_grpc"))


def _options(config: ServerConfig) -> list[tuple[str, Any]]:
    return [
        ("grpc.so_reuseport", 0),  # else two rooms could silently share a port
        ("grpc.max_receive_message_length", config.receive_bytes_max),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", HEADER_BYTES_MAX),
        ("grpc.max_concurrent_streams", config.connection_streams_max),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_INTERVAL_MIN_S * 1_000),
        ("grpc.http2.max_pings_without_data", 0),
    ]
