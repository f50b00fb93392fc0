"""Domain error <-> google.rpc.Status, and the shape of requests."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from perpmesh.errors.v1 import reason_pb2

from services.chassis import errors
from services.domain.errors import DomainError, FieldViolation, Reason, field_invalid


def details_of(status: status_pb2.Status) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {"ErrorInfo": [], "BadRequest": [], "RetryInfo": []}
    for detail in status.details:
        name = detail.TypeName().rsplit(".", 1)[1]
        message = getattr(error_details_pb2, name)()
        assert detail.Unpack(message)
        found[name].append(message)
    return found


def test_the_domain_and_the_contract_name_the_same_reasons() -> None:
    contract = {name.removeprefix("REASON_") for name in reason_pb2.Reason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118
    assert {reason.value for reason in Reason} == contract


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_crosses_both_ways_with_code_category_and_exactly_one_error_info(reason: Reason) -> None:
    error = DomainError(
        reason,
        "Something was wrong.",
        metadata={"market": "BTC-PERP"},
        fields=(FieldViolation("markets[0]", "must be a name"),),
        retry_after_s=1.25,
    )
    status = errors.to_status(error, "rid-1")
    details = details_of(status)
    (info,) = details["ErrorInfo"]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.domain, info.reason) == ("perpmesh", reason.value)
    assert info.metadata["category"] in {"network", "authentication", "trading", "system"}
    assert info.metadata["request_id"] == "rid-1"
    assert status.code == errors.code_of(reason).value[0]
    back = errors.from_status(status)
    assert (back.reason, back.message, back.fields) == (reason, error.message, error.fields)
    assert back.retry_after_s == pytest.approx(1.25)
    assert back.metadata["market"] == "BTC-PERP"
    assert errors.has_reason(back)


def test_details_that_do_not_apply_are_absent() -> None:
    details = details_of(errors.to_status(DomainError(Reason.MARKET_UNKNOWN, "No."), "r"))
    assert details["BadRequest"] == []
    assert details["RetryInfo"] == []


def test_a_field_refusal_is_invalid_argument_with_the_field() -> None:
    status = errors.to_status(field_invalid("size", "must be a decimal"), "r")
    assert errors.code_of(Reason.FIELD_INVALID) is grpc.StatusCode.INVALID_ARGUMENT
    (bad,) = details_of(status)["BadRequest"]
    assert isinstance(bad, error_details_pb2.BadRequest)
    assert [(item.field, item.description) for item in bad.field_violations] == [("size", "must be a decimal")]


def test_the_answer_to_a_fault_tells_nothing_but_the_request_id() -> None:
    status = errors.to_status(errors.internal("rid-9"), "rid-9")
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "rid-9" in status.message


def test_a_status_fits_into_headers_however_much_it_is_given() -> None:
    huge = DomainError(
        Reason.FIELD_INVALID,
        "x" * 100_000,
        metadata={f"k{number}": "v" * 10_000 for number in range(1000)},
        fields=tuple(FieldViolation("f" * 1000, "d" * 10_000) for _ in range(1000)),
    )
    assert errors.to_status(huge, "r").ByteSize() <= 6_700
    many = DomainError(
        Reason.FIELD_INVALID, "many", fields=tuple(FieldViolation(f"f[{i}]", "d" * 490) for i in range(50))
    )
    assert errors.to_status(many, "r").ByteSize() <= 6_700


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (grpc.StatusCode.UNAVAILABLE, Reason.PEER_UNAVAILABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED),
        (grpc.StatusCode.UNIMPLEMENTED, Reason.CALL_NOT_SERVED),
        (grpc.StatusCode.INTERNAL, Reason.INTERNAL),
        (grpc.StatusCode.UNKNOWN, Reason.INTERNAL),
    ],
)
def test_a_status_without_a_reason_is_judged_by_its_code(code: grpc.StatusCode, reason: Reason) -> None:
    back = errors.from_status(status_pb2.Status(code=code.value[0]))
    assert back.reason is reason
    assert back.message
    assert not errors.has_reason(back)


def test_a_reason_that_this_version_does_not_know_is_judged_by_its_code() -> None:
    status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="later")
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain="perpmesh", reason="FROM_THE_FUTURE"))
    assert errors.from_status(status).reason is Reason.LIMIT_REACHED
