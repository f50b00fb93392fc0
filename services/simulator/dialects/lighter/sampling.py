"""Which signatures are verified. A verification takes about 2.5 ms, so under load not all of them are.

In every second the first `limit` signatures are verified and after those every `EVERY`th; what was skipped is
counted and shown in the control state, so that nobody takes a load test for a proof of signatures.
"""

from __future__ import annotations

from services.simulator.crypto.schnorr import Verifier

EVERY = 10


class Sampler:
    """Verifies, or lets pass and counts."""

    def __init__(self, verifier: Verifier, limit: int) -> None:
        """Take how many signatures a second are always verified; 0 verifies all."""
        self._verifier = verifier
        self._limit = limit
        self._second = 0
        self._in_second = 0
        self.verified = 0
        self.skipped = 0
        self.refused = 0

    def verify(self, public: bytes, message: bytes, signature: bytes, now: float) -> bool:
        """Say whether a signature is true, or was let pass; `now` in seconds."""
        if int(now) != self._second:
            self._second, self._in_second = int(now), 0
        self._in_second += 1
        over = self._in_second - self._limit
        if self._limit and over > 0 and over % EVERY:
            self.skipped += 1
            return True
        self.verified += 1
        valid = self._verifier.verify(public, message, signature)
        self.refused += not valid
        return valid

    def shown(self) -> dict[str, object]:
        """Return what the control state says."""
        return {
            "verified": self.verified, "skipped": self.skipped, "refused": self.refused,
            "always_a_second": self._limit or "all", "then_one_in": EVERY,
        }  # fmt: skip
