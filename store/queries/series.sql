-- name: register
-- What describes a series may change, what identifies it may not; an unchanged one is not written.
INSERT INTO series (key, site, asset, variable, unit, kind, owner, timezone, simulated, resolution)
VALUES (%(key)s, %(site)s, %(asset)s, %(variable)s, %(unit)s, %(kind)s, %(owner)s, %(timezone)s,
        %(simulated)s, %(resolution)s)
ON CONFLICT (key) DO UPDATE
SET owner = excluded.owner, timezone = excluded.timezone, simulated = excluded.simulated,
    resolution = excluded.resolution
WHERE (series.owner, series.timezone, series.simulated, series.resolution)
      IS DISTINCT FROM
      (excluded.owner, excluded.timezone, excluded.simulated, excluded.resolution);

-- name: ids
SELECT key, id FROM series ORDER BY id;

-- name: known
SELECT key, id, variable, unit FROM series WHERE key = ANY(%(keys)s::text[]);

-- name: catalogue
SELECT id, key, site, asset, variable, kind, owner, timezone, simulated, resolution, unit
FROM series ORDER BY id;
