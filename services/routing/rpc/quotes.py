"""`Quote` out of a plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

from perpmesh.routing.v1 import certificate_pb2, quote_inputs_pb2, quote_pb2
from perpmesh.type.v1 import cost_pb2, refusal_pb2

from services.domain.decimals import plain_text
from services.domain.refusal import Refusal
from services.routing.app.desk import Quoted
from services.routing.model.plan import Alternative, CostKind, Line, Method, PlanLeg, Proof, SetProof
from services.routing.rpc.inputs import SIDES, set_duration, set_time

_KINDS: Final = {kind: cost_pb2.CostKind.Value(f"COST_KIND_{kind.value}") for kind in CostKind}
_METHODS: Final = {one: certificate_pb2.Certificate.Method.Value(f"METHOD_{one.value}") for one in Method}


def digest_of(inputs: quote_inputs_pb2.QuoteInputs) -> str:
    """Return the SHA-256 of the inputs as they are serialized, fields in the order of their numbers, in hex."""
    return hashlib.sha256(inputs.SerializeToString(deterministic=True)).hexdigest()


def quote_message(quoted: Quoted, digest: str) -> quote_pb2.Quote:
    """Return the quote without its inputs. Parts are made in their place: a part that is put there is copied."""
    plan, inputs = quoted.plan, quoted.inputs
    message = quote_pb2.Quote(
        quote_id=str(quoted.quote_id),
        market=inputs.market,
        side=SIDES[inputs.side],
        size=plain_text(plan.size),
        outcome=quote_pb2.Quote.OUTCOME_FEASIBLE if plan.is_feasible else quote_pb2.Quote.OUTCOME_INFEASIBLE,
        total_cost=plain_text(plan.total_cost),
        total_cost_bps=plain_text(plan.total_cost_bps),
        average_price="" if plan.average_price is None else plain_text(plan.average_price),
        arrival_mid_price=plain_text(inputs.arrival_mid_price),
        fee_truncation_bound=plain_text(plan.fee_truncation_bound),
        explanation=plan.explanation,
        left_out=refusals(quoted.left_out),
        refusals=refusals(plan.refusals),
        nearest_sizes=[plain_text(one) for one in plan.nearest_sizes],
        break_even_venue=plan.break_even_venue,
        basis=quote_pb2.Quote.BASIS_PUBLIC if quoted.is_public else quote_pb2.Quote.BASIS_ACCOUNT,
        solver_version=quoted.solver_version,
        inputs_digest=digest,
        priority_fee_advice=plan.priority_advice,
    )
    _add_legs(message.legs, plan.legs)
    _add_costs(message.costs, plan.costs)
    for one in plan.alternatives:
        _add_alternative(message.alternatives, one)
    if plan.proof is not None:
        _certify(message.certificate, plan.proof)
    for venue in inputs.venues:
        version = message.book_versions.add(
            venue=venue.venue, version=venue.book_version, level_count=len(venue.levels)
        )
        set_duration(version.age, venue.book_age_s)
    set_duration(message.holding_time, inputs.holding_s)
    if plan.break_even_s is not None:
        set_duration(message.break_even_holding_time, plan.break_even_s)
    set_time(message.create_time, inputs.time_ns)
    set_time(message.expire_time, quoted.expire_ns)
    return message


def _add_legs(messages: Any, legs: Sequence[PlanLeg]) -> None:
    for leg in legs:
        message = messages.add(
            venue=leg.venue,
            size=plain_text(leg.size),
            average_price=plain_text(leg.average_price),
            worst_price=plain_text(leg.worst_price),
            total_cost=plain_text(leg.total_cost),
            account_id=leg.account_id,
            initial_margin="" if leg.initial_margin is None else plain_text(leg.initial_margin),
            level_count=leg.level_count,
            resting=leg.resting,
        )
        _add_costs(message.costs, leg.costs)


def _add_costs(messages: Any, lines: Sequence[Line]) -> None:
    for line in lines:
        if line.rate is None:
            messages.add(kind=_KINDS[line.kind], amount=plain_text(line.amount))
        else:
            messages.add(kind=_KINDS[line.kind], amount=plain_text(line.amount), rate=plain_text(line.rate))


def _add_alternative(messages: Any, one: Alternative) -> None:
    kind = quote_pb2.QuoteAlternative.KIND_SINGLE_VENUE if one.venue else quote_pb2.QuoteAlternative.KIND_EVEN_SPLIT
    if one.total_cost is not None and one.extra_cost is not None and one.extra_cost_bps is not None:
        message = messages.add(
            kind=kind,
            venue=one.venue,
            feasible=True,
            total_cost=plain_text(one.total_cost),
            extra_cost=plain_text(one.extra_cost),
            extra_cost_bps=plain_text(one.extra_cost_bps),
        )
        _add_legs(message.legs, one.legs)
    else:
        message = messages.add(kind=kind, venue=one.venue)
    if one.refusal is not None:
        message.refusals.append(refusal(one.refusal))


def _certify(message: certificate_pb2.Certificate, proof: Proof) -> None:
    message.method = _METHODS[proof.method]
    message.cost = plain_text(proof.cost)
    message.lower_bound = plain_text(proof.lower_bound)
    message.gap = plain_text(proof.gap)
    message.gap_bps = plain_text(proof.gap_bps)
    for one in proof.sets:
        _add_set_bound(message.set_bounds, one)
    near = proof.neighbors
    if near is not None:
        message.neighbor_proof.coarse_venue = near.venue
        message.neighbor_proof.coarse_lot = plain_text(near.lot)
        message.neighbor_proof.coarse_size = plain_text(near.size)
        message.neighbor_proof.cost_below = "" if near.below is None else plain_text(near.below)
        message.neighbor_proof.cost_above = "" if near.above is None else plain_text(near.above)


def _add_set_bound(messages: Any, one: SetProof) -> None:
    if one.multiplier is not None and one.bound is not None and one.cost is not None:
        messages.add(
            venues=one.venues,
            feasible=True,
            multiplier=plain_text(one.multiplier),
            bound=plain_text(one.bound),
            cost=plain_text(one.cost),
        )
        return
    message = messages.add(venues=one.venues, feasible=one.cost is not None)
    if one.refusal is not None:
        message.refusal.CopyFrom(refusal(one.refusal))


def refusals(values: Iterable[Refusal]) -> list[refusal_pb2.Refusal]:
    """Return refusals as messages."""
    return [refusal(one) for one in values]


def refusal(value: Refusal) -> refusal_pb2.Refusal:
    """Return a refusal as a message."""
    return refusal_pb2.Refusal(
        reason=refusal_pb2.RefusalReason.Value(f"REFUSAL_REASON_{value.reason.value}"),
        origin=refusal_pb2.Refusal.Origin.Value(f"ORIGIN_{value.origin.value}"),
        message=value.message,
        advice=value.advice,
        field=value.field,
        given_value=value.given_value,
        passing_value=value.passing_value,
        venue=value.venue,
    )
