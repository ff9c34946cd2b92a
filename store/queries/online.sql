-- name: resolutions
SELECT DISTINCT resolution FROM series WHERE kind = 'measured';

-- name: online
SELECT s.asset, max(l.ts) AS ts, coalesce(bool_or(l.ts > %(now)s - p.patience), false) AS online
FROM series s
JOIN unnest(%(resolutions)s::interval[], %(patience)s::interval[]) AS p (resolution, patience)
  ON p.resolution = coalesce(s.resolution, interval '0')
LEFT JOIN reading_latest l ON l.series_id = s.id
WHERE s.kind = 'measured'
GROUP BY s.asset

-- name: states
SELECT a.id, a.name_en, a.name_zh, a.kind, a.district, o.ts, o.online
FROM ({online}) AS o JOIN asset a ON a.id = o.asset
ORDER BY a.id;

-- name: rates
SELECT a.kind, a.district, count(*)::int AS total, sum(o.online::int)::int AS online,
       sum(o.online::int)::float8 / count(*) AS rate
FROM ({online}) AS o JOIN asset a ON a.id = o.asset
GROUP BY a.kind, a.district ORDER BY a.kind, a.district;
