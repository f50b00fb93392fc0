"""The domain's reasons are the contract's."""

from __future__ import annotations

from perpmesh.errors.v1 import reason_pb2

from services.domain.errors import Reason


def test_the_domain_repeats_the_contracts_reasons_exactly() -> None:
    names = {value.name.removeprefix("REASON_") for value in reason_pb2.Reason.DESCRIPTOR.values}
    assert {reason.value for reason in Reason} == names - {"UNSPECIFIED"}
