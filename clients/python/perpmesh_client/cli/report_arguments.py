"""What may be typed to look at what an order came to, or would come to. Imports nothing slow."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

Add = Callable[[Any, str, str], argparse.ArgumentParser]

NAMES = ("report", "preview")


def add_reports(commands: Any, add: Add) -> None:
    """Add the commands."""
    report = add(commands, "report", "what an order came to against its quote, line by line, and why")
    report.add_argument("id", metavar="ID", help="the id of an order; perpmesh orders shows them")
    preview = add(commands, "preview", "what an order would do and cost, and why it would not pass; places nothing")
    preview.add_argument("market", metavar="MARKET", help="such as BTC-PERP")
    preview.add_argument("side", choices=("buy", "sell"))
    preview.add_argument("size", metavar="SIZE", help="in units of the base asset, such as 0.5")
    preview.add_argument("--limit", metavar="PRICE", help="a limit order at this price (default: a market order)")
    preview.add_argument("--tif", choices=("gtc", "ioc", "post-only"), default="", help="how long a limit order lives")
    preview.add_argument("--venue", default="", help="only at this venue, such as lighter (default: routed)")
    preview.add_argument("--quote", default="", metavar="ID", help="the quote to execute")
    preview.add_argument("--slippage", type=int, metavar="BPS", help="the most slippage, in basis points")
    preview.add_argument("--reduce-only", action="store_true", help="only make a position smaller")
