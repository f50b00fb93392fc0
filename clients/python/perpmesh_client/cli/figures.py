"""Columns and figures, alike in every command that shows what is yours."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from decimal import Decimal

from rich.table import Table

_WORDS = frozenset((
    "MARKET", "VENUE", "VENUE ALONE", "SIDE", "ASSET", "DAY", "OPENED", "TIME", "WHAT", "EXPLANATION",
))  # fmt: skip


def columns(titles: Sequence[str], lines: Sequence[Sequence[str]], *, fold: Collection[str] = ()) -> Table:
    """Return a table without lines; words stand to the left, numbers to the right. Only `fold` is broken."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, justify="left" if title in _WORDS else "right", no_wrap=title not in fold)
    for line in lines:
        table.add_row(*line)
    return table


def filled(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> Table:
    """Return a table of the columns in which anything stands."""
    kept = [at for at in range(len(titles)) if any(line[at] for line in lines)]
    return columns([titles[at] for at in kept], [[line[at] for at in kept] for line in lines])


def money(text: str, decimals: int = 2) -> str:
    """Return an amount with so many decimals; nothing for nothing."""
    return f"{Decimal(text):.{decimals}f}" if text else ""


def percent(text: str) -> str:
    """Return a rate in percent."""
    return f"{Decimal(text) * 100:.2f} %" if text else ""


def side_name(side: int) -> str:
    """Return the name of a position's side."""
    return {1: "long", 2: "short"}.get(side, "flat")
