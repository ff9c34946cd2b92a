-- name: policies
SELECT kind, level, keep FROM retention
ORDER BY kind <> '*', kind, array_position(ARRAY['raw', '15min', 'hour', 'day'], level);

-- name: set
INSERT INTO retention (kind, level, keep) VALUES (%(kind)s, %(level)s, %(keep)s)
ON CONFLICT (kind, level) DO UPDATE SET keep = excluded.keep;

-- name: unset
DELETE FROM retention WHERE kind = %(kind)s AND level = %(level)s;

-- name: pack_after
SELECT after FROM packing;

-- name: set_pack_after
UPDATE packing SET after = %(after)s;

-- name: kinds
-- With the fineness of their readings; '' for series of no known asset.
SELECT DISTINCT coalesce(a.kind, ''), fineness(s.resolution)
FROM series s LEFT JOIN asset a ON a.id = s.asset;

-- name: done
SELECT kind, level, before FROM retention_done WHERE held_in = %(table)s;

-- name: record
INSERT INTO retention_done AS d (kind, held_in, level, before)
VALUES (%(kind)s, %(table)s, %(level)s, %(before)s)
ON CONFLICT (kind, held_in, level) DO UPDATE SET before = greatest(d.before, excluded.before);

-- name: delete_readings
DELETE FROM reading r USING series s LEFT JOIN asset a ON a.id = s.asset
WHERE r.ts >= {start} AND r.ts < {end} AND s.id = r.series_id
  AND fineness(s.resolution) = {level} AND coalesce(a.kind, '') = {kind};

-- name: delete_rollups
DELETE FROM {table} r USING series s LEFT JOIN asset a ON a.id = s.asset
WHERE r.bucket >= {start} AND r.bucket < {end} AND s.id = r.series_id
  AND coalesce(a.kind, '') = {kind};
