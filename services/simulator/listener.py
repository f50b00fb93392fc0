"""One listening port: an aiohttp application with the simulator's header, its HTTP faults, and a shutter.

HTTP and WebSocket share a port on both venues. aiohttp serves both from one listener, which is why it is used here
although the product's own sockets are made with websockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from services.simulator.connection import Rim
from services.simulator.faults import HTML, HTTP_KINDS, Rule

BODY_BYTES_MAX = 256 * 1024
HANG_S = 3600.0
SIMULATED = {"x-perpmesh-simulated": "true", "Server": "perpmesh-simulator"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


async def _mark(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(SIMULATED)


def make_app(rim: Rim | None) -> web.Application:
    """Return an application that marks its replies as simulated and, for a venue, injects HTTP faults."""
    app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[] if rim is None else [_spoil(rim)])
    app.on_response_prepare.append(_mark)
    return app


def _spoil(rim: Rim) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        upgrade = request.headers.get("Upgrade", "").lower() == "websocket"
        channel = "ws" if upgrade else request.path
        now = rim.clock.monotonic()
        rules = list(rim.faults.active(HTTP_KINDS, rim.venue, channel, "", now))
        spoil: Rule | None = None
        for rule in rules:
            rim.faults.note(rule, rim.venue, channel, "", 0, now)
            if rule.kind == "http_delay":
                await rim.clock.sleep(rule.number("ms", 500.0) / 1000)
            else:
                spoil = rule
        if spoil is None:
            return await handler(request)
        return await _spoiled(rim, spoil, request, handler)

    return middleware


async def _spoiled(rim: Rim, rule: Rule, request: web.Request, handler: Handler) -> web.StreamResponse:
    """Return what a client gets instead of its answer."""
    if rule.kind == "http_hang":
        await rim.clock.sleep(HANG_S)
    if rule.kind == "http_reset" and request.transport is not None:
        request.transport.abort()
    if rule.kind == "http_html":
        return web.Response(status=int(rule.number("status", 200)), body=HTML, content_type="text/html")
    if rule.kind == "http_garbage":
        answer = await handler(request)
        body = answer.body if isinstance(answer, web.Response) and isinstance(answer.body, bytes) else b"{}"
        return web.Response(body=body[: max(1, len(body) * 2 // 3)], content_type="application/json")
    status = int(rule.number("status", 503))
    if rim.venue == "lighter":
        text = (
            '{"code":23000,"message":"Too Many Requests!"}'
            if status == 429
            else '{"code":29500,"message":"internal server error"}'
        )
        return web.Response(status=status, text=text, content_type="application/json")
    return web.Response(status=status, text="null", content_type="application/json")


class Listener:
    """A port that can be shut and opened again while the process runs."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        """Take the application and where to listen; port 0 is chosen by the system at the first opening."""
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2, handle_signals=False)
        self._host = host
        self.port = port
        self._site: web.TCPSite | None = None
        self._lock = asyncio.Lock()

    @property
    def address(self) -> str:
        """Return host and port."""
        return f"{self._host}:{self.port}"

    @property
    def shut(self) -> bool:
        """Say whether connections are refused."""
        return self._site is None

    async def open(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        async with self._lock:
            if self._site is not None:
                return
            if self._runner.server is None:
                await self._runner.setup()
            site = web.TCPSite(self._runner, self._host, self.port, backlog=256, reuse_address=True)
            await site.start()
            self._site = site
            if self.port == 0:
                self.port = int(self._runner.addresses[0][1])

    async def shutter(self) -> None:
        """Refuse new connections; those that are open stay."""
        async with self._lock:
            if self._site is not None:
                await self._site.stop()
                self._site = None

    async def close(self) -> None:
        """Stop for good."""
        await self._runner.cleanup()
