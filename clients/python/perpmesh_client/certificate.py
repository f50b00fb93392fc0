"""Checks a quote's certificate by arithmetic alone: that the plan costs what it says, and that none costs less.

    problems = check_quote(quote)      # a Quote with its inputs; an empty list means that it holds

Written from the contract's text (`certificate.proto`, `quote_inputs.proto`, `quote.proto`), sharing nothing with the
solver. For every venue the money for a size is the walk of the levels it was given, each at `price * (side + rates) +
charge` USD a unit, where `side` is 1 or -1, `rates` are taker, interface, platform and priority fee, and `charge` is
funding, closing, latency and staleness, each rounded half to even at 12 decimals (fewer where lots have more than six).
A plan is checked line by line, each set's bound is computed anew at its multiplier, and the smallest bound and the gap
are compared. The books, fees and limits themselves are what the digest is for: they are those the quote names, or the
digest differs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction
from itertools import combinations, islice, pairwise
from typing import Final

from perpmesh.routing.v1 import quote_inputs_pb2, quote_pb2
from perpmesh.type.v1 import cost_pb2, side_pb2, size_unit_pb2

from perpmesh_client.certificate_figures import AVERAGE_DECIMALS, wrong_figures

VENUES_MAX: Final = 10
"""Sets are two to the power of the venues."""
_EXACT: Final = Context(prec=120, rounding=ROUND_HALF_EVEN)
_YEAR_S: Final = 31_536_000
_NO_LIMIT: Final = Fraction(10**36)


Money = dict["cost_pb2.CostKind.ValueType", Fraction]
"""Amounts or rates by kind of cost."""


class _WrongError(Exception):
    """One thing that does not hold."""


@dataclass(frozen=True, slots=True)
class _Venue:
    name: str
    lot: Fraction
    low: Fraction
    high: Fraction
    prices: tuple[Fraction, ...]
    nets: tuple[Fraction, ...]
    sizes: tuple[Fraction, ...]
    rates: Money
    charges: Money

    def money(self, size: Fraction) -> Fraction:
        """Walk the levels for a size."""
        total, left = Fraction(0), size
        for net, held in zip(self.nets, self.sizes, strict=True):
            used = min(left, held)
            total, left = total + net * used, left - used
            if not left:
                return total
        raise _WrongError(f"{self.name}: the levels hold less than {_text(size)}")

    def least(self, multiplier: Fraction, most: Fraction) -> Fraction:
        """Return the least of money minus multiplier times size, over the lots from low to `most`."""
        taken = Fraction(0)
        for net, held in zip(self.nets, self.sizes, strict=True):
            if net > multiplier:
                break
            taken += held
        most = min(self.high, most) // self.lot * self.lot
        tries = {taken // self.lot * self.lot, -(-taken // self.lot) * self.lot}
        chosen = {min(max(size, self.low), most) for size in tries}
        return min(self.money(size) - multiplier * size for size in chosen)


def check_quote(quote: quote_pb2.Quote) -> list[str]:
    """Return what does not hold, as sentences; an empty list where the quote is proven.

    The quote must carry its inputs (`include_inputs`); one without is not proven. An infeasible quote is checked to be
    infeasible from the sizes alone.
    """
    try:
        _check_digest(quote)
        venues = _venues(quote.inputs)
        if quote.outcome == quote_pb2.Quote.OUTCOME_INFEASIBLE:
            _check_infeasible(quote, venues)
            return []
        if quote.outcome != quote_pb2.Quote.OUTCOME_FEASIBLE:
            raise _WrongError("the quote does not say whether it is feasible")
        size = _check_plan(quote, venues)
        if not quote.inputs.resting:
            _check_bounds(quote, venues, size)
        wrong = wrong_figures(quote, venues, lambda leg: _check_leg(quote, leg, venues))
        return list(islice(wrong, 1))
    except _WrongError as wrong:
        return [str(wrong)]
    except ValueError as wrong:
        return [f"a figure is no number: {wrong}"]


def _check_digest(quote: quote_pb2.Quote) -> None:
    if not quote.HasField("inputs"):
        raise _WrongError("the quote carries no inputs: ask for it with include_inputs")
    found = hashlib.sha256(quote.inputs.SerializeToString(deterministic=True)).hexdigest()
    if found != quote.inputs_digest:
        raise _WrongError("the inputs are not those of the quote: their digest differs")
    if quote.side != quote.inputs.side or quote.arrival_mid_price != quote.inputs.arrival_mid_price:
        raise _WrongError("side or arrival mid price is not that of the inputs")


def _venues(inputs: quote_inputs_pb2.QuoteInputs) -> dict[str, _Venue]:
    if len(inputs.venues) > VENUES_MAX:
        raise _WrongError(f"more than {VENUES_MAX} venues")
    sign = _sign(inputs.side)
    found: dict[str, _Venue] = {}
    for one in inputs.venues:
        rates = {
            cost_pb2.COST_KIND_VENUE_FEE: _number(one.taker_fee_rate),
            cost_pb2.COST_KIND_BUILDER_FEE
            if one.venue == "hyperliquid"
            else cost_pb2.COST_KIND_INTEGRATOR_FEE: _number(one.interface_fee_rate),
            cost_pb2.COST_KIND_PLATFORM_FEE: _number(one.platform_fee_rate),
            cost_pb2.COST_KIND_PRIORITY_FEE: _number(one.priority_fee_rate),
        }
        charges = _charges(inputs, one, sign)
        slope, fixed = sign + sum(rates.values()), sum(charges.values(), Fraction(0))
        prices = tuple(_number(level.price) for level in one.levels)
        if any((after - before) * sign < 0 for before, after in pairwise(prices)):
            raise _WrongError(f"{one.venue}: the levels are not in order")
        found[one.venue] = _Venue(
            name=one.venue,
            lot=_number(one.lot),
            low=_number(one.min_size),
            high=_number(one.max_size) if one.max_size else _NO_LIMIT,
            prices=prices,
            nets=tuple(price * slope + fixed for price in prices),
            sizes=tuple(_number(level.size) for level in one.levels),
            rates=rates,
            charges=charges,
        )
    return found


def _charges(inputs: quote_inputs_pb2.QuoteInputs, one: quote_inputs_pb2.QuoteInputs.VenueInputs, sign: int) -> Money:
    """Return what a unit is charged beside its price, each rounded as the contract says."""
    lots = [-_exponent(venue.lot) for venue in inputs.venues]
    places = Decimal(1).scaleb(-min(12, 18 - max(lots, default=0)))
    mid, volatility = Decimal(inputs.arrival_mid_price), Decimal(inputs.volatility or "0")
    holding = Decimal(inputs.holding_time.seconds) + Decimal(inputs.holding_time.nanos).scaleb(-9)
    with localcontext(_EXACT) as context:
        deviation = mid * Decimal(inputs.risk_factor or "0") * volatility
        age = Decimal(one.book_age.seconds) + Decimal(one.book_age.nanos).scaleb(-9)
        delay = Decimal(one.latency.seconds) + Decimal(one.latency.nanos).scaleb(-9)
        context.prec = 80
        parts = {
            cost_pb2.COST_KIND_FUNDING: Decimal(one.mark_price or "0")
            * Decimal(one.funding_rate_hourly or "0")
            * (holding / 3600)
            * sign,
            cost_pb2.COST_KIND_CLOSING: mid * Decimal(one.closing_cost_rate or "0") if holding else Decimal(0),
            cost_pb2.COST_KIND_LATENCY: deviation * (delay / _YEAR_S).sqrt(),
            cost_pb2.COST_KIND_STALENESS: deviation * (age / _YEAR_S).sqrt(),
        }
        return {kind: Fraction(part.quantize(places)) for kind, part in parts.items()}


def _check_plan(quote: quote_pb2.Quote, venues: dict[str, _Venue]) -> Fraction:
    """Check sizes, prices and costs of the legs and their sums; return the size."""
    size, total, spent = Fraction(0), Fraction(0), Fraction(0)
    mid, sign = _number(quote.arrival_mid_price), _sign(quote.side)
    for leg in quote.legs:
        _check_leg(quote, leg, venues)
        taken = _number(leg.size)
        if not leg.resting:
            spent += venues[leg.venue].money(taken)
        size, total = size + taken, total + _number(leg.total_cost)
    if size != _number(quote.size) or total != _number(quote.total_cost):
        raise _WrongError("the legs do not add up to size and total_cost")
    summed: Money = {}
    for leg in quote.legs:
        for line in leg.costs:
            summed[line.kind] = summed.get(line.kind, Fraction(0)) + _number(line.amount)
    if summed != {line.kind: _number(line.amount) for line in quote.costs}:
        raise _WrongError("the lines of the legs do not add up to those of the quote")
    inputs = quote.inputs
    if inputs.size_unit != size_unit_pb2.SIZE_UNIT_USD and size != _number(inputs.size):
        raise _WrongError("the plan does not carry the size that was asked for")
    if not inputs.resting and spent != sign * mid * size + total:
        raise _WrongError("the walk of the books is not the size at the arrival mid price plus total_cost")
    return size


def _check_leg(quote: quote_pb2.Quote, leg: quote_pb2.QuoteLeg, venues: dict[str, _Venue]) -> None:
    """Check size, prices and lines of a leg."""
    venue, taken = venues.get(leg.venue), _number(leg.size)
    if venue is None:
        raise _WrongError(f"{leg.venue} is not among the inputs")
    if taken % venue.lot or not venue.low <= taken <= venue.high:
        raise _WrongError(f"{leg.venue}: {leg.size} is off the lot or outside of its limits")
    lines = {line.kind: _number(line.amount) for line in leg.costs}
    if len(lines) != len(leg.costs) or sum(lines.values()) != _number(leg.total_cost):
        raise _WrongError(f"{leg.venue}: the lines do not add up to total_cost")
    if leg.resting != quote.inputs.resting:
        raise _WrongError(f"{leg.venue}: only legs of an order that waits wait")
    if leg.resting:
        _check_waiting(leg, quote.inputs, venue, lines)
    else:
        places = quote.inputs.price_decimals + AVERAGE_DECIMALS
        _check_lines(leg, venue, lines, (_number(quote.arrival_mid_price), _sign(quote.side)), places)


def _check_lines(
    leg: quote_pb2.QuoteLeg, venue: _Venue, lines: Money, arrival: tuple[Fraction, int], places: int
) -> None:
    (mid, sign), taken = arrival, _number(leg.size)
    notional, left, worst, count = Fraction(0), taken, Fraction(0), 0
    for price, held in zip(venue.prices, venue.sizes, strict=True):
        if not left:
            break
        used = min(left, held)
        notional, left, worst, count = notional + price * used, left - used, price, count + 1
    if left or worst != _number(leg.worst_price) or count != leg.level_count:
        raise _WrongError(f"{leg.venue}: the walk of the levels ends elsewhere")
    wanted = {kind: notional * rate for kind, rate in venue.rates.items()}
    wanted |= {kind: charge * taken for kind, charge in venue.charges.items()}
    wanted[cost_pb2.COST_KIND_BOOK] = sign * (notional - mid * taken)
    for kind in wanted.keys() | lines.keys():
        if wanted.get(kind, Fraction(0)) != lines.get(kind, Fraction(0)):
            raise _WrongError(f"{leg.venue}: {cost_pb2.CostKind.Name(kind)} is not what the inputs make it")
    if abs(notional / taken - _number(leg.average_price)) > Fraction(1, 2 * 10**places):
        raise _WrongError(f"{leg.venue}: average_price is not the mean of the levels taken")


def _check_waiting(leg: quote_pb2.QuoteLeg, inputs: quote_inputs_pb2.QuoteInputs, venue: _Venue, lines: Money) -> None:
    """Check the lines of a leg that takes what its limit reaches and waits with the rest."""
    limit, mid, sign, size = (
        _number(inputs.limit_price), _number(inputs.arrival_mid_price), _sign(inputs.side), _number(leg.size),
    )  # fmt: skip
    taken, left = Fraction(0), size
    for price, held in zip(venue.prices, venue.sizes, strict=True):
        if (price - limit) * sign > 0 or inputs.post_only:
            raise _WrongError(f"{leg.venue}: the levels hold what the limit does not reach")
        used = min(left, held)
        taken, left = taken + price * used, left - used
    whole = taken + limit * left
    (one,) = (one for one in inputs.venues if one.venue == leg.venue)
    maker = _number(one.maker_fee_rate)
    wanted = {kind: whole * rate for kind, rate in venue.rates.items() if kind != cost_pb2.COST_KIND_PRIORITY_FEE}
    taker = venue.rates[cost_pb2.COST_KIND_VENUE_FEE]
    wanted[cost_pb2.COST_KIND_VENUE_FEE] = taken * taker + limit * left * maker
    wanted |= {kind: charge * size for kind, charge in venue.charges.items()}
    wanted[cost_pb2.COST_KIND_BOOK] = sign * (whole - mid * size)
    for kind in wanted.keys() | lines.keys():
        if wanted.get(kind, Fraction(0)) != lines.get(kind, Fraction(0)):
            raise _WrongError(f"{leg.venue}: {cost_pb2.CostKind.Name(kind)} is not what the inputs make it")


def _check_bounds(quote: quote_pb2.Quote, venues: dict[str, _Venue], size: Fraction) -> None:
    proof, sign = quote.certificate, _sign(quote.side)
    cost = _number(proof.cost)
    if cost != sign * _number(quote.arrival_mid_price) * size + _number(quote.total_cost):
        raise _WrongError("the certificate is about another cost than the plan's")
    bounds = {tuple(one.venues): one for one in proof.set_bounds}
    names = sorted(venues)
    wanted = [chosen for count in range(1, len(names) + 1) for chosen in combinations(names, count)]
    if set(bounds) != set(wanted) or len(bounds) != len(proof.set_bounds):
        raise _WrongError("the certificate does not have one bound for every set of venues")
    lowest: Fraction | None = None
    for chosen, one in bounds.items():
        members = [venues[name] for name in chosen]
        if not one.feasible:
            if _may_carry(members, size):
                raise _WrongError(f"{' and '.join(chosen)} could carry the size, which the certificate denies")
            continue
        bound, claimed = _bound(members, _number(one.multiplier), size), _number(one.bound)
        if bound != claimed or claimed > _number(one.cost):
            raise _WrongError(f"the bound of {' and '.join(chosen)} is not what its multiplier makes it")
        lowest = bound if lowest is None else min(lowest, bound)
    if lowest is None or lowest != _number(proof.lower_bound) or cost - lowest != _number(proof.gap):
        raise _WrongError("lower_bound or gap is not that of the bounds")
    if cost < lowest:
        raise _WrongError("the plan costs less than a bound that no plan can undercut")
    if len({venue.lot for venue in venues.values()}) == 1 and cost != lowest:
        raise _WrongError("the gap is not zero, and all lots are equal")


def _bound(members: list[_Venue], multiplier: Fraction, size: Fraction) -> Fraction:
    low = sum((one.low for one in members), Fraction(0))
    return multiplier * size + sum((one.least(multiplier, size - low + one.low) for one in members), Fraction(0))


def _may_carry(members: list[_Venue], size: Fraction) -> bool:
    """Return whether limits and lots let the members carry the size, as far as sums of multiples tell."""
    low, high = sum(one.low for one in members), sum(one.high for one in members)
    if any(one.low > one.high for one in members) or not low <= size <= high:
        return False
    finest = min(one.lot for one in members)
    nested = all(one.lot % finest == 0 for one in members)
    return not (nested and size % finest)


def _check_infeasible(quote: quote_pb2.Quote, venues: dict[str, _Venue]) -> None:
    if quote.legs or not quote.refusals:
        raise _WrongError("an infeasible quote has no legs and says why")
    if quote.inputs.size_unit == size_unit_pb2.SIZE_UNIT_USD or quote.inputs.resting:
        return
    size, members = _number(quote.inputs.size), list(venues.values())
    for count in range(1, len(members) + 1):
        for chosen in combinations(members, count):
            if len({one.lot for one in chosen}) == 1 and _may_carry(list(chosen), size):
                raise _WrongError(f"{' and '.join(one.name for one in chosen)} could carry the size")


def _sign(side: int) -> int:
    if side == side_pb2.SIDE_BUY:
        return 1
    if side == side_pb2.SIDE_SELL:
        return -1
    raise _WrongError("the quote has no side")


def _number(text: str) -> Fraction:
    try:
        return Fraction(text or "0")
    except ValueError:
        raise _WrongError(f"{text!r:.60} is no number") from None


def _exponent(text: str) -> int:
    exponent = Decimal(text).as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _text(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}" if value.denominator > 1 else str(value.numerator)
