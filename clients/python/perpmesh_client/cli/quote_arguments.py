"""What may be typed of quotes. Imports nothing slow."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

NAMES = ("quote", "forecast", "check-quote")

Add = Callable[[Any, str, str], argparse.ArgumentParser]


def add_quote(commands: Any, add: Add) -> None:
    """Add the command."""
    quote = add(commands, "quote", "the cheapest split of a trade over the venues, with its costs and its proof")
    quote.add_argument("market", metavar="MARKET", help="such as BTC-PERP")
    quote.add_argument("side", choices=("buy", "sell"))
    quote.add_argument("size", metavar="SIZE", help="in units of the base asset, such as 1.5; with --usd in USD")
    quote.add_argument("--usd", action="store_true", help="SIZE is a notional in USD")
    quote.add_argument("--limit", default=None, metavar="PRICE", help="the worst price allowed at any venue")
    quote.add_argument("--slippage", type=int, default=None, metavar="BPS", help="from the mid price (default 100)")
    quote.add_argument("--venue", action="append", default=[], metavar="VENUE", help="only this one; may be repeated")
    quote.add_argument("--exclude", action="append", default=[], metavar="VENUE", help="not this one; may be repeated")
    quote.add_argument(
        "--hold", type=float, default=None, metavar="HOURS", help="count funding and closing for so long"
    )
    quote.add_argument(
        "--priority",
        type=int,
        default=0,
        metavar="BPS",
        help="what to pay a venue that sells an earlier place, 0 to 8",
    )
    quote.add_argument("--latency", action="store_true", help="charge for delay and the age of books")
    quote.add_argument("--public", action="store_true", help="ask as nobody, though you are signed in")
    quote.add_argument("--watch", action="store_true", help="quote again and again as the books move")
    forecast = add(commands, "forecast", "what a trade costs against its size, up to what the books carry")
    forecast.add_argument("market", metavar="MARKET", help="such as BTC-PERP")
    forecast.add_argument("side", choices=("buy", "sell"))
    forecast.add_argument("sizes", metavar="SIZE", nargs="*", help="in units of the base asset (default: evenly)")
    forecast.add_argument("--points", type=int, default=10, metavar="N", help="how many sizes, 50 at most (default 10)")
    forecast.add_argument(
        "--venue", action="append", default=[], metavar="VENUE", help="only this one; may be repeated"
    )
    check = add(commands, "check-quote", "make a kept quote again from its stored inputs, and check its proof here")
    check.add_argument("id", metavar="ID", help="the id of a quote, as perpmesh quote prints it")
