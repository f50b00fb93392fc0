"""What a unit costs at each venue, exactly, and one integer scale in which all of it is whole.

    net price of a level = price * (side + rates) + charge        (USD per unit of the base asset; side is 1 or -1)

`rates` are what is paid as a fraction of the price: taker, builder or integrator, platform and priority fee. `charge`
is what is paid per unit whatever the level: funding over the holding time on the mark price, the expected cost of
closing, latency and age of the book at the stated volatility, all three on the arrival mid price. Each is rounded half
to even at `CHARGE_DECIMALS`, the one place where a cost is rounded; a checker must do the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from math import lcm
from typing import Final

from services.domain.decimals import rounding
from services.routing.model.inputs import ZERO, Inputs, VenueInputs

CHARGE_DECIMALS: Final = 12
"""Decimals of a USD that a charge per unit keeps, less where sizes have more than six decimals."""
MONEY_DECIMALS_MAX: Final = 18
"""The contract's amounts have at most as many."""
YEAR_S: Final = Decimal(31_536_000)
HOUR_S: Final = Decimal(3_600)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charges:
    """What one unit of the base asset pays beside its price, in USD; each is a line of its own."""

    funding: Decimal = ZERO
    closing: Decimal = ZERO
    latency: Decimal = ZERO
    staleness: Decimal = ZERO

    @property
    def total(self) -> Decimal:
        """The sum."""
        return self.funding + self.closing + self.latency + self.staleness


def charges_of(inputs: Inputs, venue: VenueInputs) -> Charges:
    """Return what a unit is charged at `venue`, each part rounded half to even at its last decimal."""
    if not inputs.holding_s and not inputs.volatility:
        return _NOTHING
    places = Decimal(1).scaleb(-charge_decimals(inputs.size_decimals))
    mid = inputs.arrival_mid_price
    with rounding():
        hours = inputs.holding_s / HOUR_S
        deviation = mid * inputs.risk_factor * inputs.volatility
        parts = (
            venue.mark_price * venue.funding_rate_hourly * hours * inputs.side.sign,
            mid * venue.closing_cost_rate if inputs.holding_s else ZERO,
            deviation * (venue.latency_s / YEAR_S).sqrt(),
            deviation * (venue.book_age_s / YEAR_S).sqrt(),
        )
        funding, closing, latency, staleness = (part.quantize(places, rounding=ROUND_HALF_EVEN) for part in parts)
    return Charges(funding=funding, closing=closing, latency=latency, staleness=staleness)


_NOTHING: Final = Charges()


def charge_decimals(size_decimals: int) -> int:
    """Return how many decimals a charge per unit keeps."""
    return min(CHARGE_DECIMALS, MONEY_DECIMALS_MAX - size_decimals)


def taker_rate(venue: VenueInputs) -> Decimal:
    """Return what a taker pays as a fraction of the price."""
    return venue.taker_fee_rate + venue.interface_fee_rate + venue.platform_fee_rate + venue.priority_fee_rate


def maker_rate(venue: VenueInputs) -> Decimal:
    """Return what a maker pays as a fraction of the price."""
    return venue.maker_fee_rate + venue.interface_fee_rate + venue.platform_fee_rate


@dataclass(frozen=True, slots=True)
class Scale:
    """Money in integers: `factor` units are 10^-`decimals` USD for one unit of size."""

    decimals: int
    """Decimals of a net price."""
    size_decimals: int
    factor: int = 1
    """More than one only where a lot straddles two levels, so that its mean is whole."""

    def net(self, value: Decimal) -> int:
        """Return USD per unit of the base asset as an integer."""
        return int(value.scaleb(self.decimals)) * self.factor

    def usd(self, money: int) -> Decimal:
        """Return money in USD. A bound of a multiplier between units is rounded down, to which bounds may be."""
        return Decimal(money // self.factor).scaleb(-self.decimals - self.size_decimals)

    def per_unit(self, price: int) -> Decimal:
        """Return a net price in USD per unit of the base asset, exactly."""
        if self.factor == 1:
            return Decimal(price).scaleb(-self.decimals)
        with rounding():
            return Decimal(price).scaleb(-self.decimals) / self.factor


def scale_of(inputs: Inputs) -> Scale:
    """Return the scale in which every net price of `inputs` is whole."""
    rates = max((-_exponent(taker_rate(venue)) for venue in inputs.venues), default=0)
    decimals = max(inputs.price_decimals + max(rates, 0), charge_decimals(inputs.size_decimals))
    odd = any(size % venue.lot for venue in inputs.venues for _, size in venue.levels)
    return Scale(decimals, inputs.size_decimals, lcm(*(venue.lot for venue in inputs.venues)) if odd else 1)


def net_levels(inputs: Inputs, venue: VenueInputs, scale: Scale, charge: Decimal) -> list[tuple[int, int]]:
    """Return (net price, units) of a venue's levels."""
    slope = scale.net((inputs.side.sign + taker_rate(venue)).scaleb(-inputs.price_decimals))
    fixed = scale.net(charge)
    return [(price * slope + fixed, units) for price, units in venue.levels]


def _exponent(value: Decimal) -> int:
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int), "rates are finite"
    return exponent
