-- name: version
SELECT version FROM catalogue_version;

-- name: raise_version
UPDATE catalogue_version SET version = version + 1 RETURNING version;
