-- name: save
-- The number is drawn when the row is ours: who waited for another save gets a higher one.
INSERT INTO site (id, description, network_json)
VALUES (%(id)s, %(description)s, %(network_json)s)
ON CONFLICT (id) DO UPDATE
SET description = excluded.description, network_json = excluded.network_json,
    saved_at = clock_timestamp(), revision = DEFAULT;

-- name: load
SELECT description, network_json, revision FROM site ORDER BY revision DESC LIMIT 1;

-- name: revision
SELECT coalesce(max(revision), 0) FROM site;

-- name: network
SELECT network_json FROM site WHERE id = %(id)s;

-- name: hold
SELECT FROM site FOR UPDATE;

-- name: draw_revision
UPDATE site SET revision = DEFAULT WHERE revision = (SELECT max(revision) FROM site);
