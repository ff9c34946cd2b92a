-- name: copy
COPY reading (series_id, ts, value, quality) FROM STDIN (FORMAT BINARY);

-- name: staging
CREATE TEMP TABLE IF NOT EXISTS reading_staging (
    series_id int NOT NULL, ts timestamptz NOT NULL, value float8 NOT NULL, quality int2 NOT NULL
) ON COMMIT DELETE ROWS;

-- name: clear
TRUNCATE reading_staging;

-- name: copy_staging
COPY reading_staging (series_id, ts, value, quality) FROM STDIN (FORMAT BINARY);

-- name: merge
-- In the order of the key, as every batch is: two writers wait for each other, never in a circle.
COPY (
    INSERT INTO reading (series_id, ts, value, quality)
    SELECT series_id, ts, value, quality FROM reading_staging ORDER BY series_id, ts
    ON CONFLICT (series_id, ts) DO NOTHING
    RETURNING series_id, ts
) TO STDOUT (FORMAT BINARY);
