"""What execution asks of the world for callers who sign themselves."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from services.domain.refusal import Refusal
from services.execution.model.preparing import Prepared
from services.execution.ports import Orders, Signer, Work
from services.venues.actions import Action
from services.venues.trading import SignedBytes


class CallerSigner(Signer, Protocol):
    """The vault's signer, for what callers sign with keys of their own."""

    async def prepare(self, work: Work, action: Action, number: int) -> Prepared | Refusal:
        """Return what a leg's caller has to sign, with a leased nonce; the same again for the same leg and number."""
        ...

    async def accept(self, work: Work, action: Action, number: int, signature: str) -> SignedBytes | Refusal:
        """Return the bytes with a caller's signature in them, once it holds; the same again whatever is brought."""
        ...


class CallerOrders(Orders, Protocol):
    """The record of orders."""

    async def fence(self, leg_id: UUID) -> int:
        """Return the newest fencing number of a leg, at least 1: for what repeats itself, and needs no lease."""
        ...
