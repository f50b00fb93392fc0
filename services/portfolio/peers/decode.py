"""Log events as they travel, to values. What cannot be read is told and left out, never guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from perpmesh.execution.v1 import account_observed_pb2, fill_pb2, leg_pb2, log_event_pb2, order_pb2, report_pb2
from perpmesh.type.v1 import cost_pb2, side_pb2

from services.domain.decimals import parse_decimal
from services.portfolio.model.rounding import ZERO
from services.portfolio.model.values import (
    SETTLEMENT_ASSET,
    Cause,
    Environment,
    Fill,
    LogEntry,
    MarginMode,
    Observation,
    OpenLeg,
    OrderReport,
    OrderState,
    Payment,
    ReportedBalance,
    ReportedFees,
    ReportedMargin,
    ReportedPosition,
    Transfer,
    TransferKind,
    What,
    derived_id,
)

_RESTING: Final = frozenset({leg_pb2.Leg.STATE_OPEN, leg_pb2.Leg.STATE_PARTIALLY_FILLED})
_TRANSFER_KINDS: Final = {
    "deposit": TransferKind.DEPOSIT,
    "withdraw": TransferKind.WITHDRAWAL,
    "withdrawal": TransferKind.WITHDRAWAL,
    "internaltransfer": TransferKind.INTERNAL,
    "subaccounttransfer": TransferKind.INTERNAL,
    "accountclasstransfer": TransferKind.INTERNAL,
    "spottransfer": TransferKind.INTERNAL,
    "send": TransferKind.INTERNAL,
    "cstakingtransfer": TransferKind.INTERNAL,
    "vaultcreate": TransferKind.INTERNAL,
    "vaultdeposit": TransferKind.INTERNAL,
    "vaultwithdraw": TransferKind.INTERNAL,
    "vaultdistribution": TransferKind.INTERNAL,
    "vaultleadercommission": TransferKind.REWARD,
    "spotgenesis": TransferKind.REWARD,
    "refund": TransferKind.WITHDRAWAL,
    "transfer": TransferKind.INTERNAL,
    "testfunds": TransferKind.TEST_FUNDS,
    "rewardsclaim": TransferKind.REWARD,
    "reward": TransferKind.REWARD,
}
"""The venues' own names of what moves money, without case and punctuation."""
_FLOWS: Final = ("inflow", "outflow", "selftransfer")
"""How Lighter's names end of what moves between accounts, pools and routes there."""


def entry_of(event: log_event_pb2.LogEvent, tell: Callable[[int, Exception], None]) -> LogEntry:
    """Return an event of the log; one that cannot be read is told and comes empty, so that the log goes on."""
    try:
        what = tuple(_what(event))
        user_id = UUID(event.user_id)
    except (ValueError, ArithmeticError) as error:
        tell(event.sequence, error)
        what, user_id = (), UUID(int=0)
    return LogEntry(sequence=event.sequence, user_id=user_id, written=_time(event.write_time), what=what)


def _what(event: log_event_pb2.LogEvent) -> Iterable[What]:
    kind = event.WhichOneof("event")
    if kind == "fill_recorded":
        yield _fill(event.fill_recorded.fill)
    elif kind == "account_observed":
        yield _observation(event.account_observed)
    elif kind == "order_changed":
        yield _order(event.order_changed.order)
    elif kind == "execution_reported":
        yield _report(event.execution_reported)


def _fill(said: fill_pb2.Fill) -> Fill:
    size = parse_decimal(said.size)
    if said.side not in (side_pb2.SIDE_BUY, side_pb2.SIDE_SELL) or size <= 0 or not said.market:
        raise ValueError(f"fill {said.fill_id} has no side, size or market")
    assets = {cost.asset or SETTLEMENT_ASSET for cost in said.costs if cost.amount}
    return Fill(
        fill_id=UUID(said.fill_id),
        order_id=said.order_id,
        account_id=UUID(said.account_id),
        venue=said.venue,
        market=said.market,
        size=size if said.side == side_pb2.SIDE_BUY else -size,
        price=parse_decimal(said.price),
        costs=tuple((int(cost.kind), parse_decimal(cost.amount)) for cost in said.costs if cost.amount),
        cost_asset=assets.pop() if len(assets) == 1 else SETTLEMENT_ASSET,
        cause=Cause(int(said.cause)) if int(said.cause) in {*Cause} else Cause.UNSPECIFIED,
        time=_time(said.fill_time),
    )


def _observation(said: account_observed_pb2.AccountObserved) -> Observation:
    received = _time(said.receive_time)
    venue_time = _time(said.venue_time) if said.HasField("venue_time") else None
    return Observation(
        account_id=UUID(said.account_id),
        venue=said.venue,
        environment=Environment(said.environment),
        received=received,
        venue_time=venue_time,
        complete=said.complete,
        reconciled=said.reconciled,
        positions=tuple(_position(one, received, venue_time) for one in said.positions),
        balances=tuple(
            ReportedBalance(asset=one.asset, total=parse_decimal(one.total), held=_maybe(one.held) or ZERO)
            for one in said.balances
        ),
        margin=_margin(said.margin, received) if said.HasField("margin") else None,
        fees=ReportedFees(
            tier=said.fees.tier, maker=_maybe(said.fees.maker_fee_rate), taker=_maybe(said.fees.taker_fee_rate)
        )
        if said.HasField("fees")
        else None,
        transfers=tuple(_transfer(one, said) for one in said.transfers),
        payments=tuple(_payment(one, said) for one in said.funding_payments),
    )


def _position(
    said: account_observed_pb2.ObservedPosition, received: datetime, venue_time: datetime | None
) -> ReportedPosition:
    return ReportedPosition(
        market=said.market,
        size=parse_decimal(said.size),
        entry_price=_maybe(said.entry_price),
        mark_price=_maybe(said.mark_price),
        liquidation_price=_maybe(said.liquidation_price),
        unrealized_pnl=_maybe(said.unrealized_pnl),
        realized_pnl=_maybe(said.realized_pnl),
        funding_paid=_maybe(said.funding_paid),
        margin_used=_maybe(said.margin_used),
        leverage=said.leverage,
        margin_mode=MarginMode(said.margin_mode),
        isolated_collateral=_maybe(said.isolated_collateral),
        venue_time=venue_time,
        received=received,
    )


def _margin(said: account_observed_pb2.ObservedMargin, received: datetime) -> ReportedMargin:
    return ReportedMargin(
        equity=_maybe(said.equity),
        initial_margin=_maybe(said.initial_margin),
        maintenance_margin=_maybe(said.maintenance_margin),
        withdrawable=_maybe(said.withdrawable),
        available=_maybe(said.available),
        account_mode=said.account_mode,
        received=received,
    )


def _transfer(said: account_observed_pb2.ObservedTransfer, seen: account_observed_pb2.AccountObserved) -> Transfer:
    word = "".join(letter for letter in said.venue_kind.lower() if letter.isalpha())
    return Transfer(
        transfer_id=derived_id("transfer", seen.venue, seen.account_id, said.venue_transfer_id),
        venue_transfer_id=said.venue_transfer_id,
        kind=_TRANSFER_KINDS.get(word, TransferKind.INTERNAL if word.endswith(_FLOWS) else TransferKind.UNSPECIFIED),
        asset=said.asset or SETTLEMENT_ASSET,
        amount=parse_decimal(said.amount),
        fee=_maybe(said.fee) or ZERO,
        counterparty=said.counterparty,
        wallet=said.wallet,
        time=_time(said.transfer_time),
    )


def _payment(said: account_observed_pb2.ObservedFunding, seen: account_observed_pb2.AccountObserved) -> Payment:
    # By time and not by the venue's id: one channel has an id for a payment and another has none.
    at_ms = said.payment_time.ToMilliseconds()
    return Payment(
        payment_id=derived_id("funding", seen.venue, seen.account_id, said.market, str(at_ms)),
        market=said.market,
        amount=parse_decimal(said.amount),
        rate=_maybe(said.rate) or ZERO,
        position_size=_maybe(said.position_size) or ZERO,
        time=_time(said.payment_time),
    )


def _order(said: order_pb2.Order) -> OrderState:
    resting: list[OpenLeg] = []
    ended: list[UUID] = []
    for leg in said.legs:
        left = parse_decimal(leg.size) - (_maybe(leg.filled_size) or ZERO)
        if leg.state in _RESTING and left > 0 and not leg.HasField("trigger_price"):
            resting.append(
                OpenLeg(
                    leg_id=UUID(leg.leg_id),
                    order_id=said.order_id,
                    account_id=UUID(leg.account_id),
                    market=leg.market,
                    size=left if leg.side == side_pb2.SIDE_BUY else -left,
                    price=_maybe(leg.limit_price),
                )
            )
        else:
            ended.append(UUID(leg.leg_id))
    return OrderState(order_id=said.order_id, open=tuple(resting), ended=tuple(ended))


def _report(said: log_event_pb2.ExecutionReported) -> OrderReport:
    report = said.report
    filled = parse_decimal(report.filled_size)
    price, mid = _maybe(report.achieved_price), _maybe(report.arrival_mid_price) or ZERO
    book = sum(
        (parse_decimal(line.achieved_amount) for line in report.lines if line.kind == cost_pb2.COST_KIND_BOOK), ZERO
    )
    last = [
        phase.duration for phase in report.phases if phase.kind == report_pb2.Phase.KIND_LAST_FILL and not phase.leg_id
    ]
    venues = {leg.venue for leg in report.legs}
    return OrderReport(
        order_id=UUID(report.order_id),
        market=said.market,
        side=1 if said.side == side_pb2.SIDE_BUY else -1,
        venue=venues.pop() if len(venues) == 1 else "",
        account_id=UUID(said.account_id) if said.account_id else None,
        environment=Environment(said.environment),
        size=parse_decimal(said.size),
        filled_size=filled,
        quoted_size=_maybe(report.quoted_size) or ZERO,
        notional=filled * price if price is not None else ZERO,
        arrival_notional=filled * mid,
        quoted_cost=parse_decimal(report.quoted_cost),
        achieved_cost=parse_decimal(report.achieved_cost),
        slippage=book,
        single_venue_costs=tuple((one.venue, parse_decimal(one.cost)) for one in said.single_venue_costs),
        placed=_time(said.create_time),
        time_to_fill_us=last[0].ToMicroseconds() if last else None,
        routed=bool(report.quote_id),
    )


def _maybe(text: str) -> Decimal | None:
    return parse_decimal(text) if text else None


def _time(stamp: Any) -> datetime:
    return datetime.fromtimestamp(stamp.seconds, UTC).replace(microsecond=stamp.nanos // 1_000)
