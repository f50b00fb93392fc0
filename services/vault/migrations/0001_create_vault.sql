-- The whole room: one row, which a global freeze changes.
CREATE TABLE room (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    version bigint NOT NULL DEFAULT 0,
    freeze_time timestamptz,
    freeze_reason text NOT NULL DEFAULT ''
);
INSERT INTO room DEFAULT VALUES;

-- The vault processes. Who holds a lane is one of them for as long as its session lives or its lease has not run out.
CREATE TABLE vaults (
    vault_id uuid PRIMARY KEY,
    lock_number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    lease_end_time timestamptz NOT NULL
);

CREATE TABLE accounts (
    account_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    request_id uuid NOT NULL,
    venue text NOT NULL CHECK (venue IN ('hyperliquid', 'lighter')),
    environment text NOT NULL CHECK (environment IN ('SIMULATED', 'PAPER', 'TESTNET', 'MAINNET')),
    kind text NOT NULL CHECK (kind IN ('MAIN', 'SUB_ACCOUNT', 'VAULT')),
    wallet_address text NOT NULL CHECK (wallet_address ~ '^0x[0-9a-fA-F]{40}$'),
    venue_account text NOT NULL DEFAULT '',
    asked_venue_account text NOT NULL DEFAULT '',
    label text NOT NULL CHECK (length(label) BETWEEN 1 AND 100),
    custody text NOT NULL CHECK (custody IN ('DELEGATED', 'CALLER')),
    is_default boolean NOT NULL,
    limits jsonb NOT NULL DEFAULT '{}',
    fee_rate numeric NOT NULL DEFAULT 0 CHECK (fee_rate >= 0),
    freeze_time timestamptz,
    freeze_reason text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    delete_time timestamptz,
    -- Counts every change that signing must know of: what was decided on an older version is decided again.
    version bigint NOT NULL DEFAULT 0,
    -- The head of the account's chain of audit rows.
    audit_seq bigint NOT NULL DEFAULT 0,
    audit_hash bytea NOT NULL CHECK (length(audit_hash) = 32),
    -- What was signed on one day of UTC.
    day date,
    day_notional numeric NOT NULL DEFAULT 0 CHECK (day_notional >= 0),
    -- The data key of signed bytes and of the audit chain, under a master key; destroyed with the account's secrets.
    master_key_id text,
    wrapped_key bytea,
    CHECK ((master_key_id IS NULL) = (wrapped_key IS NULL)),
    UNIQUE (user_id, request_id)
);
CREATE UNIQUE INDEX accounts_live ON accounts
    (user_id, venue, environment, kind, lower(wallet_address), lower(asked_venue_account)) WHERE delete_time IS NULL;
CREATE UNIQUE INDEX accounts_default ON accounts (user_id, venue, environment)
    WHERE is_default AND delete_time IS NULL;
CREATE INDEX accounts_of_user ON accounts (user_id, venue, create_time, account_id) WHERE delete_time IS NULL;

CREATE TABLE keys (
    key_id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    user_id uuid NOT NULL,
    request_id uuid NOT NULL,
    venue text NOT NULL,
    environment text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('HYPERLIQUID_AGENT', 'LIGHTER_API_KEY')),
    origin text NOT NULL CHECK (origin IN ('GENERATED', 'IMPORTED')),
    state text NOT NULL CHECK (state IN ('PENDING', 'ACTIVE', 'EXPIRED', 'REVOKED', 'DEAD')),
    explanation text NOT NULL DEFAULT '',
    public_key text NOT NULL,
    api_key_index int CHECK (api_key_index BETWEEN 0 AND 254),
    venue_name text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL,
    activate_time timestamptz,
    expire_time timestamptz,
    last_use_time timestamptz,
    revoke_time timestamptz,
    venue_revoke_time timestamptz,
    -- The secret under a data key of its own, and that key under a master key; gone once the key has ended.
    sealed_secret bytea,
    master_key_id text,
    wrapped_key bytea,
    CHECK ((sealed_secret IS NULL) = (wrapped_key IS NULL)),
    CHECK ((master_key_id IS NULL) = (wrapped_key IS NULL)),
    CHECK (sealed_secret IS NULL OR state IN ('PENDING', 'ACTIVE')),
    UNIQUE (account_id, request_id)
);
-- A key that can sign is nobody else's.
CREATE UNIQUE INDEX keys_once ON keys (venue, environment, public_key) WHERE state IN ('PENDING', 'ACTIVE');
CREATE UNIQUE INDEX keys_one_active ON keys (account_id) WHERE state = 'ACTIVE';
CREATE INDEX keys_of_account ON keys (account_id, create_time DESC, key_id);
CREATE INDEX keys_by_master ON keys (master_key_id) WHERE master_key_id IS NOT NULL;
CREATE INDEX accounts_by_master ON accounts (master_key_id) WHERE master_key_id IS NOT NULL;

CREATE TABLE key_setups (
    key_setup_id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts,
    key_id uuid REFERENCES keys,
    request_id uuid NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('NEW_KEY', 'APPROVE_FEE', 'REVOKE_FEE', 'REVOKE_KEY')),
    state text NOT NULL
        CHECK (state IN ('AWAITING_SIGNATURES', 'SUBMITTED', 'CONFIRMED', 'REFUSED', 'EXPIRED')),
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    UNIQUE (account_id, request_id)
);
CREATE INDEX key_setups_of_key ON key_setups (key_id, create_time DESC);

CREATE TABLE key_setup_steps (
    step_id uuid PRIMARY KEY,
    key_setup_id uuid NOT NULL REFERENCES key_setups,
    position int NOT NULL,
    kind text NOT NULL,
    required boolean NOT NULL,
    explanation text NOT NULL,
    method text NOT NULL CHECK (method IN ('EIP712', 'PERSONAL_SIGN')),
    payload text NOT NULL,
    signer_address text NOT NULL,
    max_fee_rate numeric,
    state text NOT NULL
        CHECK (state IN ('AWAITING_SIGNATURE', 'SUBMITTED', 'CONFIRMED', 'REFUSED', 'SKIPPED')),
    refusal jsonb,
    -- What the venue is told, as the adapter made it; the wallet's signature beside it until the venue has confirmed.
    venue_action jsonb NOT NULL,
    nonce bigint NOT NULL,
    sealed_body bytea,
    UNIQUE (key_setup_id, position)
);

-- One allocator for each key that can sign, ours or a caller's. Whoever writes must name the newest fence.
CREATE TABLE lanes (
    lane_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    venue text NOT NULL,
    environment text NOT NULL,
    signer text NOT NULL,
    account_id uuid NOT NULL REFERENCES accounts,
    vault_id uuid,
    fence bigint NOT NULL DEFAULT 0,
    -- Hyperliquid: the highest nonce given out. Lighter: the next one, absent while the venue has to be asked.
    nonce bigint,
    foreign_moves int NOT NULL DEFAULT 0,
    UNIQUE (venue, environment, signer)
);

-- The newest fence seen of each leg, and whose it is.
CREATE TABLE legs (
    leg_id uuid PRIMARY KEY,
    account_id uuid NOT NULL,
    fence bigint NOT NULL
);

CREATE TABLE signed_actions (
    leg_id uuid NOT NULL,
    action_number bigint NOT NULL,
    account_id uuid NOT NULL,
    key_id uuid,
    lane_id bigint NOT NULL REFERENCES lanes,
    order_id uuid,
    kind text NOT NULL,
    action_digest bytea NOT NULL CHECK (length(action_digest) = 32),
    nonce bigint NOT NULL,
    expire_time timestamptz NOT NULL,
    sign_time timestamptz NOT NULL,
    transaction_type int NOT NULL DEFAULT 0,
    transaction_hash text NOT NULL DEFAULT '',
    day date NOT NULL,
    notional numeric NOT NULL DEFAULT 0,
    orders int NOT NULL DEFAULT 0,
    -- The bytes, or what a caller has to sign, under the account's data key; wiped once an outcome is known.
    sealed_body bytea,
    is_prepared boolean NOT NULL DEFAULT false,
    outcome text,
    settle_time timestamptz,
    venue_code text NOT NULL DEFAULT '',
    venue_message text NOT NULL DEFAULT '',
    PRIMARY KEY (leg_id, action_number)
);
CREATE INDEX signed_actions_out ON signed_actions (lane_id, nonce) WHERE outcome IS NULL;
CREATE INDEX signed_actions_recent ON signed_actions (account_id, sign_time);
CREATE INDEX signed_actions_sealed ON signed_actions (expire_time) WHERE sealed_body IS NOT NULL;

-- What happened to an account and what was signed for it: each row names the one before by a keyed hash.
CREATE TABLE audit (
    account_id uuid NOT NULL,
    seq bigint NOT NULL CHECK (seq > 0),
    kind text NOT NULL,
    -- Canonical JSON, exactly as it was hashed.
    detail text NOT NULL,
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (account_id, seq)
);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed or removed', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER audit_is_append_only BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_is_never_emptied BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE test_funds (
    account_id uuid NOT NULL REFERENCES accounts,
    request_id uuid NOT NULL,
    amount numeric NOT NULL,
    balance numeric,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (account_id, request_id)
);
CREATE INDEX test_funds_old ON test_funds (create_time);
