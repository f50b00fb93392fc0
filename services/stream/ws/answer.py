"""HTTP answers of the door's port: JSON errors in the form of the REST interface, and small texts."""

from __future__ import annotations

import http
import json
from collections.abc import Mapping
from email.utils import formatdate

import grpc
from google.protobuf import json_format
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from services.chassis.errors import code_of, to_status
from services.domain.errors import DomainError

_HTTP_OF_CODE = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
}
"""As the edge's transcoder maps them."""

_ALWAYS = (("X-Content-Type-Options", "nosniff"), ("Connection", "close"))


def answer(request: Request, status: int, body: bytes, headers: Mapping[str, str]) -> Response:
    """Return an HTTP answer; to HEAD it goes without its body (RFC 9110, 9.3.2)."""
    made = Headers([("Date", formatdate(usegmt=True)), *_ALWAYS, *headers.items()])
    if status != http.HTTPStatus.NOT_MODIFIED:
        made["Content-Length"] = str(len(body))
    sent = b"" if request.method == "HEAD" else body
    return Response(status, http.HTTPStatus(status).phrase, made, sent)


def json_answer(request: Request, status: int, value: object, headers: Mapping[str, str] | None = None) -> Response:
    """Return an HTTP answer that holds JSON and is not kept by caches."""
    body = json.dumps(value, separators=(",", ":")).encode()
    kind = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return answer(request, status, body, {**kind, **(headers or {})})


def refusal(request: Request, error: DomainError, request_id: str, status: int | None = None) -> Response:
    """Return a `DomainError` in the form of the REST interface: `{"code", "message", "details"}`."""
    value = json_format.MessageToDict(to_status(error, request_id), preserving_proto_field_name=True)
    headers = {"X-Request-Id": request_id}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if status is None:
        status = _HTTP_OF_CODE.get(code_of(error.reason), 500)
    return json_answer(request, status, value, headers)
