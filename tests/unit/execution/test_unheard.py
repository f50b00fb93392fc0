"""When trades are asked for because sizes moved by more than was told."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from services.domain.decimals import Size
from services.execution.app.unheard import Unheard
from services.venues.account import Fill
from services.venues.actions import Side
from services.venues.port import VenueError
from services.venues.trading import AccountRef
from tests.support.clock import ManualClock
from tests.unit.execution.test_evidence import fill
from tests.unit.execution.test_transfers import ACCOUNT, state


class Venue:
    """A venue that has trades, tells some, and may be away."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.asked: list[int] = []
        self.kept: list[Any] = []
        self.made: list[Fill] = []
        self.away = False
        orders: Any = SimpleNamespace(record=self._record)
        self.unheard = Unheard(orders, self.clock)
        self.size = 1

    async def _record(self, _: Any, trades: list[Any]) -> None:
        self.kept += trades

    async def fills(self, ref: AccountRef, *, since_ms: int) -> list[Fill]:
        if self.away:
            raise VenueError("away")
        self.asked.append(since_ms)
        return self.made

    def trade(self, size: int, *, told: bool) -> None:
        """Change the position, and tell of it or not."""
        one = fill(
            fill_id=str(len(self.made)), side=Side.BUY if size > 0 else Side.SELL, size=Size(Decimal(abs(size))),
            time_ms=self.clock.time_ns() // 1_000_000 + 1,
        )  # fmt: skip
        self.made.append(one)
        self.size += size
        if told:
            self.unheard.heard(ACCOUNT.account_id, [one])

    async def look(self) -> int:
        """Let ten seconds pass and show the account; return how often it has asked so far."""
        await self.clock.advance(10)
        await self.unheard.look(ACCOUNT, self, state(100, self.size))  # type: ignore[arg-type]
        return len(self.asked)


async def test_what_was_told_explains_the_sizes_and_nothing_is_asked() -> None:
    venue = Venue()
    await venue.look()
    for size in (3, -2, -5):
        venue.trade(size, told=True)
        assert await venue.look() == 0
    venue.trade(4, told=False)
    venue.trade(-4, told=False)  # which cancel out: the stream's own reconciling finds them
    assert await venue.look() == 0


async def test_a_trade_beside_those_told_is_asked_for_once_and_kept() -> None:
    venue = Venue()
    await venue.look()
    venue.trade(3, told=True)
    venue.trade(1, told=False)
    assert await venue.look() == 1
    assert len(venue.kept) == 2, "those known count once where they are kept"
    assert venue.asked[0] < venue.clock.time_ns() // 1_000_000 - 10_000
    assert await venue.look() == 1


async def test_while_the_venue_does_not_say_it_is_asked_again() -> None:
    venue = Venue()
    await venue.look()
    venue.away = True
    venue.trade(1, told=False)
    for _ in range(3):
        assert await venue.look() == 0
    venue.away = False
    assert await venue.look() == 1


async def test_an_account_that_is_new_or_was_forgotten_has_nothing_to_explain() -> None:
    venue = Venue()
    venue.trade(5, told=False)
    assert await venue.look() == 0
    venue.unheard.forget(ACCOUNT.account_id)
    venue.trade(5, told=False)
    assert await venue.look() == 0
