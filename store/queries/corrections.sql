-- name: lock
-- One correction at a time, until the end of the transaction. Nobody else changes a reading.
SELECT pg_advisory_xact_lock(hashtext('verdigrid corrections'));

-- name: staging
CREATE TEMP TABLE IF NOT EXISTS reading_correction (
    series_id int NOT NULL, ts timestamptz NOT NULL, value float8 NOT NULL, quality int2 NOT NULL
) ON COMMIT DELETE ROWS;

-- name: clear
TRUNCATE reading_correction;

-- name: copy
COPY reading_correction (series_id, ts, value, quality) FROM STDIN (FORMAT BINARY);

-- name: add
-- Where there is no reading. One that comes at the same moment is found by the statement below.
WITH added AS (
    INSERT INTO reading (series_id, ts, value, quality)
    SELECT series_id, ts, value, quality FROM reading_correction ORDER BY series_id, ts
    ON CONFLICT (series_id, ts) DO NOTHING
    RETURNING series_id, ts, value, quality
)
INSERT INTO reading_revision
    (series_id, ts, revised_at, new_value, new_quality, reason, by_whom)
SELECT series_id, ts, %(at)s, value, quality, %(reason)s, %(by)s FROM added
RETURNING series_id, ts;

-- name: change
-- Another value or another flag than that of being corrected.
WITH changed AS (
    UPDATE reading AS r SET value = c.value, quality = c.quality
    FROM reading_correction AS c
    JOIN reading AS old ON old.series_id = c.series_id AND old.ts = c.ts
    WHERE r.series_id = c.series_id AND r.ts = c.ts
      AND (old.value <> c.value OR old.quality | %(corrected)s <> c.quality)
    RETURNING r.series_id, r.ts, old.value AS old_value, old.quality AS old_quality,
              r.value, r.quality
)
INSERT INTO reading_revision
    (series_id, ts, revised_at, old_value, old_quality, new_value, new_quality, reason, by_whom)
SELECT series_id, ts, %(at)s, old_value, old_quality, value, quality, %(reason)s, %(by)s
FROM changed
RETURNING series_id, ts;

-- name: latest
-- Where the newest reading of a series is among them; store/latest.py never goes back to it.
INSERT INTO reading_latest AS l (series_id, ts, value, quality)
SELECT DISTINCT ON (series_id) series_id, ts, value, quality
FROM reading_correction ORDER BY series_id, ts DESC
ON CONFLICT (series_id) DO UPDATE
SET ts = excluded.ts, value = excluded.value, quality = excluded.quality
WHERE excluded.ts >= l.ts;

-- name: history
SELECT r.ts, r.revised_at, r.old_value, r.old_quality, r.new_value, r.new_quality, r.reason,
       r.by_whom
FROM reading_revision r JOIN series s ON s.id = r.series_id
WHERE s.key = %(key)s AND r.ts >= %(start)s AND r.ts < %(end)s
ORDER BY r.ts, r.id;
