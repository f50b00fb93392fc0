"""The bytes of a leg's actions: signed by a key of ours, or with the signature that the leg's caller brought."""

from __future__ import annotations

from services.domain.refusal import Refusal
from services.execution.ports import TradingAccount, Work
from services.execution.ports.callers import CallerSigner
from services.venues.actions import Action
from services.venues.trading import SignedBytes


async def placing_bytes(
    signer: CallerSigner, work: Work, account: TradingAccount, action: Action
) -> SignedBytes | Refusal:
    """Return what places a leg; the same bytes each time."""
    if work.leg.caller is not None:
        return await signer.accept(work, action, 0, work.leg.signature)
    return await signer.sign(work, account, action, 0)


async def canceling_bytes(
    signer: CallerSigner, work: Work, account: TradingAccount, action: Action, number: int
) -> SignedBytes | Refusal:
    """Return what cancels a leg; the same bytes each time for the same number."""
    if by_caller(work, account):
        return await signer.accept(work, action, number, work.leg.signature)
    return await signer.sign(work, account, action, number)


def by_caller(work: Work, account: TradingAccount) -> bool:
    """Whether only its caller can cancel a leg."""
    return work.leg.caller is not None and not account.has_our_key
