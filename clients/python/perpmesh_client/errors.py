"""How a call fails: one exception, with everything the mesh said about it.

Every error of the mesh is a `google.rpc.Status` with exactly one `ErrorInfo` (domain `perpmesh`), a `BadRequest` where
fields are at fault and a `RetryInfo` where waiting helps (AIP-193). An error without them was made between the mesh
and here, by a proxy or by the transport; its reason is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2
from perpmesh.errors.v1 import reason_pb2

from perpmesh_client.values.trade import Gap

DOMAIN = "perpmesh"
DETAILS_KEY = "grpc-status-details-bin"
_TRANSPORT_CODES = frozenset({"UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED", "DEADLINE_EXCEEDED"})
"""What grpc reports when a connection, a proxy or a route's time limit ends a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldViolation:
    """A field of the request that has a wrong shape."""

    field: str
    """The path of the field, such as `markets[0]`."""
    description: str
    """What was wrong and what would pass."""


class PerpmeshError(Exception):
    """A call failed, or a stream ended for good.

    `str(error)` is a whole sentence or more, fit to be shown.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        reason: str = "",
        category: str = "",
        metadata: Mapping[str, str] | None = None,
        fields: Iterable[FieldViolation] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        """Make an error; what the mesh did not say is left empty."""
        super().__init__(message)
        self.message = message
        """What happened, as a sentence."""
        self.code = code
        """The gRPC code by name, such as `NOT_FOUND`."""
        self.reason = reason
        """A value of `perpmesh.errors.v1.Reason` without its prefix, such as `MARKET_UNKNOWN`; empty where the
        transport failed and not the mesh."""
        self.category = category
        """`network`, `authentication`, `trading` or `system`."""
        self.metadata = dict(metadata or {})
        """Every changing part of the message, by name."""
        self.fields = tuple(fields)
        """The fields of the request that are at fault."""
        self.retry_after = retry_after
        """How long to wait before the call may pass; None where waiting does not help or nobody knows."""

    def __str__(self) -> str:
        """Return the message, followed by what is wrong with each field."""
        told = [f"{item.field}: {item.description}" for item in self.fields if item.description not in self.message]
        return " ".join([self.message, *told])

    @property
    def from_transport(self) -> bool:
        """Whether the transport made this error: the mesh did not answer, or not to the end."""
        return not self.reason and self.code in _TRANSPORT_CODES


class GapError(PerpmeshError):
    """A stream that promises every item lost some, and they can no longer be had."""

    def __init__(self, gap: Gap) -> None:
        """Make the error of one gap."""
        super().__init__(str(gap), code="DATA_LOSS", category="network")
        self.gap = gap
        """What was lost."""


class RpcFailure(Protocol):
    """What this module reads of `grpc.aio.AioRpcError`."""

    def code(self) -> _Code:
        """Return the status code."""

    def details(self) -> str | None:
        """Return the message."""

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """Return the trailers."""


class _Code(Protocol):
    @property
    def name(self) -> str: ...


def from_rpc(failure: RpcFailure, address: str) -> PerpmeshError:
    """Return the error that a failed call to `address` stands for."""
    code = failure.code().name
    for key, value in failure.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return _from_status(code, status_pb2.Status.FromString(value))
            except DecodeError:
                break
    message = failure.details() or f"The call failed with {code}."
    if code == "UNAVAILABLE":
        message = f"Nothing answers at {address} ({message})."
    elif code == "DEADLINE_EXCEEDED":
        message = f"{address} did not answer in time ({message})."
    return PerpmeshError(message, code=code, category="network" if code in _TRANSPORT_CODES else "")


def from_end(reason: str, message: str) -> PerpmeshError:
    """Return the error that stands for the last message of a stream the server ends."""
    values = reason_pb2.Reason.DESCRIPTOR.values_by_name
    known = values.get(f"REASON_{reason}")
    info = known.GetOptions().Extensions[reason_pb2.info] if known is not None else None
    category = reason_pb2.Category.Name(info.category).removeprefix("CATEGORY_").lower() if info is not None else ""
    return PerpmeshError(
        message or f"The mesh ended the stream: {reason}.",
        code=info.code if info is not None else "UNKNOWN",
        reason=reason or "UNSPECIFIED",
        category=category,
    )


def _from_status(code: str, status: status_pb2.Status) -> PerpmeshError:
    reason = ""
    metadata: dict[str, str] = {}
    fields: list[FieldViolation] = []
    retry_after: timedelta | None = None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
            if info.domain == DOMAIN:
                reason = info.reason
            metadata.update(info.metadata)
        elif detail.Is(error_details_pb2.BadRequest.DESCRIPTOR):
            bad = error_details_pb2.BadRequest.FromString(detail.value)
            fields += [FieldViolation(field=item.field, description=item.description) for item in bad.field_violations]
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
            retry_after = timedelta(seconds=delay.seconds, microseconds=delay.nanos // 1_000)
    return PerpmeshError(
        status.message or f"The call failed with {code}.",
        code=code,
        reason=reason,
        category=metadata.get("category", ""),
        metadata=metadata,
        fields=fields,
        retry_after=retry_after,
    )
