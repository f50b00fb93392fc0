"""Serves the door's one HTTP port with `websockets`: upgrades on `/v1/ws`, plain answers for all else.

    GET /v1/ws      the WebSocket
    GET /healthz    200 when the door can serve, 503 with the reason when it cannot
    GET / and files the web page

Plain answers close their connection; the edge in front keeps its clients' connections open.
"""

from __future__ import annotations

import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from services.domain.errors import DomainError, Reason
from services.stream.app.door import CLOSE_RESTART, CLOSE_TRY_LATER, Door
from services.stream.model import frame
from services.stream.model.limits import Limits
from services.stream.ws.answer import json_answer, refusal
from services.stream.ws.site import Site
from services.stream.ws.socket import ClientConnection, ClientSocket

PATH = "/v1/ws"
HEALTH_PATH = "/healthz"
OVERSIZE = 4
"""A frame of up to this many times the limit is read, to be answered by an error; a larger one closes with 1009."""

WRITE_HIGH_BYTES = 65_536
"""Unsent bytes in a socket's buffer above which the door holds back, and changes collapse."""

SEND_BUFFER_BYTES = 262_144
"""The kernel's buffer for a socket: what lies there cannot collapse any more, so it is not left to grow by itself."""

OPEN_TIMEOUT_S = 10.0
PING_INTERVAL_S = 20.0
PING_TIMEOUT_S = 20.0
BACKLOG = 1_024
SHOWN_CHARS_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrance:
    """Who may come in."""

    origins: tuple[str, ...] = ()
    """Origins of web pages beside the door's own, such as `https://app.example`; `*` for all."""
    per_address_max: int = 0
    """Sockets from one address; 0 for no bound. Behind the edge the address is the last of X-Forwarded-For."""
    trust_forwarded: bool = True
    """Whether X-Forwarded-For is believed, which is right behind the edge and wrong without it."""


class DoorServer:
    """The HTTP port of the door."""

    def __init__(
        self,
        door: Door,
        site: Site,
        *,
        limits: Limits,
        entrance: Entrance,
        new_id: Callable[[], str],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._door = door
        self._site = site
        self._limits = limits
        self._entrance = entrance
        self._new_id = new_id
        self._tls = tls
        self._addresses: Counter[str] = Counter()
        self._server: Server | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> int:
        """Listen (port 0: the system chooses) and return the port. Raises OSError where that cannot be."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)  # accepted sockets inherit it
        self.port = int(listener.getsockname()[1])
        logger = logging.getLogger("services.stream.ws")
        logger.setLevel(logging.ERROR)
        self._server = await serve(
            self._serve,
            sock=listener,
            ssl=self._tls,
            backlog=BACKLOG,
            process_request=self._answer,
            create_connection=ClientConnection,
            compression=None,
            open_timeout=OPEN_TIMEOUT_S,
            ping_interval=PING_INTERVAL_S,
            ping_timeout=PING_TIMEOUT_S,
            max_size=self._limits.frame_bytes_max * OVERSIZE,
            write_limit=WRITE_HIGH_BYTES,
            server_header=None,
            logger=logger,
        )
        return self.port

    async def stop(self) -> None:
        """Tell every client to connect again, close, and return once all are gone; safe to call twice."""
        if self._server is None:
            return
        server, self._server = self._server, None
        self._door.drain()
        server.close(code=CLOSE_RESTART, reason=Reason.DRAINING.value)
        await server.wait_closed()

    async def _serve(self, connection: ServerConnection) -> None:
        assert isinstance(connection, ClientConnection)
        sending = ClientSocket(connection)
        try:
            self._door.may_enter()
        except DomainError as error:  # others came in while this one shook hands
            sending.write([frame.end(error, resumable=True)])
            sending.close(CLOSE_TRY_LATER, error.reason.value)
            await sending.closed()
            return
        address = self._address(connection)
        self._addresses[address] += 1
        client = self._door.enter(sending)
        connection.on_drained = lambda: self._door.drained(client)
        try:
            async for message in connection:
                await self._door.receive(client, message)
        except ConnectionClosed:
            pass  # the other end, the network or the protocol: either way the client is gone
        finally:
            connection.on_drained = None
            self._door.leave(client)
            self._addresses[address] -= 1
            if self._addresses[address] <= 0:
                del self._addresses[address]
            await sending.closed()

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer a plain request, or return None to let a WebSocket begin."""
        path = request.path.partition("?")[0]
        if request.method not in ("GET", "HEAD"):
            error = DomainError(Reason.CALL_UNKNOWN, "Only GET and HEAD are served here.")
            made = refusal(request, error, self._new_id(), 405)
            made.headers["Allow"] = "GET, HEAD"
            return made
        if path == PATH:
            return self._upgrade(connection, request)
        if path == HEALTH_PATH:
            why = self._door.not_ready()
            return json_answer(request, 200 if why is None else 503, {"ready": why is None, "reason": why or ""})
        found = self._site.find(request)
        if found is not None:
            return found
        shown = path if len(path) <= SHOWN_CHARS_MAX else path[:SHOWN_CHARS_MAX] + "..."
        error = DomainError(
            Reason.CALL_UNKNOWN,
            f"Nothing is served at {shown}; the WebSocket is at {PATH}, the page at /.",
            metadata={"path": shown},
        )
        return refusal(request, error, self._new_id())

    def _upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        if "websocket" not in request.headers.get("Upgrade", "").lower():
            error = DomainError(
                Reason.REQUEST_UNREADABLE,
                f"{PATH} is a WebSocket: connect with a WebSocket client, such as websocat ws://host{PATH}.",
            )
            made = refusal(request, error, self._new_id(), 426)
            made.headers["Upgrade"] = "websocket"
            return made
        try:
            self._check_origin(request)
            self._door.may_enter()
            self._check_address(self._address(connection))
        except DomainError as error:
            return refusal(request, error, self._new_id())
        return None

    def _check_origin(self, request: Request) -> None:
        """A page of another origin may not use a visitor's browser; what is no browser sends no Origin."""
        origins = request.headers.get_all("Origin")
        allowed = self._entrance.origins
        if not origins or "*" in allowed:
            return
        origin = origins[0]
        own = urlsplit(origin).netloc.lower() if len(origins) == 1 else ""
        if (own and own in [host.lower() for host in request.headers.get_all("Host")]) or origin in allowed:
            return
        raise DomainError(
            Reason.PERMISSION_DENIED,
            f"Pages of {origin[:SHOWN_CHARS_MAX]} may not connect here; PERPMESH_CORS_ORIGINS lists those that may.",
            metadata={"origin": origin[:SHOWN_CHARS_MAX]},
        )

    def _check_address(self, address: str) -> None:
        most = self._entrance.per_address_max
        if most and self._addresses[address] >= most:
            raise DomainError(
                Reason.LIMIT_REACHED,
                f"There are {most} connections from your address, the most that pass; use one for all topics.",
                metadata={"connections_per_address_max": str(most)},
                retry_after_s=5.0,
            )

    def _address(self, connection: ServerConnection) -> str:
        if self._entrance.trust_forwarded and connection.request is not None:
            forwarded = connection.request.headers.get_all("X-Forwarded-For")
            last = forwarded[-1].rpartition(",")[2].strip() if forwarded else ""
            if last:
                return last[:SHOWN_CHARS_MAX]
        remote = connection.remote_address
        return str(remote[0]) if remote else ""
