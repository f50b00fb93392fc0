"""Connections to the mesh: made when first needed, and replaced when one is found dead.

A connection that a firewall or a sleeping laptop cut without a word looks healthy to the kernel for many minutes, and
a new stream would be put on the same dead connection. So a stream that was silent for too long retires its
connection: whoever calls next gets another, and the old one is closed when its last user has left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import grpc
from grpc import aio
from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceStub

from perpmesh_client.errors import PerpmeshError, from_rpc

if TYPE_CHECKING:
    from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceAsyncStub

DEFAULT_PORT = 8080
DEFAULT_TLS_PORT = 443
MESSAGE_BYTES_MAX = 16 * 1024 * 1024
"""The largest message taken: the prices of all markets stay far below."""

_CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.primary_user_agent", "perpmesh-python/0.1.0"),
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    # Channels of one process share their connections unless told otherwise, and then a replacement is none.
    ("grpc.use_local_subchannel_pool", 1),
    # The waits between attempts are ours (tuning.py); grpc's own, up to two minutes, would stand in their way.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.enable_http_proxy", 0),
)

Token = str | Callable[[], Awaitable[str]]
"""An access token, or what fetches one; asked anew for every call and every time a stream is opened."""

Request = TypeVar("Request")
Response = TypeVar("Response")
RequestIn = TypeVar("RequestIn", contravariant=True)
ResponseOut = TypeVar("ResponseOut", covariant=True)


class UnaryMethod(Protocol[RequestIn, ResponseOut]):
    """A call of one request and one response, as a stub has it."""

    def __call__(
        self, request: RequestIn, *, timeout: float | None, metadata: Sequence[tuple[str, str]]
    ) -> Awaitable[ResponseOut]:
        """Start the call."""


class Call(Protocol[ResponseOut]):
    """A stream that is open."""

    async def read(self) -> ResponseOut | object:
        """Return the next message, or `grpc.aio.EOF`."""

    def cancel(self) -> bool:
        """End the stream from this side."""


class StreamMethod(Protocol[RequestIn, ResponseOut]):
    """A call of one request and many responses, as a stub has it."""

    def __call__(self, request: RequestIn, *, metadata: Sequence[tuple[str, str]]) -> Call[ResponseOut]:
        """Open the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where the mesh is, taken apart."""

    target: str
    """Host and port."""
    tls: bool

    @classmethod
    def parse(cls, address: str) -> Endpoint:
        """Return the endpoint of `host:port`, `http://host:port` or `https://host`; anything else is a ValueError."""
        scheme, found, rest = address.strip().partition("://")
        if not found:
            scheme, rest = "http", scheme
        rest = rest.rstrip("/")
        host, colon, port = rest.rpartition(":")
        if not colon or rest.endswith("]"):
            host, port = rest, str(DEFAULT_TLS_PORT if scheme == "https" else DEFAULT_PORT)
        if scheme not in {"http", "https"} or not host or "/" in rest or not port.isdecimal() or int(port) > 65_535:
            raise ValueError(
                f'the address "{address}" is not understood: write host:port, http://host:port or https://host'
            )
        return cls(target=f"{host}:{port}", tls=scheme == "https")


def open_channel(endpoint: Endpoint, root_certificates: bytes | None) -> aio.Channel:
    """Return a channel with our manners; nothing is connected before the first call."""
    if not endpoint.tls:
        return aio.insecure_channel(endpoint.target, options=_CHANNEL_OPTIONS)
    credentials = grpc.ssl_channel_credentials(root_certificates=root_certificates)
    return aio.secure_channel(endpoint.target, credentials, options=_CHANNEL_OPTIONS)


class _Connection:
    """One channel, and how many calls are on it."""

    def __init__(self, channel: aio.Channel) -> None:
        self.channel = channel
        self.stub: MarketDataServiceAsyncStub = MarketDataServiceStub(channel)
        self.users = 0
        self.retired = False


class Transport:
    """The calls of `MarketDataService` over a connection that is replaced when it dies."""

    def __init__(
        self,
        address: str,
        *,
        token: Token | None,
        metadata: Mapping[str, str],
        root_certificates: bytes | None,
        silence_timeout_s: float,
    ) -> None:
        """Prepare; nothing is connected before the first call."""
        self.address = address
        self._endpoint = Endpoint.parse(address)
        self._token = token
        self._metadata = tuple((key.lower(), value) for key, value in metadata.items())
        self._root_certificates = root_certificates
        self._silence_timeout_s = silence_timeout_s
        self._current: _Connection | None = None
        self._all: set[_Connection] = set()
        self.closed = False
        """Whether `close` was called; nothing can be sent any more."""

    async def call(
        self,
        pick: Callable[[MarketDataServiceAsyncStub], UnaryMethod[Request, Response]],
        request: Request,
        timeout_s: float,
    ) -> Response:
        """Send one call once; raise `PerpmeshError` if it fails."""
        metadata = await self._call_metadata()
        async with self._use() as connection:
            try:
                return await pick(connection.stub)(request, timeout=timeout_s, metadata=metadata)
            except aio.AioRpcError as failure:
                error = from_rpc(failure, self.address)
                if error.code == "DEADLINE_EXCEEDED" and error.from_transport:
                    self._retire(connection)  # nothing came back at all: perhaps nothing can
                raise error from None

    @asynccontextmanager
    async def stream(
        self,
        pick: Callable[[MarketDataServiceAsyncStub], StreamMethod[Request, Response]],
        request: Request,
    ) -> AsyncIterator[Reader[Response]]:
        """Open one stream, and cancel it on the way out."""
        metadata = await self._call_metadata()
        async with self._use() as connection:
            call = pick(connection.stub)(request, metadata=metadata)
            reader = Reader(call, self.address, self._silence_timeout_s, lambda: self._retire(connection))
            try:
                yield reader
            finally:
                reader.close()

    async def close(self) -> None:
        """Close every connection; calls under way are canceled."""
        self.closed = True
        self._current = None
        for connection in tuple(self._all):
            self._all.discard(connection)
            await connection.channel.close(grace=None)

    @asynccontextmanager
    async def _use(self) -> AsyncIterator[_Connection]:
        if self.closed:
            raise RuntimeError("this Perpmesh is closed: use it inside `async with Perpmesh(...) as mesh:`")
        if self._current is None:
            self._current = _Connection(self._connect())
            self._all.add(self._current)
        connection = self._current
        connection.users += 1
        try:
            yield connection
        finally:
            connection.users -= 1
            if connection.retired and connection.users == 0 and connection in self._all:
                self._all.discard(connection)
                await connection.channel.close(grace=None)

    def _retire(self, connection: _Connection) -> None:
        connection.retired = True
        if self._current is connection:
            self._current = None

    def _connect(self) -> aio.Channel:
        return open_channel(self._endpoint, self._root_certificates)

    def token_refused(self) -> bool:
        """Have another token fetched for the next call; False where no other can be had."""
        refused = getattr(self._token, "refused", None)
        if refused is None:
            return False
        refused()
        return True

    async def _call_metadata(self) -> tuple[tuple[str, str], ...]:
        if self._token is None:
            return self._metadata
        token = self._token if isinstance(self._token, str) else await self._token()
        return (*self._metadata, ("authorization", f"Bearer {token}"))


class Reader(Generic[Response]):
    """Reads one open stream, and notices when it has gone silent.

    The silence counts only while somebody waits for a message: a consumer that takes its time is no fault of the
    connection. One timer per stream does it; a timer per message would cost more than the message.
    """

    def __init__(
        self, call: Call[Response], address: str, silence_timeout_s: float, retire: Callable[[], None]
    ) -> None:
        """Read `call`; `retire` is called when its connection is found dead."""
        self._call = call
        self._address = address
        self._timeout_s = silence_timeout_s
        self._retire = retire
        self._loop = asyncio.get_running_loop()
        self._waiting_since: float | None = None
        self._silent = False
        self._timer = self._loop.call_later(silence_timeout_s / 4, self._look)

    async def read(self) -> Response | None:
        """Return the next message, None at the stream's end, or raise `PerpmeshError`."""
        self._waiting_since = self._loop.time()
        try:
            message = await self._call.read()
        except aio.AioRpcError as failure:
            raise from_rpc(failure, self._address) from None
        except asyncio.CancelledError:
            # grpc raises this too when the call, and not the task that reads it, is canceled.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            silence = f"was silent for {self._timeout_s:g} seconds, heartbeats included: its connection is dead"
            message = f"The stream from {self._address} {silence if self._silent else 'was closed on this side'}."
            raise PerpmeshError(message, code="UNAVAILABLE", category="network") from None
        finally:
            self._waiting_since = None
        return None if message is aio.EOF else message  # type: ignore[return-value]

    def close(self) -> None:
        """Stop the timer and cancel the stream."""
        self._timer.cancel()
        with contextlib.suppress(asyncio.InvalidStateError):
            self._call.cancel()

    def _look(self) -> None:
        since = self._waiting_since
        if since is not None and self._loop.time() - since >= self._timeout_s:
            self._silent = True
            self._retire()
            self._call.cancel()
            return
        self._timer = self._loop.call_later(self._timeout_s / 4, self._look)
