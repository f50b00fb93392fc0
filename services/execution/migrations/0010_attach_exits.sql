-- Exits of an order, and what a leg is for. An exit that waits for its entry has no size yet.
ALTER TABLE orders ADD COLUMN take_profit jsonb;
ALTER TABLE orders ADD COLUMN stop_loss jsonb;
ALTER TABLE legs ADD COLUMN role text NOT NULL DEFAULT 'ENTRY';
ALTER TABLE legs ADD COLUMN entry integer NOT NULL DEFAULT 0;
ALTER TABLE legs ADD COLUMN part integer NOT NULL DEFAULT 0;
ALTER TABLE legs DROP CONSTRAINT legs_size_check;
ALTER TABLE legs ADD CONSTRAINT legs_size_check CHECK (size > 0 OR (size = 0 AND state IN ('HELD', 'CANCELED')));
