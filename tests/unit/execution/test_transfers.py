"""When a venue's ledger of money is asked for, and what of it is news."""

from __future__ import annotations

import uuid
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

from services.domain.decimals import Price, Size, Usd
from services.execution.app.transfers import EVERY_S, NEWS_SHARE, Transfers
from services.execution.ports import TradingAccount
from services.venues.account import AccountState, Margin, Position, Transfer
from services.venues.actions import MarginMode
from services.venues.trading import AccountRef
from tests.support.clock import ManualClock

SOON_S = EVERY_S / NEWS_SHARE
ACCOUNT = TradingAccount(
    account_id=uuid.UUID(int=1),
    user_id=uuid.UUID(int=2),
    venue="hyperliquid",
    environment="SIMULATED",
    is_default=True,
    can_trade=True,
    why_not="",
    ref=AccountRef(account_id="a"),
)


def state(equity: int, size: int = 1) -> AccountState:
    """Return an account with that equity and one position without profit."""
    worth = Usd(Decimal(equity))
    zero = Usd(Decimal(0))
    held = Position(
        market="BTC-PERP", symbol="BTC", size=Size(Decimal(size)), entry_price=Price(Decimal(1)), notional=worth,
        mark_price=None, liquidation_price=None, unrealized_pnl=zero, realized_pnl=None, funding_paid=None,
        margin_used=None, margin_mode=MarginMode.CROSS, leverage=Decimal(1),
    )  # fmt: skip
    margin = Margin(equity=worth, initial=zero, maintenance=None, available=worth, withdrawable=worth)
    return AccountState(margin=margin, balances=(), positions=(held,), settings=(), mode="default")


def transfer(name: str) -> Transfer:
    return Transfer(
        transfer_id=name, kind="deposit", wallet="", asset="USDC", amount=Decimal(1), fee=Decimal(0), counterparty="",
        time_ms=1,
    )  # fmt: skip


class Ledger:
    """A venue that is asked for transfers, and counts how often."""

    def __init__(self) -> None:
        self.asked = 0
        self.entries: list[Transfer] = []
        self.clock = ManualClock()
        self.transfers = Transfers(SimpleNamespace(last_transfer_ms=self._last), self.clock)  # type: ignore[arg-type]
        self.venue: Any = SimpleNamespace(transfers=self._asked)

    async def _last(self, account_id: uuid.UUID) -> int:
        return 0

    async def _asked(self, ref: AccountRef, *, since_ms: int) -> list[Transfer]:
        self.asked += 1
        return list(self.entries)

    async def look(self, seen: AccountState, after_s: float) -> tuple[Transfer, ...]:
        """Let time pass and look."""
        await self.clock.advance(after_s)
        found = await self.transfers.look(ACCOUNT, self.venue, seen, accounts=1)
        self.transfers.told(ACCOUNT, found)
        return found


async def test_the_timer_alone_asks_once_a_minute() -> None:
    ledger = Ledger()
    for _ in range(13):
        await ledger.look(state(100), EVERY_S / 6)
    assert ledger.asked == 3


async def test_money_that_moves_while_nothing_is_traded_is_asked_for_soon() -> None:
    ledger = Ledger()
    await ledger.look(state(100), 0)
    await ledger.look(state(140), SOON_S / 2)
    assert ledger.asked == 1, "not at once: whoever moves a cent a second may not spend the budget"
    await ledger.look(state(140), SOON_S / 2)
    assert ledger.asked == 2
    await ledger.look(state(140), SOON_S)
    assert ledger.asked == 2, "asked for once"


async def test_a_trade_hides_what_moved_unless_a_state_between_the_two_was_told() -> None:
    hidden, told = Ledger(), Ledger()
    for ledger in (hidden, told):
        await ledger.look(state(100, size=1), 0)
    told.transfers.note(ACCOUNT, state(99, size=2))  # the trade, as the stream shows it
    for ledger in (hidden, told):
        await ledger.look(state(139, size=2), SOON_S)
    assert (hidden.asked, told.asked) == (1, 2)
    await hidden.look(state(139, size=2), EVERY_S - SOON_S)
    assert hidden.asked == 2, "the timer finds it"


async def test_what_was_told_is_no_news_again() -> None:
    ledger = Ledger()
    ledger.entries = [transfer("1")]
    assert [one.transfer_id for one in await ledger.look(state(100), 0)] == ["1"]
    ledger.entries.append(transfer("2"))
    assert [one.transfer_id for one in await ledger.look(state(100), EVERY_S)] == ["2"]
    assert await ledger.look(state(100), EVERY_S) == ()
    ledger.transfers.forget(ACCOUNT.account_id)
    assert len(await ledger.look(state(100), 0)) == 2, (
        "an account that is back begins anew; the record counts each once"
    )
