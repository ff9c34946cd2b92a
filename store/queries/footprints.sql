-- name: save
INSERT INTO footprint (enterprise, ts, level, e_mwh, kgco2e, factor_id, coverage, estimated,
    method, factor_value, traced_share, traced_revision)
VALUES (%(enterprise)s, %(ts)s, %(level)s, %(e_mwh)s, %(kgco2e)s, %(factor_id)s, %(coverage)s,
    %(estimated)s, %(method)s, %(factor_value)s, %(traced_share)s, %(traced_revision)s)
ON CONFLICT (enterprise, ts, level) DO UPDATE
SET e_mwh = excluded.e_mwh, kgco2e = excluded.kgco2e, factor_id = excluded.factor_id,
    coverage = excluded.coverage, estimated = excluded.estimated, method = excluded.method,
    factor_value = excluded.factor_value, traced_share = excluded.traced_share,
    traced_revision = excluded.traced_revision;

-- name: read
SELECT enterprise, ts, level, e_mwh, kgco2e, factor_id, coverage, estimated, method,
    factor_value, traced_share
FROM footprint
WHERE ts >= %(start)s AND ts < %(end)s
  AND (%(level)s::text IS NULL OR level = %(level)s)
  AND (%(enterprises)s::text[] IS NULL OR enterprise = ANY(%(enterprises)s::text[]))
ORDER BY ts, enterprise, level;

-- name: booked
-- Hours of before there was a level of the bus count by the province's factor.
SELECT DISTINCT ON (ts, enterprise) enterprise, ts, level, e_mwh, kgco2e, factor_id, coverage,
    estimated, method, factor_value, traced_share
FROM footprint
WHERE ts >= %(start)s AND ts < %(end)s AND level IN ('bus', 'province')
  AND (%(enterprises)s::text[] IS NULL OR enterprise = ANY(%(enterprises)s::text[]))
ORDER BY ts, enterprise, (level = 'bus') DESC;

-- name: retraced
SELECT f.ts FROM footprint f JOIN bus_intensity b ON b.ts = f.ts
WHERE f.enterprise = %(enterprise)s AND f.level = 'bus' AND f.traced_revision <> b.revision
  AND f.ts >= %(start)s AND f.ts < %(end)s
ORDER BY f.ts;

-- name: totals
SELECT enterprise, level, sum(e_mwh) AS e_mwh, sum(kgco2e) AS kgco2e FROM footprint
WHERE ts >= %(start)s AND ts < %(end)s
  AND (%(enterprises)s::text[] IS NULL OR enterprise = ANY(%(enterprises)s::text[]))
GROUP BY enterprise, level ORDER BY enterprise, level;

-- name: last_hour
SELECT max(ts) FROM footprint WHERE enterprise = %(enterprise)s;
