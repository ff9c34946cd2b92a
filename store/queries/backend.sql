-- name: kind
-- A partitioned table is 'p'; a table of TimescaleDB is an ordinary one, 'r'.
SELECT relkind::text FROM pg_class WHERE oid = 'reading'::regclass;

-- name: missing
-- Asks the tables: to_regclass could answer from a cache of before the lock below was had.
SELECT name FROM unnest(%(names)s::text[]) AS name
WHERE NOT EXISTS (
    SELECT FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = %(table)s::regclass AND c.relname = name
);

-- name: lock
-- Until the end of the transaction: two writers meeting a new day make its partition once.
SELECT pg_advisory_xact_lock(hashtext('verdigrid reading partitions'));

-- name: create
-- Made by itself and then attached: PARTITION OF would lock the whole table against its readers
-- and, from inside two writing transactions, deadlock.
CREATE TABLE {partition} (LIKE {table} INCLUDING ALL);

-- name: attach
ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ({start}) TO ({end});

-- name: partitions
-- The bounds as the server writes them, in the time zone of the connection.
SELECT c.oid::regclass::text AS name, bound[1]::timestamptz AS start, bound[2]::timestamptz AS end
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
CROSS JOIN regexp_match(
    pg_get_expr(c.relpartbound, c.oid), $$FROM \('([^']+)'\) TO \('([^']+)'\)$$
) AS bound
WHERE i.inhparent = %(table)s::regclass
ORDER BY 2;

-- name: chunks
SELECT format('%%I.%%I', chunk_schema, chunk_name), range_start, range_end
FROM timescaledb_information.chunks
WHERE format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = %(table)s::regclass
ORDER BY 2;

-- name: newest_partition
SELECT to_date(right(max(c.relname::text), 8), 'YYYYMMDD')
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'reading'::regclass AND pg_relation_size(c.oid) > 0;

-- name: newest_chunk
SELECT (max(range_end) AT TIME ZONE 'UTC')::date - 1 FROM timescaledb_information.chunks
WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = 'reading'::regclass;

-- name: partitions_bytes
SELECT coalesce(sum(pg_total_relation_size(inhrelid)), 0)::bigint
FROM pg_inherits WHERE inhparent = %(table)s::regclass;

-- name: chunks_bytes
SELECT coalesce(hypertable_size(%(table)s::regclass), 0)::bigint;

-- name: patience
-- To drop a part locks its whole table for a moment: better later than in everybody's way.
SET LOCAL lock_timeout = '200ms';

-- name: patience_of_session
SET lock_timeout = '200ms';

-- name: drop
DROP TABLE {part};

-- name: drop_chunks
SELECT drop_chunks(%(table)s::regclass, older_than => %(before)s::timestamptz);

-- name: loose
-- Partitions that were not rewritten in the order of their key yet, and the index of that.
SELECT c.oid::regclass::text, x.relname::text
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_index k ON k.indrelid = c.oid AND k.indisprimary AND NOT k.indisclustered
JOIN pg_class x ON x.oid = k.indexrelid
WHERE i.inhparent = %(table)s::regclass AND pg_relation_size(c.oid) <= %(largest)s
ORDER BY 1;

-- name: cluster
CLUSTER {part} USING {index};

-- name: freeze
VACUUM (FREEZE, ANALYZE) {part};

-- name: license
SELECT current_setting('timescaledb.license', true);

-- name: packs
SELECT compression_enabled FROM timescaledb_information.hypertables
WHERE format('%%I.%%I', hypertable_schema, hypertable_name)::regclass = %(table)s::regclass;

-- name: columnstore
ALTER TABLE {table} SET (
    timescaledb.enable_columnstore,
    timescaledb.segmentby = 'series_id',
    timescaledb.orderby = {column},
    timescaledb.compress_chunk_time_interval = {joined}
);

-- name: loose_chunks
-- Also packed ones that hold rows outside the columnstore.
SELECT format('%%I.%%I', c.chunk_schema, c.chunk_name)
FROM timescaledb_information.chunks c
WHERE format('%%I.%%I', c.hypertable_schema, c.hypertable_name)::regclass = %(table)s::regclass
  AND c.range_end <= %(before)s
  AND (NOT c.is_compressed
       OR pg_relation_size(format('%%I.%%I', c.chunk_schema, c.chunk_name)::regclass) > 0)
ORDER BY c.range_start;

-- name: pack
SELECT compress_chunk({chunk}, if_not_compressed => true)::text;

-- name: pack_anew
SELECT compress_chunk({chunk}, if_not_compressed => true, recompress => true)::text;

-- name: timescale_available
SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb';

-- name: timescale_installed
SELECT extversion FROM pg_extension WHERE extname = 'timescaledb';
