"""The lines in which the bytes of accounts stand before they are posted."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, nullcontext
from uuid import UUID
from weakref import WeakValueDictionary

from services.venues.trading import TradingVenue


class Lines:
    """One line an account where the venue's nonces have an order; no line where bytes may overtake each other.

    A line exists while somebody stands in it, so that accounts which trade no more leave nothing behind.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    def of(self, account_id: UUID, venue: TradingVenue) -> AbstractAsyncContextManager[None]:
        """Return what to hold from the signing of bytes until they were posted."""
        if not venue.orders_nonces:
            return nullcontext()
        line = self._locks.get(account_id)
        if line is None:
            line = self._locks[account_id] = asyncio.Lock()
        return line
