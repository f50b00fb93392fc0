"""What a person sees: one line as each process becomes ready, then the addresses and five things to try."""

from __future__ import annotations

import contextlib
import sys
from typing import TextIO

from services.launcher.config import Config, Layout
from services.launcher.plan import SIMULATOR


class Screen:
    """Lines for a person; a terminal that went away is no error."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out

    def say(self, text: str) -> None:
        """Print one line at once."""
        with contextlib.suppress(OSError, ValueError):
            print(text, file=self._out, flush=True)

    def starting(self, layout: Layout, config: Config) -> None:
        """Say that the mesh starts, and where it keeps its things."""
        source = "simulated venues" if config.venues == "simulated" else f"{config.venues} venues"
        self.say(f"Perpmesh starts with {source}; its state and logs are in {layout.state}")

    def ready(self, name: str, seconds: float) -> None:
        """Say that one process is ready, `seconds` after the start."""
        self.say(f"  {name:<14} ready after {seconds:.2f} s")

    def died(self, name: str, how: str, again_s: float) -> None:
        """Say that a process ended by itself and when it is started again."""
        self.say(f"  {name:<14} {how}; starting it again in {again_s:.1f} s")

    def failed(self, sentence: str) -> None:
        """Print the sentence that says what is wrong and what to do."""
        with contextlib.suppress(OSError, ValueError):
            print(sentence, file=sys.stderr, flush=True)


SYNTHETIC = "Prices are synthetic: they come from the simulator, not from a market."
PAPER = "Prices are the live venues', passed on by the simulator; orders, fills and money are invented."


def try_this(config: Config, *, running: tuple[str, ...], paper: bool = False) -> str:
    """Return the addresses and five things to try. `paper` says that the simulator follows live prices."""
    host = "127.0.0.1" if config.edge_host in ("0.0.0.0", "") else config.edge_host
    edge = f"{host}:{config.edge_port}"
    note = f"\n{PAPER if paper else SYNTHETIC}" if SIMULATOR in running else ""
    return f"""
Perpmesh is ready.{note}

  everything   http://{edge}    (gRPC, gRPC-web, REST, WebSocket and the page on one port)
  admin        http://127.0.0.1:{config.admin_port}    (Envoy's own page, this machine only)

Try:
  1. curl http://{edge}/v1/markets/BTC-PERP/price
  2. grpcurl -plaintext -d '{{"markets":["BTC-PERP"]}}' {edge} perpmesh.marketdata.v1.MarketDataService/WatchPrices
  3. http://{edge}/ in a browser
  4. .venv/bin/perpmesh watch BTC-PERP ETH-PERP
  5. .venv/bin/python -c 'import asyncio; from perpmesh_client import Perpmesh
     async def main():
         async with Perpmesh("{edge}") as mesh:
             async for price in mesh.watch_prices("BTC-PERP"): print(price)
     asyncio.run(main())'

Ctrl-C ends all of it."""
