-- Roll-ups, the newest reading of each series, and how long readings are kept.

-- Three levels of the same shape. Ordinary tables on both backends, by one SQL, and no continuous
-- aggregates: those know one time zone for all series, and a late reading would have them compute
-- its hour anew for every series instead of for the one it belongs to. Kept in parts of a month.
DO $$
DECLARE
    hypertable boolean := (SELECT relkind = 'r' FROM pg_class WHERE oid = 'reading'::regclass);
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['rollup_15min', 'rollup_hour', 'rollup_day'] LOOP
        EXECUTE format(
            'CREATE TABLE %I (
                series_id int NOT NULL,
                bucket timestamptz NOT NULL,
                n int NOT NULL,
                sum float8 NOT NULL,
                minimum float8 NOT NULL,
                maximum float8 NOT NULL,
                last float8 NOT NULL,
                last_ts timestamptz NOT NULL,
                flags int2 NOT NULL,
                PRIMARY KEY (series_id, bucket)
            ) %s',
            name, CASE WHEN hypertable THEN '' ELSE 'PARTITION BY RANGE (bucket)' END
        );
        IF hypertable THEN
            PERFORM create_hypertable(
                name::regclass, 'bucket',
                chunk_time_interval => INTERVAL '30 days', create_default_indexes => false
            );
        END IF;
        EXECUTE format('COMMENT ON COLUMN %I.bucket IS %L', name, 'beginning of the interval');
        EXECUTE format('COMMENT ON COLUMN %I.last_ts IS %L', name, 'time of the newest reading');
        EXECUTE format('COMMENT ON COLUMN %I.flags IS %L', name, 'flags of any of the readings');
    END LOOP;
END
$$;
COMMENT ON TABLE rollup_15min IS 'of series of instants and of intervals shorter than 15 minutes';
COMMENT ON TABLE rollup_hour IS 'of series of instants and of intervals shorter than an hour';
COMMENT ON TABLE rollup_day IS
    'of series of instants and of intervals shorter than a day; bucket is midnight in their zone';

-- Buckets that end by rolled_to are there, and as right as rollup_dirty is empty.
CREATE TABLE rollup_state (
    level text PRIMARY KEY,
    rolled_to timestamptz NOT NULL
);
INSERT INTO rollup_state (level, rolled_to)
SELECT level, '1970-01-01 00:00+00' FROM unnest(ARRAY['15min', 'hour', 'day']) AS level;

-- Hours of a series to be rolled up anew, appended in the transaction of what changed them.
CREATE TABLE rollup_dirty (
    series_id int NOT NULL,
    hour timestamptz NOT NULL
);

-- A reading before this time is late: whoever stores it marks its hour as dirty. It runs ahead of
-- rolled_to while a roll-up is under way or was interrupted.
CREATE TABLE rollup_late (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    before timestamptz NOT NULL
);
INSERT INTO rollup_late (before) VALUES ('1970-01-01 00:00+00');

-- What every transaction that changes readings calls before it ends: the time before which they
-- are late, in microseconds since 1970. The lock tells a roll-up whom it has to wait for after it
-- has moved that time on (store/rollups.py). It is had before the time is read, by a snapshot of
-- its own: that is why this is a volatile function and not a query.
CREATE FUNCTION rollup_late_before() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1986359908, 1);
    RETURN (SELECT (extract(epoch FROM before) * 1000000)::bigint FROM rollup_late);
END
$$;

-- Kept up by those who store readings, about once a second (store/latest.py).
CREATE TABLE reading_latest (
    series_id int PRIMARY KEY,
    ts timestamptz NOT NULL,
    value float8 NOT NULL,
    quality int2 NOT NULL
) WITH (fillfactor = 60);
COMMENT ON TABLE reading_latest IS 'never newer than reading; may be older by a moment';

-- How fine the readings of a series are: a meter that sends a value for each quarter-hour has its
-- readings kept for as long as other series their roll-ups to 15 minutes.
CREATE FUNCTION fineness(resolution interval) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN resolution >= interval '1 day' THEN 'day'
    WHEN resolution >= interval '1 hour' THEN 'hour'
    WHEN resolution >= interval '15 minutes' THEN '15min'
    ELSE 'raw' -- instants, too
END;

CREATE TABLE retention (
    kind text NOT NULL, -- core.sites.AssetKind; '*' for all that have no row of their own
    level text NOT NULL CHECK (level IN ('raw', '15min', 'hour', 'day')),
    keep interval,
    PRIMARY KEY (kind, level)
);
COMMENT ON COLUMN retention.keep IS 'null: for ever';
INSERT INTO retention (kind, level)
SELECT '*', level FROM unnest(ARRAY['raw', '15min', 'hour', 'day']) AS level;

-- What has been deleted, readings of that fineness and roll-ups of that level. Roll-ups made of it
-- are never counted anew.
CREATE TABLE retention_done (
    kind text NOT NULL, -- '' for series of no known asset
    held_in text NOT NULL, -- the table
    level text NOT NULL,
    before timestamptz NOT NULL,
    PRIMARY KEY (kind, held_in, level)
);
