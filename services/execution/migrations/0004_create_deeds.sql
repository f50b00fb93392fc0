-- What was asked of venues for an account rather than for an order: a leverage, a switch. Signed and settled as legs are.
CREATE TABLE deeds (
    deed_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    account_id uuid NOT NULL,
    venue text NOT NULL,
    kind text NOT NULL,
    -- What of the account it changes: of one subject at most one is under way.
    subject text NOT NULL,
    request_id uuid,
    action jsonb NOT NULL,
    state text NOT NULL,
    refusal jsonb,
    is_acknowledged boolean NOT NULL,
    is_settled boolean NOT NULL,
    nonce numeric(20) NOT NULL,
    key_index integer NOT NULL,
    expire_ms bigint NOT NULL,
    transaction_hash text NOT NULL,
    send_count integer NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    due_time timestamptz,
    lease_time timestamptz,
    fence bigint NOT NULL DEFAULT 0,
    UNIQUE (user_id, request_id)
);
CREATE INDEX deeds_due ON deeds (due_time) WHERE due_time IS NOT NULL;
CREATE UNIQUE INDEX deeds_under_way ON deeds (account_id, kind, subject) WHERE due_time IS NOT NULL;
