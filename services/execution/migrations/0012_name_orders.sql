-- A client_order_id names one open order of a user: the database makes sure of it where two come together. Orders that
-- were open under one name before this rule keep it, and all but the newest are no longer found by the rule.
ALTER TABLE orders ADD COLUMN is_named boolean NOT NULL DEFAULT true;
UPDATE orders SET is_named = false WHERE order_id IN (
    SELECT order_id FROM (
        SELECT order_id, row_number() OVER (
            PARTITION BY user_id, client_order_id ORDER BY create_time DESC, order_id DESC
        ) AS place
        FROM orders WHERE finish_time IS NULL AND client_order_id <> ''
    ) AS twins WHERE place > 1
);
CREATE UNIQUE INDEX orders_by_client_id ON orders (user_id, client_order_id)
    WHERE finish_time IS NULL AND client_order_id <> '' AND is_named;
