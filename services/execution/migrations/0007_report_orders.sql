-- What an order was expected to cost when it arrived, or when its owner gave it new terms.
CREATE TABLE order_quotes (
    order_id uuid PRIMARY KEY REFERENCES orders,
    quoted jsonb NOT NULL
);
-- The side of the book that a leg takes from, as it stood when the leg was sent; null where nobody knew it.
CREATE TABLE leg_books (
    leg_id uuid PRIMARY KEY REFERENCES legs,
    levels jsonb
);
-- What an order came to, as the log was told when it ended: once for each sum of its fills.
CREATE TABLE reports (
    order_id uuid PRIMARY KEY REFERENCES orders,
    filled numeric NOT NULL,
    event bytea NOT NULL
);
ALTER TABLE outbox DROP CONSTRAINT outbox_kind_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_kind_check CHECK (kind IN ('order', 'fill', 'account', 'report'));
