-- name: state
-- The kind of the table of readings, and the days that have no partition yet. A table of
-- TimescaleDB is an ordinary one ('r') that makes its chunks itself.
SELECT relkind,
       ARRAY(
           SELECT day FROM unnest(%(days)s::date[]) AS day
           WHERE to_regclass('reading_' || to_char(day, 'YYYYMMDD')) IS NULL
       ) AS missing
FROM pg_class WHERE oid = 'reading'::regclass;

-- name: lock
-- Until the end of the transaction: two writers meeting a new day make its partition once.
SELECT pg_advisory_xact_lock(hashtext('verdigrid reading partitions'));

-- name: create
-- Made by itself and then attached: PARTITION OF would lock the whole table against its readers
-- and, from inside two writing transactions, deadlock.
CREATE TABLE {partition} (LIKE reading INCLUDING ALL);

-- name: attach
ALTER TABLE reading ATTACH PARTITION {partition} FOR VALUES FROM ({start}) TO ({end});
