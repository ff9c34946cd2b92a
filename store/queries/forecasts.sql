-- name: save
INSERT INTO forecast
    (series_id, model, known_at, first_ts, last_ts, step, quantiles, "values")
VALUES (%(series_id)s, %(model)s, %(known_at)s, %(first_ts)s, %(last_ts)s, %(step)s,
        %(quantiles)s, %(values)s)
ON CONFLICT (series_id, model, known_at) DO UPDATE
SET first_ts = excluded.first_ts, last_ts = excluded.last_ts, step = excluded.step,
    quantiles = excluded.quantiles, "values" = excluded."values";

-- name: read
-- Oldest first: laid over each other in this order, the newest stays on top.
SELECT series_id, first_ts, step, quantiles, "values" FROM forecast
WHERE series_id = ANY(%(ids)s::int[]) AND last_ts >= %(start)s AND first_ts < %(end)s
  AND (%(model)s::text IS NULL OR model = %(model)s)
  AND (%(as_of)s::timestamptz IS NULL OR known_at <= %(as_of)s)
ORDER BY known_at, model;

-- name: save_score
INSERT INTO forecast_score (series_id, model, known_at, horizon, metric, value)
VALUES (%(series_id)s, %(model)s, %(known_at)s, %(horizon)s, %(metric)s, %(value)s)
ON CONFLICT (series_id, model, known_at, horizon, metric) DO UPDATE SET value = excluded.value;

-- name: scores
SELECT f.model, s.key, f.known_at, f.horizon, f.metric, f.value
FROM forecast_score f JOIN series s ON s.id = f.series_id
WHERE (%(model)s::text IS NULL OR f.model = %(model)s)
  AND (%(metric)s::text IS NULL OR f.metric = %(metric)s)
  AND (%(keys)s::text[] IS NULL OR s.key = ANY(%(keys)s::text[]))
  AND (%(since)s::timestamptz IS NULL OR f.known_at >= %(since)s)
ORDER BY f.known_at DESC, f.model, s.key, f.horizon, f.metric
LIMIT %(limit)s;

-- name: prune
DELETE FROM forecast f USING series s
WHERE s.id = f.series_id AND f.known_at < %(before)s
  AND (%(keep_kind)s::text IS NULL OR s.kind <> %(keep_kind)s);
