"""Telling the vault what became of what it signed. At Lighter a key signs nothing more until it knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from services.domain.errors import DomainError, Reason
from services.execution.model.fate import Fate
from services.execution.model.leg import Leg, LegState
from services.execution.ports import Signer, Work

_TOLD_BEFORE: Final = (Reason.OUTCOME_CONTRADICTED, Reason.RESOURCE_UNKNOWN)
"""The vault has an outcome of it, or never signed it: either way nothing waits."""


async def settle(signer: Signer, work: Work, number: int, fate: Fate) -> None:
    """Say what became of an action; saying it again after a crash is no error, in whatever words it was said before."""
    try:
        await signer.settle(work, number, fate)
    except DomainError as error:
        if error.reason not in _TOLD_BEFORE:
            raise


def settled(number: int) -> Callable[[Leg], Leg]:
    """Return the change that notes an action of this number, and those before it, as settled."""
    return lambda leg: replace(leg, settled=max(leg.settled, number + 1))


def fate_of_placing(leg: Leg) -> Fate:
    """Return what became of the action that placed a leg of which the venue has shown evidence."""
    if leg.state is LegState.FAILED:
        return Fate.NEVER_LANDED
    return Fate.REFUSED_NONCE_USED if leg.state is LegState.REJECTED else Fate.ACCEPTED
