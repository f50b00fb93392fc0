"""Lists of a user's orders and fills, page by page, each on its index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from services.chassis.postgres import Database
from services.execution.model.order import Order
from services.execution.model.wanted import Wanted
from services.execution.store.rows import LEG, ORDER, order_of

_ORDER_COLUMNS: Final = ", ".join(ORDER)
_LEG_COLUMNS: Final = ", ".join(LEG)
FILL: Final = (
    "fill_id, number, order_id, leg_id, account_id, venue, market, side, price, size, liquidity, cause, fee, "
    "interface_fee, realized_pnl, trade_id, venue_order_id, fill_time, receive_time"
)


class PostgresLists:
    """The port `Lists`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def orders(self, user_id: UUID, wanted: Wanted) -> list[Order]:
        """Return orders, the newest first by create_time and then by order_id."""
        where, arguments = _where(user_id, wanted, time="create_time", key="order_id", orders=True)
        async with (
            self._database.acquire() as connection,
            connection.transaction(
                isolation="repeatable_read", readonly=True
            ),  # orders and legs as they stood together
        ):
            rows = await connection.fetch(
                f"SELECT {_ORDER_COLUMNS} FROM orders WHERE {where} "  # noqa: S608
                f"ORDER BY create_time DESC, order_id DESC LIMIT {wanted.count}",
                *arguments,
            )
            ids = [row["order_id"] for row in rows]
            legs = await connection.fetch(
                f"SELECT {_LEG_COLUMNS} FROM legs WHERE order_id = ANY($1) ORDER BY number",  # noqa: S608
                ids,
            )
        return [order_of(row, [leg for leg in legs if leg["order_id"] == row["order_id"]]) for row in rows]

    async def fills(self, user_id: UUID, wanted: Wanted) -> Sequence[Any]:
        """Return rows of fills, the newest first by fill_time and then by fill_id."""
        where, arguments = _where(user_id, wanted, time="fill_time", key="fill_id", orders=False)
        async with self._database.acquire() as connection:
            rows: Sequence[Any] = await connection.fetch(
                f"SELECT {FILL} FROM fills WHERE {where} "  # noqa: S608
                f"ORDER BY fill_time DESC, fill_id DESC LIMIT {wanted.count}",
                *arguments,
            )
        return rows


def _where(user_id: UUID, wanted: Wanted, *, time: str, key: str, orders: bool) -> tuple[str, list[object]]:
    """Return the conditions; texts of ours with numbered places, never a caller's words."""
    parts, arguments = ["user_id = $1"], [user_id]  # type: tuple[list[str], list[object]]

    def add(text: str, *values: object) -> None:
        places = [f"${len(arguments) + at + 1}" for at in range(len(values))]
        parts.append(text.format(*places))
        arguments.extend(values)

    if wanted.market:
        add("market = {}", wanted.market)
    if wanted.side:
        add("side = {}", wanted.side)
    if wanted.start is not None:
        add(f"{time} >= {{}}", wanted.start)
    if wanted.end is not None:
        add(f"{time} < {{}}", wanted.end)
    if wanted.before is not None:
        add(f"({time}, {key}) < ({{}}, {{}})", *wanted.before)
    if orders:
        _orders_only(wanted, add)
    else:
        if wanted.order_id is not None:
            add("order_id = {}", wanted.order_id)
        if wanted.venue:
            add("venue = {}", wanted.venue)
        if wanted.account_ids:
            add("account_id = ANY({})", list(wanted.account_ids))
    return " AND ".join(parts), arguments


def _orders_only(wanted: Wanted, add: Any) -> None:
    if wanted.active_only:
        add("finish_time IS NULL")
    if wanted.states:
        add("state = ANY({})", list(wanted.states))
    if wanted.client_order_id:
        add("client_order_id = {}", wanted.client_order_id)
    if wanted.request_id is not None:
        add("request_id = {}", wanted.request_id)
    if wanted.venue:
        add("EXISTS (SELECT 1 FROM legs WHERE legs.order_id = orders.order_id AND legs.venue = {})", wanted.venue)
    if wanted.account_ids:
        add(
            "EXISTS (SELECT 1 FROM legs WHERE legs.order_id = orders.order_id AND legs.account_id = ANY({}))",
            list(wanted.account_ids),
        )
