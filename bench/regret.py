"""What the usual ways to choose a venue cost beyond the cheapest plan, in basis points of the notional.

Recorded: the states of Lighter's BTC book in a recording of 2025-12-10, beside a captured Hyperliquid book of BTC that
is moved to the same mid price, since the two were not captured at one moment. Synthetic: books as `bench.routing` makes
them. Orders are from 100 to 2,000,000 USD, evenly by their logarithm, both sides; fees are each venue's base tier, or
Hyperliquid's best and Lighter's premium one. Nothing here is a statement about a market today.

python -m bench.regret
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench.decode import RECORDING, lighter_frames
from bench.routing import percentile
from services.domain.book import Book, Level
from services.domain.feed import BookDelta, BookSnapshot
from services.routing.model.curve import Curve
from services.routing.model.solver import split
from services.venues.lighter.wire.frames import Decoder
from tests.support.feed import LIGHTER_BTC

HYPERLIQUID_BOOK = "hyperliquid/nautilus_test_data/http_l2_book_btc.json"
PRICE_DECIMALS, SIZE_DECIMALS = 1, 5
FEES = {"base tiers, 4.5 and 0 bps": (450, 0), "2.4 and 2.8 bps": (240, 280)}
"""(Hyperliquid, Lighter), in millionths of the notional."""
MICRO = 1_000_000
ORDERS = 4_000
EVERY = 25
"""Of the recorded states each so many is taken."""
LEAST_USD, MOST_USD = 100, 2_000_000
LOT = 1
SMALLEST = (12, 20)
"""Smallest orders in units: ten dollars of BTC, and Lighter's 0.0002."""

Books = tuple[tuple[Sequence[Level], Sequence[Level]], ...]
"""(bids, asks) of each venue."""


def recorded(fixtures: Path) -> list[Books]:
    """Return the recorded pairs of books."""
    raw = json.loads((fixtures / HYPERLIQUID_BOOK).read_text())
    sides = [
        [(round(float(one["px"]) * 10**PRICE_DECIMALS), round(float(one["sz"]) * 10**SIZE_DECIMALS)) for one in side]
        for side in raw["levels"]
    ]
    middle = (sides[0][0][0] + sides[1][0][0]) // 2
    decoder, book, found = Decoder((replace(LIGHTER_BTC, market="BTC-PERP"),), chain="offset"), Book(), []
    for number, frame in enumerate(lighter_frames(fixtures)):
        event = decoder.decode(frame, 1)
        if isinstance(event, BookSnapshot):
            book.replace(event.bids, event.asks)
        elif isinstance(event, BookDelta):
            book.apply(event.bids, event.asks)
        if number % EVERY == 0 and book.best_bid and book.best_ask:
            shift = (book.best_bid[0] + book.best_ask[0]) // 2 - middle
            moved = [[(price + shift, size) for price, size in side] for side in sides]
            found.append(((moved[0], moved[1]), (book.bids.top(500), book.asks.top(500))))
    return found


def synthetic(chance: random.Random) -> Iterator[Books]:
    """Yield books of 20 and of 20 to 500 levels around one price."""
    while True:
        middle, made = 841_430, []
        for count in (20, chance.randint(20, 500)):
            shift, sides = chance.randint(-60, 60), []
            for sign in (-1, 1):
                price, rows = middle + shift + sign * chance.randint(1, 40), []
                for _ in range(count):
                    rows.append((price, int(chance.lognormvariate(9.5, 1.4)) + 1))
                    price += sign * chance.randint(1, 30)
                sides.append(rows)
            made.append((sides[0], sides[1]))
        yield tuple(made)


def picked(chance: random.Random, pairs: Sequence[Books]) -> Iterator[Books]:
    """Yield one of the pairs again and again."""
    while True:
        yield chance.choice(pairs)


def curves(books: Books, sign: int, fees: tuple[int, int]) -> list[Curve]:
    """Return each venue's money for a buy (1) or a sale (-1), in units of 10^-6 of price times size."""
    found = []
    for (bids, asks), fee, smallest in zip(books, fees, SMALLEST, strict=True):
        levels = [(price * (sign * MICRO + fee), units) for price, units in (asks if sign > 0 else bids)]
        held = sum(units for _, units in levels)
        found.append(Curve.of(levels, lot=LOT, smallest=smallest, largest=held))
    return found


def money(made: Sequence[Curve], sizes: Sequence[int]) -> int | None:
    """Return what a split costs, or None where a venue cannot carry its part."""
    total = 0
    for curve, units in zip(made, sizes, strict=True):
        if units and not curve.smallest <= units <= curve.largest:
            return None
        total += curve.cost(units)
    return total


def ways(made: Sequence[Curve], size: int) -> dict[str, int | None]:
    """Return what each of the usual ways costs."""
    alone = [money(made, (size, 0)), money(made, (0, size))]
    grid = [money(made, (size * step // 20, size - size * step // 20)) for step in range(21)]
    first = 0 if made[0].prices[0] <= made[1].prices[0] else 1
    return {
        "best single venue": min((one for one in alone if one is not None), default=None),
        "all to the best quote": alone[first],
        "even split": money(made, (size // 2, size - size // 2)),
        "5 % grid": min((one for one in grid if one is not None), default=None),
    }


def compare(title: str, books: Iterator[Books], fees: tuple[int, int], chance: random.Random) -> None:
    """Print a table."""
    regrets: dict[str, list[float]] = {}
    failed: dict[str, int] = {}
    count = several = 0
    while count < ORDERS:
        pair, sign = next(books), chance.choice((1, -1))
        price = pair[1][1][0][0]
        usd = LEAST_USD * (MOST_USD / LEAST_USD) ** chance.random()
        size = max(SMALLEST[1], int(usd * 10 ** (PRICE_DECIMALS + SIZE_DECIMALS) / price))
        made = curves(pair, sign, fees)
        best = split(made, size)
        if best is None:
            continue
        count += 1
        several += all(best.sizes)
        notional = price * size * MICRO
        for name, cost in ways(made, size).items():
            if cost is None:
                failed[name] = failed.get(name, 0) + 1
            else:
                assert cost >= best.cost, "a plan costs less than the cheapest one"
                regrets.setdefault(name, []).append((cost - best.cost) / notional * 10_000)
    print(f"\n{title}: {count} orders, the cheapest plan is a split in {several / count:.0%}")
    print(f"{'':<24} {'mean':>8} {'p95':>8} {'max':>8} {'cheapest':>9} {'cannot':>7}")
    for name, values in regrets.items():
        mean, exact = sum(values) / len(values), sum(value == 0 for value in values) / count
        print(
            f"{name:<24} {mean:>8.3f} {percentile(values, 95):>8.3f} {max(values):>8.2f} {exact:>9.0%} "
            f"{failed.get(name, 0) / count:>7.1%}"
        )


def main() -> int:
    """Print the tables."""
    folder = os.environ.get("PERPMESH_FIXTURES")
    for name, fees in FEES.items():
        chance = random.Random(7)
        compare(f"Synthetic books, {name}", synthetic(chance), fees, chance)
    if not folder:
        print("set PERPMESH_FIXTURES to the folder of captured payloads for the recorded books")
        return 2
    pairs = recorded(Path(folder))
    print(f"\n{len(pairs)} recorded states of {RECORDING.rpartition('/')[2]}")
    for name, fees in FEES.items():
        chance = random.Random(7)
        compare(f"Recorded books, {name}", picked(chance, pairs), fees, chance)
    return 0


if __name__ == "__main__":
    sys.exit(main())
