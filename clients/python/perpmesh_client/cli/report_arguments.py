"""What may be typed to look at what an order came to, or would come to. Imports nothing slow."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from perpmesh_client.cli.order_arguments import add_terms

Add = Callable[[Any, str, str], argparse.ArgumentParser]

NAMES = ("report", "preview")


def add_reports(commands: Any, add: Add) -> None:
    """Add the commands."""
    report = add(commands, "report", "what an order came to against its quote, line by line, and why")
    report.add_argument("id", metavar="ID", help="the id of an order; perpmesh orders shows them")
    preview = add(commands, "preview", "what an order would do and cost, and why it would not pass; places nothing")
    add_terms(preview)
