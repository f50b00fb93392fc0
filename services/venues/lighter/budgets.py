"""Everything Lighter counts, counted in one place: reads of an IP address, sends of an L1 address, sockets.

A standard account has 60 requests a minute and 60 transactions a minute, 40 of one kind; changing leverage is limited
further by some of the venue's pages. Premium accounts may send faster and have a volume quota: transactions that place
or change an order use it up, trading earns it, every answer says what is left, and without any left one passes each
15 s. Source: the venue's page on limits.
"""

from __future__ import annotations

from typing import Final

from services.venues.budget import Allowance, Budget, BudgetUse
from services.venues.lighter.http import REQUESTS_PER_MINUTE
from services.venues.lighter.plan import CONNECTS_PER_MINUTE, MESSAGES_PER_MINUTE
from services.venues.lighter.wire.transactions import TxType
from services.venues.port import LimitUse

SENDS_PER_MINUTE: Final = 60
KIND_PER_MINUTE: Final = 40
CANCEL_RESERVE: Final = 6
"""Kept for cancels."""
ADDRESSES_MAX: Final = 10_000

QUOTA_FREE_NS: Final = 15_000_000_000
"""How long after the last transaction an account without quota may send one more."""

QUOTA_TYPES: Final = frozenset((TxType.CREATE_ORDER, TxType.MODIFY_ORDER, TxType.CREATE_GROUPED_ORDERS))
"""What uses up the volume quota; cancels are free."""
CANCELS: Final = frozenset((TxType.CANCEL_ORDER, TxType.CANCEL_ALL_ORDERS))


class LighterBudgets:
    """One IP address's budgets, and those of each L1 address that sends through it."""

    def __init__(
        self,
        *,
        requests_per_minute: int = REQUESTS_PER_MINUTE,
        sends_per_minute: int = SENDS_PER_MINUTE,
        kind_per_minute: int = KIND_PER_MINUTE,
    ) -> None:
        self.requests = Budget(
            Allowance(units=requests_per_minute, seconds=60, reserve=max(1, requests_per_minute // 10))
        )
        self.messages = Budget(
            Allowance(units=MESSAGES_PER_MINUTE - 10, seconds=60, reserve=20),
            Allowance(units=50, seconds=1, reserve=5),
        )
        self.connects = Budget(Allowance(units=min(60, CONNECTS_PER_MINUTE), seconds=60))
        self._sends_per_minute = sends_per_minute
        self._kind_per_minute = kind_per_minute
        self._sends: dict[str, Budget] = {}
        self._kinds: dict[tuple[str, int], Budget] = {}
        self._quota: dict[str, tuple[int, int]] = {}

    def send_at_ns(self, address: str, kind: int, now_ns: int) -> int:
        """Return when a transaction of `kind` may go; at or before `now_ns` means now."""
        sends, kinds = self._of(address, kind)
        urgent = kind in CANCELS
        at_ns = max(sends.free_at_ns(now_ns, 1, urgent=urgent), kinds.free_at_ns(now_ns, 1, urgent=urgent))
        left, told_ns = self._quota.get(address, (1, 0))
        return max(at_ns, told_ns + QUOTA_FREE_NS) if kind in QUOTA_TYPES and left <= 0 else at_ns

    def quota_told(self, address: str, left: int, now_ns: int) -> None:
        """Take over what the venue says is left of an address's volume quota; it is shared by its sub-accounts."""
        if len(self._quota) >= ADDRESSES_MAX:
            self._quota.clear()
        self._quota[address] = (left, now_ns)

    def sent(self, address: str, kind: int, now_ns: int) -> None:
        """Count a transaction that was sent."""
        for budget in self._of(address, kind):
            budget.charge(now_ns, 1)

    @property
    def sends(self) -> int:
        """All transactions ever sent, to compare with the venue's own count."""
        return sum(budget.spent for budget in self._sends.values())

    def limits(self, now_ns: int) -> tuple[LimitUse, ...]:
        """Return how much of each is in use; of the sends, those of the busiest address."""
        requests, messages, connects = (b.used(now_ns) for b in (self.requests, self.messages, self.connects))
        sends = max((budget.used(now_ns)[0] for budget in self._sends.values()), default=0)
        return (
            LimitUse(name="requests a minute", used=requests[0], allowed=requests[1]),
            LimitUse(name="transactions a minute of one L1 address", used=sends, allowed=self._sends_per_minute),
            LimitUse(name="socket messages a minute", used=messages[0], allowed=messages[1]),
            LimitUse(name="connections a minute", used=connects[0], allowed=connects[1]),
        )

    def of(self, address: str, now_ns: int) -> tuple[BudgetUse, ...]:
        """Return how much is left for one L1 address: of our network address's limits, and of its own."""
        kind = int(TxType.CREATE_ORDER)
        sends, kinds = self._of(address, kind)
        uses = [
            self.requests.use(now_ns, by_account=False, name="rest_requests", unit="requests", cost=1),
            self.messages.use(now_ns, by_account=False, name="socket_messages", unit="messages"),
            sends.use(now_ns, by_account=True, name="sends", unit="transactions", cost=1),
            kinds.use(now_ns, by_account=True, name="order_sends", unit="transactions", cost=1),
        ]
        told = self._quota.get(address)
        if told is not None:
            wait_ns = 0 if told[0] > 0 else max(0, told[1] + QUOTA_FREE_NS - now_ns)
            uses.append(
                BudgetUse(
                    by_account=True, name="volume_quota", unit="orders", limit=told[0], used=0, next_order_cost=1,
                    free_s=wait_ns / 1e9,
                )
            )  # fmt: skip
        return tuple(uses)

    def _of(self, address: str, kind: int) -> tuple[Budget, Budget]:
        sends = self._sends.get(address)
        if sends is None:
            if len(self._sends) >= ADDRESSES_MAX:
                self._sends.clear()
                self._kinds.clear()
            units = self._sends_per_minute
            sends = Budget(Allowance(units=units, seconds=60, reserve=min(CANCEL_RESERVE, units // 2)))
            self._sends[address] = sends
        kinds = self._kinds.get((address, kind))
        if kinds is None:
            units = self._kind_per_minute
            kinds = self._kinds[address, kind] = Budget(Allowance(units=units, seconds=60))
        return sends, kinds
