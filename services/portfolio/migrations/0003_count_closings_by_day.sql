-- What the positions that were closed on a day came to, so that years of them are read as days too.
ALTER TABLE daily_flows ADD COLUMN closed_count bigint NOT NULL DEFAULT 0;
ALTER TABLE daily_flows ADD COLUMN win_count bigint NOT NULL DEFAULT 0;
ALTER TABLE daily_flows ADD COLUMN loss_count bigint NOT NULL DEFAULT 0;
ALTER TABLE daily_flows ADD COLUMN won numeric NOT NULL DEFAULT 0;
ALTER TABLE daily_flows ADD COLUMN lost numeric NOT NULL DEFAULT 0;
ALTER TABLE daily_flows ADD COLUMN held_us bigint NOT NULL DEFAULT 0;
