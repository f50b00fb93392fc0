"""Every call of the contract through every door, with whatever token: what the caller is told, as one word."""

from __future__ import annotations

import base64
import importlib
import json
import re
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
from google.api import annotations_pb2
from google.protobuf import descriptor_pb2, message_factory, text_format
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from perpmesh.type.v1 import access_pb2

ROOT = Path(__file__).resolve().parents[2]
SOME_ID = "01a20366-5099-7093-a42f-fcdfcc83ec35"
TIMEOUT_S = 20.0
OK = "OK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """One call of the contract."""

    service: str
    name: str
    access: int
    streams: bool
    verb: str
    """Of its first REST binding; empty without one."""
    route: str

    @property
    def path(self) -> str:
        """The path over gRPC."""
        return f"/{self.service}/{self.name}"


def rpcs() -> list[Rpc]:
    """Return every call, from the descriptor set."""
    found = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "gen" / "perpmesh.binpb").read_bytes())
    calls = []
    for file in found.file:
        for service in file.service:
            for method in service.method:
                rule = method.options.Extensions[annotations_pb2.http]
                verb = str(rule.WhichOneof("pattern") or "")
                calls.append(
                    Rpc(
                        service=f"{file.package}.{service.name}",
                        name=method.name,
                        access=method.options.Extensions[access_pb2.access],
                        streams=method.server_streaming,
                        verb=verb,
                        route=str(getattr(rule, verb)) if verb else "",
                    )
                )
    return [call for call in calls if call.service.startswith("perpmesh.")]


def _reason(status: status_pb2.Status | None, code: str) -> str:
    info = error_details_pb2.ErrorInfo()
    for detail in status.details if status is not None else ():
        if detail.Unpack(info):
            return info.reason
    return code


async def over_grpc(channel: grpc.aio.Channel, rpc: Rpc, raw: bytes, token: str | None) -> str:
    """Make a call over gRPC; a stream counts as passed with its first message."""
    metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
    try:
        if rpc.streams:
            stream = channel.unary_stream(rpc.path)(raw, metadata=metadata, timeout=TIMEOUT_S)
            first = await stream.read()
            stream.cancel()
            return OK if first is not grpc.aio.EOF else "EOF"
        await channel.unary_unary(rpc.path)(raw, metadata=metadata, timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        return _reason(rpc_status.from_call(error), error.code().name)  # type: ignore[arg-type]
    return OK


async def asked(
    channel: grpc.aio.Channel, rpc: Rpc, request: Message, token: str, *, until: tuple[str, ...]
) -> tuple[str, str]:
    """Make a call; return OK or the reason, and all that was answered as text.

    A stream is read until it has shown every text of `until`, or its present is complete.
    """
    metadata, raw = (("authorization", f"Bearer {token}"),), request.SerializeToString()
    kind = message_factory.GetMessageClass(_method(rpc).output_type)
    said = ""
    try:
        if not rpc.streams:
            answer = await channel.unary_unary(rpc.path)(raw, metadata=metadata, timeout=TIMEOUT_S)
            return OK, str(kind.FromString(answer))
        stream = channel.unary_stream(rpc.path)(raw, metadata=metadata, timeout=TIMEOUT_S)
        while (one := await stream.read()) is not grpc.aio.EOF:
            message = kind.FromString(one)
            said += str(message)
            present = "event" in message.DESCRIPTOR.oneofs_by_name and message.WhichOneof("event") == "live"
            if (until and all(text in said for text in until)) or (present and not until):
                break
        stream.cancel()
    except grpc.aio.AioRpcError as error:
        return _reason(rpc_status.from_call(error), error.code().name), said + str(error.details())  # type: ignore[arg-type]
    return OK, said


def reads(rpc: Rpc) -> bool:
    """Say whether a call changes nothing."""
    return bool(_method(rpc).GetOptions().idempotency_level == descriptor_pb2.MethodOptions.NO_SIDE_EFFECTS)


def _method(rpc: Rpc) -> Any:
    package, _, name = rpc.service.rpartition(".")
    file = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).strip("_")
    module = importlib.import_module(f"{package}.{file}_pb2")
    return module.DESCRIPTOR.services_by_name[name].methods_by_name[rpc.name]


def altered(request: Message, ids: tuple[str, ...]) -> Message:
    """Return a request with fresh ids in place of these, and a fresh request_id where it has one."""
    text = text_format.MessageToString(request)
    for one in (*ids, getattr(request, "request_id", "")):
        if one:
            text = text.replace(one, str(uuid.uuid4()))
    return text_format.Parse(text, type(request)())


def without(answer: str, request: Message) -> str:
    """Return an answer without what it repeats of the request's ids, and without its own number as a request."""
    answer = _REQUEST_ID.sub("", answer)
    for one in set(_IDS.findall(str(request))):
        answer = answer.replace(one, "ID")
    return answer


_REQUEST_ID = re.compile(r"request_id\\022\$[0-9a-f-]{36}")
_IDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def over_rest(
    http: aiohttp.ClientSession, url: str, rpc: Rpc, token: str | None, body: dict[str, Any] | None = None
) -> str:
    """Make a call over REST with `BTC-PERP` or some id in its path."""
    path = re.sub(r"\{(\w+)\}", lambda name: "BTC-PERP" if name[1] == "market" else SOME_ID, rpc.route)
    headers = {"authorization": f"Bearer {token}"} if token is not None else {}
    sent = {"json": body or {}} if rpc.verb in ("post", "patch", "put") else {}
    async with http.request(rpc.verb.upper(), url + path, headers=headers, **sent) as answer:
        if answer.status == 200:
            if rpc.streams:
                return OK if await answer.content.readline() else "EOF"
            await answer.read()
            return OK
        details = json.loads(await answer.read())["details"]
    return str(next(detail["reason"] for detail in details if "reason" in detail))


async def over_grpc_web(http: aiohttp.ClientSession, url: str, rpc: Rpc, raw: bytes, token: str | None) -> str:
    """Make a call over gRPC-web."""
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    body = b"\0" + struct.pack(">I", len(raw)) + raw
    async with http.post(url + rpc.path, data=body, headers=headers) as answer:
        if "grpc-status" in answer.headers:
            return _of_trailers({name.lower(): value for name, value in answer.headers.items()})
        while True:
            flags, size = struct.unpack(">BI", await answer.content.readexactly(5))
            payload = await answer.content.readexactly(size)
            if flags & 0x80:
                lines = [line.partition(":") for line in payload.decode().split("\r\n") if line]
                return _of_trailers({name.strip().lower(): value.strip() for name, _, value in lines})
            if rpc.streams:
                return OK


def _of_trailers(trailers: dict[str, str]) -> str:
    code = int(trailers["grpc-status"])
    if code == 0:
        return OK
    details = trailers.get("grpc-status-details-bin", "")
    status = status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4)))
    return _reason(status, str(code))
