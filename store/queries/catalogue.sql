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

-- name: search
SELECT s.key, s.unit, s.variable, s.kind AS series_kind, s.asset, a.name_en, a.name_zh, a.kind,
       a.district, s.owner, a.lat, a.lon, s.timezone, s.simulated, s.resolution,
       l.ts, l.value, l.quality
FROM series s
LEFT JOIN asset a ON a.id = s.asset
LEFT JOIN reading_latest l ON l.series_id = s.id
WHERE {conditions}
ORDER BY s.key LIMIT {limit};

-- name: after
s.key > {value}

-- name: word
(strpos(s.key, {value}) > 0 OR strpos(a.words, {value}) > 0)

-- name: keys
s.key = ANY({value})

-- name: site
s.site = {value}

-- name: kinds
a.kind = ANY({value})

-- name: districts
a.district = ANY({value})

-- name: owners
s.owner = ANY({value})

-- name: variables
s.variable = ANY({value})

-- name: latitudes
a.lat BETWEEN {low} AND {high}

-- name: longitudes
a.lon BETWEEN {low} AND {high}

-- name: good
l.quality = 0

-- name: flagged
l.quality & {value} <> 0

-- name: fresher
l.ts > {value}

-- name: staler
(l.ts IS NULL OR l.ts <= {value})
