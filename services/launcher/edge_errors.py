"""What Envoy's own answers mean: the one place where they get their reason, in the words of the contract."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeReason:
    """What an answer of Envoy's own means, in the words of the contract."""

    code: int
    """The gRPC status code, as in `google.rpc.Code`."""
    grpc_code: int
    """The same for gRPC callers; it differs only where gRPC itself has a rule (an unknown method is UNIMPLEMENTED)."""
    reason: str
    category: str
    message: str
    limit: str = ""
    """The name of the limit that was reached, where it has one."""

    @property
    def metadata(self) -> dict[str, str]:
        """What a program reads beside the reason."""
        return {"category": self.category} | ({"limit": self.limit} if self.limit else {})


def _reason(
    code: int, reason: str, category: str, message: str, *, grpc_code: int | None = None, limit: str = ""
) -> EdgeReason:
    return EdgeReason(
        code=code,
        grpc_code=code if grpc_code is None else grpc_code,
        reason=reason,
        category=category,
        message=message,
        limit=limit,
    )


_UNREADABLE = "The request could not be read. Send what the contract of the call describes; decimals are strings."
_TOO_LARGE = "The request is too large: the edge takes a body of 64 KiB and headers of 16 KiB."
_PEER = "The room behind this call does not answer now. Call again after a moment."

ERRORS: Mapping[int, EdgeReason] = {
    400: _reason(3, "REQUEST_UNREADABLE", "trading", _UNREADABLE),
    401: _reason(16, "TOKEN_MISSING", "authentication", "Sign in and send the token as `authorization: Bearer ...`."),
    403: _reason(7, "PERMISSION_DENIED", "authentication", "This is not open to callers from outside."),
    404: _reason(
        5,
        "CALL_UNKNOWN",
        "trading",
        "No such path or call is served. Server reflection lists what is.",
        grpc_code=12,
    ),
    405: _reason(5, "CALL_UNKNOWN", "trading", "The path exists, this HTTP method on it does not.", grpc_code=12),
    408: _reason(4, "DEADLINE_EXCEEDED", "network", "The request did not arrive in time. Send it again."),
    413: _reason(8, "REQUEST_TOO_LARGE", "system", _TOO_LARGE),
    415: _reason(3, "REQUEST_UNREADABLE", "trading", "Send the body as `content-type: application/json`."),
    426: _reason(3, "REQUEST_UNREADABLE", "trading", "Use HTTP/1.1 or HTTP/2, and a WebSocket on /v1/ws only."),
    429: _reason(8, "LIMIT_REACHED", "system", "Too many requests from this address. Wait a second, then call again."),
    431: _reason(8, "REQUEST_TOO_LARGE", "system", _TOO_LARGE),
    500: _reason(13, "INTERNAL", "system", "A fault of ours. Report the request id."),
    501: _reason(12, "CALL_NOT_SERVED", "system", "The call is part of the contract; this version does not serve it."),
    502: _reason(14, "PEER_UNAVAILABLE", "network", _PEER),
    503: _reason(14, "PEER_UNAVAILABLE", "network", _PEER),
    504: _reason(4, "DEADLINE_EXCEEDED", "network", "The answer was not ready in time. Look at the outcome first."),
}
"""Envoy's own answers by HTTP status. A test holds reason and category against `perpmesh.errors.v1`."""

_DENIED = "response.code_details.contains('jwt_authn_access_denied')"
_TOKEN_BAD = (
    "The access token was refused: it is malformed, has ended, or is not for this mesh. Refresh it or sign in again."
)
_FULL = "More calls come than the room can take now; this one was not begun. Call again in a second."
DETAILED_ERRORS = (
    (
        "response.code_details.contains('overflow')",
        429,
        _reason(8, "LIMIT_REACHED", "system", _FULL, limit="orders_on_their_way"),
    ),
    (f"{_DENIED} && response.code_details.contains('Jwt_is_missing')", 401, ERRORS[401]),
    (f"{_DENIED} && response.code_details.contains('fetch')", 503, ERRORS[503]),
    (_DENIED, 401, _reason(16, "TOKEN_INVALID", "authentication", _TOKEN_BAD)),
)
"""What Envoy refuses for a reason that its status does not tell, by its own words (`response.code_details`), in the
order in which they are tried: calls beyond those that may be on their way, and what jwt_authn refuses."""

_RETRY_AFTER_S = 1


def json_body(reason: EdgeReason) -> Json:
    """Return the JSON of the error as our rooms write it."""
    info: Json = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason.reason,
        "domain": "perpmesh",
        "metadata": {**reason.metadata},
    }
    return {"code": reason.code, "message": reason.message, "details": [info]}


def status_details(reason: EdgeReason) -> str:
    """Return the `grpc-status-details-bin` of the error: a `google.rpc.Status`, base64."""
    from google.rpc import error_details_pb2, status_pb2

    status = status_pb2.Status(code=reason.grpc_code, message=reason.message)
    info = error_details_pb2.ErrorInfo(reason=reason.reason, domain="perpmesh", metadata=reason.metadata)
    status.details.add().Pack(info)
    if reason.reason == "LIMIT_REACHED":
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = _RETRY_AFTER_S
        status.details.add().Pack(retry)
    return base64.b64encode(status.SerializeToString()).decode().rstrip("=")
