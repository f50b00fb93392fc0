"""`Quote` out of a plan, as bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Final

from perpmesh.routing.v1 import certificate_pb2, quote_pb2
from perpmesh.type.v1 import cost_pb2, refusal_pb2

from services.domain.refusal import Refusal
from services.routing.app.desk import Quoted
from services.routing.model.inputs import ZERO
from services.routing.model.plan import Alternative, CostKind, Line, Method, PlanLeg, Proof, SetProof
from services.routing.rpc.inputs import SIDES
from services.routing.rpc.wire import block, name, number, rate, span, tags, text, whole

_KINDS: Final = {kind: cost_pb2.CostKind.Value(f"COST_KIND_{kind.value}") for kind in CostKind}
_METHODS: Final = {one: certificate_pb2.Certificate.Method.Value(f"METHOD_{one.value}") for one in Method}

(
    _ID, _MARKET, _SIDE, _SIZE, _OUTCOME, _LEGS, _COSTS, _TOTAL, _TOTAL_BPS, _AVERAGE, _MID, _TRUNCATION, _ALTERNATIVES,
    _CERTIFICATE, _EXPLANATION, _VERSIONS, _LEFT_OUT, _REFUSALS, _NEAREST, _EVEN_TIME, _EVEN_VENUE, _BASIS, _SOLVER,
    _DIGEST, _CREATED, _EXPIRES, _HOLDING, _PRIORITY,
) = tags(
    quote_pb2.Quote,
    "quote_id", "market", "side", "size", "outcome", "legs", "costs", "total_cost", "total_cost_bps", "average_price",
    "arrival_mid_price", "fee_truncation_bound", "alternatives", "certificate", "explanation", "book_versions",
    "left_out", "refusals", "nearest_sizes", "break_even_holding_time", "break_even_venue", "basis", "solver_version",
    "inputs_digest", "create_time", "expire_time", "holding_time", "priority_fee_advice",
)  # fmt: skip
(
    _LEG_VENUE, _LEG_SIZE, _LEG_AVERAGE, _LEG_WORST, _LEG_COSTS, _LEG_TOTAL, _LEG_ACCOUNT, _LEG_MARGIN, _LEG_LEVELS,
    _LEG_RESTING,
) = tags(
    quote_pb2.QuoteLeg,
    "venue", "size", "average_price", "worst_price", "costs", "total_cost", "account_id", "initial_margin",
    "level_count", "resting",
)  # fmt: skip
_LINE_KIND, _LINE_AMOUNT, _LINE_RATE = tags(cost_pb2.Cost, "kind", "amount", "rate")
_OTHER_KIND, _OTHER_VENUE, _OTHER_FEASIBLE, _OTHER_LEGS, _OTHER_TOTAL, _OTHER_EXTRA, _OTHER_BPS, _OTHER_REFUSALS = tags(
    quote_pb2.QuoteAlternative,
    "kind", "venue", "feasible", "legs", "total_cost", "extra_cost", "extra_cost_bps", "refusals",
)  # fmt: skip
_BOOK_VENUE, _BOOK_VERSION, _BOOK_AGE, _BOOK_LEVELS = tags(
    quote_pb2.BookVersion, "venue", "version", "age", "level_count"
)
_METHOD, _COST, _BOUND, _GAP, _GAP_BPS, _SETS, _NEIGHBORS = tags(
    certificate_pb2.Certificate, "method", "cost", "lower_bound", "gap", "gap_bps", "set_bounds", "neighbor_proof"
)
_SET_VENUES, _SET_FEASIBLE, _SET_MULTIPLIER, _SET_BOUND, _SET_COST, _SET_REFUSAL = tags(
    certificate_pb2.Certificate.SetBound, "venues", "feasible", "multiplier", "bound", "cost", "refusal"
)
_NEAR_VENUE, _NEAR_LOT, _NEAR_SIZE, _NEAR_BELOW, _NEAR_ABOVE = tags(
    certificate_pb2.Certificate.NeighborProof, "coarse_venue", "coarse_lot", "coarse_size", "cost_below", "cost_above"
)
_KIND_BYTES: Final = {kind: whole(_LINE_KIND, value) for kind, value in _KINDS.items()}
_FEASIBLE: Final = whole(_OUTCOME, quote_pb2.Quote.OUTCOME_FEASIBLE)
_INFEASIBLE: Final = whole(_OUTCOME, quote_pb2.Quote.OUTCOME_INFEASIBLE)
_PUBLIC: Final = whole(_BASIS, quote_pb2.Quote.BASIS_PUBLIC)
_ACCOUNT: Final = whole(_BASIS, quote_pb2.Quote.BASIS_ACCOUNT)
_SINGLE: Final = whole(_OTHER_KIND, quote_pb2.QuoteAlternative.KIND_SINGLE_VENUE)
_EVEN: Final = whole(_OTHER_KIND, quote_pb2.QuoteAlternative.KIND_EVEN_SPLIT)
_OTHER_YES: Final = whole(_OTHER_FEASIBLE, True)


def digest_of(inputs: bytes) -> str:
    """Return the SHA-256 of inputs as they are serialized, fields in the order of their numbers, in hex."""
    return hashlib.sha256(inputs).hexdigest()


def quote_message(quoted: Quoted, digest: str) -> quote_pb2.Quote:
    """Return the quote without its inputs as a message."""
    return quote_pb2.Quote.FromString(quote_bytes(quoted, digest))


def quote_bytes(quoted: Quoted, digest: str) -> bytes:
    """Return the quote without its inputs, serialized."""
    plan, inputs = quoted.plan, quoted.inputs
    legs = [_leg(leg) for leg in plan.legs]
    parts = [
        text(_ID, str(quoted.quote_id)),
        name(_MARKET, inputs.market),
        whole(_SIDE, SIDES[inputs.side]),
        number(_SIZE, plan.size),
        _FEASIBLE if plan.is_feasible else _INFEASIBLE,
        *[block(_LEGS, leg) for leg in legs],
        *[block(_COSTS, _line(line)) for line in plan.costs],
        number(_TOTAL, plan.total_cost),
        number(_TOTAL_BPS, plan.total_cost_bps),
        b"" if plan.average_price is None else number(_AVERAGE, plan.average_price),
        number(_MID, inputs.arrival_mid_price),
        number(_TRUNCATION, plan.fee_truncation_bound),
        *[block(_ALTERNATIVES, _alternative(one, plan.legs, legs)) for one in plan.alternatives],
        b"" if plan.proof is None else block(_CERTIFICATE, _certificate(plan.proof)),
        text(_EXPLANATION, plan.explanation),
    ]
    for venue in inputs.venues:
        age = span(_BOOK_AGE, int(venue.book_age_s.scaleb(9)))
        levels = whole(_BOOK_LEVELS, len(venue.levels))
        version = name(_BOOK_VENUE, venue.venue) + whole(_BOOK_VERSION, venue.book_version) + age + levels
        parts.append(block(_VERSIONS, version))
    parts += (
        *(_refusal(_LEFT_OUT, one) for one in quoted.left_out),
        *(_refusal(_REFUSALS, one) for one in plan.refusals),
        *(number(_NEAREST, one) for one in plan.nearest_sizes),
        b"" if plan.break_even_s is None else span(_EVEN_TIME, int(plan.break_even_s.scaleb(9))),
        text(_EVEN_VENUE, plan.break_even_venue),
        _PUBLIC if quoted.is_public else _ACCOUNT,
        name(_SOLVER, quoted.solver_version),
        text(_DIGEST, digest),
        span(_CREATED, inputs.time_ns),
        span(_EXPIRES, quoted.expire_ns),
        span(_HOLDING, int(inputs.holding_s.scaleb(9))),
        text(_PRIORITY, plan.priority_advice),
    )
    return b"".join(parts)


def _leg(leg: PlanLeg) -> bytes:
    return b"".join(
        (
            name(_LEG_VENUE, leg.venue),
            number(_LEG_SIZE, leg.size),
            number(_LEG_AVERAGE, leg.average_price),
            number(_LEG_WORST, leg.worst_price),
            *[block(_LEG_COSTS, _line(line)) for line in leg.costs],
            number(_LEG_TOTAL, leg.total_cost),
            name(_LEG_ACCOUNT, leg.account_id),
            b"" if leg.initial_margin is None else number(_LEG_MARGIN, leg.initial_margin),
            whole(_LEG_LEVELS, leg.level_count),
            whole(_LEG_RESTING, leg.resting),
        )
    )


def _line(line: Line) -> bytes:
    if not line.amount:
        return _nothing_paid(line.kind, line.rate)
    amount = _KIND_BYTES[line.kind] + number(_LINE_AMOUNT, line.amount)
    return amount if line.rate is None else amount + rate(_LINE_RATE, line.rate)


@lru_cache(64)
def _nothing_paid(kind: CostKind, rate_paid: Decimal | None) -> bytes:
    """Return the line of a fee that is free, as many are."""
    amount = _KIND_BYTES[kind] + number(_LINE_AMOUNT, ZERO)
    return amount if rate_paid is None else amount + rate(_LINE_RATE, rate_paid)


def _alternative(one: Alternative, chosen: Sequence[PlanLeg], written: Sequence[bytes]) -> bytes:
    """Return an alternative; one that is the plan itself has its legs, which are written."""
    parts = [_SINGLE + name(_OTHER_VENUE, one.venue) if one.venue else _EVEN]
    if one.total_cost is not None and one.extra_cost is not None and one.extra_cost_bps is not None:
        legs = written if one.legs is chosen else [_leg(leg) for leg in one.legs]
        parts += (
            _OTHER_YES,
            *[block(_OTHER_LEGS, leg) for leg in legs],
            number(_OTHER_TOTAL, one.total_cost),
            number(_OTHER_EXTRA, one.extra_cost),
            number(_OTHER_BPS, one.extra_cost_bps),
        )
    if one.refusal is not None:
        parts.append(_refusal(_OTHER_REFUSALS, one.refusal))
    return b"".join(parts)


def _certificate(proof: Proof) -> bytes:
    parts = [
        whole(_METHOD, _METHODS[proof.method]),
        number(_COST, proof.cost),
        number(_BOUND, proof.lower_bound),
        number(_GAP, proof.gap),
        number(_GAP_BPS, proof.gap_bps),
        *[block(_SETS, _set_bound(one)) for one in proof.sets],
    ]
    near = proof.neighbors
    if near is not None:
        told = name(_NEAR_VENUE, near.venue) + number(_NEAR_LOT, near.lot) + number(_NEAR_SIZE, near.size)
        told += b"" if near.below is None else number(_NEAR_BELOW, near.below)
        told += b"" if near.above is None else number(_NEAR_ABOVE, near.above)
        parts.append(block(_NEIGHBORS, told))
    return b"".join(parts)


def _set_bound(one: SetProof) -> bytes:
    venues = b"".join([name(_SET_VENUES, venue) for venue in one.venues]) + whole(_SET_FEASIBLE, one.cost is not None)
    if one.multiplier is not None and one.bound is not None and one.cost is not None:
        bound = number(_SET_MULTIPLIER, one.multiplier) + number(_SET_BOUND, one.bound)
        return venues + bound + number(_SET_COST, one.cost)
    return venues if one.refusal is None else venues + _refusal(_SET_REFUSAL, one.refusal)


def _refusal(tag: bytes, value: Refusal) -> bytes:
    return block(tag, refusal(value).SerializeToString())


def refusals(values: Iterable[Refusal]) -> Sequence[refusal_pb2.Refusal]:
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
