-- name: lock
-- Held by the session, which ends with the migration.
SELECT pg_advisory_lock(%(key)s::bigint);

-- name: table
CREATE TABLE IF NOT EXISTS schema_migration (
    number int PRIMARY KEY,
    name text NOT NULL UNIQUE,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- name: applied
SELECT name, checksum FROM schema_migration ORDER BY number;

-- name: record
INSERT INTO schema_migration (number, name, checksum)
VALUES (%(number)s, %(name)s, %(checksum)s);

-- name: exists
SELECT to_regclass(%(table)s) IS NOT NULL;
