"""Orders that were read or written of late, so that a change need not read what this process itself wrote.

A view and nothing more: every write names the version it was decided on (`writer.py`), so that an order that has moved
on elsewhere is read anew.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from services.execution.model.order import Order

ORDERS_MAX: Final = 4_000
"""Orders kept; beyond, those not touched for the longest time are forgotten."""
PARTS_MAX: Final = 20_000
"""Legs of those orders and trades counted of them: one order of many slices weighs as much as hundreds of others."""


class Shelf:
    """The newest version known of each order, found by its id or by what a venue calls its legs."""

    def __init__(self) -> None:
        self._orders: OrderedDict[UUID, Order] = OrderedDict()
        self._names: dict[tuple[UUID, str], tuple[UUID, UUID]] = {}
        self._turns: dict[UUID, tuple[asyncio.Lock, int]] = {}
        self._counted: dict[UUID, set[UUID]] = {}
        self._reported: dict[UUID, Decimal] = {}
        self._parts = 0

    def get(self, order_id: UUID) -> Order | None:
        """Return an order as last known."""
        return self._orders.get(order_id)

    def put(self, order: Order) -> None:
        """Keep an order, unless a newer version is here."""
        known = self._orders.pop(order.order_id, None)
        if known is not None and known.version >= order.version:
            self._orders[order.order_id] = known
            return
        if known is not None:
            self._parts -= len(known.legs)
            self._unname(known)  # a trigger order gets another id of its venue's when it fires
        self._orders[order.order_id] = order if order.quoted is None else replace(order, quoted=None)
        self._parts += len(order.legs)
        for leg in order.legs:
            for name in _names(leg.client_id, leg.venue_order_id):
                self._names[leg.account_id, name] = order.order_id, leg.leg_id
        self._make_room()

    def find(self, account_id: UUID, client_id: str, venue_order_id: str) -> tuple[UUID, UUID] | None:
        """Return the ids of the order and the leg that a venue means; None where they are not here."""
        for name in _names(client_id, venue_order_id):
            found = self._names.get((account_id, name))
            if found is not None:
                return found
        return None

    def count(self, order_id: UUID, fill_ids: Iterable[UUID]) -> None:
        """Note that trades of an order are in the record."""
        if order_id in self._orders:
            counted = self._counted.setdefault(order_id, set())
            before = len(counted)
            counted.update(fill_ids)
            self._parts += len(counted) - before
            self._make_room()

    def is_counted(self, order_id: UUID, fill_id: UUID) -> bool:
        """Whether a trade is surely in the record."""
        return fill_id in self._counted.get(order_id, ())

    def report(self, order_id: UUID, filled: Decimal) -> None:
        """Note that the report of an order was written with what it had filled."""
        if order_id in self._orders:
            self._reported[order_id] = filled

    def is_reported(self, order_id: UUID, filled: Decimal) -> bool:
        """Whether the report of an order that filled this is surely written."""
        return self._reported.get(order_id) == filled

    def turn(self, order_id: UUID) -> Turn:
        """Return what to hold while an order is changed: changes of one process do not decide on the same version."""
        return Turn(self._turns, order_id)

    def _make_room(self) -> None:
        while len(self._orders) > ORDERS_MAX or self._parts > PARTS_MAX:
            self._forget(next(iter(self._orders)))

    def _forget(self, order_id: UUID) -> None:
        order = self._orders.pop(order_id)
        self._parts -= len(order.legs) + len(self._counted.pop(order_id, ()))
        self._reported.pop(order_id, None)
        self._unname(order)

    def _unname(self, order: Order) -> None:
        for leg in order.legs:
            for name in _names(leg.client_id, leg.venue_order_id):
                self._names.pop((leg.account_id, name), None)


class Turn:
    """The turn of one order; forgotten when nobody waits for it."""

    def __init__(self, turns: dict[UUID, tuple[asyncio.Lock, int]], order_id: UUID) -> None:
        self._turns = turns
        self._order_id = order_id

    async def __aenter__(self) -> None:
        lock, count = self._turns.get(self._order_id) or (asyncio.Lock(), 0)
        self._turns[self._order_id] = lock, count + 1
        try:
            await lock.acquire()
        except BaseException:
            self._leave(lock)
            raise

    async def __aexit__(self, *_: object) -> None:
        lock, _count = self._turns[self._order_id]
        lock.release()
        self._leave(lock)

    def _leave(self, lock: asyncio.Lock) -> None:
        count = self._turns[self._order_id][1] - 1
        if count:
            self._turns[self._order_id] = lock, count
        else:
            del self._turns[self._order_id]


def _names(client_id: str, venue_order_id: str) -> list[str]:
    """Return the names of a leg at its venue, told apart by a letter."""
    return [f"{kind}{name}" for kind, name in (("c", client_id), ("v", venue_order_id)) if name]
