"""A real gRPC server of the public contract that does what a test tells it, and remembers what it was asked."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc import aio
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import (
    MarketDataServiceServicer,
    add_MarketDataServiceServicer_to_server,
)
from perpmesh.type.v1 import stream_pb2

from services.chassis import errors
from services.domain.errors import DomainError

_METHODS = pb.DESCRIPTOR.services_by_name["MarketDataService"].methods

Step = Message | DomainError | asyncio.Event
"""What a stream does next: sends a message, fails with an error, or waits for an event."""
Stream = Callable[[Any], AsyncIterator[Step]]
Answer = Callable[[Any], Message] | Message | DomainError


class Cut(DomainError):  # noqa: N818 - it is a step of a script
    """Ends a stream as a lost connection would: with a bare code and no word from the mesh."""

    def __init__(self, code: Any) -> None:
        super().__init__(errors.Reason.INTERNAL, "cut")
        self.bare_code = code


def hang() -> asyncio.Event:
    """Return the step that keeps a stream open until it is canceled."""
    return asyncio.Event()


def steps(*listed: Step) -> Stream:
    """Return a stream that takes the same steps whatever it is asked."""

    async def stream(_: Any) -> AsyncIterator[Step]:
        for step in listed:
            yield step

    return stream


class ScriptedMesh:
    """Serves `MarketDataService` on loopback; streams not scripted hang, calls not scripted are UNIMPLEMENTED."""

    def __init__(self) -> None:
        self.requests: dict[str, list[Any]] = defaultdict(list)
        self.metadata: dict[str, list[dict[str, str]]] = defaultdict(list)
        self.open_streams = 0
        self.port = 0
        self._streams: dict[str, list[Stream]] = defaultdict(list)
        self._answers: dict[str, list[Answer]] = defaultdict(list)
        self._server: aio.Server | None = None
        self._changed = asyncio.Event()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def stream(self, call: str, *scripts: Stream) -> None:
        """Have the next streams of `call` follow these scripts, one each; the last is followed for ever after."""
        self._streams[call] = list(scripts)

    def answer(self, call: str, *answers: Answer) -> None:
        """Have the next calls answered so, one each; the last holds for ever after."""
        self._answers[call] = list(answers)

    async def start(self, credentials: grpc.ServerCredentials | None = None) -> None:
        """Listen, with TLS if credentials are given; on the port of before if it has been stopped."""
        servicer = MarketDataServiceServicer()
        for method in _METHODS:
            handler = self._streaming(method.name) if method.server_streaming else self._unary(method.name)
            setattr(servicer, method.name, handler)
        self._server = aio.server(options=(("grpc.so_reuseport", 0),))
        add_MarketDataServiceServicer_to_server(servicer, self._server)
        where = f"127.0.0.1:{self.port}"
        if credentials is None:
            self.port = self._server.add_insecure_port(where)
        else:
            self.port = self._server.add_secure_port(where, credentials)
        await self._server.start()

    async def kill(self) -> None:
        """Stop at once: connections close, streams are cut."""
        assert self._server is not None
        await self._server.stop(grace=None)
        self._server = None

    async def close(self) -> None:
        """Stop, if it runs."""
        if self._server is not None:
            await self.kill()

    async def until(self, holds: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until something about the requests or the open streams holds."""
        async with asyncio.timeout(timeout_s):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def _streaming(self, call: str) -> Callable[[Any, Any], AsyncIterator[Message]]:
        async def handler(request: Any, context: Any) -> AsyncIterator[Message]:
            self._note(call, request, context)
            scripts = self._streams[call]
            script = (scripts.pop(0) if len(scripts) > 1 else scripts[0]) if scripts else steps(hang())
            self.open_streams += 1
            try:
                async for step in script(request):
                    if isinstance(step, asyncio.Event):
                        await step.wait()
                    elif isinstance(step, DomainError):
                        await _fail(context, step)
                    else:
                        yield step
            finally:
                self.open_streams -= 1
                self._changed.set()

        return handler

    def _unary(self, call: str) -> Callable[[Any, Any], Any]:
        async def handler(request: Any, context: Any) -> Message:
            self._note(call, request, context)
            answers = self._answers[call]
            answer = (answers.pop(0) if len(answers) > 1 else answers[0]) if answers else unserved(call)
            if isinstance(answer, DomainError):
                await _fail(context, answer)
                raise AssertionError("abort raises")
            return answer if isinstance(answer, Message) else answer(request)

        return handler

    def _note(self, call: str, request: Any, context: Any) -> None:
        self.requests[call].append(request)
        self.metadata[call].append({key: str(value) for key, value in context.invocation_metadata()})
        self._changed.set()


def unserved(call: str) -> DomainError:
    """Return the error of a call that is not scripted."""
    return DomainError(errors.Reason.CALL_NOT_SERVED, f"{call} is not served here.")


async def _fail(context: Any, error: DomainError) -> None:
    if isinstance(error, Cut):
        await context.abort(error.bare_code, "cut")
    await errors.abort(context, error, "request-1")


def live(kind: type[Message], cursor: str = "") -> Message:
    """Return the live mark of a stream."""
    return kind(cursor=cursor, live=stream_pb2.Live())  # type: ignore[call-arg]


def end(kind: type[Message], reason: str, *, resumable: bool) -> Message:
    """Return the last message of a stream."""
    stated = stream_pb2.End(reason=reason, message=f"The stream ends: {reason}.", resumable=resumable)
    return kind(end=stated)  # type: ignore[call-arg]


class FreezableLink:
    """A TCP proxy that can stop passing bytes without closing anything, as a dead line does."""

    def __init__(self, target_port: int) -> None:
        self.port = 0
        self.accepted = 0
        self._target_port = target_port
        self._frozen: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def freeze(self) -> None:
        """Let the connections made so far pass nothing more; those made later work."""
        self._frozen |= set(range(self.accepted))

    async def close(self) -> None:
        """Close everything."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._writers:
            writer.close()
        for writer in self._writers:
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.accepted
        self.accepted += 1
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers += [writer, far_writer]
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.create_task(self._pass(number, source, sink))
            self._tasks.add(task)

    async def _pass(self, number: int, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(65_536):
                if number in self._frozen:
                    continue
                sink.write(chunk)
                await sink.drain()
            sink.close()


def messages(kind: type[Message], field: str, items: Iterable[Message], first_cursor: int = 1) -> list[Message]:
    """Return one message of a stream for each item, with the cursors c1, c2 and so on."""
    return [
        kind(cursor=f"c{number}", **{field: item})  # type: ignore[arg-type]
        for number, item in enumerate(items, first_cursor)
    ]
