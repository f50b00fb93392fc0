"""What the demo prints: a name on the left, what happened on the right, tables and times below it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

INDENT = 14
COLUMNS_MAX = 100
PRICE_DIGITS = 7


class Page:
    """Prints as things happen, within a width that a README has too."""

    def __init__(self, console: Console) -> None:
        """Begin to count the time."""
        self._console = console
        console.width = min(console.width, COLUMNS_MAX)
        self._began = time.monotonic()

    def title(self, text: str) -> None:
        """Say what this is."""
        self._console.print(Text(text, style="bold"))
        self._console.print()

    def part(self, name: str, told: RenderableType, *, apart: bool = False) -> None:
        """Begin a part of the story, `apart` from the one before it."""
        line = Table.grid(padding=0)
        line.add_column(width=INDENT, no_wrap=True)
        line.add_column()
        line.add_row(Text(name, style="bold cyan"), told)
        if apart:
            self._console.print()
        self._console.print(line)

    def more(self, told: RenderableType) -> None:
        """Go on with a part."""
        self._indented(told)

    def proven(self, told: str) -> None:
        """Say what was checked and holds."""
        self._indented(Text(f"✓ {told}", style="green"))

    def event(self, after_s: float, told: str) -> None:
        """Say what came, and how long after the part began."""
        self._indented(Text.assemble((f"{after_s:5.2f} s", "dim"), f"  {told.rstrip()}"))

    def waiting(self, told: str) -> AbstractContextManager[object]:
        """Show on a screen that something takes a moment; elsewhere nothing."""
        return self._console.status(f"{told} ...") if self._console.is_terminal else nullcontext()

    def end(self) -> None:
        """Say how long it took."""
        self._console.print()
        self._console.print(Text(f"{time.monotonic() - self._began:.1f} s in all.", style="bold"))

    def _indented(self, what: RenderableType) -> None:
        self._console.print(Padding(what, (0, 0, 0, INDENT), expand=False))


def rows(names: Sequence[str], cells: Sequence[Sequence[str]]) -> Table:
    """Return a table whose first column is words and whose others are numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for number, name in enumerate(names):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in cells:
        table.add_row(*row)
    return table


def usd(amount: Decimal | str, places: int = 2) -> str:
    """Return an amount of money, rounded to cents, in groups of three; a dash for none."""
    if amount == "":
        return "-"
    with localcontext(prec=60, rounding=ROUND_HALF_EVEN):
        rounded = Decimal(amount).quantize(Decimal(1).scaleb(-places))
    return format(rounded + 0, ",f")


def plain(number: Decimal | str) -> str:
    """Return a number with every digit, in groups of three."""
    return format(Decimal(number), ",f")


def price(number: Decimal | str) -> str:
    """Return a price to seven digits, as an average has more than any market's grid; a dash for none."""
    if number == "":
        return "-"
    with localcontext(prec=PRICE_DIGITS, rounding=ROUND_HALF_EVEN):
        rounded = +Decimal(number)
    return format(rounded.normalize(), ",f")
