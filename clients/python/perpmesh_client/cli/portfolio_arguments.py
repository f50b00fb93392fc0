"""What may be typed of what is yours. Imports nothing slow."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Add = Callable[[Any, str, str], argparse.ArgumentParser]

NAMES = ("positions", "balances", "exposure", "performance", "quality", "export")
GROUPS = ("venue", "market", "side", "day")


def add_portfolio(commands: Any, add: Add) -> None:
    """Add the commands."""
    positions = add(commands, "positions", "your positions at every venue, ours beside what the venue reports")
    positions.add_argument("--market", default="", metavar="MARKET", help="only this one, such as btc")
    positions.add_argument("--watch", action="store_true", help="each as it changes, a line of JSON or text")
    positions.add_argument("--closed", action="store_true", help="the lives of positions, closed ones too")
    positions.add_argument("--events", action="store_true", help="the lives with all that happened to each")
    add(commands, "balances", "your balances, and your accounts as a whole")
    add(commands, "exposure", "what all venues together come to: net delta, who dies first, what makes it even")
    performance = add(commands, "performance", "what your trading came to, with the equity as a chart")
    performance.add_argument("--venue", default="", metavar="VENUE", help="only this one")
    _add_window(performance)
    quality = add(commands, "quality", "what routed orders cost against their quotes and against each venue alone")
    _add_window(quality)
    export = add(commands, "export", "every fill, fee, payment and transfer in lines that add up")
    export.add_argument("--format", choices=("csv", "json"), default="csv")
    export.add_argument("--out", default="-", metavar="FILE", help="where to write (default: standard output)")


def _add_window(command: argparse.ArgumentParser) -> None:
    command.add_argument("--market", default="", metavar="MARKET", help="only this one, such as btc")
    command.add_argument("--days", type=int, default=0, metavar="N", help="only the last N days")
    command.add_argument("--by", action="append", default=[], choices=GROUPS, help="group; at most two")
