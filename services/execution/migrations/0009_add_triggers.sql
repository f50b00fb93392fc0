-- The mark price that triggers an order or a leg, and when the venue told that it was reached.
ALTER TABLE orders ADD COLUMN trigger_price numeric CHECK (trigger_price > 0);
ALTER TABLE legs ADD COLUMN trigger_price numeric CHECK (trigger_price > 0);
ALTER TABLE legs ADD COLUMN trigger_time timestamptz;
