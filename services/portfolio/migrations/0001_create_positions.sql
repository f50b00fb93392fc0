-- How far the log has been applied: one row, written in the transaction of what was applied.
CREATE TABLE log_cursor (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    sequence bigint NOT NULL CHECK (sequence >= 0),
    write_time timestamptz
);
INSERT INTO log_cursor (sequence) VALUES (0);

-- An account, with what its venue last reported of it as a whole. NULL where the venue does not say.
CREATE TABLE accounts (
    account_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    venue text NOT NULL,
    environment smallint NOT NULL CHECK (environment BETWEEN 0 AND 4),
    account_mode text NOT NULL DEFAULT '',
    equity numeric,
    initial_margin numeric,
    maintenance_margin numeric,
    withdrawable numeric,
    available numeric,
    margin_time timestamptz,
    fee_tier text,
    maker_fee numeric,
    taker_fee numeric,
    update_time timestamptz NOT NULL
);
CREATE INDEX accounts_of_user ON accounts (user_id, venue, account_id);

CREATE TABLE balances (
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    asset text NOT NULL,
    user_id uuid NOT NULL,
    venue text NOT NULL,
    total numeric,
    held numeric NOT NULL DEFAULT 0,
    receive_time timestamptz,
    computed numeric,
    anchor_time timestamptz,
    differ_time timestamptz,
    PRIMARY KEY (account_id, asset)
);
CREATE INDEX balances_of_user ON balances (user_id, venue, account_id, asset);

-- The life of a position, from opening to flat. What the open size cost is a sum, never an average.
CREATE TABLE positions (
    position_id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    user_id uuid NOT NULL,
    venue text NOT NULL,
    market text NOT NULL,
    side smallint NOT NULL CHECK (side IN (-1, 1)),
    size numeric NOT NULL CHECK (size >= 0),
    cost numeric NOT NULL,
    -- The lots still open, the oldest first: size and cost in turn.
    lots numeric[] NOT NULL DEFAULT '{}',
    realized numeric NOT NULL,
    fifo_realized numeric NOT NULL,
    funding_paid numeric NOT NULL,
    cost_kinds smallint[] NOT NULL DEFAULT '{}',
    cost_amounts numeric[] NOT NULL DEFAULT '{}',
    max_size numeric NOT NULL,
    opened_size numeric NOT NULL,
    opened_cost numeric NOT NULL,
    closed_size numeric NOT NULL,
    closed_proceeds numeric NOT NULL,
    event_count integer NOT NULL,
    log_sequence bigint NOT NULL,
    open_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    close_time timestamptz,
    CHECK (cardinality(cost_kinds) = cardinality(cost_amounts)),
    CHECK (close_time IS NULL OR size = 0)
);
CREATE UNIQUE INDEX positions_open ON positions (account_id, market) WHERE close_time IS NULL;
CREATE INDEX positions_open_of_user ON positions (user_id, market, venue, account_id) WHERE close_time IS NULL;
CREATE INDEX positions_of_user ON positions (user_id, open_time DESC, position_id);
CREATE INDEX positions_past ON positions (account_id, market, open_time);
CREATE INDEX positions_closed_of_user ON positions (user_id, close_time) WHERE close_time IS NOT NULL;
CREATE INDEX positions_changed_of_user ON positions (user_id, log_sequence) WHERE close_time IS NOT NULL;

-- What happened to positions. Numbers count up within a life.
CREATE TABLE position_events (
    position_id uuid NOT NULL,
    number integer NOT NULL,
    user_id uuid NOT NULL,
    account_id uuid NOT NULL,
    venue text NOT NULL,
    market text NOT NULL,
    side smallint NOT NULL,
    kind smallint NOT NULL,
    event_time timestamptz NOT NULL,
    size_change numeric NOT NULL,
    price numeric,
    size_after numeric NOT NULL,
    realized numeric,
    fees numeric NOT NULL,
    cost_kinds smallint[] NOT NULL DEFAULT '{}',
    cost_amounts numeric[] NOT NULL DEFAULT '{}',
    funding numeric NOT NULL,
    fill_id uuid,
    order_id text NOT NULL DEFAULT '',
    explanation text NOT NULL DEFAULT '',
    PRIMARY KEY (position_id, number)
);
CREATE INDEX position_events_of_user ON position_events (user_id, event_time);
CREATE INDEX position_events_of_fill ON position_events (fill_id) WHERE fill_id IS NOT NULL;

-- The venue's last word on each position, and since when which of its values differ from ours.
CREATE TABLE position_reports (
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    market text NOT NULL,
    size numeric NOT NULL,
    entry_price numeric,
    mark_price numeric,
    liquidation_price numeric,
    unrealized_pnl numeric,
    realized_pnl numeric,
    funding_paid numeric,
    margin_used numeric,
    leverage integer NOT NULL,
    margin_mode smallint NOT NULL,
    isolated_collateral numeric,
    venue_time timestamptz,
    receive_time timestamptz NOT NULL,
    differ_names text[] NOT NULL DEFAULT '{}',
    differ_times timestamptz[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (account_id, market)
);

CREATE TABLE funding_payments (
    funding_payment_id uuid PRIMARY KEY,
    position_id uuid,
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    user_id uuid NOT NULL,
    venue text NOT NULL,
    market text NOT NULL,
    amount numeric NOT NULL,
    rate numeric NOT NULL,
    position_size numeric NOT NULL,
    payment_time timestamptz NOT NULL
);
CREATE INDEX funding_payments_of_user ON funding_payments (user_id, payment_time DESC, funding_payment_id);

CREATE TABLE transfers (
    transfer_id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    user_id uuid NOT NULL,
    venue text NOT NULL,
    kind text NOT NULL,
    asset text NOT NULL,
    amount numeric NOT NULL,
    fee numeric NOT NULL,
    counterparty text NOT NULL,
    venue_transfer_id text NOT NULL,
    transfer_time timestamptz NOT NULL,
    receive_time timestamptz NOT NULL
);
CREATE INDEX transfers_of_user ON transfers (user_id, transfer_time DESC, transfer_id);

-- Legs that rest at a venue, for what would become of a position if they filled.
CREATE TABLE open_legs (
    leg_id uuid PRIMARY KEY,
    order_id text NOT NULL,
    account_id uuid NOT NULL,
    market text NOT NULL,
    size numeric NOT NULL,
    price numeric
);
CREATE INDEX open_legs_of_account ON open_legs (account_id, market);

-- How ended orders were executed.
CREATE TABLE order_reports (
    order_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    account_id uuid,
    venue text NOT NULL,
    environment smallint NOT NULL,
    market text NOT NULL,
    side smallint NOT NULL,
    size numeric NOT NULL,
    filled_size numeric NOT NULL,
    quoted_size numeric NOT NULL,
    notional numeric NOT NULL,
    arrival_notional numeric NOT NULL,
    quoted_cost numeric NOT NULL,
    achieved_cost numeric NOT NULL,
    slippage numeric NOT NULL,
    single_venues text[] NOT NULL DEFAULT '{}',
    single_costs numeric[] NOT NULL DEFAULT '{}',
    place_time timestamptz NOT NULL,
    time_to_fill_us bigint
);
CREATE INDEX order_reports_of_user ON order_reports (user_id, place_time);

-- The log event of each user's last fill, payment, transfer or report: what analytics of before it are out of date by.
CREATE TABLE user_revisions (
    user_id uuid PRIMARY KEY,
    log_sequence bigint NOT NULL
);
