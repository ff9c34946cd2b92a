-- name: save
INSERT INTO account (name, role, owner, password_hash, active, sandbox)
VALUES (%(name)s, %(role)s, %(owner)s, %(password_hash)s, true, %(sandbox)s)
ON CONFLICT (name) DO UPDATE
SET role = excluded.role, owner = excluded.owner, password_hash = excluded.password_hash,
    active = true, sandbox = excluded.sandbox;

-- name: find
SELECT name, role, owner, password_hash, active, sandbox FROM account WHERE name = %(name)s;

-- name: all
SELECT name, role, owner, password_hash, active, sandbox FROM account ORDER BY name;

-- name: deactivate
UPDATE account SET active = false WHERE name = %(name)s;

-- name: end_sessions
DELETE FROM account_session WHERE account = %(name)s;

-- name: open_session
INSERT INTO account_session (token_hash, account, created_at, seen_at, expires_at)
SELECT %(token_hash)s, name, %(now)s, %(now)s, %(expires_at)s
FROM account WHERE name = %(name)s AND active;

-- name: session
SELECT a.name, a.role, a.owner, s.created_at, s.seen_at, s.expires_at
FROM account_session s JOIN account a ON a.name = s.account
WHERE s.token_hash = %(token_hash)s AND s.expires_at > %(now)s AND a.active;

-- name: see
UPDATE account_session SET seen_at = %(now)s WHERE token_hash = %(token_hash)s;

-- name: close_session
DELETE FROM account_session WHERE token_hash = %(token_hash)s;

-- name: sweep
DELETE FROM account_session WHERE expires_at <= %(now)s;
