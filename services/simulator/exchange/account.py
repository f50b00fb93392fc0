"""What one account holds: cash by margin pool, positions, settings, live orders. Money in 1e-6, sizes signed.

Cash is kept as the venues do underneath: a buy takes price times size out of it, a sale brings it in. So
`cash + size x mark` is the account's value at any time, and no step of the arithmetic rounds anything but the entry.
An isolated position has cash of its own (`raw`): its collateral plus what its trading took out or brought in.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from services.simulator.exchange.terms import Setting, Terms
from services.simulator.exchange.values import Order

DAY_US = 86_400_000_000


@dataclass(slots=True)
class Position:
    """A holding: signed `size`, `entry` as the quote paid for what is open, and totals of funding paid."""

    size: int = 0
    entry: int = 0
    isolated: bool = False
    raw: int = 0
    realized: int = 0
    funding_all: int = 0
    funding_open: int = 0
    funding_change: int = 0
    funding_index: int = 0

    @property
    def side(self) -> int:
        """Return 1 for a long, -1 for a short, 0 for nothing."""
        return (self.size > 0) - (self.size < 0)

    @property
    def collateral(self) -> int:
        """Return the money set apart for an isolated position, without its unrealized profit."""
        return self.raw + self.side * self.entry if self.isolated else 0

    def profit(self, mark: int) -> int:
        """Return the unrealized profit."""
        return self.size * mark - self.side * self.entry


@dataclass(slots=True)
class Account:
    """An account of the exchange; `number` is the venue's index or the address as a number."""

    number: int
    master: int
    tier: str = "standard"
    cash: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    positions: dict[str, Position] = field(default_factory=dict)
    settings: dict[str, Setting] = field(default_factory=dict)
    orders: dict[int, Order] = field(default_factory=dict)
    clients: dict[str, int] = field(default_factory=dict)
    resting: defaultdict[tuple[str, bool], int] = field(default_factory=lambda: defaultdict(int))
    cancel_at_us: int = 0
    cancels_fired: tuple[int, int] = (0, 0)
    taken: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    added: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    lifetime: int = 0
    cooldown: dict[str, int] = field(default_factory=dict)
    liquidating: bool = False

    def position(self, market: str) -> Position:
        """Return the position in a market, made on first use."""
        found = self.positions.get(market)
        if found is None:
            found = self.positions[market] = Position()
        return found

    def size(self, market: str) -> int:
        """Return the signed size held in a market."""
        found = self.positions.get(market)
        return 0 if found is None else found.size

    def setting(self, terms: Terms) -> Setting:
        """Return the leverage and mode chosen in a market, or its default."""
        return self.settings.get(terms.market, terms.default)

    def count_volume(self, at_us: int, notional: int, taker: bool) -> None:
        """Count a fill toward the fee tier."""
        day = at_us // DAY_US
        (self.taken if taker else self.added)[day] += notional
        self.lifetime += notional

    def volume(self, at_us: int) -> int:
        """Return the volume of the 14 days before today (UTC)."""
        today = at_us // DAY_US
        return sum(self.taken[day] + self.added[day] for day in range(today - 14, today) if self._traded_on(day))

    def _traded_on(self, day: int) -> bool:
        return day in self.taken or day in self.added


@dataclass(frozen=True, slots=True)
class Effect:
    """What a fill did to an account: profit realized, and how the position stood before."""

    closed_pnl: int
    start: int
    entry_before: int
    allocated_before: int
    allocated_after: int


def settle(account: Account, terms: Terms, delta: int, price: int, charges: int) -> Effect:
    """Book a fill of signed size `delta` and its `charges` (fees) on an account; a flip is a close, then an opening.

    Cross: everything goes through the pool's cash. Isolated: it goes through the position's own cash; an increase
    brings collateral from the pool (the initial margin of what was added), a decrease gives it back pro rata together
    with the profit; a loss beyond the share given back stays in the position (unverified).
    """
    position = account.position(terms.market)
    start, entry, allocated = position.size, position.entry, position.collateral
    closing = min(abs(delta), abs(start)) if start * delta < 0 else 0
    closed = 0
    if start == 0:
        position.isolated = account.setting(terms).isolated
    if closing:
        sign = 1 if delta > 0 else -1
        closed = _close(account, terms, position, sign * closing, price)
        delta -= sign * closing
    if delta:
        _open(account, terms, position, delta, price)
    if position.isolated and position.size:
        position.raw -= charges
    else:
        account.cash[terms.pool] -= charges
    if position.size == 0 or (start and position.size * start < 0):
        position.funding_open = 0
    if delta or closing:
        position.funding_change = 0
    return Effect(closed, start, entry, allocated, position.collateral)


def _open(account: Account, terms: Terms, position: Position, delta: int, price: int) -> None:
    notional = price * abs(delta)
    position.size += delta
    position.entry += notional
    if position.isolated:
        moved = account.setting(terms).initial.of(notional)
        account.cash[terms.pool] -= moved
        position.raw += moved - price * delta
    else:
        account.cash[terms.pool] -= price * delta


def _close(account: Account, terms: Terms, position: Position, delta: int, price: int) -> int:
    """Reduce a position and return the profit; the entry left is cut to the unit (Lighter's circuit does so)."""
    side, collateral, before = position.side, position.collateral, abs(position.size)
    left = before - abs(delta)
    entry_left = position.entry * left // before
    closed = side * (price * abs(delta) - (position.entry - entry_left))
    position.size += delta
    position.entry = entry_left
    position.realized += closed
    if not position.isolated:
        account.cash[terms.pool] -= price * delta
        return closed
    position.raw -= price * delta
    keep = collateral * left // before - position.side * position.entry
    released = max(0, position.raw) if left == 0 else max(0, position.raw - keep)
    position.raw -= released
    account.cash[terms.pool] += released
    return closed
