"""What others read of the log: events as messages."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from perpmesh.execution.v1 import account_observed_pb2, log_event_pb2
from perpmesh.type.v1 import environment_pb2, margin_mode_pb2

from services.domain.decimals import plain_text
from services.execution.model.leg import Trade
from services.execution.model.order import Order
from services.execution.model.reported import Report
from services.execution.ports import Observed
from services.execution.rpc import encode
from services.execution.rpc.report import reported
from services.venues.account import AccountState, FundingPaid, Position, Transfer


class ProtoScribe:
    """The port `Scribe`."""

    def __init__(self, environment: str) -> None:
        """Prepare; `environment` is where the accounts live that this mesh trades with."""
        self._environment = environment_pb2.Environment.Value(f"ENVIRONMENT_{environment}")

    def order(self, order: Order) -> bytes:
        """Return a log event of an order as it stands, without its number."""
        event = log_event_pb2.LogEvent(user_id=str(order.user_id))
        event.order_changed.order.CopyFrom(encode.order(order))
        return event.SerializeToString()

    def fill(self, user_id: UUID, order_id: UUID | None, leg_id: UUID | None, trade: Trade, number: int) -> bytes:
        """Return a log event of a trade, without its number."""
        event = log_event_pb2.LogEvent(user_id=str(user_id))
        names = (
            "fill_id", "account_id", "venue", "market", "price", "size", "liquidity", "cause", "fee", "interface_fee",
            "realized_pnl", "trade_id", "venue_order_id", "fill_time", "receive_time",
        )  # fmt: skip
        row = {name: getattr(trade, name) for name in names}
        row |= {"side": trade.side.value, "order_id": order_id, "leg_id": leg_id, "number": number}
        event.fill_recorded.fill.CopyFrom(encode.fill(row))
        return event.SerializeToString()

    def observed(self, observed: Observed) -> bytes:
        """Return a log event of what a venue said, without its number."""
        account = observed.account
        event = log_event_pb2.LogEvent(user_id=str(account.user_id))
        said = event.account_observed
        said.account_id, said.venue = str(account.account_id), account.venue
        said.environment = environment_pb2.Environment.Value(f"ENVIRONMENT_{account.environment}")
        said.receive_time.FromDatetime(observed.receive_time)
        if observed.state is not None:
            _state(said, observed.state)
        if observed.fees is not None:
            said.fees.tier = observed.fees.tier
            said.fees.maker_fee_rate = plain_text(observed.fees.maker)
            said.fees.taker_fee_rate = plain_text(observed.fees.taker)
        said.funding_payments.extend([_funding(one) for one in observed.funding if one.market])
        said.transfers.extend([_transfer(one) for one in observed.transfers])
        said.reconciled = observed.reconciled
        return event.SerializeToString()

    def report(self, report: Report) -> bytes:
        """Return a log event of what an order came to, without its number."""
        event = log_event_pb2.LogEvent(user_id=str(report.order.user_id))
        event.execution_reported.CopyFrom(reported(report, self._environment))
        return event.SerializeToString()

    def numbered(self, event: bytes, sequence: int, write_time: datetime) -> bytes:
        """Return a log event with its number and time."""
        message = log_event_pb2.LogEvent.FromString(event)
        message.sequence = sequence
        message.write_time.FromDatetime(write_time)
        return message.SerializeToString()


def _state(said: account_observed_pb2.AccountObserved, state: AccountState) -> None:
    said.complete = True
    if state.time_ms:
        said.venue_time.FromMilliseconds(state.time_ms)
    said.positions.extend([_position(one) for one in state.positions if one.market])
    for balance in state.balances:
        said.balances.add(asset=balance.asset, total=plain_text(balance.total), held=plain_text(balance.held))
    margin = state.margin
    said.margin.equity = plain_text(margin.equity)
    said.margin.initial_margin = plain_text(margin.initial)
    said.margin.maintenance_margin = "" if margin.maintenance is None else plain_text(margin.maintenance)
    said.margin.withdrawable = plain_text(margin.withdrawable)
    said.margin.available = plain_text(margin.available)
    said.margin.account_mode = state.mode


def _position(one: Position) -> account_observed_pb2.ObservedPosition:
    message = account_observed_pb2.ObservedPosition(
        market=one.market,
        size=plain_text(one.size),
        entry_price=plain_text(one.entry_price) if one.size else "",
        unrealized_pnl=plain_text(one.unrealized_pnl),
        leverage=int(one.leverage),
        margin_mode=margin_mode_pb2.MarginMode.Value(f"MARGIN_MODE_{one.margin_mode.value}"),
    )
    for name, value in (
        ("mark_price", one.mark_price),
        ("liquidation_price", one.liquidation_price),
        ("realized_pnl", one.realized_pnl),
        ("funding_paid", one.funding_paid),
        ("margin_used", one.margin_used),
        ("isolated_collateral", one.isolated_collateral),
    ):
        if value is not None:
            setattr(message, name, plain_text(value))
    return message


def _transfer(one: Transfer) -> account_observed_pb2.ObservedTransfer:
    message = account_observed_pb2.ObservedTransfer(
        venue_transfer_id=one.transfer_id,
        venue_kind=one.kind,
        wallet=one.wallet,
        asset=one.asset,
        amount=plain_text(one.amount),
        fee=plain_text(one.fee),
        counterparty=one.counterparty,
    )
    message.transfer_time.FromMilliseconds(one.time_ms)
    return message


def _funding(one: FundingPaid) -> account_observed_pb2.ObservedFunding:
    message = account_observed_pb2.ObservedFunding(
        market=one.market,
        amount=plain_text(one.amount),
        rate=plain_text(one.rate),
        position_size=plain_text(one.position_size),
    )
    message.payment_time.FromMilliseconds(one.time_ms)
    return message
