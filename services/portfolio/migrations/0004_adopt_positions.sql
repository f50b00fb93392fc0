-- What of a position was taken over from the venue's word: `came` is the unrealized profit that came with it.
ALTER TABLE positions ADD COLUMN adopted_size numeric NOT NULL DEFAULT 0;
ALTER TABLE positions ADD COLUMN adopted_entry numeric;
ALTER TABLE positions ADD COLUMN adopted_unrealized numeric NOT NULL DEFAULT 0;
ALTER TABLE positions ADD COLUMN adopted_funding numeric NOT NULL DEFAULT 0;
ALTER TABLE positions ADD COLUMN adopt_time timestamptz;
ALTER TABLE position_events ADD COLUMN came numeric NOT NULL DEFAULT 0;
CREATE INDEX position_events_adopted ON position_events (user_id, event_time) WHERE kind = 9;

-- The size of ours that a reconciled report doubts, since when, and the last adoption of the account in the market.
ALTER TABLE position_reports ADD COLUMN doubt_size numeric;
ALTER TABLE position_reports ADD COLUMN doubt_time timestamptz;
ALTER TABLE position_reports ADD COLUMN adopt_time timestamptz;
ALTER TABLE position_reports ADD COLUMN adopt_price numeric;
ALTER TABLE position_reports ADD COLUMN adopt_mark numeric;

-- Whether an order followed a quote: only those are compared with one.
ALTER TABLE order_reports ADD COLUMN routed boolean NOT NULL DEFAULT false;
UPDATE order_reports SET routed = true WHERE cardinality(single_venues) > 0;
