-- Orders, the legs that venues carry, and the trades that made them. Only evidence ends a leg.
CREATE TABLE orders (
    order_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    request_id uuid NOT NULL,
    digest bytea NOT NULL CHECK (length(digest) = 32),
    market text NOT NULL,
    side text NOT NULL CHECK (side IN ('BUY', 'SELL')),
    size numeric NOT NULL CHECK (size > 0),
    type text NOT NULL,
    limit_price numeric CHECK (limit_price > 0),
    time_in_force text NOT NULL,
    reduce_only boolean NOT NULL,
    client_order_id text NOT NULL CHECK (length(client_order_id) <= 64),
    quote_id uuid,
    max_slippage_bps integer CHECK (max_slippage_bps BETWEEN 0 AND 10000),
    refusal jsonb,
    state text NOT NULL,
    -- Grows with every change; readers never see it go back.
    version bigint NOT NULL CHECK (version > 0),
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    cancel_time timestamptz,
    finish_time timestamptz,
    -- The same request made twice is one order, also when both arrive together.
    UNIQUE (user_id, request_id)
);
CREATE INDEX orders_of_user ON orders (user_id, create_time DESC, order_id DESC);
CREATE INDEX orders_active ON orders (user_id, create_time DESC) WHERE finish_time IS NULL;

CREATE TABLE legs (
    leg_id uuid PRIMARY KEY,
    order_id uuid NOT NULL REFERENCES orders,
    number integer NOT NULL CHECK (number > 0),
    venue text NOT NULL,
    account_id uuid NOT NULL,
    market text NOT NULL,
    venue_market_id bigint NOT NULL,
    side text NOT NULL,
    size numeric NOT NULL CHECK (size > 0),
    limit_price numeric NOT NULL CHECK (limit_price > 0),
    type text NOT NULL,
    time_in_force text NOT NULL,
    reduce_only boolean NOT NULL,
    client_id text NOT NULL,
    state text NOT NULL,
    evidence text NOT NULL,
    refusal jsonb,
    filled numeric NOT NULL CHECK (filled >= 0),
    notional numeric NOT NULL,
    fees numeric NOT NULL,
    interface_fees numeric NOT NULL,
    venue_order_id text NOT NULL,
    transaction_hash text NOT NULL,
    nonce numeric(20) NOT NULL,
    key_index integer NOT NULL,
    expire_ms bigint NOT NULL,
    send_count integer NOT NULL,
    action_number integer NOT NULL,
    cancel_wanted boolean NOT NULL,
    create_time timestamptz NOT NULL,
    submit_time timestamptz,
    acknowledge_time timestamptz,
    execute_time timestamptz,
    update_time timestamptz NOT NULL,
    resolve_time timestamptz,
    -- When a worker is to look; null for never. A lease is this row with a number: every write of a worker names it.
    due_time timestamptz,
    lease_time timestamptz,
    fence bigint NOT NULL DEFAULT 0,
    UNIQUE (order_id, number),
    UNIQUE (account_id, client_id)
);
CREATE INDEX legs_due ON legs (due_time) WHERE due_time IS NOT NULL;
CREATE INDEX legs_by_venue_order ON legs (account_id, venue_order_id) WHERE venue_order_id <> '';

CREATE TABLE fills (
    fill_id uuid PRIMARY KEY,
    number bigint GENERATED ALWAYS AS IDENTITY,
    user_id uuid NOT NULL,
    order_id uuid,
    leg_id uuid,
    account_id uuid NOT NULL,
    venue text NOT NULL,
    market text NOT NULL,
    side text NOT NULL,
    price numeric NOT NULL CHECK (price > 0),
    size numeric NOT NULL CHECK (size > 0),
    liquidity text NOT NULL,
    cause text NOT NULL,
    fee numeric NOT NULL,
    interface_fee numeric NOT NULL,
    realized_pnl numeric,
    trade_id text NOT NULL,
    venue_order_id text NOT NULL,
    fill_time timestamptz NOT NULL,
    receive_time timestamptz NOT NULL
);
CREATE INDEX fills_of_user ON fills (user_id, fill_time DESC, fill_id DESC);
CREATE INDEX fills_of_order ON fills (order_id) WHERE order_id IS NOT NULL;
CREATE INDEX fills_of_account ON fills (account_id, fill_time DESC);

-- What a transaction has to say to others, until the relay gives it its number in the log.
CREATE TABLE outbox (
    outbox_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id uuid NOT NULL,
    kind text NOT NULL CHECK (kind IN ('order', 'fill', 'account')),
    event bytea NOT NULL
);

-- The log: numbered densely, in the order of commit, by one writer at a time.
CREATE TABLE log (
    sequence bigint PRIMARY KEY CHECK (sequence > 0),
    user_id uuid NOT NULL,
    kind text NOT NULL,
    event bytea NOT NULL,
    write_time timestamptz NOT NULL
);
CREATE INDEX log_of_user ON log (user_id, kind, sequence);
CREATE TABLE log_head (one boolean PRIMARY KEY DEFAULT true CHECK (one), last bigint NOT NULL);
INSERT INTO log_head (last) VALUES (0);
