"""The chart of candles: what it shows is in the right place, whatever the numbers are."""

from __future__ import annotations

import io
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from perpmesh_client import Candle, Interval
from perpmesh_client.cli.chart import VOLUME_ROWS, chart, columns_for
from rich.console import Console

from tests.unit.client import client_messages as make


def drawn(candles: list[Candle], rows: int = 20, width: int = 80) -> list[str]:
    written = io.StringIO()
    Console(width=width, color_system=None, file=written).print(chart(candles, rows, width))
    return written.getvalue().rstrip("\n").split("\n")


def some(count: int) -> list[Candle]:
    return [Candle.from_proto(make.candle(number)) for number in range(count)]


def test_a_candle_is_a_column_with_its_body_within_its_wick() -> None:
    lines = drawn(some(3))
    body = [line[0] for line in lines[1 : -VOLUME_ROWS - 1]]
    assert set("".join(body)) == {"█", "│"}
    assert "".join(body).strip("│").strip("█") == ""
    assert "102" in lines[1]
    assert lines[-1].startswith("13:00")


def test_what_does_not_fit_is_left_out_at_the_left() -> None:
    lines = drawn(some(200), width=60)
    assert all(len(line) <= 60 for line in lines[1:])
    assert f"{some(200)[-columns_for(60)].open_time:%H:%M}" in lines[-1]


def test_one_price_all_the_time_is_a_line_and_no_fault() -> None:
    one = Candle.from_proto(make.candle())
    flat = replace(one, open=one.low, high=one.low, low=one.low, close=one.low, volume=Decimal(0))
    assert any("─" in line for line in drawn([flat]))
    assert drawn([]) == ["no candles yet"]


@given(
    st.lists(
        st.lists(st.decimals("0.000001", "99999999", allow_nan=False, places=6), min_size=4, max_size=4),
        min_size=1,
        max_size=90,
    ),
    st.integers(1, 60),
    st.integers(20, 200),
)
@settings(max_examples=60, deadline=None)
def test_any_numbers_are_drawn_within_the_screen(values: list[list[Decimal]], rows: int, width: int) -> None:
    first = Candle.from_proto(make.candle())
    candles = [
        replace(first, open=sorted(four)[1], close=sorted(four)[2], low=min(four), high=max(four)) for four in values
    ]
    lines = drawn(candles, rows, width)
    assert len(lines) >= 5


def test_an_interval_that_is_none_says_what_would_pass() -> None:
    assert Interval.of("15m").number == 4
    with pytest.raises(ValueError, match="1s, 1m, 5m, 15m, 1h, 4h, 1d"):
        Interval.of("2m")
