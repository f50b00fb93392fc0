-- Quotes are records: written once, never changed, kept for the audit and then dropped by age.
CREATE TABLE quotes (
    quote_id uuid PRIMARY KEY,
    -- Whose it is; a quote made without a login is anyone's.
    user_id uuid,
    market text NOT NULL CHECK (length(market) BETWEEN 1 AND 64),
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL CHECK (expire_time > create_time),
    -- SHA-256 of `inputs` as it was when the quote was made.
    inputs_digest bytea NOT NULL CHECK (length(inputs_digest) = 32),
    -- perpmesh.routing.v1.QuoteInputs and perpmesh.routing.v1.Quote, serialized.
    inputs bytea NOT NULL,
    quote bytea NOT NULL,
    -- The order it was planned for; null for one that was only asked for.
    order_id uuid
);
CREATE INDEX quotes_by_time ON quotes (create_time);
CREATE INDEX quotes_of_order ON quotes (order_id) WHERE order_id IS NOT NULL;
