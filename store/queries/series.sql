-- name: register
-- What describes a series may change, what identifies it may not; an unchanged one is not written,
-- nor does it use up a number. In the order of the key: two writers never wait in a circle.
INSERT INTO series (key, site, asset, variable, unit, kind, owner, timezone, simulated, resolution)
SELECT w.* FROM unnest(
    %(key)s::text[], %(site)s::text[], %(asset)s::text[], %(variable)s::text[], %(unit)s::text[],
    %(kind)s::text[], %(owner)s::text[], %(timezone)s::text[], %(simulated)s::boolean[],
    %(resolution)s::interval[]
) AS w (key, site, asset, variable, unit, kind, owner, timezone, simulated, resolution)
LEFT JOIN series s USING (key)
WHERE s.id IS NULL
   OR (s.owner, s.timezone, s.simulated, s.resolution)
      IS DISTINCT FROM (w.owner, w.timezone, w.simulated, w.resolution)
ORDER BY w.key
ON CONFLICT (key) DO UPDATE
SET owner = excluded.owner, timezone = excluded.timezone, simulated = excluded.simulated,
    resolution = excluded.resolution;

-- name: ids
SELECT key, id FROM series WHERE id > %(after)s ORDER BY id;

-- name: known
SELECT key, id, variable, unit, timezone, resolution FROM series WHERE key = ANY(%(keys)s::text[]);
