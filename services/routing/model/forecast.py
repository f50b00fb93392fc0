"""The cost against the size, up to what the books carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import gcd
from typing import Final

from services.routing.model.inputs import Inputs
from services.routing.model.planner import Offers, legs_of, offers_of
from services.routing.model.reach import units_down
from services.routing.model.refusals import nearest_sizes
from services.routing.model.sums import bps, mean_price

POINTS_DEFAULT: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The cost of one size; without parts where it cannot be met."""

    size: Decimal
    parts: tuple[tuple[str, Decimal], ...] = ()
    total_cost: Decimal = Decimal(0)
    total_cost_bps: Decimal = Decimal(0)
    average_price: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The curve."""

    points: tuple[Point, ...]
    capacity: Decimal
    venues: tuple[tuple[str, Decimal], ...]
    """The largest size of each venue alone."""


def forecast(inputs: Inputs, sizes: Sequence[Decimal], points: int) -> Forecast:
    """Return the cost of each of `sizes`, or of `points` sizes evenly up to the capacity, on the lots."""
    offers = offers_of(inputs)
    reaches = offers.reaches
    total = sum(max(reach.curve.largest, 0) for reach in reaches if not reach.curve.is_empty)
    near = nearest_sizes(reaches, total)
    most = max((one for one in near if one <= total), default=0)
    lot = gcd(*(reach.curve.lot for reach in reaches))
    count = points or POINTS_DEFAULT
    wanted = sorted(sizes) if sizes else _even(inputs, most, lot, count)
    return Forecast(
        points=tuple(_point(inputs, offers, size) for size in wanted),
        capacity=Decimal(most).scaleb(-inputs.size_decimals),
        venues=tuple(
            (one.venue.venue, Decimal(0 if one.curve.is_empty else one.curve.largest).scaleb(-inputs.size_decimals))
            for one in reaches
        ),
    )


def _even(inputs: Inputs, most: int, lot: int, count: int) -> list[Decimal]:
    units = sorted({most * turn // count // lot * lot for turn in range(1, count + 1)} - {0})
    return [Decimal(one).scaleb(-inputs.size_decimals) for one in units]


def _point(inputs: Inputs, offers: Offers, size: Decimal) -> Point:
    units = units_down(size, inputs.size_decimals)
    if Decimal(units).scaleb(-inputs.size_decimals) != size:
        return Point(size=size)
    found = offers.split(units)
    if found is None:
        return Point(size=size)
    legs = legs_of(inputs, offers.reaches, found.sizes)
    cost = sum((leg.total_cost for leg in legs), Decimal(0))
    return Point(
        size=size,
        parts=tuple((leg.venue, leg.size) for leg in legs),
        total_cost=cost,
        total_cost_bps=bps(cost, inputs.arrival_mid_price * size),
        average_price=mean_price(legs, inputs.price_decimals),
    )
