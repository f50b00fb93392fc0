"""A part of a mesh as its callers have it: one connection, the caller's token on every call, one rule for repeating.

`Quotes`, `Vault`, `Orders`, `Portfolio` and `Login` are parts. A call that the mesh leaves unanswered is sent again, as
it was, until the part's patience ends: what changes something carries its request id, so that what arrived the first
time is answered and not done twice. A token that the mesh refused is fetched anew, once. A broken stream is opened
again where it stood.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping
from types import TracebackType
from typing import ClassVar, Protocol, Self, TypeVar, runtime_checkable

from google.protobuf.message import Message
from grpc import aio

from perpmesh_client.errors import PerpmeshError, from_rpc
from perpmesh_client.transport import Endpoint, Token, UnaryMethod, open_channel

REPEAT_S = 0.2
"""The wait before a call is sent again, or a stream opened again, where the mesh asks for no longer one."""

RequestIn = TypeVar("RequestIn", contravariant=True)
MessageOut = TypeVar("MessageOut", bound=Message, covariant=True)
Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer")
Told = TypeVar("Told", bound=Message)
Item = TypeVar("Item")


class Listen(Protocol[RequestIn, MessageOut]):
    """A call of one request and many messages, as a stub has it."""

    def __call__(self, request: RequestIn, /, *, metadata: tuple[tuple[str, str], ...]) -> AsyncIterable[MessageOut]:
        """Open the stream."""


@runtime_checkable
class Renewable(Protocol):
    """What fetches tokens and can be told that one was refused, such as a `Login`."""

    def refused(self) -> None:
        """Note that the mesh refused the token."""


class Part:
    """One connection to one service or two. Every call raises `PerpmeshError`."""

    timeout_s: ClassVar[float] = 10.0
    """How long one call may take."""

    def __init__(
        self,
        address: str,
        *,
        token: Token | None = None,
        metadata: Mapping[str, str] | None = None,
        root_certificates: bytes | None = None,
        patience_s: float = 0.0,
    ) -> None:
        """Prepare; the first call connects. `token` is an access token, or what fetches one, such as a `Login`.

        `patience_s` is how long an unanswered call is repeated.
        """
        self.address = address
        self._token = token
        self._headers = tuple((metadata or {}).items())
        self._root_certificates = root_certificates
        self._patience_s = patience_s
        self._channel: aio.Channel | None = None

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    def _open(self) -> aio.Channel:
        if self._channel is None:
            self._channel = open_channel(Endpoint.parse(self.address), self._root_certificates)
        return self._channel

    async def _about(self, *, signed_in: bool = True) -> tuple[tuple[str, str], ...]:
        """Return what a call carries beside its request."""
        if self._token is None or not signed_in:
            return self._headers
        token = self._token if isinstance(self._token, str) else await self._token()
        return (*self._headers, ("authorization", f"Bearer {token}"))

    async def _ask(self, method: UnaryMethod[Request, Answer], request: Request, *, signed_in: bool = True) -> Answer:
        """Make a call, again while it stays unanswered."""
        loop = asyncio.get_running_loop()
        deadline, renewed = loop.time() + self._patience_s, False
        while True:
            about = await self._about(signed_in=signed_in)
            try:
                return await method(request, timeout=self.timeout_s, metadata=about)
            except aio.AioRpcError as failure:
                error = from_rpc(failure, self.address)
            if signed_in and not renewed and self._is_renewed(error):
                renewed = True
                continue
            wait_s = max(REPEAT_S, error.retry_after.total_seconds() if error.retry_after is not None else 0.0)
            if not unanswered(error) or loop.time() + wait_s >= deadline:
                raise error
            await asyncio.sleep(wait_s)

    async def _pages(
        self,
        method: UnaryMethod[Request, Answer],
        request: Request,
        take: Callable[[Answer], Iterable[Item]],
        *,
        limit: int = 0,
    ) -> list[Item]:
        """Return what a list holds, read page by page to its end, or to `limit` items where that is given."""
        found: list[Item] = []
        while True:
            page = await self._ask(method, request)
            found.extend(take(page))
            token: str = getattr(page, "next_page_token")  # noqa: B009 - every list has one
            if not token or (limit and len(found) >= limit):
                return found[:limit] if limit else found
            setattr(request, "page_token", token)  # noqa: B010 - and takes one

    async def _stream(
        self,
        method: Listen[Request, Told],
        request_of: Callable[[str], Request],
        *,
        cursor: str = "",
        collapses: bool = False,
    ) -> AsyncGenerator[Told, None]:
        """Yield the messages of a stream, opened again with the last cursor wherever it breaks.

        One that `collapses` may pass over what it lost: the present follows. Of any other, nothing may be lost.
        """
        renewed = False
        while True:
            try:
                async for message in method(request_of(cursor), metadata=await self._about()):
                    renewed = False
                    cursor = getattr(message, "cursor", "") or cursor
                    _check(message, collapses=collapses)
                    yield message
            except aio.AioRpcError as failure:
                error = from_rpc(failure, self.address)
                if not unanswered(error):
                    if renewed or not self._is_renewed(error):
                        raise error from None
                    renewed = True
            await asyncio.sleep(REPEAT_S)

    def _is_renewed(self, error: PerpmeshError) -> bool:
        """Have a token that was refused fetched anew; say whether another try is worth it."""
        if error.reason != "TOKEN_INVALID" or not isinstance(self._token, Renewable):
            return False
        self._token.refused()
        return True


def unanswered(error: PerpmeshError) -> bool:
    """Say whether it is unknown what became of a call, so that only the same call again can tell."""
    return error.code == "UNAVAILABLE" or error.from_transport


def _check(message: Message, *, collapses: bool) -> None:
    """Raise where a stream lost what must not be lost, or ended for good."""
    event = message.WhichOneof("event")
    if event == "gap" and not collapses:
        raise PerpmeshError("the stream lost what it can no longer tell; list it, then watch anew", code="DATA_LOSS")
    end = getattr(message, "end")  # noqa: B009 - every stream of the contract has one
    if event == "end" and not end.resumable:
        raise PerpmeshError(end.message, code="ABORTED", reason=end.reason)
