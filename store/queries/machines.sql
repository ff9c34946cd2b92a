-- name: add_token
INSERT INTO machine_token (token_hash, account, label, created_at, expires_at)
SELECT %(token_hash)s, name, %(label)s, %(at)s, %(expires_at)s
FROM account WHERE name = %(account)s AND active AND role = %(role)s
RETURNING id;

-- name: tokens
SELECT t.id, t.account, t.label, t.created_at, t.expires_at, t.seen_at, t.revoked_at, a.active
FROM machine_token t JOIN account a ON a.name = t.account
ORDER BY t.account, t.id;

-- name: revoke
UPDATE machine_token SET revoked_at = %(at)s WHERE id = %(id)s AND revoked_at IS NULL;

-- name: account
SELECT a.name, a.role, a.owner, t.id, t.seen_at
FROM machine_token t JOIN account a ON a.name = t.account
WHERE t.token_hash = %(token_hash)s AND a.active
  AND t.revoked_at IS NULL AND t.expires_at > %(at)s;

-- name: seen
-- Not more than once a minute: a gateway asks many times a second.
UPDATE machine_token SET seen_at = %(at)s
WHERE id = %(id)s AND (seen_at IS NULL OR seen_at < %(at)s - interval '1 minute');

-- name: begin
INSERT INTO machine_request (account, key, started_at)
VALUES (%(account)s, %(key)s, %(at)s)
ON CONFLICT (account, key) DO NOTHING;

-- name: finished
SELECT content_hash, report FROM machine_request
WHERE account = %(account)s AND key = %(key)s AND finished_at IS NOT NULL;

-- name: finish
UPDATE machine_request SET finished_at = %(at)s, content_hash = %(content_hash)s, report = %(report)s
WHERE account = %(account)s AND key = %(key)s AND finished_at IS NULL;

-- name: forget
DELETE FROM machine_request WHERE started_at < %(before)s;
