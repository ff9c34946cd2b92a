-- name: native
SELECT series_id, ts, value FROM {source} AS r
WHERE series_id = ANY({ids}) AND ts >= {start} AND ts < {end} AND quality & {exclude} = 0

-- name: stored
reading

-- name: first_stored
-- A correction keeps what was there before it; null, where there was nothing.
(
    SELECT c.series_id, c.ts,
           CASE WHEN f.id IS NULL THEN c.value ELSE f.old_value END AS value,
           CASE WHEN f.id IS NULL THEN c.quality ELSE f.old_quality END AS quality
    FROM reading c LEFT JOIN LATERAL (
        SELECT id, old_value, old_quality FROM reading_revision v
        WHERE c.quality & {corrected} <> 0 AND v.series_id = c.series_id AND v.ts = c.ts
        ORDER BY id LIMIT 1
    ) f ON true
    WHERE f.id IS NULL OR f.old_value IS NOT NULL
)

-- name: buckets
SELECT series_id, {label}, {figures}, max(again) FROM ({parts}) AS part GROUP BY 1, 2

-- name: mean
sum(sum) / sum(n)

-- name: sum
sum(sum)

-- name: last
-- That of the greatest pair (time, value); doubles tell microseconds apart.
(max(ARRAY[date_part('epoch', last_ts), last]))[2]

-- name: envelope
sum(sum) / sum(n), min(minimum), max(maximum), sum(n)::bigint

-- name: part_of_readings
SELECT series_id, ts, 1 AS n, value AS sum, value AS minimum, value AS maximum,
       value AS last, ts AS last_ts, 0 AS again
FROM {source} AS r
WHERE series_id = ANY({ids}) AND ts >= {start} AND ts < {end} AND quality & {exclude} = 0

-- name: part_of_rollups
-- As they are. Where a bucket holds a reading to be left out, or a late one waits, says so: then
-- all is asked again by the statement below, which is many times as much for the planner.
SELECT u.series_id, u.bucket AS ts, u.n, u.sum, u.minimum, u.maximum, u.last, u.last_ts,
       (u.flags & {doubtful} <> 0)::int AS again
FROM {table} u
WHERE u.series_id = ANY({ids}) AND u.bucket >= {start} AND u.bucket < {end}
UNION ALL
SELECT series_id, {start}, 1, 0, 0, 0, 0, {start}, 1 FROM rollup_dirty
WHERE series_id = ANY({ids}) AND hour > {start}::timestamptz - interval '1 hour' AND hour < {end}

-- name: part_of_rollups_and_readings
-- Such buckets are made of their readings.
SELECT *, 0 AS again FROM (
    WITH late AS (
        SELECT DISTINCT d.series_id, {late_label} AS bucket
        FROM rollup_dirty d CROSS JOIN generate_series(0, 3) AS quarter
        WHERE d.series_id = ANY({ids}) AND d.hour > {start}::timestamptz - interval '1 hour'
          AND d.hour < {end}
    )
    SELECT u.series_id, u.bucket AS ts, u.n, u.sum, u.minimum, u.maximum, u.last, u.last_ts
    FROM {table} u
    WHERE u.series_id = ANY({ids}) AND u.bucket >= {start} AND u.bucket < {end}
      AND u.flags & {doubtful} = 0
      AND NOT EXISTS (
        SELECT FROM late WHERE late.series_id = u.series_id AND late.bucket = u.bucket
      )
    UNION ALL
    SELECT r.* FROM (
        SELECT series_id, bucket FROM late WHERE bucket >= {start} AND bucket < {end}
        UNION
        SELECT u.series_id, u.bucket FROM {table} u
        WHERE u.series_id = ANY({ids}) AND u.bucket >= {start} AND u.bucket < {end}
          AND u.flags & {doubtful} <> 0
    ) AS again
    CROSS JOIN LATERAL (
        SELECT series_id, ts, 1 AS n, value AS sum, value AS minimum, value AS maximum,
               value AS last, ts AS last_ts
        FROM {source} AS r
        WHERE r.series_id = again.series_id AND r.ts >= again.bucket AND r.ts < {until}
          AND r.quality & {exclude} = 0
        OFFSET 0 -- bucket by bucket: few are to be read again, whatever the planner expects
    ) AS r
) AS rolled

-- name: estimate
-- As the planner does: the density of rows at the last analysis, else that of full pages (a row
-- takes 60 of the 8,168 bytes), times the size of today.
SELECT coalesce(sum(
    pg_relation_size(c.oid) / current_setting('block_size')::int
    * CASE WHEN c.reltuples > 0 AND c.relpages > 0 THEN c.reltuples / c.relpages ELSE 136 END
), 0)::bigint
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'reading'::regclass;

-- name: count
SELECT count(*) FROM reading;

-- name: newest
-- A descent of the key for each series, whatever the number of rows.
SELECT max(r.ts) FROM series s
CROSS JOIN LATERAL (
    SELECT ts FROM reading WHERE series_id = s.id AND ts >= {since} ORDER BY ts DESC LIMIT 1
) r;
