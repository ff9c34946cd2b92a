-- name: save
-- Tracing an hour again is a new revision, so that what was made from the earlier one can be found.
INSERT INTO bus_intensity AS b (ts, coverage, factor_id, import_kgco2e_per_mwh, source_kgco2e,
    losses_kgco2e, buses, kgco2e_per_mwh, contents)
VALUES (%(ts)s, %(coverage)s, %(factor_id)s, %(import_kgco2e_per_mwh)s, %(source_kgco2e)s,
    %(losses_kgco2e)s, %(buses)s, %(kgco2e_per_mwh)s, %(contents)s)
ON CONFLICT (ts) DO UPDATE
SET revision = b.revision + 1, coverage = excluded.coverage, factor_id = excluded.factor_id,
    import_kgco2e_per_mwh = excluded.import_kgco2e_per_mwh,
    source_kgco2e = excluded.source_kgco2e, losses_kgco2e = excluded.losses_kgco2e,
    buses = excluded.buses, kgco2e_per_mwh = excluded.kgco2e_per_mwh,
    contents = excluded.contents;

-- name: read
SELECT ts, revision, coverage, factor_id, import_kgco2e_per_mwh, source_kgco2e, losses_kgco2e,
    buses, kgco2e_per_mwh, contents
FROM bus_intensity WHERE ts >= %(start)s AND ts < %(end)s ORDER BY ts;

-- name: newest
SELECT max(ts) FROM bus_intensity;

-- name: forget
DELETE FROM bus_intensity WHERE ts < %(before)s;
