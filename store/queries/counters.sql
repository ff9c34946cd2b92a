-- name: series
SELECT s.id, s.site, s.asset, s.variable, s.owner, s.timezone, s.simulated, coalesce(a.profile, '')
FROM series s LEFT JOIN asset a ON a.id = s.asset
WHERE s.kind = 'measured' AND s.variable = ANY(%(variables)s::text[])
ORDER BY s.asset, s.variable;

-- name: tagged
SELECT DISTINCT series_key FROM device_tag WHERE series_key = ANY(%(keys)s::text[]);

-- name: reached
SELECT series_id, max(ts), min(ts) FILTER (WHERE quality & %(estimated)s <> 0)
FROM reading WHERE series_id = ANY(%(ids)s::int[]) AND ts >= %(since)s GROUP BY series_id;

-- name: rows
COPY (
    SELECT series_id, ts, value, quality FROM reading
    WHERE series_id = ANY({ids}) AND ts >= {start} AND ts < {end} ORDER BY series_id, ts
) TO STDOUT (FORMAT BINARY);
