"""What is asked of a desk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from services.domain.refusal import Refusal
from services.vault.model.signing import Leg, Report, SignedAction, Wanted

Answer = SignedAction | Refusal | None


@dataclass(slots=True, eq=False)
class Job:
    """Something asked of a desk: an action to sign or prepare, a caller's signature, or an outcome."""

    leg: Leg
    wanted: Wanted | None = None
    signature: str = ""
    report: Report | None = None
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    is_unseen: bool = False
    """Whether it was taken for new without a look at what was signed before."""
    is_taken: bool = False
    """Whether it is being signed, so that its answer must be awaited."""

    def give(self, answer: Answer) -> None:
        """Answer it, if anybody still waits."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        """Fail it, if anybody still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)
