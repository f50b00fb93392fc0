"""Everything Hyperliquid counts, counted in one place and for one IP address: weights, sockets, users, actions.

REST weights: 1,200 a minute; an action costs 1 and one more for each 40 of its orders; a question costs 2, 20 or 60,
and some more by the length of their answer, which is charged afterwards. Sockets: 10, with 10 users on private channels
over all of them. An address has 10,000 requests and one more for each USD it trades; each order of a batch counts.
Source: the venue's page on limits.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from services.venues.budget import Allotment, Allowance, Budget, BudgetUse, Seats
from services.venues.hyperliquid.connects import Connects
from services.venues.hyperliquid.plan import MESSAGES_ALLOWED_PER_MINUTE
from services.venues.port import LimitUse

WEIGHT_PER_MINUTE: Final = 1_200
PRICES_WEIGHT: Final = 350
TRADING_WEIGHT: Final = 750
KEYS_WEIGHT: Final = 100
"""How the rooms of a mesh, which have one address, divide its minute: prices and their history, orders, keys."""
WEIGHT_RESERVE: Final = 120
"""Kept for cancels and look-ups."""
USERS_MAX: Final = 10
DRIP_S: Final = 11.0
"""How long an address that has used up its requests waits for one more; 10 to 11 s were measured."""
ADDRESSES_MAX: Final = 10_000
"""How many addresses are remembered; beyond, all are forgotten and asked for again."""

_LIGHT: Final = frozenset(
    ("l2Book", "allMids", "clearinghouseState", "orderStatus", "spotClearinghouseState", "exchangeStatus")
)
_BY_ITEMS: Final = frozenset(
    ("recentTrades", "historicalOrders", "userFills", "userFillsByTime", "fundingHistory", "userFunding",
     "userNonFundingLedgerUpdates", "twapHistory", "userTwapSliceFills")
)  # fmt: skip
ITEMS_PER_WEIGHT: Final = 20


def info_weight(kind: str) -> int:
    """Return what a question costs before it is answered."""
    return 2 if kind in _LIGHT else 60 if kind == "userRole" else 20


def answer_weight(kind: str, items: int) -> int:
    """Return what an answer of `items` costs on top."""
    return items // ITEMS_PER_WEIGHT if kind in _BY_ITEMS else 0


def action_weight(count: int) -> int:
    """Return what an action of `count` orders costs."""
    return 1 + count // 40


class HyperliquidBudgets:
    """A room's part of one IP address's budgets."""

    def __init__(self, *, weight_per_minute: int = WEIGHT_PER_MINUTE) -> None:
        reserve = min(WEIGHT_RESERVE, weight_per_minute // 10)
        self.weight = Budget(Allowance(units=weight_per_minute, seconds=60, reserve=reserve))
        self.messages = Budget(Allowance(units=MESSAGES_ALLOWED_PER_MINUTE, seconds=60, reserve=100))
        self.connects = Connects()
        self.users = Seats(USERS_MAX)
        self._addresses: dict[str, Allotment] = {}
        self.told: dict[str, tuple[int, BudgetUse]] = {}
        """The venue's own count of requests, by address, and when it told it."""

    def address(self, address: str) -> Allotment:
        """Return the requests of one address."""
        found = self._addresses.get(address)
        if found is None:
            if len(self._addresses) >= ADDRESSES_MAX:
                self._addresses.clear()
            found = self._addresses[address] = Allotment(drip_s=DRIP_S)
        return found

    def limits(self, now_ns: int) -> tuple[LimitUse, ...]:
        """Return how much of each is in use."""
        weight, messages, connects = (b.used(now_ns) for b in (self.weight, self.messages, self.connects))
        return (
            LimitUse(name="request weight a minute", used=weight[0], allowed=weight[1]),
            LimitUse(name="socket messages a minute", used=messages[0], allowed=messages[1]),
            LimitUse(name="connections a minute", used=connects[0], allowed=connects[1]),
            LimitUse(name="users on private channels", used=self.users.used, allowed=self.users.limit),
        )

    def tell(self, address: str, now_ns: int, *, used: int, cap: int) -> tuple[int, BudgetUse]:
        """Keep the venue's own count of an address's requests, to be shown; return it with its time."""
        if len(self.told) >= ADDRESSES_MAX:
            self.told.clear()
        use = BudgetUse(by_account=True, name="actions", unit="actions", limit=cap, used=used, next_order_cost=1)
        found = self.told[address] = (now_ns, use)
        return found

    def of(self, address: str, now_ns: int) -> tuple[BudgetUse, ...]:
        """Return how much is left of the network address's limits; what an account must wait for is in the first."""
        wait_ns = max(0, self.address(address).free_at_ns(now_ns, 1) - now_ns)
        weight = self.weight.use(now_ns, by_account=False, name="rest_weight", unit="weight", cost=action_weight(1))
        return (
            replace(weight, free_s=max(weight.free_s, wait_ns / 1e9)),
            self.messages.use(now_ns, by_account=False, name="socket_messages", unit="messages"),
            BudgetUse(
                by_account=False, name="private_users", unit="users", limit=self.users.limit, used=self.users.used
            ),
        )
