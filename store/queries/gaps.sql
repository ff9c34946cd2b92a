-- name: runs
-- Readings of each series, with the place before the range that the last one before it leads to,
-- and the end of the range: what lies between two of these points is missing.
WITH wanted AS (
    SELECT s.id, s.key, s.asset, s.resolution, l.ts AS latest
    FROM series s LEFT JOIN reading_latest l ON l.series_id = s.id
    WHERE resolution IS NOT NULL AND kind = 'measured'
      AND (%(keys)s::text[] IS NULL OR key = ANY(%(keys)s::text[]))
), point AS (
    SELECT w.id, w.resolution, r.ts, false AS is_end
    FROM wanted w
    JOIN reading r ON r.series_id = w.id AND r.ts >= %(start)s AND r.ts < %(end)s
    UNION ALL
    SELECT id, resolution,
           date_bin(resolution, %(start)s::timestamptz - interval '1 microsecond', ts), false
    FROM (
        SELECT id, resolution, latest AS ts FROM wanted WHERE latest < %(start)s
        UNION ALL
        SELECT w.id, w.resolution, p.ts FROM wanted w CROSS JOIN LATERAL (
            SELECT ts FROM reading
            WHERE series_id = w.id AND ts < %(start)s ORDER BY ts DESC LIMIT 1
        ) p
        WHERE w.latest >= %(start)s
        UNION ALL -- its newest reading is not known: it never had one, or had its first just now
        SELECT w.id, w.resolution, p.ts FROM wanted w CROSS JOIN LATERAL (
            SELECT ts FROM reading
            WHERE series_id = w.id AND ts < %(start)s
              AND ts >= %(start)s::timestamptz - interval '7 days'
            ORDER BY ts DESC LIMIT 1
        ) p
        WHERE w.latest IS NULL
    ) AS earlier
    UNION ALL
    SELECT id, resolution, %(end)s, true FROM wanted
), step AS (
    SELECT id, resolution, ts, is_end, lag(ts) OVER (PARTITION BY id ORDER BY ts, is_end) AS before
    FROM point
)
-- An interval that is not over at the end of the range is not missing yet; in between, devices
-- whose clock wanders by less than half an interval have sent all.
SELECT w.key, w.asset, s.before + s.resolution, s.resolution, n.missing::int
FROM step s JOIN wanted w USING (id)
CROSS JOIN LATERAL (
    SELECT extract(epoch FROM s.ts - s.before) / extract(epoch FROM s.resolution) AS intervals
) AS i
CROSS JOIN LATERAL (
    SELECT (CASE WHEN s.is_end THEN floor(intervals) ELSE round(intervals) END) - 1 AS missing
) AS n
WHERE s.ts - s.before > 1.4 * s.resolution AND n.missing >= 1
ORDER BY w.key, s.before;

-- name: devices
SELECT series_key, device FROM device_tag WHERE series_key = ANY(%(keys)s::text[])
UNION
SELECT t ->> 'series_key', t ->> 'device'
FROM (SELECT description FROM site ORDER BY revision DESC LIMIT 1) AS newest
CROSS JOIN jsonb_array_elements(description -> 'tags') AS t
WHERE t ->> 'series_key' = ANY(%(keys)s::text[]);

-- name: tags
SELECT series_key, tag FROM device_tag WHERE device = %(device)s
UNION
SELECT t ->> 'series_key', t ->> 'tag'
FROM (SELECT description FROM site ORDER BY revision DESC LIMIT 1) AS newest
CROSS JOIN jsonb_array_elements(description -> 'tags') AS t
WHERE t ->> 'device' = %(device)s;

-- name: protocols
SELECT a.id, p ->> 'protocol'
FROM (SELECT description FROM site ORDER BY revision DESC LIMIT 1) AS newest
CROSS JOIN jsonb_array_elements(description -> 'profiles') AS p
JOIN asset a ON a.profile = p ->> 'name'
WHERE a.id = ANY(%(assets)s::text[]);

-- name: held
SELECT device, received_at FROM quarantine
WHERE device = ANY(%(devices)s::text[]) AND received_at >= %(start)s AND received_at < %(end)s
  AND resolution IS DISTINCT FROM 'dismissed'
ORDER BY device, received_at;
