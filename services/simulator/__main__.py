"""Run the simulator: `python -m services.simulator`. Settings are in `config.py`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import uvloop

from services.chassis.clock import SystemClock
from services.chassis.config import ConfigError, load
from services.simulator.config import Config
from services.simulator.control import Control
from services.simulator.listener import Listener, make_app
from services.simulator.paper.source import Paper, addresses_of
from services.simulator.runtime import Runtime


def where(runtime: Runtime, control: Listener) -> dict[str, object]:
    """Return what the run file says: where each face listens, and that all of it is simulated."""
    hyperliquid, lighter = runtime.listeners["hyperliquid"].address, runtime.listeners["lighter"].address
    return {
        "room": "simulator",
        "pid": os.getpid(),
        "simulated": True,
        "seed": runtime.config.seed,
        "hyperliquid": {"http": f"http://{hyperliquid}", "ws": f"ws://{hyperliquid}/ws"},
        "lighter": {"http": f"http://{lighter}", "ws": f"ws://{lighter}/stream"},
        "control": {"http": f"http://{control.address}"},
    }


def write_run_file(path: str, body: dict[str, object]) -> None:
    """Write the addresses so that a reader sees all of them or no file."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    half = target.with_name(f".{target.name}.{os.getpid()}")
    half.write_text(json.dumps(body), encoding="utf-8")
    half.replace(target)


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    clock = SystemClock()
    paper, catalog = None, None
    if config.paper:
        addresses = addresses_of(config.paper)
        if config.recording or config.script:
            raise ValueError("PERPMESH_SIMULATOR_PAPER goes with neither a recording nor a script: choose one")
        paper = Paper(addresses, books=config.paper_books, books_max=config.paper_books_max, seed=config.seed,
                      clock=clock)  # fmt: skip
        catalog = await paper.listed()
    runtime = Runtime(config, clock, catalog, paper)
    app = make_app(None)
    Control(runtime).routes(app)
    control = Listener(app, config.control_host, config.control_port)
    pump: asyncio.Task[None] | None = None
    try:
        await runtime.open()
        await control.open()
        pump = asyncio.create_task(runtime.run())
        body = where(runtime, control)
        if config.run_file:
            write_run_file(config.run_file, body)
        sys.stderr.write(f"{runtime.notice}\n{json.dumps(body)}\n")
        stopped = asyncio.create_task(stopping.wait())
        await asyncio.wait({pump, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if pump.done():
            pump.result()
    finally:
        if pump is not None:
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump
        await runtime.close()
        await control.close()


def main() -> int:
    """Return the exit code: 0 after a signal, 2 for a wrong setting or a port that is taken."""
    try:
        config = load(Config, os.environ)
        uvloop.run(serve(config))
    except (ConfigError, OSError, ValueError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
