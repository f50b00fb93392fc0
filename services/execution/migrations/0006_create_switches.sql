-- Dead man's switches: what a venue accepted, or what we keep for one that cannot. One an account.
CREATE TABLE switches (
    account_id uuid PRIMARY KEY,
    user_id uuid NOT NULL,
    venue text NOT NULL,
    keeper text NOT NULL CHECK (keeper IN ('VENUE', 'MESH')),
    -- When it fires; null when it is not armed.
    cancel_time timestamptz,
    -- How often it fired on a day of UTC; venues count.
    fire_day date,
    fire_count integer NOT NULL
);
CREATE INDEX switches_armed ON switches (cancel_time) WHERE cancel_time IS NOT NULL;
