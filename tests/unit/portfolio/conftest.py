"""The decimal context that rooms run in, for the time of each test: rounding and floats raise."""

from __future__ import annotations

import decimal
from collections.abc import Iterator

import pytest

from services.chassis.room import DIGITS

_TRAPS = (
    decimal.Inexact,
    decimal.FloatOperation,
    decimal.InvalidOperation,
    decimal.DivisionByZero,
    decimal.Overflow,
)


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    with decimal.localcontext(decimal.Context(prec=DIGITS, traps=list(_TRAPS))):
        yield
