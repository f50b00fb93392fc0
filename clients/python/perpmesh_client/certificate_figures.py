"""What a quote says beside its proof, checked: averages, basis points, rates, names of its inputs, alternatives.

None of it decides whether the plan is the cheapest; all of it is what a person reads. Part of
`certificate.check_quote`, and like it written from the contract's text. What no arithmetic tells is left alone: ids,
sentences, the moment a quote expires, and how much the cutting of fees may give back, of which only the order is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from math import lcm
from typing import Final, Protocol

from perpmesh.routing.v1 import certificate_pb2, quote_inputs_pb2, quote_pb2
from perpmesh.type.v1 import cost_pb2

BPS_DECIMALS: Final = 6
AVERAGE_DECIMALS: Final = 8
"""An average price has as many decimals more than the market's prices."""
_SINGLE: Final = quote_pb2.QuoteAlternative.KIND_SINGLE_VENUE
_METHODS: Final = certificate_pb2.Certificate.Method


class Walked(Protocol):
    """One venue's side of the book with its limits."""

    @property
    def lot(self) -> Fraction:
        """The lot."""

    @property
    def low(self) -> Fraction:
        """The smallest size."""

    @property
    def high(self) -> Fraction:
        """The largest size."""

    def money(self, size: Fraction) -> Fraction:
        """Walk the levels for a size."""


CheckLeg = Callable[[quote_pb2.QuoteLeg], None]
"""Checks sizes, prices and lines of a leg that trades at once; raises where they do not hold."""


def wrong_figures(quote: quote_pb2.Quote, venues: Mapping[str, Walked], check_leg: CheckLeg) -> Iterator[str]:
    """Yield what does not hold of a feasible quote whose plan and bounds do."""
    inputs, size = quote.inputs, Fraction(quote.size)
    notional = Fraction(quote.arrival_mid_price) * size
    yield from _wrong_names(quote)
    yield from _wrong_rates(quote)
    spent = sum((Fraction(leg.average_price) * Fraction(leg.size) for leg in quote.legs), Fraction(0))
    if not _rounded(quote.average_price, spent / size, inputs.price_decimals + AVERAGE_DECIMALS):
        yield "average_price is not the mean of the legs'"
    if not _in_bps(quote.total_cost_bps, Fraction(quote.total_cost), notional):
        yield "total_cost_bps is not total_cost beside the notional"
    fees = [line for leg in quote.legs for line in leg.costs if line.kind == cost_pb2.COST_KIND_VENUE_FEE]
    if not 0 <= Fraction(quote.fee_truncation_bound) <= sum(max(Fraction(one.amount), Fraction(0)) for one in fees):
        yield "fee_truncation_bound is more than the fees"
    if inputs.resting:
        return
    if not _in_bps(quote.certificate.gap_bps, Fraction(quote.certificate.gap), notional):
        yield "gap_bps is not the gap beside the notional"
    yield from _wrong_sets(quote.certificate, venues, size)
    yield from _wrong_alternatives(quote, venues, check_leg)
    yield from _wrong_neighbors(quote, venues)


def _rounded(text: str, exact: Fraction, decimals: int) -> bool:
    return bool(text) and abs(Fraction(text) - exact) <= Fraction(1, 2 * 10**decimals)


def _in_bps(text: str, amount: Fraction, notional: Fraction) -> bool:
    return _rounded(text, amount * 10_000 / notional if notional else Fraction(0), BPS_DECIMALS)


def _wrong_names(quote: quote_pb2.Quote) -> Iterator[str]:
    """Yield what the quote names of its inputs and is not in them."""
    inputs = quote.inputs
    if quote.market != inputs.market or quote.holding_time != inputs.holding_time:
        yield "market or holding_time is not that of the inputs"
    if quote.create_time != inputs.as_of_time:
        yield "create_time is not the moment of the inputs"
    told = [(one.venue, one.version, one.level_count, one.age) for one in quote.book_versions]
    if told != [(one.venue, one.book_version, len(one.levels), one.book_age) for one in inputs.venues]:
        yield "book_versions are not the books of the inputs"


def _wrong_rates(quote: quote_pb2.Quote) -> Iterator[str]:
    """Yield lines that state another rate than the inputs have."""
    sign = 1 if quote.side == 1 else -1
    given = {one.venue: one for one in quote.inputs.venues}
    others = (leg for one in quote.alternatives for leg in one.legs)
    for leg in (*quote.legs, *others):
        rates = _rates(given[leg.venue], sign) if leg.venue in given else {}
        for line in leg.costs:
            if line.rate and not leg.resting and Fraction(line.rate) != rates.get(line.kind):
                yield f"{leg.venue}: {cost_pb2.CostKind.Name(line.kind)} states another rate than the inputs"
    for line in quote.costs:
        of_legs = {one.rate for leg in quote.legs for one in leg.costs if one.kind == line.kind}
        if line.rate and of_legs != {line.rate}:
            yield f"{cost_pb2.CostKind.Name(line.kind)} states a rate that its legs do not share"


def _rates(one: quote_inputs_pb2.QuoteInputs.VenueInputs, sign: int) -> dict[int, Fraction]:
    return {
        cost_pb2.COST_KIND_VENUE_FEE: Fraction(one.taker_fee_rate or 0),
        cost_pb2.COST_KIND_BUILDER_FEE: Fraction(one.interface_fee_rate or 0),
        cost_pb2.COST_KIND_INTEGRATOR_FEE: Fraction(one.interface_fee_rate or 0),
        cost_pb2.COST_KIND_PLATFORM_FEE: Fraction(one.platform_fee_rate or 0),
        cost_pb2.COST_KIND_PRIORITY_FEE: Fraction(one.priority_fee_rate or 0),
        cost_pb2.COST_KIND_FUNDING: Fraction(one.funding_rate_hourly or 0) * sign,
        cost_pb2.COST_KIND_CLOSING: Fraction(one.closing_cost_rate or 0),
    }


def _wrong_sets(proof: certificate_pb2.Certificate, venues: Mapping[str, Walked], size: Fraction) -> Iterator[str]:
    """Yield sets whose least cost is not what it must be, and a method that does not fit the lots."""
    lots = {one.lot for one in venues.values()}
    coarse = _METHODS.METHOD_DYNAMIC_PROGRAMMING if len(venues) > 2 else _METHODS.METHOD_COARSE_LOT_SEARCH
    if proof.method != (_METHODS.METHOD_WATER_FILLING if len(lots) == 1 else coarse):
        yield "the method is not that of such lots"
    feasible = [one for one in proof.set_bounds if one.feasible]
    for one in feasible:
        alike = len({venues[name].lot for name in one.venues}) == 1
        if alike and Fraction(one.cost) != Fraction(one.bound):
            yield f"{' and '.join(one.venues)} are of one lot, and the cost is not the bound"
        if len(one.venues) == 1 and Fraction(one.cost) != venues[one.venues[0]].money(size):
            yield f"{one.venues[0]} alone costs something else"
    if min((Fraction(one.cost) for one in feasible), default=None) != Fraction(proof.cost):
        yield "the plan is not the cheapest of the sets"


def _wrong_alternatives(quote: quote_pb2.Quote, venues: Mapping[str, Walked], check_leg: CheckLeg) -> Iterator[str]:
    """Yield alternatives that are missing, too many, out of order, or not what the books make them."""
    size, total = Fraction(quote.size), Fraction(quote.total_cost)
    wanted = [*sorted(venues), *([""] if len(venues) > 1 else [])]
    if sorted(one.venue for one in quote.alternatives) != sorted(wanted):
        yield "the alternatives are not every venue alone and the even split"
    if any((one.kind == _SINGLE) != bool(one.venue) for one in quote.alternatives):
        yield "an alternative is of another kind than its venue says"
    costs = [Fraction(one.total_cost) for one in quote.alternatives if one.feasible]
    done = [one.feasible for one in quote.alternatives]
    if costs != sorted(costs) or done != sorted(done, reverse=True):
        yield "the alternatives are not in order"
    notional = Fraction(quote.arrival_mid_price) * size
    for one in quote.alternatives:
        said = f"the alternative {one.venue or 'even split'}"
        if one.venue in venues and one.feasible != _carries(venues[one.venue], size):
            yield f"{said} is feasible or not, against its limits"
        if not one.feasible:
            if one.legs or one.total_cost or not one.refusals:
                yield f"{said} is not feasible, and costs something or gives no reason"
            continue
        for leg in one.legs:
            check_leg(leg)
        if not _carried(one.legs, one.venue, venues, size):
            yield f"{said} does not carry the size, or not so"
        if sum((Fraction(leg.total_cost) for leg in one.legs), Fraction(0)) != Fraction(one.total_cost):
            yield f"{said} does not cost what its legs do"
        extra = Fraction(one.total_cost) - total
        if Fraction(one.extra_cost) != extra or extra < 0 or not _in_bps(one.extra_cost_bps, extra, notional):
            yield f"{said} does not cost so much more than the plan"


def _carries(venue: Walked, size: Fraction) -> bool:
    return venue.low <= size <= venue.high and not size % venue.lot


def _carried(legs: Sequence[quote_pb2.QuoteLeg], venue: str, venues: Mapping[str, Walked], size: Fraction) -> bool:
    """Return whether legs are all of a size at one venue, or the same at every venue as near as lots allow."""
    sizes = {leg.venue: Fraction(leg.size) for leg in legs}
    if sum(sizes.values()) != size or len(sizes) != len(legs):
        return False
    if venue:
        return set(sizes) == {venue}
    off = sum(one.lot for one in venues.values())
    return set(sizes) == set(venues) and all(abs(one - size / len(venues)) <= off for one in sizes.values())


def _wrong_neighbors(quote: quote_pb2.Quote, venues: Mapping[str, Walked]) -> Iterator[str]:
    """Yield what does not hold of the proof by neighbors."""
    given = quote.certificate.HasField("neighbor_proof")
    if given != (len(venues) == 2 and len(quote.legs) == 2):
        yield "a proof by neighbors is for two venues that both trade"
    if not given:
        return
    near, size = quote.certificate.neighbor_proof, Fraction(quote.size)
    other = next((name for name in venues if name != near.coarse_venue), "")
    if near.coarse_venue not in venues or venues[near.coarse_venue].lot < venues[other].lot:
        yield "the venue of the neighbors is not that of the coarse lot"
        return
    coarse, fine = venues[near.coarse_venue], venues[other]
    taken = next((Fraction(leg.size) for leg in quote.legs if leg.venue == near.coarse_venue), None)
    lot = _common([coarse.lot, fine.lot])
    if Fraction(near.coarse_size) != taken or Fraction(near.coarse_lot) != lot:
        yield "the neighbors are about another lot or size"
        return
    for text, units in ((near.cost_below, taken - lot), (near.cost_above, taken + lot)):
        there, rest = coarse.low <= units <= coarse.high, fine.low <= size - units <= fine.high
        wanted = coarse.money(units) + fine.money(size - units) if there and rest else None
        if (Fraction(text) if text else None) != wanted:
            yield "a neighbor does not cost that"


def _common(lots: Iterable[Fraction]) -> Fraction:
    """Return the least size that is a multiple of every lot."""
    known = list(lots)
    whole = lcm(*(one.denominator for one in known))
    return Fraction(lcm(*(int(one * whole) for one in known)), whole)
