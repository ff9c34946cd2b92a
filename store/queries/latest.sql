-- name: quick
-- What a crash takes of these, the next reconciliation brings back.
SET LOCAL synchronous_commit = off;

-- name: staging
CREATE TEMP TABLE IF NOT EXISTS latest_staging (
    series_id int NOT NULL, ts timestamptz NOT NULL
) ON COMMIT DELETE ROWS;

-- name: copy
COPY latest_staging (series_id, ts) FROM STDIN (FORMAT BINARY);

-- name: flush
-- The readings themselves: of two with one key, or of a batch that was taken back, only what is
-- stored counts. In the order of the key: two that flush never wait in a circle.
INSERT INTO reading_latest AS l (series_id, ts, value, quality)
SELECT n.series_id, n.ts, r.value, r.quality
FROM latest_staging n
LEFT JOIN reading_latest known ON known.series_id = n.series_id
CROSS JOIN LATERAL (
    SELECT value, quality FROM reading
    WHERE series_id = n.series_id AND ts = n.ts AND ts BETWEEN {first} AND {last}
    LIMIT 1 -- by the key, whatever the planner expects
) r
WHERE known.ts IS NULL OR known.ts < n.ts
ORDER BY n.series_id
ON CONFLICT (series_id) DO UPDATE
SET ts = excluded.ts, value = excluded.value, quality = excluded.quality
WHERE excluded.ts > l.ts;

-- name: any
SELECT EXISTS (SELECT FROM reading_latest);

-- name: reconcile
INSERT INTO reading_latest AS l (series_id, ts, value, quality)
SELECT s.id, r.ts, r.value, r.quality
FROM series s
LEFT JOIN reading_latest known ON known.series_id = s.id
CROSS JOIN LATERAL (
    SELECT ts, value, quality FROM reading
    WHERE series_id = s.id AND ts >= {since} AND ts > coalesce(known.ts, '-infinity')
    ORDER BY ts DESC LIMIT 1
) r
ORDER BY s.id
ON CONFLICT (series_id) DO UPDATE
SET ts = excluded.ts, value = excluded.value, quality = excluded.quality
WHERE excluded.ts > l.ts;

-- name: few
SELECT count(*) <= {most} FROM (SELECT FROM series LIMIT {most} + 1) AS begun;

-- name: descend
-- One short descent of the newest partition's key for each series.
SELECT s.key, r.ts, r.value, r.quality
FROM series s
CROSS JOIN LATERAL (
    SELECT ts, value, quality FROM reading
    WHERE series_id = s.id ORDER BY ts DESC LIMIT 1
) r
WHERE %(keys)s::text[] IS NULL OR s.key = ANY(%(keys)s::text[])
ORDER BY s.id;

-- name: keys
SELECT id, key FROM series WHERE %(keys)s::text[] IS NULL OR key = ANY(%(keys)s::text[])
ORDER BY id;

-- name: all
COPY (SELECT series_id, ts, value, quality FROM reading_latest) TO STDOUT (FORMAT BINARY);
