-- name: kind
-- A partitioned table is 'p'; a table of TimescaleDB is an ordinary one, 'r'.
SELECT relkind::text FROM pg_class WHERE oid = 'reading'::regclass;

-- name: without_room
-- Asks the tables: to_regclass could answer from a cache of before the lock below was had.
SELECT day FROM unnest(%(days)s::date[]) AS day
WHERE NOT EXISTS (
    SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'reading'::regclass AND c.relname = 'reading_' || to_char(day, 'YYYYMMDD')
);

-- name: lock
-- Until the end of the transaction: two writers meeting a new day make its partition once.
SELECT pg_advisory_xact_lock(hashtext('verdigrid reading partitions'));

-- name: create
-- Made by itself and then attached: PARTITION OF would lock the whole table against its readers
-- and, from inside two writing transactions, deadlock.
CREATE TABLE {partition} (LIKE reading INCLUDING ALL);

-- name: attach
ALTER TABLE reading ATTACH PARTITION {partition} FOR VALUES FROM ({start}) TO ({end});

-- name: newest_partition
SELECT to_date(right(max(c.relname::text), 8), 'YYYYMMDD')
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'reading'::regclass AND pg_relation_size(c.oid) > 0;

-- name: newest_chunk
SELECT (max(range_start) AT TIME ZONE 'UTC')::date FROM timescaledb_information.chunks
WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = 'reading'::regclass;

-- name: timescale_available
SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb';

-- name: timescale_installed
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb';
