-- name: save
INSERT INTO site (id, description, network_json)
VALUES (%(id)s, %(description)s, %(network_json)s)
ON CONFLICT (id) DO UPDATE
SET description = excluded.description, network_json = excluded.network_json,
    saved_at = clock_timestamp();

-- name: load
SELECT description, network_json FROM site ORDER BY saved_at DESC LIMIT 1;

-- name: saved_at
SELECT max(saved_at) FROM site;
