"""A side of a book, against a plain dictionary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.book import Book, BookError, Side

CHANGES = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)), max_size=120)


@given(CHANGES, st.sampled_from([1, -1]))
def test_a_side_is_a_dictionary_read_from_its_best_price(changes: list[tuple[int, int]], sign: int) -> None:
    side, plain = Side(sign), dict[int, int]()
    for price, size in changes:
        side.apply([(price, size)])
        if size:
            plain[price] = size
        else:
            plain.pop(price, None)
        expected = sorted(plain.items(), reverse=sign > 0)
        assert list(side.levels()) == expected
        assert side.best() == (expected[0] if expected else None)
        assert len(side) == len(expected)
    assert side.top(3) == sorted(plain.items(), reverse=sign > 0)[:3]


@given(st.dictionaries(st.integers(1, 1000), st.integers(1, 9), max_size=60), st.randoms(use_true_random=False))
def test_a_snapshot_may_come_in_any_order(levels: dict[int, int], random) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(levels.items())
    random.shuffle(shuffled)
    side = Side(1)
    side.replace(shuffled)
    assert side.top(1000) == sorted(levels.items(), reverse=True)


@pytest.mark.parametrize("levels", [[(0, 1)], [(-1, 1)], [(5, 0)], [(5, -1)], [(5, 1), (5, 2)]])
def test_an_impossible_snapshot_is_refused_and_changes_nothing(levels: list[tuple[int, int]]) -> None:
    side = Side(1)
    side.replace([(7, 1)])
    with pytest.raises(BookError):
        side.replace(levels)
    assert side.top(9) == [(7, 1)]


@pytest.mark.parametrize("level", [(5, -1), (0, 1), (-3, 1)])
def test_an_impossible_change_is_refused(level: tuple[int, int]) -> None:
    with pytest.raises(BookError):
        Side(-1).apply([level])


def test_removing_an_unknown_price_changes_nothing() -> None:
    side = Side(1)
    side.replace([(7, 1)])
    side.apply([(6, 0)])
    assert side.top(9) == [(7, 1)]


def test_a_book_crossed_within_one_venue_is_refused() -> None:
    book = Book()
    book.replace([(99, 1)], [(101, 1)])
    with pytest.raises(BookError, match="not below"):
        book.apply([(101, 2)], [])
    with pytest.raises(BookError, match="not below"):
        Book().replace([(5, 1)], [(5, 1)])
