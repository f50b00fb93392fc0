"""Listening to accounts: their private streams, reconciled after every connection; what they say goes to the record."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from services.domain.errors import DomainError
from services.domain.feed import FeedState
from services.execution.app.attempts import Attempts
from services.execution.app.standing import LastSeen
from services.execution.app.transfers import Transfers
from services.execution.app.unheard import Unheard
from services.execution.model.evidence import apply_record, trades_of
from services.execution.model.leg import Evidence, Leg
from services.execution.model.retry import Trouble
from services.execution.ports import Accounts, Clock, Observed, Orders, TradingAccount, Venues, Wake
from services.venues.account import AccountState, Fees, OrderRecord, Transfer
from services.venues.port import SeatsTakenError, VenueError
from services.venues.trading import (
    AccountEvent,
    BalancesSeen,
    FillsSeen,
    FundingSeen,
    OrdersSeen,
    PositionsSeen,
    StateSeen,
    StreamChanged,
    TradingVenue,
)

LOOK_S: Final = 2.0
"""How often new accounts are looked for."""
STATE_S: Final = 10.0
"""How often an account is asked for as a whole, beside what its stream tells; with many accounts, more rarely."""
STATE_EACH_S: Final = {"hyperliquid": 0.4, "lighter": 4.0}
"""The pause that each account of a venue adds, so that a quarter of the address's budget is spent here at most: a state
weighs 2 of Hyperliquid's 1,200 a minute, and is one of the 60 requests that Lighter grants a standard account."""
FEES_S: Final = 600.0
"""How often its fee tier is asked for: it weighs 20 at Hyperliquid and changes once a day."""
MISSING_S: Final = 5.0
"""How long a leg must have stood before its absence from a list of open orders means anything: lists lag."""
ACCOUNTS_MAX: Final = 500
"""Accounts looked after by one process. Hyperliquid lets an address listen to ten users: those beyond are asked for."""
ENDED_S: Final = 3.5
"""How long the trades of an order that has ended may be on their way before it is looked up with all of them."""
AGAIN_S: Final = 2.0
SEAT_S: Final = 10.0
"""How long until a seat is asked for again at a venue that lets us listen to so many accounts and no more."""
BLIND_S: Final = 10.0
"""How soon what rests is looked up once its account's stream tells nothing."""
OVERLAP_MS: Final = 60_000
"""How far back trades are asked for beyond the last that was counted; those known count once."""

Watch = Callable[[TradingAccount, TradingVenue], Awaitable[None]]


class Watcher:
    """Every account's stream."""

    def __init__(
        self,
        *,
        orders: Orders,
        accounts: Accounts,
        venues: Venues,
        clock: Clock,
        live: set[UUID],
        seen: LastSeen,
        wake: Wake,
        tell_fault: Callable[[TradingAccount, Exception], None],
        attempts: Attempts,
    ) -> None:
        """Prepare; `live` is kept to be the accounts whose streams tell, `seen` to be what venues said last.

        `wake` has the workers look.
        """
        self._tell = tell_fault
        self._attempts = attempts
        self._orders = orders
        self._accounts = accounts
        self._venues = venues
        self._clock = clock
        self._wake = wake
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._counts: Counter[str] = Counter()
        self._transfers = Transfers(orders, clock)
        self._unheard = Unheard(orders, clock)
        self._live = live
        self._seen = seen

    async def run(self) -> None:
        """Listen to every account that can trade, and to new ones, until canceled."""
        try:
            while True:
                with contextlib.suppress(DomainError):  # the vault is away: those that are known are listened to
                    self._look(await self._accounts.every())
                await self._clock.sleep(LOOK_S)
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _look(self, every: Sequence[TradingAccount]) -> None:
        """Begin with accounts that can trade now, and leave those that are gone."""
        for account in every:
            if account.account_id not in self._tasks and account.can_trade and len(self._tasks) < ACCOUNTS_MAX:
                self._tasks[account.account_id] = asyncio.create_task(self._follow(account))
        known = {account.account_id for account in every}
        for gone in [one for one in self._tasks if one not in known]:
            self._tasks.pop(gone).cancel()
            self._live.discard(gone)
            self._seen.forget(gone)
            self._transfers.forget(gone)
            self._unheard.forget(gone)
        self._counts = Counter(account.venue for account in every if account.account_id in self._tasks)

    async def _follow(self, account: TradingAccount) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._surely(account, self._listen))
            group.create_task(self._surely(account, self._states))

    async def _surely(self, account: TradingAccount, work: Watch) -> None:
        """Do it again whenever it ends, and neither because of the other."""
        while True:
            pause_s = AGAIN_S
            try:
                await work(account, self._venues.at(account.venue, account.environment))
            except SeatsTakenError as error:  # it is looked up instead
                pause_s = SEAT_S
                self._tell(account, error)
            except (
                Exception
            ) as error:  # the venue's, the vault's or a fault of ours: the account is not left alone for it
                self._tell(account, error)
                pause_s = await self._attempts.failed_account(account, Trouble.DEAF, str(error) or repr(error))
            await self._clock.sleep(pause_s)

    async def _listen(self, account: TradingAccount, venue: TradingVenue) -> None:
        since_ms = max(0, await self._orders.last_fill_ms(account.account_id) - OVERLAP_MS)

        async def emit(event: AccountEvent) -> None:
            await self._take(account, event)

        try:
            await venue.watch(account.ref, emit, since_ms=since_ms)
        finally:
            await self._deaf(account)

    async def _states(self, account: TradingAccount, venue: TradingVenue) -> None:
        fees: Fees | None = None
        read_ns = 0
        while True:
            if is_busy(venue):  # orders, look-ups and reconciliation come first
                await self._clock.sleep(AGAIN_S)
                continue
            try:
                if fees is None or self._clock.time_ns() - read_ns > FEES_S * 1e9:
                    fees, read_ns = await venue.fees(account.ref), self._clock.time_ns()
                state = await venue.state(account.ref)
                await self._unheard.look(account, venue, state)  # first, so that what is found explains the state
                moved = await self._transfers.look(account, venue, state, accounts=self._counts[account.venue])
                await self._observe(account, state, fees=fees, transfers=moved)
                self._transfers.told(account, moved)
                if account.account_id in self._live:  # what failed here before did not break the stream
                    await self._attempts.went_well(account.account_id, seen=self._attempts.of(account.account_id))
            except VenueError:
                pass  # the stream tells what it can meanwhile
            await self._clock.sleep(max(STATE_S, STATE_EACH_S.get(account.venue, 0.0) * self._counts[account.venue]))

    async def _take(self, account: TradingAccount, event: AccountEvent) -> None:
        now = self._clock.now()
        if isinstance(event, FillsSeen):
            self._unheard.heard(account.account_id, event.fills)
            await self._orders.record(account, trades_of(account.account_id, account.venue, event.fills, now))
        elif isinstance(event, OrdersSeen):
            for record in event.orders:
                await self._orders.told(
                    account,
                    record.order_id,
                    record.client_id,
                    _learner(record, now),
                    look_s=ENDED_S if record.status.is_final else None,
                )
            if event.whole:
                open_ids = [record.client_id for record in event.orders if record.client_id]
                if await self._orders.doubt(account, open_ids, now - timedelta(seconds=MISSING_S)):
                    self._wake()
        elif isinstance(event, StateSeen):
            self._transfers.note(account, event.state)
            await self._observe(account, event.state, reconciled=event.reconciled)
        elif isinstance(event, FundingSeen):
            await self._orders.observe(Observed(account=account, receive_time=now, funding=event.payments))
        elif isinstance(event, StreamChanged):
            if event.state is FeedState.LIVE:
                self._live.add(account.account_id)
                await self._attempts.went_well(account.account_id, seen=self._attempts.of(account.account_id))
            else:
                await self._deaf(account)
        else:
            assert isinstance(event, PositionsSeen | BalancesSeen), "every kind of event is taken"

    async def _deaf(self, account: TradingAccount) -> None:
        """Note that nothing is told of an account now: what rests there was left alone for minutes, and is no more."""
        if account.account_id not in self._live:
            return
        self._live.discard(account.account_id)
        try:
            await self._orders.hasten(account, BLIND_S)
        except Exception as error:  # the database is away too: the account is reconciled before it is live again
            self._tell(account, error)

    async def _observe(
        self,
        account: TradingAccount,
        state: AccountState,
        *,
        fees: Fees | None = None,
        transfers: tuple[Transfer, ...] = (),
        reconciled: bool = False,
    ) -> None:
        observed = Observed(
            account=account,
            receive_time=self._clock.now(),
            state=state,
            fees=fees,
            transfers=transfers,
            reconciled=reconciled,
        )
        self._seen.tell(observed)
        await self._orders.observe(observed)


def is_busy(venue: TradingVenue) -> bool:
    """Whether half of a limit of the venue's is in use."""
    return any(2 * use.used > use.allowed for use in venue.limits())


def _learner(record: OrderRecord, now: datetime) -> Callable[[Leg], Leg]:
    return lambda leg: apply_record(leg, record, now, Evidence.STREAM)
