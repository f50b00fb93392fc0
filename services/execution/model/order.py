"""An order: its terms, its legs, and where it stands by them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from services.domain.decimals import plain_text
from services.domain.errors import DomainError, Reason
from services.domain.refusal import Origin, Refusal, RefusalReason
from services.execution.model import hedge, remedy
from services.execution.model.caller_key import CallerKey
from services.execution.model.hedge import Hedge
from services.execution.model.leg import ZERO, Leg, LegState, Role
from services.execution.model.policy import LegPolicy, Remedy
from services.execution.model.quoted import Quoted
from services.execution.model.twap import Terms, Twap
from services.venues.actions import OrderType, Side, TimeInForce


class OrderState(StrEnum):
    """Where an order stands; the contract's names."""

    PLANNED = "PLANNED"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    SUBMIT_UNKNOWN = "SUBMIT_UNKNOWN"
    DONE = "DONE"
    PARTIALLY_DONE = "PARTIALLY_DONE"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    DENIED = "DENIED"
    REJECTED = "REJECTED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"

    @property
    def is_final(self) -> bool:
        """Whether it has ended."""
        return self not in _ALIVE


_ALIVE = frozenset((OrderState.PLANNED, OrderState.RUNNING, OrderState.PAUSED, OrderState.SUBMIT_UNKNOWN))


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """A take-profit or a stop for what an order has filled."""

    trigger_price: Decimal
    limit_price: Decimal | None = None
    """The worst price once triggered; a market order within the slippage limit where it is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """What a caller asks for."""

    request_id: UUID
    market: str
    side: Side
    size: Decimal
    size_in_usd: bool
    type: OrderType
    limit_price: Decimal | None
    time_in_force: TimeInForce
    reduce_only: bool
    venue: str
    venues: tuple[str, ...]
    excluded: tuple[str, ...]
    account_ids: tuple[UUID, ...]
    quote_id: UUID | None
    max_slippage_bps: int | None
    client_order_id: str
    allow_while_unknown: bool
    expire_time: datetime | None = None
    trigger_price: Decimal | None = None
    take_profit: Exit | None = None
    stop_loss: Exit | None = None
    twap: Terms | None = None
    signers: tuple[tuple[UUID, CallerKey], ...] = ()
    """Whose key signs for each account; empty where keys of ours do."""
    leg_policy: LegPolicy = LegPolicy.KEEP

    @property
    def digest(self) -> bytes:
        """What tells the same content under one request_id from other content."""
        parts: tuple[str, ...] = (
            self.market, self.side.value, plain_text(self.size), str(self.size_in_usd), self.type.value,
            "" if self.limit_price is None else plain_text(self.limit_price), self.time_in_force.value,
            str(self.reduce_only), self.venue, ",".join(self.venues), ",".join(self.excluded),
            ",".join(map(str, self.account_ids)), str(self.quote_id), str(self.max_slippage_bps), self.client_order_id,
        )  # fmt: skip
        if self.expire_time is not None:
            parts += (f"until {self.expire_time.isoformat()}",)
        if self.trigger_price is not None:
            parts += (f"trigger {plain_text(self.trigger_price)}",)
        if self.twap is not None:
            parts += (str(self.twap),)
        parts += tuple(f"signed by {account_id} {key}" for account_id, key in sorted(self.signers, key=str))
        if self.leg_policy is not LegPolicy.KEEP:
            parts += (f"policy {self.leg_policy.value}",)
        parts += tuple(f"exit {one}" for one in (self.take_profit, self.stop_loss) if one is not None)
        return hashlib.sha256("\0".join(parts).encode()).digest()


class Asked(Protocol):
    """What an order was made for."""

    @property
    def digest(self) -> bytes:
        """What tells the same content under one request_id from other content."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """The terms that an order is to get when its present leg has ended."""

    request_id: UUID
    leg_id: UUID
    """The leg that is being canceled."""
    new_leg_id: UUID
    """The id of the leg that follows it: known before, so that a crash changes nothing."""
    size: Decimal
    """Of the whole, what is filled included."""
    limit_price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """An order as it stands."""

    order_id: UUID
    user_id: UUID
    request_id: UUID
    digest: bytes
    market: str
    side: Side
    size: Decimal
    type: OrderType
    limit_price: Decimal | None
    time_in_force: TimeInForce
    reduce_only: bool
    client_order_id: str
    quote_id: UUID | None
    max_slippage_bps: int | None
    expire_time: datetime | None = None
    trigger_price: Decimal | None = None
    take_profit: Exit | None = None
    stop_loss: Exit | None = None
    twap: Twap | None = None
    leg_policy: LegPolicy = LegPolicy.KEEP
    account_ids: tuple[UUID, ...] = ()
    """The accounts that may carry what is routed again."""
    hedge: Hedge | None = None
    """The two sides, and the rule for when one stands alone."""
    remedy: Remedy | None = None
    """What the policy or that rule did."""
    legs: tuple[Leg, ...]
    refusal: Refusal | None = None
    """Why it was denied before it had legs."""
    quoted: Quoted | None = None
    """What it is expected to cost; there while the order is taken in, and kept beside it afterwards."""
    replacement: Replacement | None = None
    """What it is to become, while its present leg is being canceled."""
    caller_signed: bool = False
    """Whether its caller signs it."""
    version: int = 1
    create_time: datetime
    update_time: datetime
    cancel_time: datetime | None = None
    finish_time: datetime | None = None

    @property
    def _trading(self) -> list[Leg]:
        """The legs that trade the order; of a hedged one those of its first side."""
        if self.hedge is not None:
            return hedge.legs_of(self.legs, 1)
        return [leg for leg in self.legs if leg.role.trades_the_order]

    @property
    def gross(self) -> Decimal:
        """The size that was filled, what was traded back of it included."""
        return sum((leg.filled for leg in self._trading), ZERO)

    @property
    def filled(self) -> Decimal:
        """The size that is filled, less what was traded back."""
        part = 1 if self.hedge is not None else 0
        back = (leg.filled for leg in self.legs if leg.role is Role.UNWIND and leg.part == part)
        return self.gross - sum(back, ZERO)

    @property
    def notional(self) -> Decimal:
        """Sum of price times size over all that was filled."""
        return sum((leg.notional for leg in self._trading), ZERO)

    @property
    def remedy_time(self) -> datetime | None:
        """When its policy, or the rule of its hedge, is to be looked at; None where nothing of it is due."""
        found = remedy.due(self)
        return None if found is None else found.time

    @property
    def state(self) -> OrderState:
        """Where it stands, by its legs alone; one that another leg or slice is to follow has not ended."""
        if self.twap is None:
            state = state_of(self.legs, self.size, self.hedge)
            follows = state.is_final and (self.replacement is not None or remedy.due(self) is not None)
            return OrderState.RUNNING if follows else state
        if self.refusal is not None:
            return OrderState.DENIED
        if self.is_slicing:
            return self._slicing(self.twap)
        state = state_of(self.legs, self.size)
        if state.is_final and not self.filled:
            return OrderState.CANCELED if self.cancel_time is not None else state if self.legs else OrderState.EXPIRED
        return state

    @property
    def is_slicing(self) -> bool:
        """Whether slices of it are to come."""
        return self.twap is not None and not self.twap.is_over and self.cancel_time is None and self.refusal is None

    @property
    def slice_time(self) -> datetime | None:
        """When its next slice is due; None where none is."""
        return self.twap.next_time if self.twap is not None and self.is_slicing else None

    @property
    def out(self) -> Decimal:
        """What is with the venues and may still be filled."""
        return sum((leg.size - leg.filled for leg in self.legs if not leg.is_final), ZERO)

    def _slicing(self, schedule: Twap) -> OrderState:
        if any(leg.state is LegState.SUBMIT_UNKNOWN for leg in self.legs):
            return OrderState.SUBMIT_UNKNOWN
        if schedule.pause_time is not None:
            return OrderState.PAUSED
        return OrderState.RUNNING if schedule.sent else OrderState.PLANNED

    def is_replacing(self, leg: Leg) -> bool:
        """Whether another leg is to follow this one."""
        return self.replacement is not None and self.replacement.leg_id == leg.leg_id

    def answer_to(self, wanted: Asked) -> Order:
        """Return itself as the answer to a request with its request_id. Raises REQUEST_ID_REUSED for other content."""
        if wanted.digest != self.digest:
            raise DomainError(
                Reason.REQUEST_ID_REUSED,
                f"request_id {self.request_id} was used for another order: choose a new UUID for each order.",
                metadata={"field": "request_id", "order_id": str(self.order_id)},
            )
        return self


_ENDS = (
    (LegState.REJECTED, OrderState.REJECTED),
    (LegState.FAILED, OrderState.FAILED),
    (LegState.EXPIRED, OrderState.EXPIRED),
    (LegState.CANCELED, OrderState.CANCELED),
)


def state_of(legs: Sequence[Leg], size: Decimal, pair: Hedge | None = None) -> OrderState:
    """Return where an order stands by its legs; one without legs was denied."""
    states = {leg.state for leg in legs}
    if LegState.SUBMIT_UNKNOWN in states:
        return OrderState.SUBMIT_UNKNOWN
    if not all(state.is_final for state in states):
        untouched = states <= {LegState.HELD, LegState.PREPARED, LegState.SIGNED}
        return OrderState.PLANNED if untouched else OrderState.RUNNING
    trading = [leg for leg in legs if leg.role.trades_the_order]
    filled = sum((leg.filled for leg in trading), ZERO)
    back = sum((leg.filled for leg in legs if leg.role is Role.UNWIND), ZERO)
    if pair is None:
        is_whole = bool(trading) and not back and filled >= size
        is_undone = back >= filled
    else:
        is_whole = all(hedge.net(legs, side) >= pair.side(side).size for side in (1, 2))
        is_undone = not any(hedge.net(legs, side) > ZERO for side in (1, 2))
    if is_whole:
        return OrderState.DONE
    if filled:
        return OrderState.ABORTED if is_undone else OrderState.PARTIALLY_DONE
    states = {leg.state for leg in trading}
    return next((end for state, end in _ENDS if state in states), OrderState.DENIED)


def with_leg(order: Order, leg: Leg, now: datetime) -> Order:
    """Return the order with one leg as it now stands; its version grows, whether it has ended is looked at after."""
    legs = tuple(leg if one.leg_id == leg.leg_id else one for one in order.legs)
    return replace(order, legs=legs, version=order.version + 1, update_time=now)


def concluded(order: Order, now: datetime) -> Order:
    """Return the order with the time of its end where it has ended."""
    if order.state.is_final and order.finish_time is None:
        return replace(order, finish_time=now)
    return order


def denied(order: Order, refusal: Refusal) -> Order:
    """Return an order that a check of ours refused before anything was prepared."""
    return replace(order, refusal=refusal, legs=(), finish_time=order.create_time)


def name_taken(client_order_id: str, order_id: UUID) -> DomainError:
    """Return the refusal of an order whose client_order_id is that of an open one."""
    return DomainError(
        Reason.REQUEST_ID_REUSED,
        f"client_order_id {client_order_id} is that of the open order {order_id}: take another.",
        metadata={"field": "client_order_id", "order_id": str(order_id)},
    )


def mesh_says_no(
    reason: RefusalReason, message: str, advice: str = "", *, field: str = "", given: str = "", venue: str = "",
    passing: str = "",
) -> Refusal:  # fmt: skip
    """Return a refusal of ours."""
    return Refusal(
        reason=reason, origin=Origin.MESH, message=message, advice=advice, field=field, given_value=given, venue=venue,
        passing_value=passing,
    )  # fmt: skip
