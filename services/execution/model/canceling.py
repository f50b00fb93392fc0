"""Which legs of an order are to be canceled, where not all of its venues or accounts are meant. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from services.execution.model.leg import Leg, LegState
from services.execution.model.order import Order


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelScope:
    """Where open legs are to be canceled; an empty value means everywhere."""

    venue: str = ""
    account_ids: tuple[UUID, ...] = ()
    keep_reduce_only: bool = False
    """Whether an order is left standing of which only legs that reduce are open there."""

    def takes(self, leg: Leg) -> bool:
        """Whether a leg lies in it."""
        return self.venue in ("", leg.venue) and (not self.account_ids or leg.account_id in self.account_ids)


EVERYWHERE = CancelScope()


def to_cancel(order: Order, scope: CancelScope, now: datetime) -> Order:
    """Return an order of which what is open in a scope is to be canceled; itself where that is nothing new.

    Where all of it lies there the whole order is canceled, with what is to come of it. Otherwise only the legs there
    are: those elsewhere go on, and so do the slices to come of an order that may trade elsewhere.
    """
    if order.state.is_final or order.cancel_time is not None:
        return order
    live = [leg for leg in order.legs if not leg.is_final]
    meant = [leg for leg in live if scope.takes(leg)]
    if scope.keep_reduce_only and (meant or live) and all(leg.reduce_only for leg in meant or live):
        return order
    goes_elsewhere = order.twap is not None and len(order.twap.account_ids) > 1
    if scope == replace(EVERYWHERE, keep_reduce_only=scope.keep_reduce_only) or (
        len(meant) == len(live) and not goes_elsewhere
    ):
        return _canceled(replace(order, cancel_time=now, replacement=None), live, now)
    open_there = [leg for leg in meant if leg.state is not LegState.HELD and not leg.cancel_wanted]
    return _canceled(order, open_there, now) if open_there else order


def is_canceling(order: Order, scope: CancelScope) -> bool:
    """Whether an order, or what was open of it in a scope, is being canceled."""
    return order.cancel_time is not None or any(
        leg.cancel_wanted and scope.takes(leg) and leg.role.trades_the_order for leg in order.legs
    )


def _canceled(order: Order, legs: list[Leg], now: datetime) -> Order:
    ids = {leg.leg_id for leg in legs}
    wanted = tuple(replace(leg, cancel_wanted=True) if leg.leg_id in ids else leg for leg in order.legs)
    return replace(order, legs=wanted, version=order.version + 1, update_time=now)
