"""The contract's messages on a page or as JSON, alike in every command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from rich.console import RenderableType
from rich.table import Table

from perpmesh_client.cli.output import Output

Shown = TypeVar("Shown", bound=Message)


def as_json(one: Message) -> dict[str, object]:
    """Return a message with the keys that REST gives."""
    found: dict[str, object] = json_format.MessageToDict(
        one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found


def table(*names: str, no_wrap: bool = False) -> Table:
    """Return a table without lines."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        made.add_column(name, no_wrap=no_wrap, overflow="fold")
    return made


def show_all(found: Sequence[Shown], output: Output, view: Callable[[Sequence[Shown]], RenderableType]) -> None:
    """Show messages as a person reads them, or each as a line of JSON."""
    if output.as_json:
        for one in found:
            output.json_line(as_json(one))
    else:
        output.console().print(view(found))


def show_line(one: Message, text: str, output: Output) -> None:
    """Show a message as a line of text, or of JSON."""
    if output.as_json:
        output.json_line(as_json(one))
    else:
        output.line(text)
