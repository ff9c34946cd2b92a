-- name: late_before
SELECT rollup_late_before();

-- name: mark
COPY rollup_dirty (series_id, hour) FROM STDIN (FORMAT BINARY);

-- name: state
SELECT (SELECT min(rolled_to) FROM rollup_state), before FROM rollup_late;

-- name: waiting
SELECT count(*) FROM rollup_dirty;

-- name: announce
UPDATE rollup_late SET before = greatest(before, %(before)s);

-- name: writers
-- Who holds the lock of rollup_late_before(): each transaction has a number of its own.
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'advisory' AND classid = 1986359908 AND objid = 1 AND objsubid = 2 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database());

-- name: zones
SELECT DISTINCT timezone FROM series WHERE resolution IS NULL OR resolution < interval '1 day';

-- name: work_mem
-- For the groups of a day of every series.
SET LOCAL work_mem = '64MB';

-- name: of_range
SELECT s.id AS series_id, {start}::timestamptz AS start, {end}::timestamptz AS end
FROM series s
WHERE (s.resolution IS NULL OR s.resolution < {width}) AND {source}

-- name: of_zone
SELECT s.id AS series_id, {start}::timestamptz AS start, {end}::timestamptz AS end
FROM series s
WHERE (s.resolution IS NULL OR s.resolution < {width}) AND s.timezone = {zone} AND {source}

-- name: of_dirty_hours
SELECT d.series_id, d.hour AS start, d.hour + interval '1 hour' AS end
FROM rollup_todo d JOIN series s ON s.id = d.series_id
WHERE (s.resolution IS NULL OR s.resolution < {width}) AND {source}

-- name: of_dirty_days
SELECT DISTINCT d.series_id, n.start, n.end
FROM rollup_todo d
JOIN series s ON s.id = d.series_id
JOIN rollup_todo_day n ON n.timezone = s.timezone AND n.hour = d.hour
WHERE (s.resolution IS NULL OR s.resolution < {width}) AND {source}

-- name: binned
date_bin({width}, {time}, '1970-01-01 00:00+00')

-- name: of_its_day
p.start

-- name: has_quarters
-- Such series are rolled up from their quarter-hours, the others from their readings.
(s.resolution IS NULL OR s.resolution < interval '15 minutes')

-- name: has_no_quarters
s.resolution >= interval '15 minutes'

-- name: from_readings
-- The last value is that of the greatest pair (time, value); doubles tell microseconds apart.
INSERT INTO {table} AS u (
    series_id, bucket, n, sum, minimum, maximum, last, last_ts, flags
)
SELECT r.series_id, {bucket}, count(*), sum(r.value), min(r.value), max(r.value),
       (max(ARRAY[date_part('epoch', r.ts), r.value]))[2], max(r.ts), bit_or(r.quality)
FROM ({parts}) AS p
JOIN reading r ON r.series_id = p.series_id AND r.ts >= p.start AND r.ts < p.end
WHERE r.ts >= {low} AND r.ts < {high}
GROUP BY 1, 2
ORDER BY 1, 2
{replacing};

-- name: from_quarters
INSERT INTO {table} AS u (
    series_id, bucket, n, sum, minimum, maximum, last, last_ts, flags
)
SELECT r.series_id, {bucket}, sum(r.n), sum(r.sum), min(r.minimum), max(r.maximum),
       (max(ARRAY[date_part('epoch', r.last_ts), r.last]))[2], max(r.last_ts), bit_or(r.flags)
FROM ({parts}) AS p
JOIN rollup_15min r ON r.series_id = p.series_id AND r.bucket >= p.start AND r.bucket < p.end
WHERE r.bucket >= {low} AND r.bucket < {high}
GROUP BY 1, 2
ORDER BY 1, 2
{replacing};

-- name: replacing
-- Takes nearly twice as long as an insert without it.
ON CONFLICT (series_id, bucket) DO UPDATE
SET n = excluded.n, sum = excluded.sum, minimum = excluded.minimum, maximum = excluded.maximum,
    last = excluded.last, last_ts = excluded.last_ts, flags = excluded.flags

-- name: advance
UPDATE rollup_state SET rolled_to = %(to)s;

-- name: todo
CREATE TEMP TABLE rollup_todo (
    series_id int NOT NULL, hour timestamptz NOT NULL
) ON COMMIT DROP;

-- name: todo_days
CREATE TEMP TABLE rollup_todo_day (
    timezone text NOT NULL, hour timestamptz NOT NULL,
    start timestamptz NOT NULL, "end" timestamptz NOT NULL
) ON COMMIT DROP;

-- name: take
-- Exactly those that are seen here, with all they stand for; later ones wait for the next time.
WITH taken AS (
    DELETE FROM rollup_dirty
    WHERE ctid = ANY(ARRAY(SELECT ctid FROM rollup_dirty LIMIT {most}))
    RETURNING series_id, hour
)
INSERT INTO rollup_todo (series_id, hour) SELECT DISTINCT series_id, hour FROM taken;

-- name: leave
-- What the roll-ups of that time are made of is no longer all there: they stay as they are. A
-- reading that came when its like had been forgotten already goes after them.
WITH left_alone AS (
    DELETE FROM rollup_todo d
    USING series s LEFT JOIN asset a ON a.id = s.asset, retention_done f
    WHERE s.id = d.series_id AND f.held_in = 'reading'
      AND f.level = fineness(s.resolution) AND f.kind = coalesce(a.kind, '')
      AND d.hour < f.before + interval '2 days'
    RETURNING d.series_id, d.hour, least(d.hour + interval '1 hour', f.before) AS until
)
DELETE FROM reading r USING left_alone l
WHERE r.series_id = l.series_id AND r.ts >= l.hour AND r.ts < l.until
  AND r.ts >= {low} AND r.ts < {high};

-- name: todo_hours
SELECT DISTINCT s.timezone, d.hour
FROM rollup_todo d JOIN series s ON s.id = d.series_id
WHERE s.resolution IS NULL OR s.resolution < interval '1 day';

-- name: add_days
INSERT INTO rollup_todo_day (timezone, hour, start, "end")
SELECT * FROM unnest(
    %(timezone)s::text[], %(hour)s::timestamptz[], %(start)s::timestamptz[], %(end)s::timestamptz[]
);

-- name: analyze
ANALYZE rollup_todo;

-- name: bounds
SELECT min(hour), max(hour) + interval '1 hour' FROM rollup_todo;

-- name: times
SELECT DISTINCT date_trunc('month', time, 'UTC')
FROM rollup_todo CROSS JOIN unnest(ARRAY[hour, hour - %(day)s::interval]) AS time;
