-- When what rests of an order is to end, and the legs that are being taken down for that.
ALTER TABLE orders ADD COLUMN expire_time timestamptz;
ALTER TABLE legs ADD COLUMN expire_time timestamptz;
ALTER TABLE legs ADD COLUMN expiring boolean NOT NULL DEFAULT false;
