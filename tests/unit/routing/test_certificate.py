"""The certificate holds for every plan and for nothing else: the client's checker, on quotes and on tampered ones."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any
from uuid import UUID

from perpmesh.routing.v1 import quote_pb2
from perpmesh_client.certificate import check_quote

from services.routing.app.desk import Quoted
from services.routing.model.inputs import Inputs
from services.routing.model.planner import make_plan
from services.routing.model.reach import clip, units_down
from services.routing.rpc.inputs import InputsWriter, inputs_message, inputs_value
from services.routing.rpc.quotes import digest_of, quote_bytes, quote_message
from tests.support.routing import SEED, made_inputs, samples

QUOTE_ID = UUID("01a21e95-9ac0-73b1-93bd-eb598d2eddf5")


def quoted(inputs: Inputs) -> quote_pb2.Quote:
    plan = make_plan(inputs)
    kept = clip(inputs, units_down(plan.size, inputs.size_decimals)) if plan.is_feasible else inputs
    message = inputs_message(kept)
    value = Quoted(
        quote_id=QUOTE_ID, inputs=kept, plan=plan, left_out=(), is_public=True, expire_ns=inputs.time_ns + 10**9
    )
    quote = quote_message(value, digest_of(message.SerializeToString(deterministic=True)))
    quote.inputs.CopyFrom(message)
    return quote


def test_every_quote_is_proven() -> None:
    chance = random.Random(SEED)
    feasible = 0
    for _ in range(samples(400, 5_000)):
        inputs = made_inputs(chance, venues=chance.choice((1, 2, 2, 3)), equal_lots=chance.random() < 0.5)
        quote = quoted(inputs)
        assert check_quote(quote) == [], f"seed {SEED}: {inputs}"
        feasible += quote.outcome == quote_pb2.Quote.OUTCOME_FEASIBLE
    assert feasible > 200


def test_lines_add_up_and_the_gap_is_zero_for_equal_lots() -> None:
    chance = random.Random(SEED + 1)
    for _ in range(samples(200, 2_000)):
        inputs = made_inputs(chance, venues=2, equal_lots=True)
        plan = make_plan(inputs)
        if plan.proof is None:
            continue
        assert plan.proof.gap == 0
        assert sum(leg.size for leg in plan.legs) == inputs.size
        assert sum(line.amount for line in plan.costs) == plan.total_cost
        assert plan.proof.cost == inputs.side.sign * inputs.arrival_mid_price * plan.size + plan.total_cost
        for other in plan.alternatives:
            assert other.extra_cost is None or other.extra_cost >= 0, "nothing listed beside the plan is cheaper"
        assert plan.fee_truncation_bound >= 0


def test_a_quote_is_made_again_from_its_message_bit_for_bit() -> None:
    chance = random.Random(SEED + 2)
    for _ in range(samples(200, 2_000)):
        inputs = made_inputs(chance, venues=chance.choice((1, 2, 3)))
        first = quoted(inputs)
        again = quoted(inputs_value(first.inputs))
        assert again.SerializeToString(deterministic=True) == first.SerializeToString(deterministic=True)


def test_what_is_written_straight_is_what_the_library_writes() -> None:
    chance = random.Random(SEED + 6)
    for _ in range(samples(100, 1_000)):
        inputs = made_inputs(chance, venues=chance.choice((1, 2, 3)))
        quote = quoted(inputs)
        held = quote_pb2.Quote.FromString(quote.SerializeToString())
        held.ClearField("inputs")
        plan = make_plan(inputs)
        value = Quoted(
            quote_id=QUOTE_ID, inputs=inputs_value(quote.inputs), plan=plan, left_out=(), is_public=True,
            expire_ns=inputs.time_ns + 10**9,
        )  # fmt: skip
        assert quote_bytes(value, quote.inputs_digest) == held.SerializeToString(deterministic=True)
        writer = InputsWriter(inputs)  # over all levels, of which a quote keeps some
        for kept in (value.inputs, inputs, value.inputs):
            assert writer.write(kept) == inputs_message(kept).SerializeToString(deterministic=True)


def changed(chance: random.Random, text: str) -> str:
    """Return another number: one unit of its last digit more or less."""
    value = Decimal(text or "0")
    step = Decimal(1).scaleb(int(value.as_tuple().exponent))
    return format(value + chance.choice((-1, 1)) * step, "f")


def tamper(chance: random.Random, quote: quote_pb2.Quote) -> str:
    """Change one number of the books, the plan or the bounds; return what was changed."""
    kind = chance.randrange(9)
    if kind == 0:
        venue = chance.choice(list(quote.inputs.venues))
        level = chance.choice(list(venue.levels))
        level.price = changed(chance, level.price)
        return "a price of a book"
    if kind == 1:
        level = chance.choice(list(chance.choice(list(quote.inputs.venues)).levels))
        level.size = changed(chance, level.size)
        return "a size of a book"
    if kind == 2:
        venue = chance.choice(list(quote.inputs.venues))
        venue.taker_fee_rate = changed(chance, venue.taker_fee_rate)
        return "a fee"
    if kind == 3:
        leg = chance.choice(list(quote.legs))
        leg.size = changed(chance, leg.size)
        return "the size of a leg"
    if kind == 4:
        leg = chance.choice(list(quote.legs))
        line = chance.choice(list(leg.costs))
        line.amount = changed(chance, line.amount)
        return "a line of a leg"
    if kind == 5:
        quote.total_cost = changed(chance, quote.total_cost)
        return "the total cost"
    feasible = [one for one in quote.certificate.set_bounds if one.feasible]
    if kind == 6:
        one = chance.choice(feasible)
        one.bound = changed(chance, one.bound)
        return "a bound"
    if kind == 7:
        quote.certificate.lower_bound = changed(chance, quote.certificate.lower_bound)
        return "the lower bound"
    quote.certificate.set_bounds.remove(chance.choice(list(quote.certificate.set_bounds)))
    return "a set left out"


def test_the_checker_refuses_whatever_was_tampered_with() -> None:
    chance = random.Random(SEED + 3)
    count = 0
    while count < samples(1_000, 10_000):
        quote = quoted(made_inputs(chance, venues=2, equal_lots=True))
        if quote.outcome != quote_pb2.Quote.OUTCOME_FEASIBLE:
            continue
        for _ in range(10):
            other = quote_pb2.Quote.FromString(quote.SerializeToString())
            what = tamper(chance, other)
            count += 1
            assert check_quote(other) != [], f"seed {SEED}: {what} was changed, and the checker did not see it"


UNTOLD = (
    r"\.inputs\.|quote_id|solver_version|explanation|expire_time|basis|refusal|break_even|advice|fee_truncation|"
    r"set_bounds\.multiplier|\.kind"
)
"""What no arithmetic tells, or what may be another and still prove the plan; of the inputs the digest tells."""


def figures(message: Any, path: str = "") -> Iterator[tuple[Any, Any, int | None, str]]:
    """Yield every value within a message: the message it is in, its field, its place among several, its path."""
    for field, value in message.ListFields():
        name = f"{path}.{field.name}"
        if field.message_type is not None:
            for one in value if field.is_repeated else [value]:
                yield from figures(one, name)
        else:
            for at in range(len(value)) if field.is_repeated else [None]:
                yield message, field, at, name


def test_no_other_figure_is_believed_either() -> None:
    """Every value that follows from the inputs, averages, rates, alternatives and neighbors among them."""
    chance, seen = random.Random(SEED + 5), set()
    for _ in range(samples(25, 250)):
        quote = quoted(made_inputs(chance, venues=2, equal_lots=True))
        if quote.outcome != quote_pb2.Quote.OUTCOME_FEASIBLE:
            continue
        places = [at for at, (*_, path) in enumerate(figures(quote)) if not re.search(UNTOLD, path)]
        for place in chance.sample(places, 20):
            other = quote_pb2.Quote.FromString(quote.SerializeToString())
            message, field, at, path = list(figures(other))[place]
            before = getattr(message, field.name)
            if at is not None:
                before[at] += "x"
            elif isinstance(before, str) and re.fullmatch(r"-?[0-9.]+", before):
                setattr(message, field.name, changed(chance, before))
            elif isinstance(before, bool):
                setattr(message, field.name, not before)
            else:
                setattr(message, field.name, f"{before}x" if isinstance(before, str) else before + 1)
            assert check_quote(other) != [], f"seed {SEED}: {path} was changed, and the checker did not see it"
            seen.add(path)
    assert {".alternatives.extra_cost_bps", ".book_versions.version", ".certificate.neighbor_proof.cost_below"} <= seen


def test_a_worse_plan_with_honest_lines_is_refused_for_its_gap() -> None:
    chance = random.Random(SEED + 4)
    found = 0
    while found < 20:
        inputs = made_inputs(chance, venues=2, equal_lots=True)
        quote = quoted(inputs)
        others = [one for one in quote.alternatives if one.feasible and Decimal(one.extra_cost) > 0]
        if quote.outcome != quote_pb2.Quote.OUTCOME_FEASIBLE or not others:
            continue
        found += 1
        worse = quote_pb2.Quote.FromString(quote.SerializeToString())
        del worse.legs[:]
        worse.legs.extend(others[0].legs)
        worse.total_cost = others[0].total_cost
        del worse.costs[:]
        by_kind: dict[int, Decimal] = {}
        for leg in worse.legs:
            for line in leg.costs:
                by_kind[line.kind] = by_kind.get(line.kind, Decimal(0)) + Decimal(line.amount)
        for kind, amount in by_kind.items():
            worse.costs.add(kind=kind, amount=format(amount, "f"))  # type: ignore[arg-type]
        extra = Decimal(others[0].extra_cost)
        worse.certificate.cost = format(Decimal(worse.certificate.cost) + extra, "f")
        worse.certificate.gap = format(Decimal(worse.certificate.gap) + extra, "f")
        assert check_quote(worse) == ["the gap is not zero, and all lots are equal"]
