"""The test contract `echo.proto`, compiled when it is first imported, and a servicer for it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc
from perpmesh.type.v1 import access_pb2, rules_pb2, side_pb2

from services.chassis import call
from services.domain.errors import DomainError, Reason

SERVICE = "perpmesh.echo.v1.EchoService"
BARE = "perpmesh.echo.v1.BareService"
_NEEDED = (access_pb2, rules_pb2, side_pb2)  # imported so that the pool knows what echo.proto imports


def _compile() -> None:
    here = Path(__file__).resolve().parent
    proto = here.parent.parent / "proto"
    spec = find_spec("grpc_tools")
    assert spec is not None
    assert spec.submodule_search_locations
    bundled = Path(spec.submodule_search_locations[0]) / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set"
        roots = [f"-I{here}", f"-I{proto}", f"-I{proto / 'vendor'}", f"-I{bundled}"]
        assert protoc.main(["protoc", *roots, f"--descriptor_set_out={out}", "echo.proto"]) == 0
        built = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    descriptor_pool.Default().AddSerializedFile(built.file[0].SerializeToString())


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(f"perpmesh.echo.v1.{name}"))


_compile()
SayRequest = _message("SayRequest")
SayResponse = _message("SayResponse")
Inner = _message("Inner")


class Echo:
    """Does what the request's text says."""

    def __init__(self) -> None:
        self.seen: list[call.Call] = []
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.ended = asyncio.Event()
        self.draining: asyncio.Event | None = None
        self.failures = 0
        self.calls = 0

    async def Say(self, request: Any, context: Any) -> Any:
        """Answer, or fail in the way that is asked for."""
        self.calls += 1
        current = call.CURRENT.get()
        assert current is not None
        self.seen.append(current)
        match request.text:
            case "refuse":
                raise DomainError(Reason.MARKET_UNKNOWN, "No such market.", metadata={"market": "X"})
            case "break":
                raise RuntimeError("the secret of the house")
            case "timeout":
                raise TimeoutError("of my own")
            case "wait":
                self.started.set()
                try:
                    await self.release.wait()
                finally:
                    self.ended.set()
            case "bytes":
                return SayResponse(text="ready", number=7).SerializeToString()
            case "flaky" if self.failures > 0:
                self.failures -= 1
                raise DomainError(Reason.DRAINING, "Going away.")
        return SayResponse(text=request.text, number=request.count)

    async def Change(self, request: Any, context: Any) -> Any:
        """The same, for a call that may not be repeated."""
        return await self.Say(request, context)

    async def Own(self, request: Any, context: Any) -> Any:
        """Answer who calls."""
        current = call.CURRENT.get()
        assert current is not None
        assert current.principal is not None
        return SayResponse(text=current.principal.user)

    async def WatchEcho(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Send `count` messages, then do what the text says."""
        self.calls += 1
        try:
            if request.text == "refuse first":
                raise DomainError(Reason.MARKET_UNKNOWN, "No such market.")
            for number in range(request.count):
                message = SayResponse(text=request.text, number=number)
                yield message.SerializeToString() if number % 2 else message
            if request.text == "refuse":
                raise DomainError(Reason.SLOW_CONSUMER, "Too slow.")
            if request.text == "break":
                raise RuntimeError("the secret of the house")
            if request.text == "wait":
                self.started.set()
                assert self.draining is not None
                await self.draining.wait()
                yield SayResponse(text="draining")
        finally:
            self.ended.set()
