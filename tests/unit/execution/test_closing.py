"""Closing twice at once: one close, whatever the venue said was held in between."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from services.domain.errors import DomainError, Reason
from services.execution.app.closing import Close, Closer
from services.execution.model.leg import Leg
from services.execution.model.order import NewOrder, Order
from tests.unit.execution.test_gate import USER, account
from tests.unit.execution.test_leg import leg

ASKED = Close(
    request_id=UUID(int=5), market="BTC-PERP", venue="", account_ids=(), size=None, limit_price=Decimal(1),
    max_slippage_bps=None,
)  # fmt: skip


class Twice:
    """A venue that says less is held each time it is asked, and a record in which the first of two twins wins."""

    def __init__(self, market: str) -> None:
        self.left = [Decimal(3), Decimal(2)]
        self.market = market
        self.kept: Any = None

    async def of_user(self, user_id: UUID) -> list[Any]:
        return [account("lighter")]

    def at(self, venue: str, environment: str) -> Twice:
        return self

    async def state(self, ref: object) -> Any:
        return SimpleNamespace(positions=(SimpleNamespace(market="BTC-PERP", size=self.left.pop(0)),))

    async def by_request(self, user_id: UUID, request_id: UUID) -> Any:
        return self.kept if not self.left else None

    def draft(self, user_id: UUID, order_id: UUID, wanted: NewOrder) -> Order:
        return Order(
            order_id=order_id, user_id=user_id, request_id=wanted.request_id, digest=wanted.digest, market=self.market,
            side=wanted.side, size=wanted.size, type=wanted.type, limit_price=None, time_in_force=wanted.time_in_force,
            reduce_only=True, client_order_id="", quote_id=None, max_slippage_bps=None, legs=(),
            create_time=leg().create_time, update_time=leg().create_time,
        )  # fmt: skip

    def new_id(self) -> UUID:
        return UUID(int=7)

    def leg(self, order: Order, number: int, of: object, size: Decimal, price: Decimal) -> Leg:
        return leg(size=size)

    async def keep(self, order: Order, wanted: NewOrder) -> Order:
        self.kept = self.kept or order
        return self.kept.answer_to(wanted)  # type: ignore[no-any-return]


@pytest.mark.parametrize("market", ["BTC-PERP", "ETH-PERP"])
async def test_the_second_of_two_closes_under_one_request_gets_the_first_unless_it_was_of_another_market(
    market: str,
) -> None:
    one: Any = Twice(market)
    closer = Closer(intake=one, orders=one, accounts=one, venues=one)
    (first,) = await closer.close(USER, ASKED)
    one.by_request = _unknown_first(one.by_request)
    if market == ASKED.market:
        assert await closer.close(USER, ASKED) == [first]
        return
    with pytest.raises(DomainError) as refused:
        await closer.close(USER, ASKED)
    assert refused.value.reason is Reason.REQUEST_ID_REUSED


def _unknown_first(by_request: Any) -> Any:
    """Return a look that finds nothing the first two times, as one that came before the twin was kept."""
    looks = [None, None]

    async def looked(user_id: UUID, request_id: UUID) -> Any:
        return looks.pop() if looks else await by_request(user_id, request_id)

    return looked
