-- What each UTC day came to, kept up by the fold, so that a performance over years reads days and not fills. `side` is
-- that of the position; 0 for funding that no position of the log was there for.
CREATE TABLE daily_flows (
    user_id uuid NOT NULL,
    day date NOT NULL,
    account_id uuid NOT NULL,
    market text NOT NULL,
    side smallint NOT NULL,
    venue text NOT NULL,
    realized numeric NOT NULL,
    funding numeric NOT NULL,
    volume numeric NOT NULL,
    fill_count bigint NOT NULL,
    PRIMARY KEY (user_id, day, account_id, market, side)
);
CREATE TABLE daily_costs (
    user_id uuid NOT NULL,
    day date NOT NULL,
    account_id uuid NOT NULL,
    market text NOT NULL,
    side smallint NOT NULL,
    kind smallint NOT NULL,
    venue text NOT NULL,
    amount numeric NOT NULL,
    PRIMARY KEY (user_id, day, account_id, market, side, kind)
);

-- What the open size cost after each event, so that unrealized profit can be told for any moment.
ALTER TABLE position_events ADD COLUMN cost_after numeric NOT NULL DEFAULT 0;
-- Realized profit less fees and funding, for the figures of closed positions.
ALTER TABLE positions ADD COLUMN net_pnl numeric NOT NULL DEFAULT 0;

-- Mark prices of markets that somebody holds, every five minutes. Observed, so a rebuild does not make them again.
CREATE TABLE mark_samples (
    venue text NOT NULL,
    market text NOT NULL,
    sample_time timestamptz NOT NULL,
    price numeric NOT NULL CHECK (price > 0),
    PRIMARY KEY (venue, market, sample_time)
);
