"""The witness: every request the private faces received, what became of it, every order accepted, every fill.

Crash tests compare their own books with this one. `ENTRIES_KEPT` entries a venue are kept; `dropped` counts those that
went. An entry is never changed. Kinds: `received` (the bytes as they came, before any check), `answered`, `order`
(an order reached a status), `fill`, `funding`, `money`, `fault`.
"""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass

from services.simulator.exchange.values import Event, Funded, Moved, OrderChanged, Traded

ENTRIES_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: its number, the market's time in microseconds, its kind, the account (0 for none), and what."""

    seq: int
    at_us: int
    kind: str
    account: int
    body: dict[str, object]


class Journal:
    """One venue's witness."""

    def __init__(self) -> None:
        self._seq = 0
        self.dropped = 0
        self.entries: deque[Entry] = deque(maxlen=ENTRIES_KEPT)
        self.counts: dict[str, int] = {}

    def write(self, at_us: int, kind: str, account: int, body: dict[str, object]) -> None:
        """Add a line."""
        self._seq += 1
        self.dropped += len(self.entries) == ENTRIES_KEPT
        self.counts[kind] = self.counts.get(kind, 0) + 1
        self.entries.append(Entry(self._seq, at_us, kind, account, body))

    def note(self, event: Event) -> None:
        """Write down an event of the exchange."""
        if isinstance(event, OrderChanged):
            order = event.order
            self.write(event.at_us, "order", order.account, {
                "oid": order.oid, "client": order.wanted.client, "market": order.wanted.market,
                "buy": order.wanted.buy, "price": order.price, "size": order.asked, "left": order.left,
                "filled": order.filled, "status": order.status, "reason": order.reason,
            })  # fmt: skip
        elif isinstance(event, Traded):
            trade = event.trade
            for party in trade.parties():
                self.write(trade.time_us, "fill", party.account, {
                    "id": trade.id, "oid": party.oid, "client": party.client, "market": trade.market,
                    "buy": party.buy, "price": trade.price, "size": trade.size, "taker": party.taker,
                    "fee": party.fee, "surcharge": party.surcharge, "closed_pnl": party.closed_pnl,
                    "liquidated": trade.liquidated,
                })  # fmt: skip
        elif isinstance(event, Funded):
            body: dict[str, object] = {"market": event.market, "amount": event.amount, "rate": event.rate}
            self.write(event.at_us, "funding", event.account, body)
        elif isinstance(event, Moved):
            body = {"kind": event.kind, "pool": event.pool, "amount": event.amount, "other": event.other}
            self.write(event.at_us, "money", event.account, body)

    @property
    def last(self) -> int:
        """The number of the last line ever written."""
        return self._seq

    def read(self, *, account: int | None, after: int, limit: int, kinds: frozenset[str] = frozenset()) -> list[Entry]:
        """Return lines after a number, oldest first; of one account or of all, of some kinds or of all."""
        found: list[Entry] = []
        skipped = max(0, after - (self._seq - len(self.entries)))  # numbers are dense
        for entry in itertools.islice(self.entries, skipped, None):
            if (account is None or entry.account == account) and (not kinds or entry.kind in kinds):
                found.append(entry)
                if len(found) >= limit:
                    break
        return found
