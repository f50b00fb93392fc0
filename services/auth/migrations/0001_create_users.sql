-- Users are known by their wallets and by nothing else.
CREATE TABLE users (
    user_id uuid PRIMARY KEY,
    create_time timestamptz NOT NULL,
    last_login_at timestamptz NOT NULL,
    preferences jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(preferences) = 'object'),
    -- Counts every change of the user's sessions, so that a cached list can be known to be stale.
    sessions_revision bigint NOT NULL DEFAULT 0
);

-- A wallet belongs to one user at most.
CREATE TABLE wallets (
    address text PRIMARY KEY CHECK (address ~ '^0x[0-9a-fA-F]{40}$'),
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    chain_id bigint NOT NULL CHECK (chain_id > 0),
    kind text NOT NULL CHECK (kind IN ('key', 'contract')),
    link_time timestamptz NOT NULL,
    last_login_time timestamptz
);
CREATE UNIQUE INDEX wallets_address_any_case ON wallets (lower(address));
CREATE INDEX wallets_of_user ON wallets (user_id, link_time);

CREATE TABLE auth_sessions (
    session_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    address text NOT NULL,
    chain_id bigint NOT NULL,
    kind text NOT NULL CHECK (kind IN ('key', 'contract')),
    scopes text[] NOT NULL,
    device text NOT NULL CHECK (length(device) <= 256),
    network_address text NOT NULL CHECK (length(network_address) <= 64),
    -- The hash of the nonce that opened it: no nonce opens two, whatever a cache forgot.
    nonce_hash bytea NOT NULL UNIQUE CHECK (length(nonce_hash) = 32),
    create_time timestamptz NOT NULL,
    last_use_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    latest_end_time timestamptz NOT NULL CHECK (latest_end_time >= expire_time),
    end_time timestamptz,
    end_reason text
);
CREATE INDEX auth_sessions_of_user ON auth_sessions (user_id, last_use_time DESC, session_id) WHERE end_time IS NULL;
CREATE INDEX auth_sessions_ended ON auth_sessions (end_time) WHERE end_time IS NOT NULL;
CREATE INDEX auth_sessions_expiring ON auth_sessions (expire_time);

-- Every refresh token of a living session, so that the reuse of any of them is noticed.
CREATE TABLE refresh_tokens (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32),
    session_id uuid NOT NULL REFERENCES auth_sessions ON DELETE CASCADE,
    create_time timestamptz NOT NULL,
    use_time timestamptz,
    device text NOT NULL DEFAULT '',
    successor_hash bytea,
    masked_successor bytea
);
CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session_id);

-- Nonces that linked or unlinked a wallet, kept until they could not be used any more.
CREATE TABLE spent_nonces (
    nonce_hash bytea PRIMARY KEY CHECK (length(nonce_hash) = 32),
    expire_time timestamptz NOT NULL
);

CREATE TABLE api_tokens (
    api_token_id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    request_id uuid NOT NULL,
    name text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
    prefix text NOT NULL,
    address text NOT NULL,
    secret_hash bytea NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    create_time timestamptz NOT NULL,
    expire_time timestamptz NOT NULL,
    last_use_time timestamptz,
    revoke_time timestamptz,
    UNIQUE (user_id, request_id)
);
CREATE INDEX api_tokens_of_user ON api_tokens (user_id, create_time DESC, api_token_id);
CREATE INDEX api_tokens_revoked ON api_tokens (revoke_time) WHERE revoke_time IS NOT NULL;

-- The keys that sign tokens; the private part is sealed under a key that is not in the database.
CREATE TABLE signing_keys (
    kid text PRIMARY KEY,
    algorithm text NOT NULL CHECK (algorithm IN ('EdDSA', 'ES256')),
    public_jwk jsonb NOT NULL,
    sealed_private bytea NOT NULL,
    create_time timestamptz NOT NULL,
    sign_time timestamptz NOT NULL,
    retire_time timestamptz NOT NULL CHECK (retire_time > sign_time),
    revoke_time timestamptz
);
