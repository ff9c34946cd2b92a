-- name: advisory
SELECT pg_try_advisory_lock(hashtextextended(%(name)s, 0));

-- name: alive
SELECT 1;

-- name: release
SELECT pg_advisory_unlock(hashtextextended(%(name)s, 0));
