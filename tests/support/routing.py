"""Instances of the routing problem for tests, and inputs made from them; all from one seed, which is printed."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.routing.model.curve import Curve
from services.routing.model.inputs import Inputs, Side, VenueInputs
from services.routing.model.reach import prepare

SEED = int(os.environ.get("PERPMESH_TEST_SEED", "20261127"))
NAMES = ("atlas", "hyperliquid", "lighter", "meridian", "zenith")
LOTS = ((1,), (2,), (1, 2), (1, 3), (2, 3), (1, 2, 4), (4, 6), (1, 10, 100))
WHOLE = 1_200
"""Prices are multiples of this, so that a lot of any size that straddles levels has a whole mean."""


def samples(small: int, whole: int) -> int:
    """Return how many instances to try: a sample, or all of them where PERPMESH_WHOLE is set (`make oracles`)."""
    return whole if os.environ.get("PERPMESH_WHOLE") else small


@dataclass(frozen=True, slots=True)
class Venue:
    """One venue of an instance."""

    levels: tuple[tuple[int, int], ...]
    lot: int
    smallest: int
    largest: int

    def curve(self) -> Curve:
        """Return it as the solver takes it."""
        held = sum(units for _, units in self.levels)
        return Curve.of(list(self.levels), lot=self.lot, smallest=self.smallest, largest=min(self.largest, held))


def instance(chance: random.Random, venues: int, *, levels: int = 4, lots: Sequence[int] = ()) -> tuple[Venue, ...]:
    """Return a small instance; minimums, limits and levels off the lot now and then."""
    choice = tuple(lots) or chance.choice(LOTS)
    found = []
    for _ in range(venues):
        lot, price = chance.choice(choice), chance.randint(90, 110)
        rows = []
        for _ in range(chance.randint(1, levels)):
            rows.append((price * WHOLE, chance.randint(1, 6) * (lot if chance.random() < 0.8 else 1)))
            price += chance.randint(0, 4)
        smallest = chance.choice((0, 0, lot, 3 * lot))
        largest = chance.choice((10**9, 10**9, chance.randint(1, 12) * lot))
        found.append(Venue(tuple(rows), lot, smallest, largest))
    return tuple(found)


def costs_by_size(venue: Venue, size: int) -> dict[int, int]:
    """Return the money for every size that a venue could trade up to `size`, walked unit by unit, zero too."""
    sums = [0]
    for price, units in venue.levels:
        sums += [sums[-1] + price * (turn + 1) for turn in range(units)]
    most = min(len(sums) - 1, venue.largest, size)
    sizes = range(venue.lot, most + 1, venue.lot)
    return {0: 0} | {units: sums[units] for units in sizes if units >= venue.smallest}


def made_inputs(chance: random.Random, *, venues: int = 2, levels: int = 6, equal_lots: bool = False) -> Inputs:
    """Return prepared inputs as a quote of a real market has them: decimals, fees, funding, charges."""
    side = chance.choice((Side.BUY, Side.SELL))
    size_decimals, price_decimals = 5, 1
    mid = chance.randint(900_000, 1_100_000)
    holding = chance.choice((0, 0, 3_600, 86_400, 1_234))
    volatility = chance.choice((Decimal(0), Decimal("0.55")))
    found = []
    for name in sorted(chance.sample(NAMES, venues)):
        lot = 10 if equal_lots else chance.choice((1, 10, 100))
        price = mid + side.sign * chance.randint(1, 300)
        rows = []
        for _ in range(chance.randint(1, levels)):
            rows.append((price, chance.randint(1, 40) * lot * 100))
            price += side.sign * chance.randint(1, 200)
        found.append(_venue(chance, name, tuple(rows), lot))
    most = sum(units for venue in found for _, units in venue.levels)
    wanted = max(1, chance.randint(1, most) // 100) * 100
    return prepare(
        Inputs(
            market="BTC-PERP",
            side=side,
            size=Decimal(wanted).scaleb(-size_decimals),
            max_slippage_bps=chance.choice((None, 1_000, 10)),
            arrival_mid_price=Decimal(mid).scaleb(-price_decimals),
            holding_s=Decimal(holding),
            volatility=volatility,
            risk_factor=Decimal(1) if volatility else Decimal(0),
            time_ns=1_795_000_000_000_000_000 + chance.randint(0, 10**9),
            price_decimals=price_decimals,
            size_decimals=size_decimals,
            venues=tuple(found),
        )
    )


def _venue(chance: random.Random, name: str, levels: tuple[tuple[int, int], ...], lot: int) -> VenueInputs:
    return VenueInputs(
        venue=name,
        book_version=chance.randint(1, 10**9),
        levels=levels,
        lot=lot,
        tick=Decimal("0.1"),
        price_significant_figures=0,
        price_decimals=1,
        min_size=Decimal(chance.choice((0, 0, 2))).scaleb(-3),
        min_notional=Decimal(chance.choice((0, 10, 10))),
        taker_fee_rate=Decimal(chance.choice(("0", "0.00045", "0.00028", "-0.0001", "0.000196"))),
        maker_fee_rate=Decimal("0.00015"),
        interface_fee_rate=Decimal(chance.choice(("0", "0", "0.0001"))),
        funding_rate_hourly=Decimal(chance.choice(("0.0000125", "-0.00002", "0.0000831"))),
        mark_price=Decimal("100000.3"),
        latency_s=Decimal(chance.choice(("0", "0.2", "0.3"))),
        book_age_s=Decimal(chance.randint(0, 2_000)).scaleb(-3),
        closing_cost_rate=Decimal("0.0005"),
    )
