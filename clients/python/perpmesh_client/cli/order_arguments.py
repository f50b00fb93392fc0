"""What may be typed of orders. Imports nothing slow."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from perpmesh_client.cli.steering_arguments import duration

Add = Callable[[Any, str, str], argparse.ArgumentParser]

NAMES = ("order", "orders", "cancel", "close", "fills")


def add_orders(commands: Any, add: Add) -> None:
    """Add the commands."""
    order = add(commands, "order", "place an order: routed over the venues, or at one; a market order is followed")
    add_terms(order)
    orders = add(commands, "orders", "your orders, the newest first")
    orders.add_argument("--open", action="store_true", help="only those that have not ended")
    _add_filters(orders)
    cancel = add(commands, "cancel", "cancel orders by their ids, or all that are open")
    cancel.add_argument("ids", metavar="ID", nargs="*", help="the id of an order")
    cancel.add_argument("--all", action="store_true", help="every open order, of --market and --venue where given")
    cancel.add_argument("--market", default="", metavar="MARKET", help="with --all: only this one, such as btc")
    cancel.add_argument("--venue", default="", help="with --all: only orders at this venue alone")
    close = add(commands, "close", "close the position in a market, at every venue or at one; it never opens one")
    close.add_argument("market", metavar="MARKET", help="such as BTC-PERP")
    close.add_argument("--size", metavar="SIZE", help="how much, in units of the base asset (default: all)")
    close.add_argument("--limit", metavar="PRICE", help="the worst price in USD (default: at market)")
    close.add_argument("--venue", default="", help="only at this venue, such as lighter")
    close.add_argument("--slippage", type=int, metavar="BPS", help="the most slippage, in basis points")
    close.add_argument("--request-id", default="", metavar="UUID", help="that of a call left unanswered: sent again")
    fills = add(commands, "fills", "your fills, the newest first, with every fee")
    fills.add_argument("--order", default="", metavar="ID", help="only those of this order")
    _add_filters(fills)


def add_terms(parser: argparse.ArgumentParser) -> None:
    """Add all that can be said of an order, alike for placing one and for looking at what would come of it."""
    parser.add_argument("market", metavar="MARKET", help="such as BTC-PERP")
    parser.add_argument("side", choices=("buy", "sell"))
    parser.add_argument("size", metavar="SIZE", help="in units of the base asset, such as 0.5")
    parser.add_argument("--usd", action="store_true", help="SIZE is in USD")
    parser.add_argument("--limit", metavar="PRICE", help="a limit order at this price in USD (default: a market order)")
    parser.add_argument("--tif", choices=("gtc", "ioc", "post-only"), default="", help="how long a limit order lives")
    parser.add_argument("--expires", metavar="TIME", type=duration, help="when what rests ends, such as 10m from now")
    parser.add_argument("--stop", metavar="PRICE", help="a stop: it waits for the mark price to pass this; reduce-only")
    parser.add_argument("--target", metavar="PRICE", help="a take-profit: it waits for the mark price to reach this")
    parser.add_argument("--take-profit", metavar="PRICE", help="for what it fills: a take-profit at this mark price")
    parser.add_argument("--stop-loss", metavar="PRICE", help="for what it fills: a stop at this mark price")
    parser.add_argument("--twap", metavar="TIME", type=duration, help="in slices over this long, such as 30m")
    parser.add_argument("--every", metavar="TIME", type=duration, help="with --twap: between slices (default 30s)")
    parser.add_argument("--randomize", action="store_true", help="with --twap: vary size and time of each slice")
    parser.add_argument("--venue", default="", help="only at this venue, such as lighter (default: routed)")
    parser.add_argument("--account", action="append", default=[], metavar="ID", help="from this account; one a venue")
    parser.add_argument("--quote", default="", metavar="ID", help="the quote to execute")
    parser.add_argument("--slippage", type=int, metavar="BPS", help="the most slippage, in basis points")
    parser.add_argument("--reduce-only", action="store_true", help="only make a position smaller")
    parser.add_argument("--client-id", default="", metavar="ID", help="your own name of the order")
    parser.add_argument("--request-id", default="", metavar="UUID", help="that of a call left unanswered: sent again")


def add_demo(commands: Any) -> None:
    """Add the demo, which is for the eye: without JSON."""
    told = "a throwaway wallet trades at both simulated venues: from its first signature to its last balance"
    demo = commands.add_parser("demo", help=told, description=f"{told[0].upper()}{told[1:]}.")
    told = "a simulated mesh to trade on; where none answers, the demo starts one of its own and ends it"
    demo.add_argument("--address", default=argparse.SUPPRESS, metavar="HOST:PORT", help=told)


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--market", default="", metavar="MARKET", help="only this one, such as btc")
    parser.add_argument("--venue", default="", help="only this venue, such as lighter")
    parser.add_argument("--count", type=_count, default=50, help="the most shown, 1 to 1000 (default 50)")
    parser.add_argument("--watch", action="store_true", help="each as it comes, a line of JSON or text")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 to 1000")
    return int(text)
