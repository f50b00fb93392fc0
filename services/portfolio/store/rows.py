"""Rows to values, and values to rows."""

from __future__ import annotations

from collections import deque
from decimal import Decimal
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncpg

from services.portfolio.model.account import Account, Balance, Report
from services.portfolio.model.adoption import Adopted, Doubt
from services.portfolio.model.life import Life, LifeEvent, Lot
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import (
    Environment,
    EventKind,
    MarginMode,
    OpenLeg,
    Payment,
    ReportedFees,
    ReportedMargin,
    ReportedPosition,
    Transfer,
    TransferKind,
)

ACCOUNT = (
    "account_id, user_id, venue, environment, account_mode, equity, initial_margin, maintenance_margin, withdrawable, "
    "available, margin_time, fee_tier, maker_fee, taker_fee, update_time"
)
BALANCE = "account_id, asset, total, held, receive_time, computed, anchor_time, differ_time"
POSITION = (
    "position_id, account_id, user_id, venue, market, side, size, cost, lots, realized, fifo_realized, funding_paid, "
    "cost_kinds, cost_amounts, max_size, opened_size, opened_cost, closed_size, closed_proceeds, event_count, "
    "log_sequence, open_time, update_time, close_time, net_pnl, adopted_size, adopted_entry, adopted_unrealized, "
    "adopted_funding, adopt_time"
)
REPORT = (
    "account_id, market, size, entry_price, mark_price, liquidation_price, unrealized_pnl, realized_pnl, funding_paid, "
    "margin_used, leverage, margin_mode, isolated_collateral, venue_time, receive_time, differ_names, differ_times, "
    "doubt_size, doubt_time, adopt_time, adopt_price, adopt_mark"
)
EVENT = (
    "position_id, number, user_id, account_id, venue, market, side, kind, event_time, size_change, price, size_after, "
    "realized, fees, cost_kinds, cost_amounts, funding, fill_id, order_id, explanation, cost_after, came"
)
PAYMENT = (
    "funding_payment_id, position_id, account_id, user_id, venue, market, amount, rate, position_size, payment_time"
)
TRANSFER = (
    "transfer_id, account_id, user_id, venue, kind, asset, amount, fee, counterparty, venue_transfer_id, "
    "transfer_time, receive_time"
)
LEG = "leg_id, order_id, account_id, market, size, price"
ORDER_REPORT = (
    "order_id, user_id, account_id, venue, environment, market, side, size, filled_size, quoted_size, notional, "
    "arrival_notional, quoted_cost, achieved_cost, slippage, single_venues, single_costs, place_time, time_to_fill_us, "
    "routed"
)

Row: TypeAlias = "asyncpg.Record"


def columns(names: str) -> list[str]:
    """Return the names of a list of columns."""
    return names.split(", ")


def account_row(one: Account) -> tuple[object, ...]:
    """Return the row of ACCOUNT."""
    margin, fees = one.margin, one.fees
    return (
        one.account_id, one.user_id, one.venue, int(one.environment), margin.account_mode if margin else "",
        *(
            (margin.equity, margin.initial_margin, margin.maintenance_margin, margin.withdrawable, margin.available,
             margin.received)
            if margin else (None,) * 6
        ),
        *((fees.tier, fees.maker, fees.taker) if fees else (None,) * 3), one.updated,
    )  # fmt: skip


def account_of(row: Row) -> Account:
    """Return the account of a row with ACCOUNT, without what stands in other tables."""
    margin = fees = None
    if row["margin_time"] is not None:
        margin = ReportedMargin(
            equity=row["equity"],
            initial_margin=row["initial_margin"],
            maintenance_margin=row["maintenance_margin"],
            withdrawable=row["withdrawable"],
            available=row["available"],
            account_mode=row["account_mode"],
            received=row["margin_time"],
        )
    if row["fee_tier"] is not None:
        fees = ReportedFees(tier=row["fee_tier"], maker=row["maker_fee"], taker=row["taker_fee"])
    return Account(
        account_id=row["account_id"],
        user_id=row["user_id"],
        venue=row["venue"],
        environment=Environment(row["environment"]),
        margin=margin,
        fees=fees,
        updated=row["update_time"],
    )


def balance_row(account: Account, one: Balance) -> tuple[object, ...]:
    """Return the row of BALANCE, and user and venue after it."""
    return (
        account.account_id, one.asset, one.total, one.held, one.received, one.computed, one.anchored,
        one.differs_since, account.user_id, account.venue,
    )  # fmt: skip


def balance_of(row: Row) -> Balance:
    """Return the balance of a row with BALANCE."""
    return Balance(
        asset=row["asset"],
        total=row["total"],
        held=row["held"],
        received=row["receive_time"],
        computed=row["computed"],
        anchored=row["anchor_time"],
        differs_since=row["differ_time"],
    )


def position_row(account: Account, one: Life) -> tuple[object, ...]:
    """Return the row of POSITION."""
    lots: list[Decimal] = []
    for lot in one.lots:
        lots += (lot.size, lot.cost)
    return (
        one.position_id, account.account_id, account.user_id, account.venue, one.market, one.side, one.size, one.cost,
        lots, one.realized, one.fifo_realized, one.funding_paid, list(one.costs), list(one.costs.values()),
        one.max_size, one.opened_size, one.opened_cost, one.closed_size, one.closed_proceeds, one.events,
        one.sequence, one.opened, one.updated, one.closed, one.earned, one.adopted_size, one.adopted_entry,
        one.adopted_unrealized, one.adopted_funding, one.adopted_at,
    )  # fmt: skip


def life_of(row: Row) -> Life:
    """Return the life of a row with POSITION."""
    flat = iter(row["lots"])
    lots = deque(Lot(size, cost) for size, cost in zip(flat, flat, strict=True))
    return Life(
        position_id=row["position_id"],
        account_id=row["account_id"],
        market=row["market"],
        side=row["side"],
        opened=row["open_time"],
        updated=row["update_time"],
        closed=row["close_time"],
        size=row["size"],
        cost=row["cost"],
        lots=lots,
        fifo_cost=sum((lot.cost for lot in lots), ZERO),
        realized=row["realized"],
        fifo_realized=row["fifo_realized"],
        funding_paid=row["funding_paid"],
        costs=dict(zip(row["cost_kinds"], row["cost_amounts"], strict=True)),
        max_size=row["max_size"],
        opened_size=row["opened_size"],
        opened_cost=row["opened_cost"],
        closed_size=row["closed_size"],
        closed_proceeds=row["closed_proceeds"],
        counted=row["net_pnl"] if row["close_time"] is not None and row["opened_size"] else None,
        events=row["event_count"],
        sequence=row["log_sequence"],
        adopted_size=row["adopted_size"],
        adopted_entry=row["adopted_entry"],
        adopted_unrealized=row["adopted_unrealized"],
        adopted_funding=row["adopted_funding"],
        adopted_at=row["adopt_time"],
    )


def report_row(account: Account, one: Report) -> tuple[object, ...]:
    """Return the row of REPORT."""
    said, doubt, adopted = one.position, one.doubt, one.adopted
    return (
        account.account_id, said.market, said.size, said.entry_price, said.mark_price, said.liquidation_price,
        said.unrealized_pnl, said.realized_pnl, said.funding_paid, said.margin_used, said.leverage,
        int(said.margin_mode), said.isolated_collateral, said.venue_time, said.received, list(one.since),
        list(one.since.values()), *((doubt.size, doubt.since) if doubt is not None else (None,) * 2),
        *((adopted.time, adopted.price, adopted.mark) if adopted is not None else (None,) * 3),
    )  # fmt: skip


def report_of(row: Row) -> Report:
    """Return the report of a row with REPORT."""
    return Report(
        position=ReportedPosition(
            market=row["market"],
            size=row["size"],
            entry_price=row["entry_price"],
            mark_price=row["mark_price"],
            liquidation_price=row["liquidation_price"],
            unrealized_pnl=row["unrealized_pnl"],
            realized_pnl=row["realized_pnl"],
            funding_paid=row["funding_paid"],
            margin_used=row["margin_used"],
            leverage=row["leverage"],
            margin_mode=MarginMode(row["margin_mode"]),
            isolated_collateral=row["isolated_collateral"],
            venue_time=row["venue_time"],
            received=row["receive_time"],
        ),
        since=dict(zip(row["differ_names"], row["differ_times"], strict=True)),
        doubt=Doubt(row["doubt_size"], row["doubt_time"]) if row["doubt_time"] is not None else None,
        adopted=Adopted(row["adopt_time"], row["adopt_price"], row["adopt_mark"])
        if row["adopt_time"] is not None
        else None,
    )


def event_row(account: Account, life: Life, one: LifeEvent) -> tuple[object, ...]:
    """Return the row of EVENT."""
    return (
        one.position_id, one.number, account.user_id, account.account_id, account.venue, life.market, one.side,
        int(one.kind), one.time, one.size_change, one.price, one.size_after, one.realized, one.fees,
        [kind for kind, _ in one.costs], [amount for _, amount in one.costs], one.funding, one.fill_id, one.order_id,
        one.explanation, one.cost_after, one.came,
    )  # fmt: skip


def event_of(row: Row) -> LifeEvent:
    """Return the event of a row with EVENT."""
    return LifeEvent(
        position_id=row["position_id"],
        number=row["number"],
        side=row["side"],
        kind=EventKind(row["kind"]),
        time=row["event_time"],
        size_change=row["size_change"],
        price=row["price"],
        size_after=row["size_after"],
        realized=row["realized"],
        costs=tuple(zip(row["cost_kinds"], row["cost_amounts"], strict=True)),
        funding=row["funding"],
        fill_id=row["fill_id"],
        order_id=row["order_id"],
        explanation=row["explanation"],
        cost_after=row["cost_after"],
        came=row["came"],
    )


def payment_of(row: Row) -> Payment:
    """Return the payment of a row with PAYMENT."""
    return Payment(
        payment_id=row["funding_payment_id"],
        market=row["market"],
        amount=row["amount"],
        rate=row["rate"],
        position_size=row["position_size"],
        time=row["payment_time"],
    )


def transfer_of(row: Row) -> Transfer:
    """Return the transfer of a row with TRANSFER."""
    return Transfer(
        transfer_id=row["transfer_id"],
        venue_transfer_id=row["venue_transfer_id"],
        kind=TransferKind(row["kind"]),
        asset=row["asset"],
        amount=row["amount"],
        fee=row["fee"],
        counterparty=row["counterparty"],
        time=row["transfer_time"],
    )


def leg_of(row: Row) -> OpenLeg:
    """Return the open leg of a row with LEG."""
    return OpenLeg(
        leg_id=row["leg_id"],
        order_id=row["order_id"],
        account_id=row["account_id"],
        market=row["market"],
        size=row["size"],
        price=row["price"],
    )
