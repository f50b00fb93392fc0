"""What this process signed of late, so that the outcome of an action, which follows in a moment, needs no reading.

A view: whatever is decided on it is written under the lane's fence, and where that write is refused all of it is
forgotten and read anew.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from services.vault.model.lane import Outcome
from services.vault.model.signing import Kept, Leg
from services.vault.ports import Batch

ACTIONS_MAX: Final = 5_000


class Recent:
    """Actions by leg and number, and the newest fence of each leg."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[UUID, int], Kept] = OrderedDict()
        self._fences: dict[UUID, int] = {}

    def known(self, legs: Sequence[Leg]) -> tuple[dict[tuple[UUID, int], Kept], dict[UUID, tuple[UUID, int]]]:
        """Return those actions that are here, and of each leg its account and newest fence."""
        kept = {leg.name: found for leg in legs if (found := self._kept.get(leg.name)) is not None}
        return kept, {one.leg_id: (one.account_id, self._fences[one.leg_id]) for one in kept.values()}

    def fence(self, fences: Mapping[UUID, int]) -> None:
        """Note newer fences of legs that are here."""
        for leg_id, fence in fences.items():
            if leg_id in self._fences:
                self._fences[leg_id] = max(fence, self._fences[leg_id])

    def note(self, batch: Batch) -> None:
        """Note what was written."""
        for one in batch.signed:
            if not one.is_prepared:
                self._kept[one.leg_id, one.number] = one
                self._fences.setdefault(one.leg_id, 0)
        self.fence(batch.fences)
        for report in batch.settled:
            found = self._kept.get(report.leg.name)
            if found is not None and found.outcome in (None, Outcome.LAPSED):
                self._kept[report.leg.name] = replace(found, outcome=report.outcome, sealed_body=None)
        for one in batch.accepted:
            self._kept.pop((one.leg_id, one.number), None)
        while len(self._kept) > ACTIONS_MAX:
            name, _ = self._kept.popitem(last=False)
            if not any((name[0], number) in self._kept for number in range(name[1] + 2)):
                self._fences.pop(name[0], None)

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self._fences.clear()
