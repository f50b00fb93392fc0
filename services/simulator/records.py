"""What happened to each account, newest last and bounded: what histories, snapshots and look-ups are answered from.

Kept an account: `TRADES_KEPT` trades, `ORDERS_KEPT` changes of orders (and the last state of as many orders), and
`ROWS_KEPT` rows of funding, of money moved and of TWAPs. The oldest go first, as on the venues.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from services.simulator.exchange.values import (
    Event,
    Funded,
    Liquidated,
    Moved,
    Order,
    OrderChanged,
    Party,
    Trade,
    Traded,
    Twap,
    TwapChanged,
)

TRADES_KEPT = 10_000
ORDERS_KEPT = 4_000
ROWS_KEPT = 2_000


@dataclass(slots=True)
class Record:
    """One account's history."""

    trades: deque[tuple[Trade, Party]] = field(default_factory=lambda: deque(maxlen=TRADES_KEPT))
    changes: deque[Order] = field(default_factory=lambda: deque(maxlen=ORDERS_KEPT))
    orders: OrderedDict[int, Order] = field(default_factory=OrderedDict)
    clients: dict[str, int] = field(default_factory=dict)
    fundings: deque[Funded] = field(default_factory=lambda: deque(maxlen=ROWS_KEPT))
    moves: deque[Moved] = field(default_factory=lambda: deque(maxlen=ROWS_KEPT))
    liquidations: deque[Liquidated] = field(default_factory=lambda: deque(maxlen=ROWS_KEPT))
    twaps: deque[tuple[Twap, int]] = field(default_factory=lambda: deque(maxlen=ROWS_KEPT))

    def order(self, key: int | str) -> Order | None:
        """Return the last known state of an order by its id, or the newest with a client id."""
        oid = self.clients.get(key) if isinstance(key, str) else key
        return None if oid is None else self.orders.get(oid)

    def note_order(self, order: Order) -> None:
        """Remember an order's newest state."""
        self.changes.append(order)
        self.orders[order.oid] = order
        if order.wanted.client:
            self.clients[order.wanted.client] = order.oid
        if len(self.orders) > ORDERS_KEPT:
            oid, old = next(((o, item) for o, item in self.orders.items() if not item.live), (0, order))
            self.orders.pop(oid, None)
            if self.clients.get(old.wanted.client) == oid:
                del self.clients[old.wanted.client]


class Records:
    """The histories of one venue's accounts."""

    def __init__(self) -> None:
        self._records: dict[int, Record] = {}

    def of(self, account: int) -> Record:
        """Return an account's history, empty for one that never did anything."""
        found = self._records.get(account)
        if found is None:
            found = self._records[account] = Record()
        return found

    def forget_trades(self, account: int) -> int:
        """Forget an account's trades, as venues do those beyond what they keep; return how many there were."""
        trades = self.of(account).trades
        count = len(trades)
        trades.clear()
        return count

    def note(self, event: Event) -> None:
        """Remember something that happened."""
        if isinstance(event, OrderChanged):
            self.of(event.order.account).note_order(event.order)
        elif isinstance(event, Traded):
            for party in event.trade.parties():
                self.of(party.account).trades.append((event.trade, party))
        elif isinstance(event, Funded):
            self.of(event.account).fundings.append(event)
        elif isinstance(event, Moved):
            self.of(event.account).moves.append(event)
        elif isinstance(event, Liquidated):
            self.of(event.account).liquidations.append(event)
        elif isinstance(event, TwapChanged):
            self.of(event.twap.account).twaps.append((event.twap, event.at_us))
