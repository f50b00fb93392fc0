"""The log, folded: each event changes accounts and says what is to be written. Pure, and the same twice.

Everything that has an id of its own (fills, payments, transfers) is counted once, however often it is told: by id here,
and by the cursor that is written with it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from services.portfolio.model.account import Account, Changes, Known, Report
from services.portfolio.model.adoption import give_way
from services.portfolio.model.life import Life, apply_fill, apply_payment, open_life
from services.portfolio.model.margin import UNIFIED
from services.portfolio.model.reconcile import take_positions
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import (
    SETTLEMENT_ASSET,
    SPOT_ASSET,
    SPOT_WALLET,
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
    _give_way(account, fill, entry, changes)
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
    if report is not None and report.since:  # a report is never changed: views hold it
        account.reports[life.market] = Report(position=report.position, adopted=report.adopted)


def _give_way(account: Account, fill: Fill, entry: LogEntry, changes: Changes) -> None:
    """Make room for a fill that is in what was adopted: its venue told it only after."""
    report = account.reports.get(fill.market)
    if report is None or report.adopted is None or fill.time > report.adopted.time:
        return
    life = account.lives.get(fill.market)
    if life is None:
        side = -1 if fill.size > 0 else 1
        life = open_life(account.account_id, fill.market, side, fill.time, f"before {fill.fill_id}")
    changes.touch(account, life, [give_way(life, fill.size, report.adopted, fill.time)], entry.sequence)
    _keep_open(account, life)


def _fold_observation(account: Account, seen: Observation, entry: LogEntry, known: Known, changes: Changes) -> None:
    if seen.environment is not Environment.UNSPECIFIED:
        account.environment = seen.environment
    if seen.margin is not None and (account.margin is None or seen.margin.received >= account.margin.received):
        account.margin = seen.margin
    if seen.fees is not None:
        account.fees = seen.fees
    _take_balances(account, seen, changes)  # first, so that what came after the first balance is added to it
    for payment in seen.payments:
        _pay(account, payment, entry, known, changes)
    for transfer in seen.transfers:
        _transfer(account, transfer, seen.received, known, changes)
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
    transfer = replace(transfer, asset=_asset_of(account, transfer))
    changes.transfers.append((account, transfer, received))
    changes.traded.add(account.user_id)
    _move(account, transfer.asset, transfer.amount, transfer.time, changes)


def _asset_of(account: Account, transfer: Transfer) -> str:
    """Return the name of a transfer's asset among the account's balances: what is no margin has names of its own.

    The spot wallet of a unified account is its margin.
    """
    asset = transfer.asset or SETTLEMENT_ASSET
    unified = account.margin is not None and account.margin.account_mode in UNIFIED
    if not transfer.wallet or (transfer.wallet == SPOT_WALLET and unified):
        return asset
    return f"{asset}-{transfer.wallet.upper()}"


def _take_balances(account: Account, seen: Observation, changes: Changes) -> None:
    reported = {one.asset: (one.total, one.held) for one in seen.balances}
    cash = _margin_cash(seen)
    if cash is not None:
        if SETTLEMENT_ASSET in reported:
            reported[SPOT_ASSET] = reported[SETTLEMENT_ASSET]  # a wallet beside the perpetual account: no margin
        reported[SETTLEMENT_ASSET] = (cash, ZERO)
    if seen.complete:
        for asset in account.balances.keys() - reported.keys():
            if seen.balances:
                reported[asset] = (ZERO, ZERO)
    for asset, (total, held) in reported.items():
        balance = account.balance(asset)
        if balance.received is not None and seen.received < balance.received:
            continue
        balance.total, balance.held, balance.received = total, held, seen.received
        if balance.computed is None:
            balance.computed, balance.anchored = total, seen.as_of
        balance.compare(seen.received)
        changes.touch_balance(account, balance)


def _margin_cash(seen: Observation) -> Decimal | None:
    """Return what the perpetual account holds, isolated collateral included: its value less unrealized profit.

    None where the report does not say, and for unified accounts, whose spot balance is the collateral.
    """
    if seen.margin is None or seen.margin.equity is None or seen.margin.account_mode in UNIFIED or not seen.complete:
        return None
    profits = [one.unrealized_pnl for one in seen.positions]
    if None in profits:
        return None
    return seen.margin.equity - sum((one or ZERO for one in profits), ZERO)


def _move(account: Account, asset: str, amount: Decimal, time: datetime, changes: Changes) -> None:
    balance = account.balance(asset)
    balance.add(amount, time)
    changes.touch_balance(account, balance)
