"""A small HTTP page on loopback: `/metrics`, `/livez` and `/readyz`.

Liveness says that the event loop turns; readiness says whether the room can do its work now, by a function the room
gives. They are separate, so that an orchestrator stops sending work without killing the process.
"""

from __future__ import annotations

from collections.abc import Callable

from services.chassis.metrics import METRICS, Metrics
from services.chassis.page import Answer, Page

Readiness = Callable[[], str | None]
"""Returns why the room is not ready, as one sentence, or None when it is."""


class Probes:
    """The page; `start` binds it, `close` ends it."""

    def __init__(self, ready: Readiness, *, metrics: Metrics = METRICS) -> None:
        self._ready = ready
        self._metrics = metrics
        self._page = Page(
            {"/metrics": self._figures, "/livez": lambda _: Answer(body=b"ok\n"), "/readyz": self._readyz}
        )
        self.port = 0

    async def start(self, port: int, host: str = "127.0.0.1") -> int:
        """Listen on `port` (0: the system chooses) and return the port."""
        self.port = await self._page.start(port, host)
        return self.port

    async def close(self) -> None:
        """Stop listening."""
        await self._page.close()

    def _figures(self, _: str) -> Answer:
        return Answer(body=self._metrics.render(), kind="text/plain; version=0.0.4; charset=utf-8")

    def _readyz(self, _: str) -> Answer:
        why = self._ready()
        if why is None:
            return Answer(body=b"ok\n")
        return Answer(status="503 Service Unavailable", body=why.encode() + b"\n")
