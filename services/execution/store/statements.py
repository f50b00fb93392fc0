"""What is said to PostgreSQL of orders, legs and fills."""

from __future__ import annotations

from typing import Final

from services.execution.store.rows import LEG, ORDER

ORDER_COLUMNS: Final = ", ".join(ORDER)
LEG_COLUMNS: Final = ", ".join(LEG)
CLAIM: Final = """
    UPDATE legs SET fence = fence + 1, lease_time = $1
    WHERE leg_id IN (
        SELECT leg_id FROM legs WHERE due_time <= $2 AND (lease_time IS NULL OR lease_time < $2) AND ($4 IS FALSE OR
            cancel_wanted OR expiring OR state IN ('SUBMITTED', 'SUBMIT_UNKNOWN'))
        ORDER BY NOT (cancel_wanted OR expiring OR state IN ('SUBMITTED', 'SUBMIT_UNKNOWN')), due_time
        LIMIT $3 FOR UPDATE SKIP LOCKED
    )
    RETURNING leg_id, order_id, fence,
        (SELECT version FROM orders WHERE orders.order_id = legs.order_id) AS version"""
WAITING: Final = """
    SELECT count(*) AS legs, min(due_time) AS oldest FROM (
        SELECT due_time FROM legs
        WHERE due_time <= $1 AND (lease_time IS NULL OR lease_time < $1) AND state = 'PREPARED' AND NOT cancel_wanted
        ORDER BY due_time LIMIT $2) AS waiting"""
FIND_LEG: Final = """
    SELECT leg_id, order_id FROM legs
    WHERE account_id = $1 AND ((client_id = $2 AND $2 <> '') OR (venue_order_id = $3 AND $3 <> '')) LIMIT 1"""
RELEASE: Final = "UPDATE legs SET lease_time = NULL, due_time = $1 WHERE lease_time IS NOT NULL"
DOUBT: Final = """
    UPDATE legs SET due_time = $4
    WHERE account_id = $1 AND due_time > $4 AND lease_time IS NULL AND state IN ('OPEN', 'PARTIALLY_FILLED')
        AND update_time < $3 AND client_id <> ALL ($2)"""
HASTEN: Final = """
    UPDATE legs SET due_time = $2
    WHERE account_id = $1 AND due_time > $2 AND lease_time IS NULL AND state IN ('OPEN', 'PARTIALLY_FILLED')"""
LOOK: Final = "UPDATE legs SET due_time = least(due_time, $2) WHERE leg_id = $1 AND lease_time IS NULL"
SLICING: Final = "SELECT order_id FROM orders WHERE slice_time <= $1 ORDER BY slice_time LIMIT $2"
ADOPT: Final = """
    UPDATE fills SET order_id = $3, leg_id = $4 WHERE account_id = $1 AND venue_order_id = $2 AND leg_id IS NULL
    RETURNING fill_id, trade_id, venue, account_id, market, side, price, size, liquidity, cause, fee, interface_fee,
        realized_pnl, venue_order_id, fill_time, receive_time"""
ADD_FILL: Final = """
    INSERT INTO fills (fill_id, user_id, order_id, leg_id, account_id, venue, market, side, price, size, liquidity,
        cause, fee, interface_fee, realized_pnl, trade_id, venue_order_id, fill_time, receive_time)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
    ON CONFLICT (fill_id) DO NOTHING RETURNING number"""


ADD: Final = f"""
WITH made AS (
    INSERT INTO orders ({ORDER_COLUMNS}) SELECT {ORDER_COLUMNS} FROM jsonb_populate_record(NULL::orders, $1::jsonb)
    ON CONFLICT (user_id, request_id) DO NOTHING RETURNING order_id, user_id
), legged AS (
    INSERT INTO legs ({LEG_COLUMNS}, due_time, lease_time, fence)
    SELECT {", ".join(f"x.{name}" for name in LEG)}, x.due_time, x.lease_time, x.fence
    FROM made JOIN jsonb_populate_recordset(NULL::legs, $2::jsonb) x USING (order_id)
), quoted AS (
    INSERT INTO order_quotes (order_id, quoted) SELECT order_id, $3::jsonb FROM made WHERE $3::jsonb IS NOT NULL
), reported AS (
    INSERT INTO reports (order_id, filled, event) SELECT order_id, 0, $5 FROM made WHERE $5::bytea IS NOT NULL
), said AS (
    INSERT INTO outbox (user_id, kind, event)
    SELECT made.user_id, said.kind, said.event
    FROM made, (VALUES (1, 'order', $4::bytea), (2, 'report', $5::bytea)) AS said(place, kind, event)
    WHERE said.event IS NOT NULL ORDER BY place
)
SELECT order_id FROM made"""  # noqa: S608
