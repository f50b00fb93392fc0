-- What the account was worth when its day began, by which a day's loss is judged.
ALTER TABLE accounts ADD COLUMN day_equity numeric, ADD COLUMN equity_day date;
