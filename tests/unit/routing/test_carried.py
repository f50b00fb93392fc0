"""What a margin carries: never more than its notional at the prices that are there, and all of that."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.routing.model.caps import carried

Level = tuple[Decimal, Decimal]
GRAIN = Decimal("1e-15")
sizes = st.integers(1, 10_000).map(lambda units: Decimal(units).scaleb(-3))
prices = st.integers(1, 9_999_999).map(lambda units: Decimal(units).scaleb(-2))
books = st.lists(st.tuples(prices, sizes), min_size=1, max_size=12).map(sorted)
amounts = st.integers(0, 10**9).map(lambda units: Decimal(units).scaleb(-4))


def opened(size: Decimal, free: Decimal, book: list[Level]) -> Decimal:
    """Return the notional of what of `size` comes after `free`, the cheapest levels first."""
    ends = [Decimal(0)]
    for _, offered in book:
        ends.append(ends[-1] + offered)
    spans = zip(book, pairwise(ends), strict=True)
    parts = ((price, min(end, size) - max(begin, free)) for (price, _), (begin, end) in spans)
    return sum((price * part for price, part in parts if part > 0), Decimal(0))


@given(book=books, room=amounts, free=sizes | st.just(Decimal(0)))
def test_it_is_all_that_the_margin_pays_for_and_no_more(book: list[Level], room: Decimal, free: Decimal) -> None:
    most = carried(room, free, book)
    depth = sum((offered for _, offered in book), Decimal(0))
    assert most >= free
    assert opened(most, free, book) <= room
    assert most >= depth or opened(most + GRAIN, free, book) > room - GRAIN * book[-1][0]


@given(price=prices, room=amounts, free=sizes | st.just(Decimal(0)))
def test_at_one_price_without_an_end_it_is_a_division(price: Decimal, room: Decimal, free: Decimal) -> None:
    most = carried(room, free, [(price, None)])
    assert (most - free) * price <= room < (most - free + GRAIN) * price
