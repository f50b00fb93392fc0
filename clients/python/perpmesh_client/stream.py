"""One stream that outlives its connections: resumed by cursor, restarted when the cursor is too old.

`Follow` turns the many streams opened over time into one sequence of the mesh's messages. What it takes care of:

* an error that another attempt can mend (see `tuning.judge`): wait, then open again with the last cursor;
* a cursor that is refused: open without one, and say that messages may have been lost (`Restarted`);
* an `end` message: the same as an error, for good where the mesh says that resuming is not the thing to do;
* silence: the connection is dead, see `transport.Reader`.

Heartbeats end here. Gaps, the live mark and the data go on to whoever follows.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Literal, Protocol, TypeVar

from perpmesh_client.errors import PerpmeshError, from_end
from perpmesh_client.transport import Request, StreamMethod, Transport
from perpmesh_client.tuning import Tuning, Verdict, backoff_s, judge
from perpmesh_client.values.trade import Gap

if TYPE_CHECKING:
    from perpmesh.marketdata.v1.market_data_service_pb2_grpc import MarketDataServiceAsyncStub
    from perpmesh.type.v1 import stream_pb2

Item = TypeVar("Item")

TOKENS_TRIED = 3
"""How many tokens in a row may be refused before a stream gives up."""


class Status(StrEnum):
    """Where a stream stands, for whoever shows it."""

    CONNECTING = "CONNECTING"
    """No message has come yet."""
    CATCHING_UP = "CATCHING_UP"
    """The present is being sent, or what was missed."""
    LIVE = "LIVE"
    """Everything that happened has been sent."""
    RECONNECTING = "RECONNECTING"
    """The stream was cut and is being made again; what was yielded last is the last known."""
    CLOSED = "CLOSED"
    """Over, by an error or because nobody reads it."""


class Message(Protocol):
    """What the responses of all Watch calls have in common."""

    @property
    def cursor(self) -> str: ...
    @property
    def gap(self) -> stream_pb2.Gap: ...
    @property
    def end(self) -> stream_pb2.End: ...
    def WhichOneof(self, oneof_group: Literal["event"], /) -> str | None:  # noqa: N802 - protobuf's name
        """Return the name of the event that is set."""


Response = TypeVar("Response", bound=Message)


@dataclass(frozen=True, slots=True)
class Live:
    """The present has been sent; what follows is live."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The stream begins anew, without its cursor; what happened in between was not sent."""

    gap: Gap


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec(Generic[Request, Response]):
    """One Watch call: how it is named, picked from the stub, and asked for from a cursor on."""

    call: str
    """Its name, such as `WatchPrices`."""
    pick: Callable[[MarketDataServiceAsyncStub], StreamMethod[Request, Response]]
    request: Callable[[str], Request]
    """Makes the request that starts after a cursor; the empty cursor starts with the present."""


class Follow(Generic[Request, Response]):
    """The messages of one Watch call, over as many connections as it takes."""

    def __init__(
        self,
        transport: Transport,
        spec: Spec[Request, Response],
        tuning: Tuning,
        dice: random.Random,
        *,
        cursor: str = "",
    ) -> None:
        """Prepare to follow from `cursor` on; nothing is opened before the first message is asked for."""
        self.call = spec.call
        self.status = Status.CONNECTING
        self.problem: PerpmeshError | None = None
        """Why the stream is being made again; None while it runs."""
        self._transport = transport
        self._spec = spec
        self._tuning = tuning
        self._dice = dice
        self._cursor = cursor
        self.settled_cursor = cursor
        """Where the stream stands after all that its reader has finished with."""
        self.catching_up = False
        """Set by a reader that is still fetching what was missed: its cursor must not move on meanwhile."""
        self._answered = False
        self._failures = 0
        self._restart: Gap | None = None

    def restart(self, reason: str, market: str = "") -> None:
        """Have the stream opened anew from the present, since what came does not fit together."""
        self._restart = Gap(call=self.call, market=market, venue="", from_sequence=0, to_sequence=0, message=reason)

    async def messages(self) -> AsyncGenerator[Response | Gap | Live | Restarted, None]:
        """Yield everything that concerns a reader; raise `PerpmeshError` when there is no going on.

        Ends when the client is closed.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            while True:
                opened, had_cursor = loop.time(), bool(self._cursor)
                trouble: PerpmeshError | _Ended | None = None
                try:
                    async with aclosing(self._one_stream()) as events:
                        async for event in events:
                            yield event
                except (PerpmeshError, _Ended) as error:
                    trouble = error
                if self._transport.closed:
                    return
                now = loop.time()
                self._failures = 1 if now - opened > self._tuning.backoff_max_s else self._failures + 1
                restarted = self._decide(trouble, had_cursor=had_cursor, tried_s=now - began)
                if restarted is not None:
                    yield restarted
                # A refused cursor says nothing of how busy the mesh is, and cannot be refused twice in a row.
                if restarted is None or trouble is None:
                    await asyncio.sleep(self._wait_s(restarted))
        finally:
            self.status = Status.CLOSED

    async def _one_stream(self) -> AsyncGenerator[Response | Gap | Live, None]:
        async with self._transport.stream(self._spec.pick, self._spec.request(self._cursor)) as reader:
            while (message := await reader.read()) is not None:
                self._take(message)
                match message.WhichOneof("event"):
                    case "heartbeat" | None:
                        pass
                    case "live":
                        self.status = Status.LIVE
                        yield Live()
                    case "gap":
                        yield Gap.from_proto(self.call, message.gap)
                    case "end":
                        raise _Ended(from_end(message.end.reason, message.end.message), message.end.resumable)
                    case _:
                        yield message
                if self._restart is not None:
                    return
                self._settle()
        raise PerpmeshError(
            f"The stream from {self._transport.address} ended without a word.", code="UNAVAILABLE", category="network"
        )

    def _take(self, message: Response) -> None:
        self._answered = True
        self.problem = None
        if self.status is not Status.LIVE:
            self.status = Status.CATCHING_UP
        if message.cursor:
            self._cursor = message.cursor

    def _settle(self) -> None:
        """Note that the reader, who asks for more, has finished with all there was."""
        if self._cursor and not self.catching_up:
            self.settled_cursor = self._cursor

    def _decide(self, trouble: PerpmeshError | _Ended | None, *, had_cursor: bool, tried_s: float) -> Restarted | None:
        """Decide about a stream that ended: return how it begins anew, None if it resumes, or raise."""
        self.status = Status.RECONNECTING if self._answered else Status.CONNECTING
        if trouble is None:
            gap, self._restart, self._cursor = self._restart, None, ""
            assert gap is not None, "a stream ends without an error only where a restart was asked for"
            return Restarted(gap)
        if isinstance(trouble, _Ended):
            self.problem = trouble.error
            if not trouble.resumable:
                raise trouble.error
            return None
        self.problem = trouble
        if trouble.reason == "TOKEN_INVALID" and self._failures <= TOKENS_TRIED and self._transport.token_refused():
            return None
        verdict = judge(trouble, had_cursor=had_cursor, answered=self._answered)
        waited_out = self._tuning.connect_timeout_s is not None and tried_s >= self._tuning.connect_timeout_s
        if verdict is Verdict.RAISE or (not self._answered and waited_out):
            raise trouble
        if verdict is Verdict.RESUME:
            return None
        self._cursor = ""
        return Restarted(
            Gap(call=self.call, market="", venue="", from_sequence=0, to_sequence=0, message=trouble.message)
        )

    def _wait_s(self, restarted: Restarted | None) -> float:
        if restarted is not None and self._failures == 1:
            return 0.0
        asked = self.problem.retry_after if self.problem is not None else None
        return backoff_s(
            self._tuning, self._failures, self._dice, retry_after_s=asked.total_seconds() if asked is not None else 0.0
        )


class _Ended(Exception):  # noqa: N818 - it carries a message of the mesh, which may be no error at all
    """The mesh ended the stream in band, and said whether to open it again."""

    def __init__(self, error: PerpmeshError, resumable: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.resumable = resumable


class Watch(Generic[Item]):
    """The items of one stream: read it with `async for`, for as long as you like.

    It may be left at any time; `async with` or `aclose` end it at once, and without them it ends when nothing refers
    to it any more. One reader at a time.
    """

    def __init__(self, items: AsyncGenerator[Item, None], follow: Follow[Request, Response]) -> None:
        """Wrap the items that come of following a stream."""
        self._items = items
        self._follow = follow

    @property
    def cursor(self) -> str:
        """Where the stream stands after every item before the one in hand; opaque.

        Kept and given to the same call later, the stream goes on with the item in hand: at least once, across restarts
        of your program.
        """
        return self._follow.settled_cursor

    @property
    def status(self) -> Status:
        """Where the stream stands now."""
        return self._follow.status

    @property
    def problem(self) -> PerpmeshError | None:
        """Why the stream is being made again; None while it runs."""
        return self._follow.problem

    def __aiter__(self) -> Watch[Item]:
        """Return itself."""
        return self

    async def __anext__(self) -> Item:
        """Return the next item; raise `PerpmeshError` when the stream cannot go on."""
        return await self._items.__anext__()

    async def aclose(self) -> None:
        """End the stream."""
        await self._items.aclose()

    async def __aenter__(self) -> Watch[Item]:
        """Return itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the stream."""
        await self.aclose()
