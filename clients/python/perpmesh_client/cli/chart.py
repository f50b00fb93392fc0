"""Candles drawn with characters: a column a candle, the newest at the right, prices at the right edge, volume below."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from rich.console import Group
from rich.text import Text

from perpmesh_client.cli import formats
from perpmesh_client.values.history import Candle

VOLUME_ROWS = 3
ROWS_MIN = 5
_BARS = " ▁▂▃▄▅▆▇█"
_LABEL_EVERY = 12


def columns_for(width: int) -> int:
    """Return how many candles fit on a screen so wide."""
    return max(10, width - 14)


def chart(candles: Sequence[Candle], rows: int, width: int) -> Group | Text:
    """Return a drawing of `candles`, oldest first, `rows` high; those that do not fit are left out on the left."""
    shown = list(candles)[-columns_for(width) :]
    if not shown:
        return Text("no candles yet", style="dim")
    height = max(ROWS_MIN, rows - VOLUME_ROWS - 3)
    high, low = max(one.high for one in shown), min(one.low for one in shown)
    step = (high - low) / height or Decimal(1)
    lines: list[Text] = [_head(shown[-1])]
    for row in range(height):
        top, bottom = high - step * row, high - step * (row + 1)
        line = Text(no_wrap=True)
        for one in shown:
            line.append(_cell(one, top, bottom), style="green" if one.close >= one.open else "red")
        if row % 4 == 0 or row == height - 1:
            line.append(f" {formats.number(_near(top - step / 2, shown[-1].close))}", style="dim")
        lines.append(line)
    return Group(*lines, *_volumes(shown), _times(shown))


def _head(last: Candle) -> Text:
    change = (last.close - last.open) / last.open if last.open else Decimal(0)
    text = Text(f"{last.market} {last.interval.short} {last.venue or 'all venues'}  ", style="bold", no_wrap=True)
    text.append(
        f"O {formats.number(last.open)}  H {formats.number(last.high)}  L {formats.number(last.low)}  "
        f"C {formats.number(last.close)} ({formats.percent(change, 2)})  V {formats.large(last.volume)}"
    )
    text.append("" if last.closed else "  forming", style="yellow")
    return text


def _cell(one: Candle, top: Decimal, bottom: Decimal) -> str:
    upper, lower = max(one.open, one.close), min(one.open, one.close)
    middle = (top + bottom) / 2
    if lower <= middle <= upper or bottom < lower <= upper <= top:
        return "█" if upper > lower else "─"
    return "│" if one.low < top and one.high > bottom else " "


def _volumes(shown: Sequence[Candle]) -> list[Text]:
    most = max(one.volume for one in shown) or Decimal(1)
    eighths = [int(one.volume * VOLUME_ROWS * 8 / most) for one in shown]
    lines = []
    for row in range(VOLUME_ROWS):
        floor = (VOLUME_ROWS - 1 - row) * 8
        line = Text("".join(_BARS[min(8, max(0, count - floor))] for count in eighths), style="blue", no_wrap=True)
        line.append(f" {formats.large(most)}" if row == 0 else "", style="dim")
        lines.append(line)
    return lines


def _times(shown: Sequence[Candle]) -> Text:
    by_day = shown[0].interval.short == "1d"
    text = ""
    for position, one in enumerate(shown):
        if position % _LABEL_EVERY == 0 and len(text) <= position:
            label = f"{one.open_time:%d %b}" if by_day else f"{one.open_time:%H:%M}"
            text = text.ljust(position) + f"{label} "
    return Text(text, style="dim", no_wrap=True)


def _near(price: Decimal, like: Decimal) -> Decimal:
    """Return `price` with as many decimals as `like` has."""
    exponent = like.as_tuple().exponent
    return price.quantize(Decimal(1).scaleb(exponent if isinstance(exponent, int) and exponent < 0 else 0))
