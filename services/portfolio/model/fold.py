"""The log, folded: each event changes accounts and says what is to be written. Pure, and the same twice.

Everything that has an id of its own (fills, payments, transfers) is counted once, however often it is told: by id here,
and by the cursor that is written with it.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.portfolio.model.account import Account, Changes, Known, Report
from services.portfolio.model.life import Life, apply_fill, apply_payment
from services.portfolio.model.margin import LIGHTER
from services.portfolio.model.reconcile import take_positions
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import (
    SETTLEMENT_ASSET,
    Environment,
    Fill,
    LogEntry,
    Observation,
    OrderReport,
    OrderState,
    Payment,
    Transfer,
)


def fold(entry: LogEntry, accounts: dict[UUID, Account], known: Known, changes: Changes) -> None:
    """Apply one event of the log; `accounts` holds every account it names that exists, and takes new ones."""
    for what in entry.what:
        if isinstance(what, Fill):
            _fold_fill(_account(accounts, entry, what.account_id, what.venue, what.time), what, entry, known, changes)
        elif isinstance(what, Observation):
            account = _account(accounts, entry, what.account_id, what.venue, what.received)
            _fold_observation(account, what, entry, known, changes)
        elif isinstance(what, OrderState):
            changes.legs.update((leg.leg_id, leg) for leg in what.open)
            changes.legs.update((leg_id, None) for leg_id in what.ended)
        elif isinstance(what, OrderReport):
            changes.order_reports.append((entry.user_id, what))
            changes.traded.add(entry.user_id)


def _account(accounts: dict[UUID, Account], entry: LogEntry, account_id: UUID, venue: str, time: datetime) -> Account:
    found = accounts.get(account_id)
    if found is None:
        found = accounts[account_id] = Account(account_id=account_id, user_id=entry.user_id, venue=venue, updated=time)
    return found


def _fold_fill(account: Account, fill: Fill, entry: LogEntry, known: Known, changes: Changes) -> None:
    if fill.fill_id in known.fills:
        return
    known.fills.add(fill.fill_id)
    before = account.lives.get(fill.market)
    lives, events = apply_fill(before, fill)
    for life in lives:
        changes.touch(account, life, events, entry.sequence)
    last = lives[-1]
    _keep_open(account, last)
    realized = sum((event.realized for event in events if event.realized is not None), ZERO)
    moved = realized - (fill.total_cost if fill.cost_asset == SETTLEMENT_ASSET else ZERO)
    _move(account, SETTLEMENT_ASSET, moved, fill.time, changes)
    account.updated = max(account.updated, fill.time)
    changes.accounts[account.account_id] = account
    changes.traded.add(account.user_id)


def _keep_open(account: Account, life: Life) -> None:
    """Keep the life as the open one, or let it go when it is flat here and at the venue."""
    if life.size:
        account.lives[life.market] = life
        return
    account.lives.pop(life.market, None)
    report = account.reports.get(life.market)
    if report is not None and report.since:
        account.reports[life.market] = Report(position=report.position)  # a report is never changed: views hold it


def _fold_observation(account: Account, seen: Observation, entry: LogEntry, known: Known, changes: Changes) -> None:
    if seen.environment is not Environment.UNSPECIFIED:
        account.environment = seen.environment
    if seen.margin is not None and (account.margin is None or seen.margin.received >= account.margin.received):
        account.margin = seen.margin
    if seen.fees is not None:
        account.fees = seen.fees
    for payment in seen.payments:
        _pay(account, payment, entry, known, changes)
    for transfer in seen.transfers:
        _transfer(account, transfer, seen.received, known, changes)
    _take_balances(account, seen, changes)
    take_positions(account, seen, entry.sequence, changes)
    account.updated = max(account.updated, seen.received)
    changes.accounts[account.account_id] = account


def _pay(account: Account, payment: Payment, entry: LogEntry, known: Known, changes: Changes) -> None:
    if payment.payment_id in known.payments:
        return
    known.payments.add(payment.payment_id)
    life = _life_at(account, payment.market, payment.time, known, changes)
    if life is not None:
        event = apply_payment(life, payment)
        changes.touch(account, life, [event], entry.sequence)
    else:
        changes.day(account, payment.market, 0, payment.time).funding -= payment.amount
    changes.payments.append((account, None if life is None else life.position_id, payment))
    changes.traded.add(account.user_id)
    _move(account, SETTLEMENT_ASSET, payment.amount, payment.time, changes)


def _life_at(account: Account, market: str, time: datetime, known: Known, changes: Changes) -> Life | None:
    """Return the life that was open at a time; the one open now where the venue's clock is a little behind."""
    open_now = account.lives.get(market)
    if open_now is not None and open_now.opened <= time:
        return open_now
    here: list[Life] = [
        life for owner, life in changes.lives.values() if owner is account and life.market == market and life.closed
    ]
    past: list[Life] = known.past.get((account.account_id, market), [])
    for life in here + past:
        if life.opened <= time and (life.closed is None or time <= life.closed):
            return life
    return None


def _transfer(account: Account, transfer: Transfer, received: datetime, known: Known, changes: Changes) -> None:
    if transfer.transfer_id in known.transfers:
        return
    known.transfers.add(transfer.transfer_id)
    changes.transfers.append((account, transfer, received))
    changes.traded.add(account.user_id)
    # The amount is what the account changes by, its fee included (unverified: no capture has a withdrawal).
    _move(account, transfer.asset or SETTLEMENT_ASSET, transfer.amount, transfer.time, changes)


def _take_balances(account: Account, seen: Observation, changes: Changes) -> None:
    reported = {one.asset: (one.total, one.held) for one in seen.balances}
    if SETTLEMENT_ASSET not in reported and seen.margin is not None and seen.margin.equity is not None:
        profits = [one.unrealized_pnl for one in seen.positions]
        if seen.complete and None not in profits:  # an account without balances: its cash is its value less profit
            reported[SETTLEMENT_ASSET] = (seen.margin.equity - sum((one or ZERO for one in profits), ZERO), ZERO)
    if seen.complete:
        for asset in account.balances.keys() - reported.keys():
            if seen.balances:
                reported[asset] = (ZERO, ZERO)
    if account.venue == LIGHTER and SETTLEMENT_ASSET in reported and seen.complete:
        # Lighter takes an isolated position's collateral out of the balance; to us it is still the account's money.
        total, held = reported[SETTLEMENT_ASSET]
        apart = sum((one.isolated_collateral or ZERO for one in seen.positions), ZERO)
        reported[SETTLEMENT_ASSET] = (total + apart, held)
    for asset, (total, held) in reported.items():
        balance = account.balance(asset)
        if balance.received is not None and seen.received < balance.received:
            continue
        balance.total, balance.held, balance.received = total, held, seen.received
        if balance.computed is None:
            balance.computed, balance.anchored = total, seen.as_of
        balance.compare(seen.received)
        changes.touch_balance(account, balance)


def _move(account: Account, asset: str, amount: Decimal, time: datetime, changes: Changes) -> None:
    balance = account.balance(asset)
    balance.add(amount, time)
    changes.touch_balance(account, balance)
