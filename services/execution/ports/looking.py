"""What execution asks of the world to look at orders: what would come of one, what one came to, lists and the log."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol
from uuid import UUID

from services.execution.model.listing import Listing
from services.execution.model.order import Order
from services.execution.model.quoted import Levels
from services.execution.model.wanted import Wanted
from services.venues.account import AccountState, Fees
from services.venues.actions import Side


class Books(Protocol):
    """The books of markets that are traded in, now and a moment ago; a view that may not know."""

    async def ready(self, market: str) -> None:
        """Begin to follow a market, waiting a moment the first time."""
        ...

    def now(self, market: str, venue: str, side: Side) -> Levels | None:
        """Return the side that an order of `side` takes from as it stands; None where it is not known."""
        ...

    def since(self, market: str, venue: str, side: Side, moment: datetime) -> tuple[Sequence[Levels], bool]:
        """Return what it was from a moment on, the oldest first, and whether nothing of it is missing."""
        ...

    def mid(self, market: str) -> Decimal | None:
        """Return the mid price over the venues; None where it is not known."""
        ...

    def listing(self, market: str, venue: str) -> Listing | None:
        """Return what a venue demands of orders; None where it is not known."""
        ...


class Standings(Protocol):
    """What venues last said of accounts; a view that may not know."""

    def fees(self, account_id: UUID) -> Fees | None:
        """Return the fee rates of an account."""
        ...

    def state(self, account_id: UUID) -> AccountState | None:
        """Return an account as its venue last said."""
        ...


class Reports(Protocol):
    """What orders came to."""

    async def report(self, user_id: UUID, order_id: UUID) -> bytes | None:
        """Return the log event of an order's report: as it was written at its end, or of what it is so far."""
        ...


class Lists(Protocol):
    """A user's orders and fills, page by page."""

    async def orders(self, user_id: UUID, wanted: Wanted) -> Sequence[Order]:
        """Return orders, the newest first by create_time and then by order_id."""
        ...

    async def fills(self, user_id: UUID, wanted: Wanted) -> Sequence[Mapping[str, Any]]:
        """Return fills by their names, the newest first by fill_time and then by fill_id."""
        ...


class Log(Protocol):
    """The log of what happened, by number."""

    async def read(self, first: int, count: int) -> tuple[list[bytes], int]:
        """Return events from a number on, without a hole, and the number of the last one written."""
        ...

    async def last(self) -> int:
        """Return the number of the last event written."""
        ...

    async def of_user(self, user_id: UUID, kind: str, after: int, count: int) -> list[tuple[int, bytes]]:
        """Return a user's events of a kind after a number."""
        ...


class Bell(Protocol):
    """Tells when the log has grown."""

    def listen(self) -> asyncio.Event:
        """Return an event that is set whenever it has; give it back with `forget`."""
        ...

    def forget(self, event: asyncio.Event) -> None:
        """Stop telling."""
        ...

    def ring(self) -> None:
        """Have everyone who listens look."""
        ...
