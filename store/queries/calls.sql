-- name: add
INSERT INTO demand_call
    (name, starts_at, ends_at, limit_mw, breach_cny_per_mwh, added_by, added_at)
VALUES (%(name)s, %(start)s, %(end)s, %(limit_mw)s, %(breach_cny_per_mwh)s, %(by)s, %(at)s)
RETURNING id;

-- name: withdraw
UPDATE demand_call SET withdrawn_by = %(by)s, withdrawn_at = %(at)s
WHERE id = %(id)s AND withdrawn_at IS NULL;

-- name: standing
SELECT id, name, starts_at, ends_at, limit_mw, breach_cny_per_mwh, added_by, added_at,
    withdrawn_by, withdrawn_at
FROM demand_call
WHERE starts_at < %(end)s AND ends_at > %(start)s AND added_at <= %(as_of)s
    AND (withdrawn_at IS NULL OR withdrawn_at > %(as_of)s)
ORDER BY starts_at, id;

-- name: recent
SELECT id, name, starts_at, ends_at, limit_mw, breach_cny_per_mwh, added_by, added_at,
    withdrawn_by, withdrawn_at
FROM demand_call
WHERE %(since)s::timestamptz IS NULL OR ends_at > %(since)s
ORDER BY starts_at DESC, id DESC LIMIT %(limit)s;
