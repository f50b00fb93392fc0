"""Domain error <-> `google.rpc.Status`, both ways: the only crossing.

An answer that fails carries exactly one `ErrorInfo` (domain `perpmesh`, the reason's name without its prefix, every
changing part of the message as metadata, and the entries `category` and `request_id`), a `BadRequest` when fields are
at fault and a `RetryInfo` when waiting helps. The gRPC code and the category of a reason are read from the contract
(`perpmesh.errors.v1.ReasonInfo`), so they are stated once. Source of the form: AIP-193.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2
from perpmesh.errors.v1 import reason_pb2

from services.domain.errors import DomainError, FieldViolation, Reason

DOMAIN = "perpmesh"
STATUS_KEY = "grpc-status-details-bin"
REQUEST_ID_KEY = "x-request-id"
MESSAGE_CHARS_MAX = 1_000
METADATA_CHARS_MAX = 500
METADATA_TOTAL_CHARS_MAX = 2_000
"""Entries beyond are left out; the message still names them."""

FIELDS_MAX = 20
"""Violations sent at most; the rest show once these are mended."""

_STATUS_BYTES_MAX = 6_000
"""What fits, in base64, into the 8 KiB of headers that clients take by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReasonFacts:
    """What the contract says of a reason."""

    code: grpc.StatusCode
    """The gRPC code it comes with."""
    category: str
    """`network`, `authentication`, `trading` or `system`."""
    retry_safe: bool
    """Whether the same call may be sent again as it is."""
    advice: str
    """What the caller can do, as one sentence."""


def _read_facts() -> dict[Reason, ReasonFacts]:
    values = reason_pb2.Reason.DESCRIPTOR.values_by_name
    facts = {}
    for reason in Reason:
        info = values[f"REASON_{reason.value}"].GetOptions().Extensions[reason_pb2.info]
        category = reason_pb2.Category.Name(info.category).removeprefix("CATEGORY_").lower()
        facts[reason] = ReasonFacts(
            code=grpc.StatusCode[info.code], category=category, retry_safe=info.retry_safe, advice=info.advice
        )
    return facts


FACTS = _read_facts()
"""The facts of every reason; reading them at import proves that the two lists of reasons are equal."""

_CODE_NUMBERS: dict[grpc.StatusCode, int] = {code: code.value[0] for code in grpc.StatusCode}
_REASON_OF_CODE: dict[grpc.StatusCode, Reason] = {
    grpc.StatusCode.INVALID_ARGUMENT: Reason.FIELD_INVALID,
    grpc.StatusCode.NOT_FOUND: Reason.CALL_UNKNOWN,
    grpc.StatusCode.UNIMPLEMENTED: Reason.CALL_NOT_SERVED,
    grpc.StatusCode.UNAVAILABLE: Reason.PEER_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.LIMIT_REACHED,
    grpc.StatusCode.UNAUTHENTICATED: Reason.TOKEN_INVALID,
    grpc.StatusCode.PERMISSION_DENIED: Reason.PERMISSION_DENIED,
    grpc.StatusCode.OUT_OF_RANGE: Reason.CURSOR_EXPIRED,
}
"""What an error that carries no reason of ours is taken for, by its code."""


def code_of(reason: Reason) -> grpc.StatusCode:
    """Return the gRPC code that a reason comes with."""
    return FACTS[reason].code


def internal(request_id: str) -> DomainError:
    """Return the answer to a fault of ours: no detail, only the id that finds it in the logs."""
    return DomainError(
        Reason.INTERNAL, f"A fault of ours stopped this call. Report the request id {request_id} and it can be found."
    )


def to_status(error: DomainError, request_id: str) -> status_pb2.Status:
    """Return the status that carries `error`; every part of it is bounded so that it fits into headers."""
    facts = FACTS[error.reason]
    metadata = _bounded(error.metadata)
    metadata["category"] = facts.category
    metadata["request_id"] = request_id
    status = status_pb2.Status(code=_CODE_NUMBERS[facts.code], message=error.message[:MESSAGE_CHARS_MAX])
    info = error_details_pb2.ErrorInfo(domain=DOMAIN, reason=error.reason.value, metadata=metadata)
    status.details.add().Pack(info)
    if error.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(max(0, round(error.retry_after_s * 1e9)))
        status.details.add().Pack(retry)
    if error.fields:
        _add_fields(status, error.fields)
    return status


def from_status(status: status_pb2.Status) -> DomainError:
    """Return the domain error that a status carries; one without a reason of ours is judged by its code."""
    code = _code_of_number(status.code)
    reason = _REASON_OF_CODE.get(code, Reason.INTERNAL)
    metadata: dict[str, str] = {}
    fields: tuple[FieldViolation, ...] = ()
    retry_after_s: float | None = None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            metadata.update(info.metadata)
            if info.domain == DOMAIN and info.reason in Reason.__members__:
                reason = Reason(info.reason)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest()
            detail.Unpack(bad)
            fields = tuple(FieldViolation(item.field, item.description) for item in bad.field_violations)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
            retry_after_s = retry.retry_delay.ToNanoseconds() / 1e9
    message = status.message or f"The call failed with {code.name}."
    return DomainError(reason, message, metadata=metadata, fields=fields, retry_after_s=retry_after_s)


def from_rpc_error(error: grpc.aio.AioRpcError) -> DomainError:
    """Return the domain error inside what a gRPC client raised."""
    for key, value in _pairs(error.trailing_metadata()):
        if key == STATUS_KEY and isinstance(value, bytes):
            try:
                return from_status(status_pb2.Status.FromString(value))
            except Exception:  # noqa: S112 - a peer that sends nonsense is judged by its code
                continue
    code = error.code()
    bare = status_pb2.Status(code=_CODE_NUMBERS.get(code, code_pb2.UNKNOWN), message=error.details() or "")
    return from_status(bare)


def has_reason(error: DomainError) -> bool:
    """Say whether `error`, got from a peer, was stated by a room rather than by the transport between."""
    return "category" in error.metadata


async def abort(context: grpc.aio.ServicerContext[Any, Any], error: DomainError, request_id: str) -> NoReturn:
    """End the call with `error`; never returns normally, since grpc raises to unwind the handler."""
    status = to_status(error, request_id)
    trailing = ((STATUS_KEY, status.SerializeToString()), (REQUEST_ID_KEY, request_id))
    await context.abort(FACTS[error.reason].code, status.message, trailing)


def _add_fields(status: status_pb2.Status, fields: Iterable[FieldViolation]) -> None:
    bad = error_details_pb2.BadRequest()
    room = _STATUS_BYTES_MAX - status.ByteSize()
    for violation in tuple(fields)[:FIELDS_MAX]:
        bad.field_violations.add(field=violation.field[:200], description=violation.description[:METADATA_CHARS_MAX])
        if bad.ByteSize() > room and len(bad.field_violations) > 1:
            del bad.field_violations[-1]
            break
    status.details.add().Pack(bad)


def _bounded(metadata: Mapping[str, str]) -> dict[str, str]:
    kept: dict[str, str] = {}
    left = METADATA_TOTAL_CHARS_MAX
    for key, value in metadata.items():
        short = str(value)[:METADATA_CHARS_MAX]
        left -= len(key) + len(short)
        if left < 0:
            break
        kept[key] = short
    return kept


def _code_of_number(number: int) -> grpc.StatusCode:
    return next((code for code, value in _CODE_NUMBERS.items() if value == number), grpc.StatusCode.UNKNOWN)


def _pairs(metadata: Any) -> list[tuple[str, Any]]:
    return list(metadata or ())
