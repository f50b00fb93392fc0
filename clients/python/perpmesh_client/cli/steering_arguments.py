"""What may be typed to steer orders and accounts. Imports nothing slow."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import timedelta
from typing import Any

Add = Callable[[Any, str, str], argparse.ArgumentParser]

NAMES = ("replace", "pause", "resume", "leverage", "arm", "disarm", "budget", "usage")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def add_steering(commands: Any, add: Add) -> None:
    """Add the commands."""
    replace = add(commands, "replace", "give an order that rests another size or price; its place in the queue is lost")
    replace.add_argument("id", metavar="ID", help="the id of the order")
    replace.add_argument("--size", metavar="SIZE", help="the new size of the whole, what is filled included")
    replace.add_argument("--limit", metavar="PRICE", help="the new limit price in USD")
    replace.add_argument("--version", type=int, default=0, help="only if the order still has this version")
    _add_request_id(replace)
    pause = add(commands, "pause", "send no further slice of an order in slices")
    pause.add_argument("id", metavar="ID", help="the id of the order")
    pause.add_argument("--cancel", action="store_true", help="and cancel what rests of the present slice")
    resume = add(commands, "resume", "go on with an order in slices that was paused")
    resume.add_argument("id", metavar="ID", help="the id of the order")
    leverage = add(commands, "leverage", "set a market's leverage at an account, and say what its venue then holds")
    leverage.add_argument("market", metavar="MARKET", help="such as BTC-PERP")
    leverage.add_argument("leverage", metavar="TIMES", type=_whole, help="such as 5")
    leverage.add_argument("--account", required=True, metavar="ID", help="the account; perpmesh accounts shows them")
    leverage.add_argument("--margin", choices=("cross", "isolated"), default="", help="what stands behind a position")
    _add_request_id(leverage)
    arm = add(commands, "arm", "have all that is open canceled after a delay, unless it is armed again in time")
    arm.add_argument("delay", metavar="DELAY", type=duration, help="such as 30s or 10m")
    _add_accounts(arm)
    arm.add_argument("--mesh-keeper", action="store_true", help="let the mesh keep the clock where a venue cannot")
    _add_accounts(add(commands, "disarm", "let the dead man's switch of accounts go"))
    budget = add(commands, "budget", "what the venues' limits leave you")
    budget.add_argument("--venue", default="", help="only this venue, such as lighter")
    budget.add_argument("--account", default="", metavar="ID", help="only this account")
    add(commands, "usage", "what the mesh's own limits leave you")


def duration(typed: str) -> timedelta:
    """Return a time such as 30s, 10m, 2h or 7d."""
    number, unit = typed[:-1], typed[-1:]
    if not number.isdecimal() or unit not in _UNITS or len(number) > 6:
        raise argparse.ArgumentTypeError(f"{typed} is no time such as 30s, 10m, 2h or 7d")
    return timedelta(**{_UNITS[unit]: int(number)})


def _whole(typed: str) -> int:
    if not typed.isdecimal() or not 1 <= int(typed) <= 200:
        raise argparse.ArgumentTypeError(f"{typed} is not a whole number from 1 to 200")
    return int(typed)


def _add_request_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--request-id", default="", metavar="UUID", help="that of a call left unanswered: sent again")


def _add_accounts(parser: argparse.ArgumentParser) -> None:
    text = "only this account; may be given again (default: all that can trade)"
    parser.add_argument("--account", action="append", default=[], metavar="ID", help=text)
