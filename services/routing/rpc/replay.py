"""A stored quote made again from its stored inputs alone, and what differs, digit by digit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from perpmesh.routing.v1 import quote_inputs_pb2, quote_pb2
from perpmesh.routing.v1 import routing_service_pb2 as pb

from services.routing.app.desk import Quoted
from services.routing.model.planner import SOLVER_VERSION, make_plan
from services.routing.ports import KeptQuote
from services.routing.rpc.inputs import inputs_value
from services.routing.rpc.quotes import digest_of, quote_message

DIFFERENCES_MAX: Final = 100
_FROM_MAKING: Final = ("left_out", "expire_time")
"""What was decided before the inputs were made, and is taken over: it is no result of them."""


@dataclass(frozen=True, slots=True)
class _Difference:
    field: str
    stored: str
    recomputed: str


def replay(kept: KeptQuote) -> pb.ReplayQuoteResponse:
    """Return what the replay of a stored quote finds."""
    answer = pb.ReplayQuoteResponse(solver_version=SOLVER_VERSION)
    try:
        stored = quote_pb2.Quote.FromString(kept.quote)
        inputs = quote_inputs_pb2.QuoteInputs.FromString(kept.inputs)
    except DecodeError:
        return _altered(answer, kept.digest, "unreadable")
    answer.stored_quote.CopyFrom(stored)
    answer.stored_quote.inputs.CopyFrom(inputs)
    found = digest_of(inputs.SerializeToString(deterministic=True))
    if found != kept.digest:
        return _altered(answer, kept.digest, found)
    value = inputs_value(inputs)
    quoted = Quoted(
        quote_id=kept.quote_id,
        inputs=value,
        plan=make_plan(value),
        left_out=(),
        is_public=stored.basis == quote_pb2.Quote.BASIS_PUBLIC,
        expire_ns=stored.expire_time.ToNanoseconds(),
    )
    again = quote_message(quoted, found)
    for name in _FROM_MAKING:
        again.ClearField(name)
    again.left_out.extend(stored.left_out)
    again.expire_time.CopyFrom(stored.expire_time)
    answer.recomputed_quote.CopyFrom(again)
    differences = list(_limited(_differences(stored, again, "quote")))
    for one in differences:
        answer.differences.add(field=one.field, stored_value=one.stored, recomputed_value=one.recomputed)
    answer.verdict = answer.VERDICT_MISMATCH if differences else answer.VERDICT_MATCH
    answer.explanation = (
        f"{len(differences)} fields differ from what solver {SOLVER_VERSION} makes of the same inputs."
        if differences
        else "Every field of the recomputed quote equals the stored one."
    )
    return answer


def _altered(answer: pb.ReplayQuoteResponse, stored: str, found: str) -> pb.ReplayQuoteResponse:
    answer.verdict = answer.VERDICT_INPUTS_ALTERED
    answer.differences.add(field="inputs", stored_value=json.dumps(stored), recomputed_value=json.dumps(found))
    answer.explanation = "The stored inputs are not those the quote was made from: their digest differs."
    return answer


def _limited(found: Iterator[_Difference]) -> Iterator[_Difference]:
    for count, one in enumerate(found):
        if count == DIFFERENCES_MAX:
            return
        yield one


def _differences(stored: Any, again: Any, path: str) -> Iterator[_Difference]:
    """Yield where two messages of one type differ, in the order of the contract."""
    for field in stored.DESCRIPTOR.fields:
        here, there = getattr(stored, field.name), getattr(again, field.name)
        name = f"{path}.{field.name}"
        if field.is_repeated:
            if len(here) != len(there):
                yield _Difference(f"{name}.length", str(len(here)), str(len(there)))
            for at, (one, other) in enumerate(zip(here, there, strict=False)):
                yield from _value(field, one, other, f"{name}[{at}]")
        elif field.has_presence and stored.HasField(field.name) != again.HasField(field.name):
            yield _Difference(name, str(stored.HasField(field.name)), str(again.HasField(field.name)))
        else:
            yield from _value(field, here, there, name)


def _value(field: FieldDescriptor, here: Any, there: Any, name: str) -> Iterator[_Difference]:
    if isinstance(here, Message):
        yield from _differences(here, there, name)
    elif here != there:
        yield _Difference(name, json.dumps(here), json.dumps(there))
