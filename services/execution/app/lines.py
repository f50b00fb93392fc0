"""The lines in which the bytes of accounts stand before they are posted."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import AbstractAsyncContextManager, nullcontext
from uuid import UUID

from services.venues.trading import TradingVenue


class Lines:
    """One line an account where the venue's nonces have an order; no line where bytes may overtake each other."""

    def __init__(self) -> None:
        self._locks: defaultdict[UUID, asyncio.Lock] = defaultdict(asyncio.Lock)

    def of(self, account_id: UUID, venue: TradingVenue) -> AbstractAsyncContextManager[None]:
        """Return what to hold from the signing of bytes until they were posted."""
        return self._locks[account_id] if venue.orders_nonces else nullcontext()
