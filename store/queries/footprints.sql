-- name: save
INSERT INTO footprint (enterprise, ts, level, e_mwh, kgco2e, factor_id, coverage, estimated)
VALUES (%(enterprise)s, %(ts)s, %(level)s, %(e_mwh)s, %(kgco2e)s, %(factor_id)s, %(coverage)s,
        %(estimated)s)
ON CONFLICT (enterprise, ts, level) DO UPDATE
SET e_mwh = excluded.e_mwh, kgco2e = excluded.kgco2e, factor_id = excluded.factor_id,
    coverage = excluded.coverage, estimated = excluded.estimated;

-- name: read
SELECT enterprise, ts, level, e_mwh, kgco2e, factor_id, coverage, estimated FROM footprint
WHERE ts >= %(start)s AND ts < %(end)s
  AND (%(level)s::text IS NULL OR level = %(level)s)
  AND (%(enterprises)s::text[] IS NULL OR enterprise = ANY(%(enterprises)s::text[]))
ORDER BY ts, enterprise, level;

-- name: totals
SELECT enterprise, level, sum(e_mwh) AS e_mwh, sum(kgco2e) AS kgco2e FROM footprint
WHERE ts >= %(start)s AND ts < %(end)s
  AND (%(enterprises)s::text[] IS NULL OR enterprise = ANY(%(enterprises)s::text[]))
GROUP BY enterprise, level ORDER BY enterprise, level;

-- name: last_hour
SELECT max(ts) FROM footprint WHERE enterprise = %(enterprise)s;
