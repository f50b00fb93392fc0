"""Exact numbers: what passes, what is refused, and that nothing is rounded."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.domain.decimals import DecimalError, from_units, parse_decimal, plain_text, to_units, units_text

BAD = [
    "",
    ".",
    "1.",
    ".5",
    "-1",
    "+1",
    " 1",
    "1 ",
    "1e5",
    "NaN",
    "Infinity",
    "1_000",
    "0x1",
    "\u0661",
    "\u00b2",
    "1.2.3",
    "9" * 80,
]


@given(st.integers(0, 10**18), st.integers(0, 12))
def test_units_survive_the_way_through_text(units: int, decimals: int) -> None:
    text = units_text(units, decimals)
    assert to_units(text, decimals) == units
    assert Decimal(text) == from_units(units, decimals)
    assert not (("." in text) and text.endswith("0"))


@given(st.integers(0, 10**12), st.integers(0, 8), st.integers(0, 6))
def test_zeros_beyond_the_scale_are_no_loss(units: int, decimals: int, zeros: int) -> None:
    padded = f"{units_text(units, decimals)}{'' if '.' in units_text(units, decimals) else '.'}{'0' * (zeros + 1)}"
    assert to_units(padded, decimals) == units


def test_digits_beyond_the_scale_are_refused_and_not_rounded() -> None:
    with pytest.raises(DecimalError, match="more than 2 decimals"):
        to_units("1.239", 2)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(DecimalError):
        to_units(text, 4)
    if text != "-1":
        with pytest.raises(DecimalError):
            parse_decimal(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [("1E+3", "1000"), ("0.10", "0.1"), ("-0", "0"), ("-0.0", "0"), ("100", "100"), ("1E-7", "0.0000001")],
)
def test_plain_text_has_no_exponent_and_no_trailing_zero(value: str, text: str) -> None:
    assert plain_text(Decimal(value)) == text
