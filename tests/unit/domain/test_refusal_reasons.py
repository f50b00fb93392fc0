"""The domain's refusal reasons are the contract's, and every one a venue can give is among them."""

from __future__ import annotations

from perpmesh.type.v1 import refusal_pb2

from services.domain.refusal import Origin, RefusalReason
from services.venues.hyperliquid.wire import refusals as hyperliquid
from services.venues.lighter.wire import refusals as lighter


def test_the_domain_repeats_the_contracts_refusal_reasons_exactly() -> None:
    names = {value.name.removeprefix("REFUSAL_REASON_") for value in refusal_pb2.RefusalReason.DESCRIPTOR.values}
    assert {reason.value for reason in RefusalReason} == names
    origins = {value.name.removeprefix("ORIGIN_") for value in refusal_pb2.Refusal.Origin.DESCRIPTOR.values}
    assert {origin.value for origin in Origin} == origins - {"UNSPECIFIED"}


def test_every_venue_entry_says_a_sentence() -> None:
    for message in [entry.message for entry in hyperliquid.TABLE] + [entry.message for entry in lighter.TABLE.values()]:
        assert message.endswith(".")
        assert message[0].isupper()
