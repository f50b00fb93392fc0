"""What may be typed, and what it becomes. Imports nothing slow."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from perpmesh_client.cli.order_arguments import add_demo, add_orders
from perpmesh_client.cli.portfolio_arguments import add_portfolio
from perpmesh_client.cli.quote_arguments import add_quote
from perpmesh_client.cli.report_arguments import add_reports
from perpmesh_client.cli.steering_arguments import add_steering
from perpmesh_client.cli.vault_arguments import add_vault

DEFAULT_ADDRESS = "127.0.0.1:8080"
ADDRESS_VARIABLE = "PERPMESH_ADDRESS"
KEY_VARIABLE = "PERPMESH_PRIVATE_KEY"
DEPTHS = (5, 20, 100, 500)
INTERVALS = ("1s", "1m", "5m", "15m", "1h", "4h", "1d")

_DESCRIPTION = """\
Real-time perpetual futures over every venue, as one market.

Prices are in USD, sizes in units of the base asset. A market is written BTC-PERP; btc is understood.
"""
_EPILOG = f"""\
The mesh is looked for at {DEFAULT_ADDRESS}, at --address, or at ${ADDRESS_VARIABLE}; https://host uses TLS.
With --json every line is one JSON object, with the keys that REST gives. Ctrl-C quits. NO_COLOR is honored.

examples:
  perpmesh watch btc eth               live prices of two markets
  perpmesh book btc --depth 5          live order book, with who has how much
  perpmesh candles btc --interval 5m   a chart that grows
  perpmesh funding --once --json       what funding pays now, for a program
  perpmesh quote btc buy 0.5           the cheapest way to trade, with its proof
  perpmesh order btc buy 0.5           trade it; perpmesh demo shows all of it on simulated venues
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """One command as it was typed."""

    command: str
    address: str
    markets: tuple[str, ...] = ()
    """Canonical names, in the order typed."""
    json: bool = False
    once: bool = False
    interval_s: float | None = None
    """The shortest time between two changes shown of one market; None leaves it to the view."""
    depth: int = 20
    count: int = 20
    venue: str = ""
    key_file: str = ""
    chain_id: int = 1
    revoke: str = ""
    """The session to end, or `all` for every other."""
    action: str = ""
    """Of `token`: create, list or revoke."""
    name: str = ""
    scopes: tuple[str, ...] = ()
    days: int = 30
    interval: str = "1m"
    """The length of candles."""
    history: bool = False
    """Whether settled funding is wanted in place of what funding pays now."""
    rest: tuple[str, ...] = ()
    """What follows `record`, untouched."""
    typed: argparse.Namespace = field(default_factory=argparse.Namespace)
    """All that was typed, for the commands that have arguments of their own."""


def parse(argv: Sequence[str] | None) -> Arguments:
    """Return the command; a wrong one prints the usage and exits with 2, and `--help` exits with 0."""
    parser = _parser()
    found, rest = parser.parse_known_args(argv)
    if rest and found.command != "record":
        parser.error(f"not understood: {' '.join(rest)}; see perpmesh {found.command} --help")
    if getattr(found, "history", False) and not found.markets:
        parser.error("funding --history needs a market, such as perpmesh funding btc --history")
    typed = list(getattr(found, "markets", ())) + ([found.market] if getattr(found, "market", "") else [])
    address = found.address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
    return Arguments(
        command=found.command,
        address=address,
        markets=tuple(dict.fromkeys(map(market_name, typed))),
        json=getattr(found, "json", False),
        once=getattr(found, "once", False),
        interval_s=getattr(found, "interval", None),
        depth=getattr(found, "depth", 20),
        count=getattr(found, "count", 20),
        venue=getattr(found, "venue", ""),
        key_file=getattr(found, "key_file", ""),
        chain_id=getattr(found, "chain_id", 1),
        revoke=getattr(found, "revoke", ""),
        action=getattr(found, "action", ""),
        name=getattr(found, "name", ""),
        scopes=tuple(getattr(found, "scope", None) or ("read",)),
        days=getattr(found, "days", 30),
        interval=getattr(found, "length", "1m"),
        history=getattr(found, "history", False),
        rest=tuple(rest),
        typed=found,
    )


def market_name(typed: str) -> str:
    """Return the canonical name for what was typed: `btc` is BTC-PERP, `xyz-tsla` is XYZ-TSLA-PERP."""
    name = typed.upper()
    return name if name.endswith("-PERP") else f"{name}-PERP"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="perpmesh",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _add_address(parser, default="")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    watch = _add(commands, "watch", "prices, live: best bid and ask with their venue, spread, the state of every venue")
    _add_markets(watch)
    _add_live(watch)
    book = _add(commands, "book", "one order book, live: every level with who has how much")
    book.add_argument("market", metavar="MARKET", help="such as BTC-PERP")
    book.add_argument("--depth", type=int, choices=DEPTHS, default=20, help="levels per side (default 20)")
    _add_live(book)
    trades = _add(commands, "trades", "trades as they are printed, each exactly once")
    trades.add_argument("markets", metavar="MARKET", nargs="+", help="such as BTC-PERP")
    trades.add_argument("--count", type=_count, default=20, help="recent trades of each shown first (default 20)")
    _add_live(trades, interval=False)
    funding = _add(commands, "funding", "funding, live: hourly and yearly rate by venue, spread, next payment")
    _add_markets(funding)
    funding.add_argument("--history", action="store_true", help="what was settled, of the markets named, newest first")
    funding.add_argument("--count", type=_count, default=20, help="settled rates shown of each market (default 20)")
    _add_live(funding)
    candles = _add(commands, "candles", "a chart of candles, live: of all venues together, or of one")
    candles.add_argument("market", metavar="MARKET", help="such as BTC-PERP")
    candles.add_argument(
        "--interval", dest="length", choices=INTERVALS, default="1m", help="the length of a candle (default 1m)"
    )
    candles.add_argument("--venue", default="", help="only this venue, such as lighter")
    candles.add_argument("--count", type=_count, default=0, help="candles shown (default: as many as fit, or 60)")
    _add_live(candles, interval=False)
    venues = _add(commands, "venues", "the venues, live: state, ages, circuit breakers, limits")
    _add_live(venues, interval=False)
    markets = _add(commands, "markets", "the markets and the rules of every venue that lists them")
    markets.add_argument("--venue", default="", help="only the markets of this venue, such as lighter")
    market = _add(commands, "market", "one market with the rules of every venue that lists it")
    market.add_argument("market", metavar="MARKET", help="such as BTC-PERP")
    _add_account(commands)
    add_quote(commands, _add)
    add_vault(commands, _add)
    add_portfolio(commands, _add)
    add_orders(commands, _add)
    add_reports(commands, _add)
    add_steering(commands, _add)
    add_demo(commands)
    # No option of its own, not even --help: all that follows is the recorder's.
    commands.add_parser("record", help="write the raw frames of the venues to a file (from a checkout)", add_help=False)
    return parser


def _add_account(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    login = _add(commands, "login", f"sign in with a wallet's key from a file, ${KEY_VARIABLE} or a prompt")
    login.add_argument("--key-file", default="", metavar="FILE", help="a file that holds the private key alone")
    login.add_argument("--chain-id", type=int, default=1, help="the chain of the wallet (default 1)")
    _add(commands, "logout", "end the session that is kept, and forget it")
    sessions = _add(commands, "sessions", "your sessions: where you are signed in")
    sessions.add_argument("--revoke", default="", metavar="ID", help="end this one; `all` ends every other")
    token = _add(commands, "token", "tokens for programs: create, list, revoke")
    actions = token.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="make one; its secret is shown once")
    create.add_argument("name", metavar="NAME", help="a name to recognize it by")
    create.add_argument("--scope", action="append", choices=("read", "trade"), help="what it may do (default read)")
    create.add_argument("--days", type=_days, default=30, help="how long it lives, 1 to 365 (default 30)")
    actions.add_parser("list", help="those that live")
    revoke = actions.add_parser("revoke", help="end one")
    revoke.add_argument("name", metavar="ID", help="its id")


def _add(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],  # the library gives it no public name
    name: str,
    summary: str,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.")
    parser.add_argument("--json", action="store_true", help="one JSON object per line, with the keys that REST gives")
    _add_address(parser, default=argparse.SUPPRESS)
    return parser


def _add_address(parser: argparse.ArgumentParser, *, default: str) -> None:
    text = f"where the mesh is (default ${ADDRESS_VARIABLE} or {DEFAULT_ADDRESS})"
    parser.add_argument("--address", default=default, metavar="HOST:PORT", help=text)


def _add_markets(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("markets", metavar="MARKET", nargs="*", help="such as BTC-PERP; none means all")


def _add_live(parser: argparse.ArgumentParser, *, interval: bool = True) -> None:
    parser.add_argument("--once", action="store_true", help="show what is now, and end")
    if interval:
        text = "shortest time between two changes of one market, 0 to 60 (default: 0.25 on a screen, else 0)"
        parser.add_argument("--interval", type=_interval, metavar="SECONDS", help=text)


def _interval(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 60:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds from 0 to 60")
    return value


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 365:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of days from 1 to 365")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 1_000:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to 1000")
    return int(text)
