"""One call through each door of the edge: gRPC, REST and gRPC-web, and what came out, in one form."""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import grpc
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status
from perpmesh.marketdata.v1 import market_data_service_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["MarketDataService"]
FIRST_MESSAGE_S = 10.0


@dataclass(frozen=True)
class Verdict:
    """How a call ended: the code's name, our reason, and the fields at fault in order."""

    code: str
    reason: str = ""
    fields: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()


OK = Verdict("OK")


def request_type(call: str) -> type[Message]:
    """Return the request class of a call."""
    return getattr(pb, f"{call}Request")  # type: ignore[no-any-return]


def _of_status(status: status_pb2.Status) -> Verdict:
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(bad)
    violations = bad.field_violations
    return Verdict(
        code_pb2.Code.Name(status.code),
        info.reason,
        tuple(one.field for one in violations),
        tuple(one.description for one in violations),
    )


async def over_grpc(channel: grpc.aio.Channel, call: str, request: Message) -> Verdict:
    """Make a call over gRPC; a stream counts as passed with its first message."""
    method = SERVICE.methods_by_name[call]
    path = f"/{SERVICE.full_name}/{call}"
    raw = request.SerializeToString()
    try:
        if method.server_streaming:
            stream = channel.unary_stream(path)(raw, timeout=FIRST_MESSAGE_S)
            assert await stream.read() is not grpc.aio.EOF
            stream.cancel()
        else:
            await channel.unary_unary(path)(raw, timeout=FIRST_MESSAGE_S)
    except grpc.aio.AioRpcError as error:
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        return _of_status(status) if status is not None else Verdict(error.code().name)
    return OK


async def over_rest(session: aiohttp.ClientSession, url: str, call: str, request: Message) -> Verdict:
    """Make a call over REST, its fields in the path and the query."""
    rule = SERVICE.methods_by_name[call].GetOptions().Extensions[annotations_pb2.http]
    fields = json_format.MessageToDict(request, preserving_proto_field_name=True)
    path = rule.get
    if "{market}" in path:
        path = path.replace("{market}", quote(str(fields.pop("market", "")), safe=""))
    query = [
        (name, str(one)) for name, value in fields.items() for one in (value if isinstance(value, list) else [value])
    ]
    async with session.get(url + path, params=query) as response:
        if response.status == 200:
            if SERVICE.methods_by_name[call].server_streaming:
                assert await response.content.readline()
            return OK
        body = await response.read()
    return _of_json(response.status, body)


def _of_json(http: int, body: bytes) -> Verdict:
    answer: dict[str, Any] = json.loads(body)
    verdict = Verdict(code_pb2.Code.Name(answer["code"]))
    reason, fields, descriptions = "", [], []
    for detail in answer["details"]:
        reason = detail.get("reason", reason)
        for one in detail.get("fieldViolations", detail.get("field_violations", [])):
            fields.append(one.get("field", ""))
            descriptions.append(one.get("description", ""))
    assert http >= 400
    return Verdict(verdict.code, reason, tuple(fields), tuple(descriptions))


async def over_grpc_web(session: aiohttp.ClientSession, url: str, call: str, request: Message) -> Verdict:
    """Make a call over gRPC-web, as a browser does, by hand (binary framing, trailers in the body or the headers)."""
    raw = request.SerializeToString()
    headers = {"content-type": "application/grpc-web+proto", "accept": "application/grpc-web+proto", "x-grpc-web": "1"}
    body = b"\0" + struct.pack(">I", len(raw)) + raw
    async with session.post(f"{url}/{SERVICE.full_name}/{call}", data=body, headers=headers) as response:
        if "grpc-status" in response.headers:
            return _of_trailers({name.lower(): value for name, value in response.headers.items()})
        while True:
            flags, size = struct.unpack(">BI", await response.content.readexactly(5))
            payload = await response.content.readexactly(size)
            if flags & 0x80:
                lines = [line.partition(":") for line in payload.decode().split("\r\n") if line]
                return _of_trailers({name.strip().lower(): value.strip() for name, _, value in lines})
            if SERVICE.methods_by_name[call].server_streaming:
                return OK


def _of_trailers(trailers: dict[str, str]) -> Verdict:
    code = int(trailers["grpc-status"])
    if code == 0:
        return OK
    details = trailers.get("grpc-status-details-bin", "")
    if not details:
        return Verdict(code_pb2.Code.Name(code))
    return _of_status(status_pb2.Status.FromString(base64.b64decode(details + "=" * (-len(details) % 4))))
