"""All that routing asks of the world."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from services.routing.model.books import MarketBooks, Stamp
from services.routing.model.wish import Standing, Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptQuote:
    """A quote as it is stored: immutable, with the bytes it was made from and the bytes it was answered with."""

    quote_id: UUID
    user_id: UUID | None
    """Whose it is; None for one made without a login, which anyone may read."""
    market: str
    create_time: datetime
    expire_time: datetime
    digest: str
    inputs: bytes
    """A `QuoteInputs`."""
    quote: bytes
    """A `Quote` without its inputs."""
    order_id: UUID | None = None


class Books(Protocol):
    """The books of the markets that are asked for, kept in memory."""

    async def market(self, name: str) -> MarketBooks:
        """Return a market as it stands, waiting for its first books. Raises MARKET_UNKNOWN or PEER_UNAVAILABLE."""
        ...

    def changed(self, name: str) -> Awaitable[None]:
        """Wait until a market that is followed has changed."""
        ...


class Standings(Protocol):
    """What is known of a caller's accounts."""

    async def of_user(self, user: str | None, account_ids: tuple[str, ...], market: str) -> Standing:
        """Return the standing of a caller; the public one without a user."""
        ...

    async def of_accounts(self, account_ids: tuple[str, ...], market: str) -> Standing:
        """Return the standing of named accounts, for another room."""
        ...


class Quotes(Protocol):
    """The record of quotes."""

    def keep(self, quote: KeptQuote) -> None:
        """Keep a quote, soon; never waits. What is lost when the database is away is counted."""
        ...

    async def keep_now(self, quote: KeptQuote) -> None:
        """Keep a quote before returning."""
        ...

    async def get(self, quote_id: UUID) -> KeptQuote | None:
        """Return a quote, or None."""
        ...


class Routes(Protocol):
    """Quotes just made: found again by wish and books where nobody's accounts count, or by their id."""

    def known(self, wish: Wish, stamp: Stamp) -> KeptQuote | None:
        """Return the quote of a wish on these books, where this process has it."""
        ...

    async def fetch(self, wish: Wish, stamp: Stamp) -> KeptQuote | None:
        """Return the quote of a wish that has come before, where another replica has just made it."""
        ...

    def remember(self, wish: Wish, stamp: Stamp, quote: KeptQuote, *, share: bool) -> None:
        """Remember a quote that counts with nobody's accounts; `share` gives it to the other replicas."""
        ...

    def note_frame(self, quote: KeptQuote) -> None:
        """Remember a frame of a stream until it expires, so that an order can cite it."""
        ...

    def frame(self, quote_id: UUID) -> KeptQuote | None:
        """Return a frame that was sent by this process and may still be cited."""
        ...


class Clock(Protocol):
    """The time."""

    def time_ns(self) -> int:
        """Nanoseconds since 1970."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Chance(Protocol):
    """New ids."""

    def uuid(self) -> UUID:
        """Return a new id."""
        ...
