-- What happens to the other legs when one is refused or falls short, the accounts that may carry what is missing, the
-- rollback rule of a hedged order, what was done by either, and when more of it is due; null for never.
ALTER TABLE orders ADD COLUMN leg_policy text NOT NULL DEFAULT 'KEEP' CHECK (leg_policy IN ('KEEP', 'REROUTE', 'UNWIND'));
ALTER TABLE orders ADD COLUMN account_ids uuid[] NOT NULL DEFAULT '{}';
ALTER TABLE orders ADD COLUMN hedge jsonb;
ALTER TABLE orders ADD COLUMN remedy jsonb;
ALTER TABLE orders ADD COLUMN remedy_time timestamptz;
CREATE INDEX orders_to_remedy ON orders (remedy_time) WHERE remedy_time IS NOT NULL;
