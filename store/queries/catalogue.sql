-- name: version
SELECT version FROM catalogue_version;

-- name: raise_version
UPDATE catalogue_version SET version = version + 1 RETURNING version;

-- name: save_assets
-- A device that registered itself keeps its name on the wire when the description takes it over.
INSERT INTO asset (id, site, kind, name_en, name_zh, district, owner, lat, lon)
SELECT w.* FROM unnest(
    %(id)s::text[], %(site)s::text[], %(kind)s::text[], %(name_en)s::text[], %(name_zh)s::text[],
    %(district)s::text[], %(owner)s::text[], %(lat)s::float8[], %(lon)s::float8[]
) AS w (id, site, kind, name_en, name_zh, district, owner, lat, lon)
ORDER BY w.id
ON CONFLICT (id) DO UPDATE
SET site = excluded.site, kind = excluded.kind, name_en = excluded.name_en,
    name_zh = excluded.name_zh, district = excluded.district, owner = excluded.owner,
    lat = excluded.lat, lon = excluded.lon
WHERE (asset.site, asset.kind, asset.name_en, asset.name_zh, asset.district, asset.owner,
       asset.lat, asset.lon)
      IS DISTINCT FROM
      (excluded.site, excluded.kind, excluded.name_en, excluded.name_zh, excluded.district,
       excluded.owner, excluded.lat, excluded.lon);

-- name: remove_assets
-- What is described no longer; devices that registered themselves stay.
DELETE FROM asset WHERE device = ''
AND NOT EXISTS (SELECT FROM unnest(%(id)s::text[]) AS w (id) WHERE w.id = asset.id);
