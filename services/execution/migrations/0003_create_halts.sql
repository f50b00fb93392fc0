-- Halts of trading: in force until they end; none is ever deleted.
CREATE TABLE halts (
    halt_id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('EVERYTHING', 'VENUE', 'USER')),
    name text NOT NULL CHECK ((name = '') = (kind = 'EVERYTHING')),
    reason text NOT NULL,
    operator text NOT NULL,
    create_time timestamptz NOT NULL,
    -- Whether open orders are to be canceled, which goes on until none is left.
    cancels_orders boolean NOT NULL,
    end_time timestamptz,
    end_operator text NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX halts_in_force ON halts (kind, name) WHERE end_time IS NULL;

-- Work that failed, by its id: a leg's, or an account's. It is settled when it goes well; none that was stuck is deleted.
CREATE TABLE troubles (
    work_id uuid PRIMARY KEY,
    kind text NOT NULL,
    trouble text NOT NULL,
    user_id uuid NOT NULL,
    account_id uuid NOT NULL,
    venue text NOT NULL,
    order_id uuid,
    leg_id uuid,
    attempts integer NOT NULL CHECK (attempts > 0),
    last_error text NOT NULL,
    first_time timestamptz NOT NULL,
    last_time timestamptz NOT NULL,
    stuck_time timestamptz,
    settle_time timestamptz
);
CREATE INDEX troubles_stuck ON troubles (first_time, work_id) WHERE stuck_time IS NOT NULL AND settle_time IS NULL;
