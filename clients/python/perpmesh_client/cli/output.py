"""Where a command writes: a screen that redraws itself, plain lines, or lines of JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TypeVar

from perpmesh_client.cli import formats
from perpmesh_client.stream import Status, Watch
from perpmesh_client.values.states import Source
from perpmesh_client.values.to_json import to_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PIPE_COLUMNS = 400
"""How wide a table may be where there is no screen to fit it to."""
CHART_COLUMNS = 100
"""How wide a chart is where there is no screen to fit it to."""
REDRAW_S = 0.25
"""How often a screen is drawn; ages grow on it even while nothing comes."""
FRAME_ROWS = 4
"""The rows of a screen that are not the table's: title, warning, column heads, and one to spare."""

_STATUS_STYLES = {Status.LIVE: "green", Status.RECONNECTING: "bold red", Status.CLOSED: "bold red"}

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Frame:
    """What a view has to show at one moment."""

    table: RenderableType
    sources: set[Source]
    """Where the values come from; those that are not the market's are warned of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where one command writes."""

    as_json: bool
    screen: bool
    """Whether a view may redraw itself: a terminal, and a person before it."""

    @classmethod
    def of_process(cls, as_json: bool) -> Output:
        """Return the output of this process."""
        capable = sys.stdout.isatty() and os.environ.get("TERM", "") not in {"", "dumb"}
        return cls(as_json=as_json, screen=capable and not as_json)

    def interval_s(self, asked: float | None) -> float:
        """Return the interval to ask for: a screen needs no more than it draws, a program gets every change."""
        if asked is not None:
            return asked
        return REDRAW_S if self.screen else 0.0

    @property
    def columns(self) -> int:
        """How wide what is drawn may be."""
        return self.console().size.width if self.screen else CHART_COLUMNS

    def line(self, text: str) -> None:
        """Write one line, at once."""
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def json_line(self, content: dict[str, object]) -> None:
        """Write one JSON object, at once."""
        self.line(json.dumps(content, ensure_ascii=False, separators=(",", ":")))

    def warn(self, sources: set[Source]) -> None:
        """Say on stderr, before lines that do not carry it, that values are not the market's."""
        warning = formats.warning(sources)
        if warning and not self.as_json:
            sys.stderr.write(f"{warning}\n")
            sys.stderr.flush()

    def table(self, values: Sequence[object], frame: Callable[[], Frame]) -> None:
        """Write a list that ends: a table, or a line of JSON for each value."""
        if self.as_json:
            for value in values:
                self.json_line(to_json(value))
            return
        shown = frame()
        console = self.console()
        console.print(shown.table)
        if warning := formats.warning(shown.sources):
            console.print(warning, style="bold magenta")

    async def follow(self, watch: Watch[Item], line: Callable[[Item], str], value: Callable[[Item], object]) -> None:
        """Write every item of a stream as a line, until the stream or the reader ends."""
        async with watch:
            async for item in watch:
                if self.as_json:
                    self.json_line(to_json(value(item)))
                else:
                    self.line(line(item))

    async def show(
        self, title: str, watch: Watch[Item], take: Callable[[Item], None], draw: Callable[[int], Frame]
    ) -> None:
        """Keep a screen up to date: `take` gets every item, `draw` the number of rows it may fill."""
        from rich.console import Group
        from rich.live import Live
        from rich.styled import Styled

        console = self.console()
        async with watch:
            reading = asyncio.create_task(_take_all(watch, take))
            try:
                with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as live:
                    while not reading.done():
                        frame = draw(max(1, console.size.height - FRAME_ROWS))
                        known = Styled(frame.table, "dim") if watch.status is Status.RECONNECTING else frame.table
                        live.update(Group(*_head(title, watch, frame.sources), known), refresh=True)
                        await asyncio.wait({reading}, timeout=REDRAW_S)
            finally:
                reading.cancel()
                await asyncio.wait({reading})
            if not reading.cancelled():
                reading.result()

    def console(self) -> Console:
        """Return where a person reads: the terminal, or a page of a fixed width."""
        from rich.console import Console

        return Console(highlight=False) if self.screen else Console(highlight=False, width=PIPE_COLUMNS)


async def _take_all(watch: Watch[Item], take: Callable[[Item], None]) -> None:
    async for item in watch:
        take(item)


def _head(title: str, watch: Watch[Item], sources: set[Source]) -> list[RenderableType]:
    from rich.text import Text

    head = Text(title, style="bold")
    head.append(f"   {datetime.now(UTC):%H:%M:%S} UTC   ", style="dim")
    head.append(watch.status.name.replace("_", "-"), style=_STATUS_STYLES.get(watch.status, "yellow"))
    if watch.problem is not None and watch.status is not Status.LIVE:
        head.append(f"  {watch.problem}", style="red")
    head.append("   Ctrl-C quits", style="dim")
    head.no_wrap, head.overflow = True, "ellipsis"
    warning = formats.warning(sources)
    return [head, Text(warning, style="bold magenta")] if warning else [head]
