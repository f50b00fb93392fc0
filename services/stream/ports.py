"""All that the door asks of the world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol

from services.domain.errors import DomainError
from services.stream.model.caller import Caller
from services.stream.model.frame import Frame
from services.stream.model.private import Private, Told
from services.stream.model.said import Said
from services.stream.model.topic import Kind, Subject


class Clock(Protocol):
    """What tells the time and waits."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""

    def monotonic(self) -> float:
        """Return seconds since an arbitrary start; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Wait for at least `seconds`."""


class MarketData(Protocol):
    """The room that owns prices, books, trades, funding and candles."""

    async def markets(self) -> frozenset[str]:
        """Return the canonical names of all markets, or raise a `DomainError`."""

    async def follow(
        self, subjects: Sequence[Subject], *, cursor: str, replay: int, hear: Callable[[Said], None]
    ) -> None:
        """Call `hear` with all that one Watch stream says about `subjects`, which are of one kind, until it ends.

        `cursor` resumes after the message that carried it; `replay` is how many recent trades come first, for trades.
        Returns when the stream ends without a word. Raises a `DomainError` when it is refused, cut or silent for too
        long, and whatever `hear` raises, after which the stream is closed.
        """


class PrivateRooms(Protocol):
    """The rooms that own what belongs to callers."""

    async def follow(
        self, topic: Private, *, token: str, cursor: str, hear: Callable[[Told], Awaitable[None]]
    ) -> Told | None:
        """Call `hear` with all that one stream of the token's user says, and read on only when it has returned.

        `cursor` resumes after the message that carried it. Returns upstream's last word, or None where it ends without
        one. Raises a `DomainError` when it is refused, cut or silent for too long.
        """


class Callers(Protocol):
    """What knows whom an access token names, and when that ends."""

    def admit(self, token: str, end: Callable[[DomainError], None]) -> Caller:
        """Return whom a token names, and call `end` once when it ends or is revoked; raises a `DomainError`."""


class Presence(Protocol):
    """Which sockets a user has, for whoever wants to know: `connections:{userId}`. Nothing here waits."""

    def here(self, user: str, connection_id: str) -> None:
        """A socket is a user's."""

    def gone(self, user: str, connection_id: str) -> None:
        """It is not any more."""


class Socket(Protocol):
    """One client's socket, as far as sending goes. Nothing here waits."""

    @property
    def congested(self) -> bool:
        """Say whether the client reads slower than we send: what is written now would pile up."""

    def write(self, frames: Sequence[Frame]) -> int:
        """Send frames and return how many bytes they are; on a closed socket, nothing happens."""

    def close(self, code: int, reason: str) -> None:
        """Begin to close with a WebSocket close code; a client that does not answer is cut off."""


class Measures(Protocol):
    """What is counted for whoever runs the door."""

    def connections(self, count: int) -> None:
        """Set how many sockets are open."""

    def subjects(self, count: int) -> None:
        """Set how many subjects are followed upstream."""

    def sent(self, frames: int, size_bytes: int) -> None:
        """Count frames handed to a socket."""

    def refused(self, error: DomainError) -> None:
        """Count a frame or topic that was refused."""

    def ended(self, reason: str) -> None:
        """Count a connection that the door ended."""

    def interrupted(self, kind: Kind, error: DomainError) -> None:
        """Count a Watch stream that was cut off."""

    def fault(self, error: Exception) -> None:
        """Report a fault of ours."""
