-- Series, and readings by day.

CREATE TABLE series (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key text NOT NULL UNIQUE,
    site text NOT NULL,
    asset text NOT NULL,
    variable text NOT NULL,
    unit text NOT NULL, -- the variable's when the series was registered; it may never change
    kind text NOT NULL,
    owner text NOT NULL,
    timezone text NOT NULL,
    simulated boolean NOT NULL,
    resolution interval
);
COMMENT ON COLUMN series.resolution IS 'length of the interval a value stands for; null: instants';

-- TimescaleDB where the server has it preloaded and the role may create it, native daily
-- partitions elsewhere. Decided here, once: from now on the kind of this table tells them apart
-- (store/backend.py). No foreign key to series: its check for each row would cost more than the
-- row, and ids come from series.register alone.
DO $$
BEGIN
    -- The setting belongs to the preloaded library. Without that, creating the extension would end
    -- the connection; and shared_preload_libraries itself is hidden from ordinary roles.
    IF EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
       AND current_setting('timescaledb.disable_load', true) = 'off'
    THEN
        BEGIN
            CREATE EXTENSION IF NOT EXISTS timescaledb;
            CREATE TABLE reading (
                series_id int NOT NULL,
                ts timestamptz NOT NULL,
                value float8 NOT NULL,
                quality int2 NOT NULL,
                PRIMARY KEY (series_id, ts)
            );
            PERFORM create_hypertable(
                'reading', 'ts', chunk_time_interval => INTERVAL '1 day', create_default_indexes => false
            );
            RETURN;
        EXCEPTION WHEN insufficient_privilege THEN -- also of what was made in this block
            RAISE NOTICE 'TimescaleDB is left unused: %', SQLERRM;
        END;
    END IF;
    CREATE TABLE reading (
        series_id int NOT NULL,
        ts timestamptz NOT NULL,
        value float8 NOT NULL,
        quality int2 NOT NULL,
        PRIMARY KEY (series_id, ts)
    ) PARTITION BY RANGE (ts);
END
$$;
COMMENT ON COLUMN reading.ts IS 'beginning of the interval the value stands for';
COMMENT ON COLUMN reading.quality IS 'flags of core.readings.Quality; 0 is good';

CREATE TABLE quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    received_at timestamptz NOT NULL,
    source text NOT NULL,
    reason text NOT NULL,
    detail jsonb NOT NULL,
    payload bytea NOT NULL,
    payload_bytes int NOT NULL
);
COMMENT ON COLUMN quarantine.payload IS 'the first 64 KiB; payload_bytes is the whole length';
CREATE INDEX quarantine_received ON quarantine (received_at DESC);
