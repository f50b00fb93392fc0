"""The purses that are nobody's account: what came from outside, the crowd, fees, builders, the insurance fund.

Every movement of money has two ends. `audit` adds everything up: it must be zero to the last unit, and in every
market the sizes of users, crowd and insurance fund must cancel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from services.simulator.exchange.account import Account


@dataclass(slots=True)
class Treasury:
    """Money in 1e-6 and signed sizes by market."""

    outside: int = 0
    crowd: int = 0
    fees: int = 0
    insurance: int = 0
    surcharges: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    crowd_sizes: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    insurance_sizes: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def audit(self, accounts: Iterable[Account]) -> dict[str, object]:
        """Return the sums; `money` and every entry of `sizes` must be zero."""
        users = 0
        sizes: defaultdict[str, int] = defaultdict(int)
        for account in accounts:
            users += sum(account.cash.values())
            for market, position in account.positions.items():
                users += position.raw
                sizes[market] += position.size
        for held in (self.crowd_sizes, self.insurance_sizes):
            for market, size in held.items():
                sizes[market] += size
        surcharges = sum(self.surcharges.values())
        return {
            "money": users + self.crowd + self.fees + self.insurance + surcharges + self.outside,
            "users": users, "crowd": self.crowd, "fees": self.fees, "insurance": self.insurance,
            "surcharges": surcharges, "outside": self.outside,
            "sizes": {market: size for market, size in sizes.items() if size},
        }  # fmt: skip
