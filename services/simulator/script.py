"""A scripted scenario: a list of steps at times, played over the market.

A step is `{"at_ms": 1500, "do": ...}` with what it does:

* `set_book` venue, market, bids, asks (lists of [price, size] as text): the market becomes scripted, its crowd stops
* `trade` venue, market, side (`buy` or `sell`), size: a taker hits the book
* `set_figures` venue, market, and any of mark, index, funding (a rate per hour), open_interest
* `flow` enabled, and optionally venue and market: stop or start the crowd of one market or of all
* `fault` with a rule as for POST /control/faults; `clear_faults`

A market is named as the venue's clients name it: a coin on Hyperliquid; an id or a symbol on Lighter.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from services.simulator.book import Execution
from services.simulator.faults import Faults
from services.simulator.instrument import RATE_SCALE, Instrument
from services.simulator.market import Market
from services.simulator.rules import parse, plain

STEPS_MAX = 100_000
SCRIPT_BYTES_MAX = 16 * 1024 * 1024
ACTIONS = ("set_book", "trade", "set_figures", "flow", "fault", "clear_faults")


@dataclass(frozen=True, slots=True)
class Step:
    """What to do, and how long after the script's beginning."""

    at_ms: int
    action: str
    spec: Mapping[str, object]


def load(path: str) -> list[Step]:
    """Read a scenario file, JSON or YAML. Raises ValueError that says what is wrong."""
    file = Path(path)
    if not file.is_file() or file.stat().st_size > SCRIPT_BYTES_MAX:
        raise ValueError(f"script: {path!r} is no file of at most {SCRIPT_BYTES_MAX} bytes")
    try:
        return parse_steps(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"script: {path!r} is neither JSON nor YAML: {error}") from None


def parse_steps(raw: object) -> list[Step]:
    """Check a list of steps and sort them by time. Raises ValueError that names the step and the field."""
    if not isinstance(raw, list) or len(raw) > STEPS_MAX:
        raise ValueError(f"script: a list of at most {STEPS_MAX} steps would pass")
    steps: list[Step] = []
    for number, spec in enumerate(raw):
        if not isinstance(spec, dict):
            raise ValueError(f"steps[{number}]: {spec!r}; an object would pass")
        at, action = spec.get("at_ms", 0), spec.get("do")
        if not isinstance(at, int) or at < 0:
            raise ValueError(f"steps[{number}].at_ms: {at!r}; milliseconds from 0 would pass")
        if action not in ACTIONS:
            raise ValueError(f"steps[{number}].do: {action!r}; one of {', '.join(ACTIONS)} would pass")
        steps.append(Step(at, str(action), spec))
    return sorted(steps, key=lambda step: step.at_ms)


def find(market: Market, venue: object, name: object) -> Instrument:
    """Return a contract by venue and name. Raises ValueError that says which names there are."""
    if venue not in market.venues:
        raise ValueError(f"venue: {venue!r}; hyperliquid or lighter would pass")
    listed = market.venues["hyperliquid" if venue == "hyperliquid" else "lighter"]
    for instrument in listed.values():
        if str(name) in (instrument.key, instrument.name):
            return instrument
    raise ValueError(f"market: {name!r} is not listed on {venue}; such as {', '.join(list(listed)[:3])} would pass")


def apply(step: Step, market: Market, faults: Faults, now: float) -> None:
    """Do a step. Raises ValueError when its fields do not fit the market."""
    spec = step.spec
    if step.action == "fault":
        rule = {key: value for key, value in spec.items() if key not in ("at_ms", "do")}
        faults.add(rule, now)
    elif step.action == "clear_faults":
        faults.clear()
    elif step.action == "flow":
        if "market" in spec:
            find(market, spec.get("venue"), spec["market"]).scripted = not spec.get("enabled", True)
        else:
            market.flow_on = bool(spec.get("enabled", True))
    else:
        instrument = find(market, spec.get("venue"), spec.get("market"))
        {"set_book": _set_book, "trade": _trade, "set_figures": _set_figures}[step.action](instrument, spec)


def _set_book(instrument: Instrument, spec: Mapping[str, object]) -> None:
    instrument.scripted = True
    instrument.book.replace(_levels(instrument, spec, "bids"), _levels(instrument, spec, "asks"))


def _levels(instrument: Instrument, spec: Mapping[str, object], side: str) -> list[tuple[int, int]]:
    rows = spec.get(side, [])
    if not isinstance(rows, list):
        raise ValueError(f'{side}: {rows!r}; a list such as [["100.5", "2"]] would pass')
    levels = []
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) != 2:
            raise ValueError(f'{side}: {row!r}; a pair such as ["100.5", "2"] would pass')
        price, size = (
            parse(str(row[0]), instrument.price_decimals),
            parse(str(row[1]), instrument.size_decimals),
        )
        if price <= 0 or size <= 0 or price % instrument.tick(price):
            step = plain(instrument.tick(max(1, price)), instrument.price_decimals)
            raise ValueError(f"{side}: {row!r}; a positive size at a multiple of the tick {step} would pass")
        levels.append((price, size))
    return levels


def _trade(instrument: Instrument, spec: Mapping[str, object]) -> None:
    side = spec.get("side")
    if side not in ("buy", "sell"):
        raise ValueError(f"side: {side!r}; buy or sell would pass")
    size = parse(str(spec.get("size", "")), instrument.size_decimals)
    done: list[Execution] = instrument.book.take(side == "buy", size)
    instrument.pending += done


def _set_figures(instrument: Instrument, spec: Mapping[str, object]) -> None:
    instrument.scripted = True
    if "mark" in spec:
        instrument.mark = parse(str(spec["mark"]), instrument.price_decimals)
    if "index" in spec:
        instrument.index = parse(str(spec["index"]), instrument.price_decimals)
    if "funding" in spec:
        instrument.rate = parse(str(spec["funding"]), len(str(RATE_SCALE)) - 1)
    if "open_interest" in spec:
        instrument.open_interest = parse(str(spec["open_interest"]), instrument.size_decimals)
