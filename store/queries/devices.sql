-- name: take_in
-- Whose id or device is there already is left out; in one order, so that two receivers do not
-- wait for each other.
INSERT INTO asset (id, site, kind, name_en, name_zh, district, owner, lat, lon, device, profile)
SELECT w.* FROM unnest(
    %(id)s::text[], %(site)s::text[], %(kind)s::text[], %(name_en)s::text[], %(name_zh)s::text[],
    %(district)s::text[], %(owner)s::text[], %(lat)s::float8[], %(lon)s::float8[],
    %(device)s::text[], %(profile)s::text[]
) AS w (id, site, kind, name_en, name_zh, district, owner, lat, lon, device, profile)
ORDER BY w.id
ON CONFLICT DO NOTHING
RETURNING device;

-- name: placed
SELECT device, id FROM asset WHERE device = ANY(%(devices)s::text[]);

-- name: tag
INSERT INTO device_tag (device, tag, unit, series_key)
SELECT w.* FROM unnest(
    %(device)s::text[], %(tag)s::text[], %(unit)s::text[], %(series_key)s::text[]
) AS w (device, tag, unit, series_key)
ORDER BY w.device, w.tag
ON CONFLICT DO NOTHING;

-- name: renew_tags
INSERT INTO device_tag (device, tag, unit, series_key)
SELECT w.* FROM unnest(
    %(device)s::text[], %(tag)s::text[], %(unit)s::text[], %(series_key)s::text[]
) AS w (device, tag, unit, series_key)
ORDER BY w.device, w.tag
ON CONFLICT (device, tag) DO UPDATE SET unit = excluded.unit, series_key = excluded.series_key
WHERE (device_tag.unit, device_tag.series_key)
      IS DISTINCT FROM (excluded.unit, excluded.series_key)
RETURNING device, tag;

-- name: renew_lengths
-- The tags whose series stands for another interval from now on.
WITH changed AS (
    UPDATE series s SET resolution = w.resolution
    FROM unnest(%(key)s::text[], %(resolution)s::interval[]) AS w (key, resolution)
    WHERE s.key = w.key AND s.resolution IS DISTINCT FROM w.resolution
    RETURNING s.key
)
SELECT t.device, t.tag FROM device_tag t JOIN changed c ON c.key = t.series_key;

-- name: renew_profiles
UPDATE asset a SET profile = w.profile
FROM unnest(%(device)s::text[], %(profile)s::text[]) AS w (device, profile)
WHERE a.device = w.device AND a.device <> '' AND a.profile <> w.profile;

-- name: owners
SELECT device, owner FROM asset WHERE device <> '' AND device = ANY(%(devices)s::text[]);

-- name: of_profile
SELECT device FROM asset WHERE device <> '' AND profile = %(profile)s ORDER BY device;

-- name: behind
WITH wanted AS (
    SELECT * FROM unnest(
        %(profile)s::text[], %(tag)s::text[], %(unit)s::text[], %(variable)s::text[],
        %(resolution)s::interval[]
    ) AS w (profile, tag, unit, variable, resolution)
)
SELECT a.profile, count(DISTINCT a.device)
FROM asset a
JOIN wanted w USING (profile)
LEFT JOIN device_tag t ON t.device = a.device AND t.tag = w.tag
LEFT JOIN series s ON s.key = t.series_key
WHERE a.device <> ''
  AND (t.unit, s.variable, s.resolution) IS DISTINCT FROM (w.unit, w.variable, w.resolution)
GROUP BY a.profile;

-- name: routes
SELECT t.device, t.tag, t.unit, s.variable, s.id,
       coalesce((extract(epoch FROM s.resolution) * 1000000)::bigint, 0)
FROM device_tag t JOIN series s ON s.key = t.series_key
WHERE t.device = ANY(%(devices)s::text[])
ORDER BY t.device, t.tag;

-- name: all_routes
SELECT t.device, t.tag, t.unit, s.variable, s.id,
       coalesce((extract(epoch FROM s.resolution) * 1000000)::bigint, 0)
FROM device_tag t JOIN series s ON s.key = t.series_key
ORDER BY t.device, t.tag;

-- name: since
SELECT device FROM asset WHERE device <> '' AND registered_at >= %(since)s;

-- name: newest
SELECT max(registered_at) FROM asset WHERE device <> '';

-- name: devices
SELECT device, id AS asset, kind, profile, district, registered_at
FROM asset WHERE device <> '' ORDER BY registered_at DESC, device LIMIT %(limit)s;

-- name: waiting
SELECT detail ->> 'device' AS device, count(*) AS messages, max(received_at) AS last_at,
       (array_agg(reason ORDER BY received_at DESC))[1] AS reason
FROM quarantine
WHERE detail ->> 'unknown' = 'device'
  AND NOT EXISTS (SELECT FROM asset a WHERE a.device <> '' AND a.device = detail ->> 'device')
GROUP BY 1 ORDER BY last_at DESC LIMIT %(limit)s;

-- name: seed
COPY (SELECT series_id, ts, value, quality FROM reading_latest) TO STDOUT (FORMAT BINARY);
