-- The schedule of a TWAP order and how far it has come; and when its next slice is due, null for never.
ALTER TABLE orders ADD COLUMN twap jsonb;
ALTER TABLE orders ADD COLUMN slice_time timestamptz;
CREATE INDEX orders_slicing ON orders (slice_time) WHERE slice_time IS NOT NULL;
