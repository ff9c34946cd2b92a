-- name: raw
COPY (
    SELECT series_id, ts, value FROM reading
    WHERE series_id = ANY({ids}) AND ts >= {start} AND ts < {end} AND quality & {exclude} = 0
) TO STDOUT (FORMAT BINARY);

-- name: mean
COPY (
    SELECT series_id, date_bin({bucket}, ts, {origin}), avg(value) FROM reading
    WHERE series_id = ANY({ids}) AND ts >= {start} AND ts < {end} AND quality & {exclude} = 0
    GROUP BY 1, 2
) TO STDOUT (FORMAT BINARY);

-- name: sum
COPY (
    SELECT series_id, date_bin({bucket}, ts, {origin}), sum(value) FROM reading
    WHERE series_id = ANY({ids}) AND ts >= {start} AND ts < {end} AND quality & {exclude} = 0
    GROUP BY 1, 2
) TO STDOUT (FORMAT BINARY);

-- name: last
COPY (
    SELECT DISTINCT ON (series_id, date_bin({bucket}, ts, {origin}))
           series_id, date_bin({bucket}, ts, {origin}), value FROM reading
    WHERE series_id = ANY({ids}) AND ts >= {start} AND ts < {end} AND quality & {exclude} = 0
    ORDER BY series_id, date_bin({bucket}, ts, {origin}), ts DESC
) TO STDOUT (FORMAT BINARY);

-- name: latest
-- One short descent of the newest partition's key for each series.
SELECT s.key, r.ts, r.value, r.quality
FROM series s
CROSS JOIN LATERAL (
    SELECT ts, value, quality FROM reading
    WHERE series_id = s.id ORDER BY ts DESC LIMIT 1
) r
WHERE %(keys)s::text[] IS NULL OR s.key = ANY(%(keys)s::text[])
ORDER BY s.id;

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
