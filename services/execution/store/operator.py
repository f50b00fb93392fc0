"""The operator's commands: halts, and what is stuck. They write to the record, which every process looks at."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from services.chassis import ids
from services.chassis.clock import SYSTEM
from services.chassis.config import ConfigError, load
from services.chassis.postgres import Database, PostgresConfig
from services.execution.model.halt import Halt, HaltKind, Scope
from services.execution.model.retry import ADVICE
from services.execution.store.halts import PostgresHalts
from services.execution.store.troubles import PostgresTroubles

ROOM: Final = "execution"
STUCK_MAX: Final = 1_000
USAGE: Final = (
    "halt SCOPE REASON, halt-and-cancel SCOPE REASON, resume SCOPE, halts or stuck would pass, where SCOPE is "
    "everything, venue:NAME or user:ID"
)


def command(arguments: Sequence[str], config_type: type[Any]) -> int:
    """Run one command of the operator's; return the exit code."""
    try:
        return asyncio.run(_run(arguments, load(config_type, os.environ).postgres))
    except ConfigError as error:
        sys.stderr.write(f"execution: {error}\n")
        return 2


def scope_of(text: str) -> Scope:
    """Return what `everything`, `venue:lighter` or `user:<id>` names. Raises `ConfigError`."""
    kind, _, name = text.partition(":")
    if kind == "everything" and not name:
        return Scope(HaltKind.EVERYTHING)
    if kind == "venue" and name:
        return Scope(HaltKind.VENUE, name)
    if kind == "user":
        try:
            return Scope(HaltKind.USER, str(UUID(name)))
        except ValueError:
            pass
    raise ConfigError(f"{text!r} names nothing that can be halted: everything, venue:NAME or user:ID would pass.")


async def _run(arguments: Sequence[str], config: PostgresConfig) -> int:
    database = await Database.open(ROOM, config)
    try:
        name, rest = arguments[0], arguments[1:]
        halts = PostgresHalts(database)
        if name in ("halt", "halt-and-cancel") and len(rest) > 1:
            return await _halt(halts, scope_of(rest[0]), " ".join(rest[1:])[:500], cancels=name != "halt")
        if name == "resume" and len(rest) == 1:
            await halts.end(scope_of(rest[0]), _who(), SYSTEM.now())
            return await _show_halts(halts)
        if name == "halts" and not rest:
            return await _show_halts(halts)
        if name == "stuck" and not rest:
            return await _show_stuck(PostgresTroubles(database))
        raise ConfigError(f"There is no command {' '.join(arguments)}: {USAGE}.")
    finally:
        await database.close()


async def _halt(halts: PostgresHalts, scope: Scope, reason: str, *, cancels: bool) -> int:
    halt = Halt(
        halt_id=ids.new_uuid(), scope=scope, reason=reason, operator=_who(), cancels_orders=cancels,
        create_time=SYSTEM.now(),
    )  # fmt: skip
    await halts.begin(halt)
    return await _show_halts(halts)


async def _show_halts(halts: PostgresHalts) -> int:
    found = await halts.in_force()
    for one in found:
        what = one.scope.kind.value.lower() + (f":{one.scope.name}" if one.scope.name else "")
        cancels = ", open orders are canceled" if one.cancels_orders else ""
        _say(f"{what} is halted since {_time(one.create_time)} by {one.operator}{cancels}: {one.reason}")
    return 0 if found else _say("nothing is halted")


async def _show_stuck(troubles: PostgresTroubles) -> int:
    found = await troubles.stuck(kind="", venue="", after=None, count=STUCK_MAX)
    for one in found:
        whose = f"order {one.order_id}, leg {one.leg_id}" if one.order_id else f"account {one.account_id}"
        _say(
            f"{one.kind.value} of {whose} at {one.venue}: {one.attempts} attempts from {_time(one.first_time)} to "
            f"{_time(one.last_time)}; the last met: {one.last_error} {ADVICE[one.trouble]}"
        )
    return 0 if found else _say("nothing is stuck")


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")


def _who() -> str:
    return os.environ.get("USER") or os.environ.get("LOGNAME") or "operator"


def _say(sentence: str) -> int:
    sys.stdout.write(f"{sentence}\n")
    return 0
