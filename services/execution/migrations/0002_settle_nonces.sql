-- What the vault was told of a leg's signed actions, and when the last cancel was sent.
ALTER TABLE legs ADD COLUMN settled integer NOT NULL DEFAULT 0;
ALTER TABLE legs ADD COLUMN cancel_send_time timestamptz;
-- A trade may be told before its order is known by the venue's id; it is found again by this when it is.
CREATE INDEX fills_without_leg ON fills (account_id, venue_order_id) WHERE leg_id IS NULL;
