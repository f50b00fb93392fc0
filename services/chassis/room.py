"""How a room becomes a process: settings, numbers, event loop, signals, exit code.

A room's `__main__.py` ends in

    if __name__ == "__main__":
        raise SystemExit(run_room("market_data", Config, main))

where `Config` has a field `chassis: ChassisConfig = group(ChassisConfig)` and `main(config, stop)` wires the room,
serves, and returns after `stop` is set (SIGTERM or SIGINT; a second signal cancels it). Exit codes: 0 stopped as asked,
1 a fault (logged), 2 a setting is wrong (one sentence on standard error).
"""

from __future__ import annotations

import asyncio
import contextlib
import decimal
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

import uvloop

from services.chassis.clock import SYSTEM
from services.chassis.config import ConfigError, group, load, setting
from services.chassis.metrics import watch_loop_lag
from services.chassis.probes import Probes
from services.chassis.server import ServerConfig
from services.chassis.telemetry import TelemetryConfig, log, setup
from services.chassis.tls import check_listening
from services.chassis.tracing import TRACING, TraceConfig

DIGITS = 80
"""Digits of the decimal context; the contract admits 36 and sums need room to stay exact."""

COLLECTIONS = (10_000, 20, 20)
"""How many new containers make the collector look at the young, and how often it then looks at the older ones. With
Python's own 700 it looked after every 70 messages of a busy stream, and took a tenth of market_data's CPU. Our values
are trees and go with their last reference; cycles are what errors and tasks leave, and are few."""

EXIT_FAULT = 1
EXIT_CONFIG = 2


@dataclass(frozen=True, kw_only=True)
class ChassisConfig:
    """The settings that every room has."""

    server: ServerConfig = group(ServerConfig)
    telemetry: TelemetryConfig = group(TelemetryConfig)
    traces: TraceConfig = group(TraceConfig, default=TraceConfig())
    event_loop: str = setting(
        "PERPMESH_EVENT_LOOP",
        "Which event loop runs the room; uvloop is a fifth faster, asyncio is the standard library's.",
        default="uvloop",
        choices=("uvloop", "asyncio"),
    )


class RoomConfig(Protocol):
    """A room's configuration class."""

    @property
    def chassis(self) -> ChassisConfig:
        """Return the settings that every room has."""


C = TypeVar("C", bound=RoomConfig)


def install_decimal_context() -> None:
    """Make decimals exact in this thread, in later threads and in all tasks: rounding and floats raise.

    The default context keeps 28 digits and rounds silently beyond. What rounds on purpose opens a local context.
    """
    traps = [
        decimal.Inexact,
        decimal.FloatOperation,
        decimal.InvalidOperation,
        decimal.DivisionByZero,
        decimal.Overflow,
    ]
    context = decimal.Context(prec=DIGITS, traps=traps)
    decimal.DefaultContext.prec = context.prec
    for trap in traps:
        decimal.DefaultContext.traps[trap] = True
    decimal.setcontext(context)


def spare_the_collector() -> None:
    """Let the garbage collector look seldom, and never at what the imports made, which lives as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTIONS)


def run_room(
    name: str,
    config_type: type[C],
    main: Callable[[C, asyncio.Event], Awaitable[None]],
    *,
    environ: Mapping[str, str] = os.environ,
) -> int:
    """Run a room until it is told to stop; return the exit code."""
    try:
        config = load(config_type, environ)
    except ConfigError as error:
        return _refuse(name, error)
    try:
        check_listening(config.chassis.server.tls, config.chassis.server.listen)
    except ConfigError as error:
        return _refuse(name, error)
    setup(name, config.chassis.telemetry)
    try:
        TRACING.start(name, config.chassis.traces)
    except ConfigError as error:
        return _refuse(name, error)
    install_decimal_context()
    spare_the_collector()
    factory = uvloop.new_event_loop if config.chassis.event_loop == "uvloop" else None
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_live(config, main))
    except ConfigError as error:
        return _refuse(name, error)
    except (asyncio.CancelledError, KeyboardInterrupt):
        log.warning("room.canceled")
        return EXIT_FAULT
    except Exception as error:
        log.error("room.failed", error=error)
        return EXIT_FAULT
    finally:
        TRACING.stop()
        log.flush()
    return 0


async def start_probes(config: TelemetryConfig, ready: Callable[[], str | None]) -> Probes | None:
    """Serve /metrics, /livez and /readyz as configured; None when they are switched off."""
    if config.metrics_port < 0:
        return None
    probes = Probes(ready)
    try:
        await probes.start(config.metrics_port, config.metrics_host)
    except OSError as error:
        raise ConfigError(
            f"Metrics cannot be served on {config.metrics_host}:{config.metrics_port} ({error.strerror}): "
            "set PERPMESH_METRICS_HOST to an address of this machine, and PERPMESH_METRICS_PORT to a free port, to 0, "
            "or to -1 for none."
        ) from None
    return probes


async def _live(config: C, main: Callable[[C, asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    work = asyncio.ensure_future(main(config, stop))

    def told(number: int) -> None:
        log.event("room.signal", signal=signal.Signals(number).name, again=stop.is_set())
        if stop.is_set():
            work.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)
    lag = asyncio.ensure_future(watch_loop_lag(SYSTEM))
    try:
        await work
    finally:
        lag.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await lag


def _refuse(name: str, error: ConfigError) -> int:
    log.flush()
    os.write(2, f"{name}: {error}\n".encode())
    return EXIT_CONFIG
