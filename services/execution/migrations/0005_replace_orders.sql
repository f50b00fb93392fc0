-- The terms that are to replace those of an order, while its present leg is being canceled.
ALTER TABLE orders ADD COLUMN replacement jsonb;
-- What was asked, so that the same request changes an order once.
CREATE TABLE replacements (
    order_id uuid NOT NULL REFERENCES orders,
    request_id uuid NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    create_time timestamptz NOT NULL,
    PRIMARY KEY (order_id, request_id)
);
