-- name: add
INSERT INTO account (name, role, owner, password_hash, active, sandbox)
VALUES (%(name)s, %(role)s, %(owner)s, %(password_hash)s, true, %(sandbox)s)
ON CONFLICT (name) DO NOTHING;

-- name: set_password
UPDATE account SET password_hash = %(password_hash)s WHERE name = %(name)s;

-- name: set_active
UPDATE account SET active = %(active)s WHERE name = %(name)s;

-- name: find
SELECT name, role, owner, password_hash, active, sandbox FROM account WHERE name = %(name)s;

-- name: all
SELECT name, role, owner, password_hash, active, sandbox FROM account ORDER BY name;

-- name: end_sessions
DELETE FROM account_session WHERE account = %(name)s;

-- name: open_session
INSERT INTO account_session (token_hash, account, created_at, seen_at, expires_at)
SELECT %(token_hash)s, name, %(at)s, %(at)s, %(expires_at)s
FROM account WHERE name = %(name)s AND active;

-- name: session_user
-- Found and noted as in use in one statement. An idle one is not revived.
UPDATE account_session s SET seen_at = greatest(s.seen_at, %(at)s)
FROM account a
WHERE a.name = s.account AND a.active AND s.token_hash = %(token_hash)s
  AND s.expires_at > %(at)s AND s.seen_at > %(at)s - %(idle)s::interval
RETURNING a.name, a.role, a.owner, a.password_hash, a.active, a.sandbox;

-- name: close_session
DELETE FROM account_session WHERE token_hash = %(token_hash)s;

-- name: sweep
DELETE FROM account_session WHERE expires_at <= %(at)s;
