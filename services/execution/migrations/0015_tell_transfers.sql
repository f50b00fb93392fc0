-- How far an account's transfers have been written to the log, by the venue's clock in milliseconds.
CREATE TABLE transfers_told (
    account_id uuid PRIMARY KEY,
    last_ms bigint NOT NULL
);
