"""A whole room around the test contract, run as a process: `python -m tests.support.echo_room`."""

from __future__ import annotations

import asyncio
import decimal
import threading
from dataclasses import dataclass

from services.chassis.config import ConfigError, group, setting
from services.chassis.room import ChassisConfig, run_room, start_probes
from services.chassis.server import Server
from services.chassis.telemetry import log
from tests.support.echo import SERVICE, Echo


@dataclass(frozen=True, kw_only=True)
class Config:
    """What the echo room is told."""

    chassis: ChassisConfig = group(ChassisConfig)
    mood: str = setting(
        "PERPMESH_ECHO_MOOD", "How to behave.", default="good", choices=("good", "refuse", "break", "hang")
    )


def _inexact_raises() -> bool:
    try:
        decimal.Decimal(1) / decimal.Decimal(3)
    except decimal.Inexact:
        return decimal.getcontext().prec == 80
    return False


async def main(config: Config, stop: asyncio.Event) -> None:
    """Serve until told to stop."""
    if config.mood == "refuse":
        raise ConfigError("The database refuses the password: set PERPMESH_DATABASE_URL.")
    if config.mood == "break":
        raise RuntimeError("broken at the start")
    server = Server("echo", config.chassis.server)
    servicer = Echo()
    servicer.draining = server.draining
    server.add(SERVICE, servicer)
    probes = await start_probes(config.chassis.telemetry, lambda: None)
    in_thread: list[bool] = []
    thread = threading.Thread(target=lambda: in_thread.append(_inexact_raises()))
    thread.start()
    await asyncio.to_thread(thread.join)
    task = asyncio.create_task(asyncio.to_thread(_inexact_raises))
    log.event("numbers.exact", main=_inexact_raises(), thread=in_thread[0], task=await task)
    log.event("loop.kind", kind=type(asyncio.get_running_loop()).__module__)
    await server.start(run={"metrics_port": probes.port if probes else None})
    await stop.wait()
    if config.mood == "hang":
        await asyncio.Event().wait()
    await server.stop()
    if probes is not None:
        await probes.close()


if __name__ == "__main__":
    raise SystemExit(run_room("echo", Config, main))
