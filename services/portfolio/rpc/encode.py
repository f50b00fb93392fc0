"""Values to messages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from perpmesh.portfolio.v1 import balance_pb2, funding_payment_pb2, position_pb2, position_record_pb2, transfer_pb2
from perpmesh.type.v1 import cost_pb2, position_side_pb2

from services.domain.decimals import plain_text
from services.portfolio.model.account import Account, Balance
from services.portfolio.model.life import Life, LifeEvent
from services.portfolio.model.liquidation import BPS
from services.portfolio.model.reconcile import EXPLANATIONS
from services.portfolio.model.rounding import ZERO, product_half_even, ratio_half_even, shown
from services.portfolio.model.values import (
    SETTLEMENT_ASSET,
    EventKind,
    Payment,
    ReportedPosition,
    Transfer,
)
from services.portfolio.model.view import AccountView, PositionView

LONG: Final = position_side_pb2.POSITION_SIDE_LONG
SHORT: Final = position_side_pb2.POSITION_SIDE_SHORT
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICRO: Final = timedelta(microseconds=1)


def stamp(moment: datetime | None) -> Timestamp | None:
    """Return a time as the contract has it."""
    if moment is None:
        return None
    micros = (moment - _EPOCH) // _MICRO
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)


def span(length: timedelta) -> Duration:
    """Return a span as the contract has it."""
    micros = length // _MICRO
    return Duration(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)


def text(value: Decimal | None) -> str:
    """Return an amount, empty where it is not known."""
    return "" if value is None else shown(value)


def floor_text(value: Decimal | None) -> str:
    """Return an amount that the contract says is never negative, empty where it is not known."""
    return "" if value is None else shown(max(ZERO, value))


def cost_lines(costs: Iterable[tuple[int, Decimal]]) -> list[cost_pb2.Cost]:
    """Return fees by kind, as the contract's numbers order them."""
    return [
        cost_pb2.Cost(kind=kind, amount=shown(amount), asset=SETTLEMENT_ASSET)  # type: ignore[arg-type]
        for kind, amount in sorted(costs)
    ]


def side_of(side: int) -> Any:
    """Return a direction as the contract has it."""
    return LONG if side > 0 else SHORT if side < 0 else position_side_pb2.POSITION_SIDE_UNSPECIFIED


def position(view: PositionView, now: datetime) -> position_pb2.Position:
    """Return a position."""
    life, account, report, mark = view.life, view.account, view.report, view.mark
    said = report.position if report is not None else None
    flat = not life.size and (said is None or not said.size)
    return position_pb2.Position(
        position_id=str(life.position_id),
        account_id=str(account.account_id),
        venue=account.venue,
        environment=int(account.environment),  # type: ignore[arg-type]
        market=life.market,
        side=side_of(0 if flat else life.side),
        size=shown(life.signed_size),
        entry_price=text(life.entry_price),
        fifo_entry_price=text(life.fifo_entry_price),
        mark_price=text(mark.price if mark is not None else None),
        notional=text(view.notional),
        unrealized_pnl=text(view.unrealized),
        realized_pnl=shown(life.realized),
        costs=cost_lines(life.costs.items()),
        funding_paid=shown(life.funding_paid),
        funding_rate_hourly=text(view.funding_hourly),
        margin_mode=int(view.mode),  # type: ignore[arg-type]
        leverage=view.leverage,
        initial_margin=text(view.initial),
        maintenance_margin=text(view.maintenance),
        isolated_collateral=text(said.isolated_collateral if said is not None else None),
        computed_liquidation_price=text(view.liquidation),
        reported_liquidation_price=text(said.liquidation_price if said is not None else None),
        liquidation_distance_bps=text(product_half_even(view.distance, BPS) if view.distance is not None else None),
        reported=reported(said) if said is not None else None,
        differences=[
            position_pb2.PositionDifference(
                field=name,
                computed_value=shown(ours),
                reported_value=shown(theirs),
                since_time=stamp(since),
                explanation=EXPLANATIONS[name],
            )
            for name, (ours, theirs, since) in view.differences.items()
        ],
        mark_age=span(max(now - mark.received, timedelta())) if mark is not None else None,
        log_sequence=life.sequence,
        create_time=stamp(life.opened),
        update_time=stamp(max(life.updated, said.as_of) if said is not None else life.updated),
        adopted=adoption(life),
    )


def adoption(life: Life) -> position_pb2.Adoption | None:
    """Return what of a position was taken over from the venue, None where it all comes from fills."""
    if life.adopted_at is None:
        return None
    return position_pb2.Adoption(
        size=shown(life.adopted_size),
        entry_price=text(life.adopted_entry),
        unrealized_pnl=shown(life.adopted_unrealized),
        funding_paid=shown(life.adopted_funding),
        adopt_time=stamp(life.adopted_at),
    )


def reported(said: ReportedPosition) -> position_pb2.ReportedPosition:
    """Return a position as its venue reports it."""
    return position_pb2.ReportedPosition(
        size=shown(said.size),
        entry_price=text(said.entry_price),
        unrealized_pnl=text(said.unrealized_pnl),
        realized_pnl=text(said.realized_pnl),
        funding_paid=text(said.funding_paid),
        margin_used=floor_text(said.margin_used),
        liquidation_price=text(said.liquidation_price),
        leverage=said.leverage,
        venue_time=stamp(said.venue_time),
        receive_time=stamp(said.received),
    )


def balance(account: Account, one: Balance) -> balance_pb2.Balance:
    """Return a balance. Its value is that of the settlement asset; other assets have no price here."""
    return balance_pb2.Balance(
        account_id=str(account.account_id),
        venue=account.venue,
        environment=int(account.environment),  # type: ignore[arg-type]
        asset=one.asset,
        total=text(one.total),
        held=shown(one.held),
        computed_total=text(one.computed),
        difference=shown(one.difference),
        difference_time=stamp(one.differs_since),
        value=text(one.total if one.asset == SETTLEMENT_ASSET else None),
        receive_time=stamp(one.received),
    )


def summary(view: AccountView) -> balance_pb2.AccountSummary:
    """Return an account as a whole."""
    account, standing, margin, fees = view.account, view.standing, view.account.margin, view.account.fees
    leverage = None
    if standing is not None and view.notional is not None and standing.equity > 0:
        leverage = ratio_half_even(view.notional, standing.equity)
    message = balance_pb2.AccountSummary(
        account_id=str(account.account_id),
        venue=account.venue,
        environment=int(account.environment),  # type: ignore[arg-type]
        account_mode=margin.account_mode if margin is not None else "",
        unrealized_pnl=text(view.unrealized),
        available=text(view.available),
        withdrawable=text(view.withdrawable),
        effective_leverage=text(leverage),
        update_time=stamp(account.updated),
    )
    if standing is not None:
        message.equity = shown(standing.equity)
        message.initial_margin = shown(standing.initial)
        message.maintenance_margin = shown(standing.maintenance)
    if margin is not None:
        message.reported.CopyFrom(
            balance_pb2.ReportedSummary(
                equity=text(margin.equity),
                initial_margin=floor_text(margin.initial_margin),
                maintenance_margin=floor_text(margin.maintenance_margin),
                available=text(margin.available),
                withdrawable=floor_text(margin.withdrawable),
                receive_time=stamp(margin.received),
            )
        )
    if fees is not None:
        message.fee_tier = fees.tier
        message.maker_fee_rate = text(fees.maker)
        message.taker_fee_rate = text(fees.taker)
    return message


def record(account: Account, life: Life, events: Iterable[LifeEvent] = ()) -> position_record_pb2.PositionRecord:
    """Return the life of a position."""
    state = position_record_pb2.PositionRecord
    return position_record_pb2.PositionRecord(
        position_id=str(life.position_id),
        account_id=str(account.account_id),
        venue=account.venue,
        environment=int(account.environment),  # type: ignore[arg-type]
        market=life.market,
        side=side_of(life.side),
        state=state.STATE_OPEN if life.closed is None else state.STATE_CLOSED,
        max_size=shown(life.max_size),
        entry_price=text(life.opened_price),
        exit_price=text(life.exit_price),
        realized_pnl=shown(life.realized),
        fifo_realized_pnl=shown(life.fifo_realized),
        costs=cost_lines(life.costs.items()),
        funding_paid=shown(life.funding_paid),
        net_pnl=shown(life.net_pnl),
        event_count=life.events,
        events=[life_event(one) for one in events],
        open_time=stamp(life.opened),
        close_time=stamp(life.closed),
        adopted=adoption(life),
    )


def life_event(one: LifeEvent) -> position_record_pb2.PositionEvent:
    """Return something that happened to a position."""
    costs = [*one.costs]
    if one.funding:
        costs.append((cost_pb2.COST_KIND_FUNDING, one.funding))
    return position_record_pb2.PositionEvent(
        kind=int(one.kind),  # type: ignore[arg-type]
        event_time=stamp(one.time),
        size_change=shown(one.size_change) if one.size_change else "",
        price=text(one.price),
        size_after=shown(one.size_after),
        realized_pnl=text(one.realized),
        costs=cost_lines(costs),
        fill_id=str(one.fill_id) if one.fill_id is not None else "",
        order_id=one.order_id,
        explanation=one.explanation or _sentence(one),
    )


def _sentence(one: LifeEvent) -> str:
    if one.kind is EventKind.FUNDING:
        verb = "paid" if one.funding > 0 else "received"
        return f"Funding of {plain_text(abs(one.funding))} USD was {verb}."
    verb = "Bought" if one.size_change > 0 else "Sold"
    trade = f"{verb} {plain_text(abs(one.size_change))} at {text(one.price)}"
    made = "" if one.realized is None else f", which realized {shown(one.realized)} USD"
    by = {
        EventKind.LIQUIDATION: " by the venue's liquidation",
        EventKind.DELEVERAGING: " by the venue, which closed it against a bankrupt position",
        EventKind.SETTLEMENT: " by the venue's settlement of the market",
    }.get(one.kind, "" if one.order_id else " by a trade that no order of ours made")
    return f"{trade}{made}{by}."


def payment(one: Payment, position_id: UUID | None, account_id: UUID, venue: str) -> funding_payment_pb2.FundingPayment:
    """Return a funding payment."""
    return funding_payment_pb2.FundingPayment(
        funding_payment_id=str(one.payment_id),
        position_id=str(position_id) if position_id is not None else "",
        account_id=str(account_id),
        venue=venue,
        market=one.market,
        amount=shown(one.amount),
        rate=shown(one.rate),
        position_size=shown(one.position_size),
        payment_time=stamp(one.time),
    )


def transfer(one: Transfer, account_id: UUID, venue: str, received: datetime) -> transfer_pb2.Transfer:
    """Return a transfer."""
    return transfer_pb2.Transfer(
        transfer_id=str(one.transfer_id),
        account_id=str(account_id),
        venue=venue,
        kind=transfer_pb2.Transfer.Kind.Value(f"KIND_{one.kind.value}"),
        asset=one.asset,
        amount=shown(one.amount),
        fee=shown(one.fee),
        counterparty=one.counterparty,
        venue_transfer_id=one.venue_transfer_id,
        transfer_time=stamp(one.time),
        receive_time=stamp(received),
    )
