-- name: add
INSERT INTO quarantine (received_at, source, device, reason, detail, payload, payload_bytes)
VALUES (%(received_at)s, %(source)s, %(device)s, %(reason)s, %(detail)s, %(payload)s,
        %(payload_bytes)s);

-- name: recent
SELECT id, received_at, source, device, reason, detail, payload, payload_bytes, resolution
FROM quarantine ORDER BY received_at DESC, id DESC LIMIT %(limit)s;

-- name: pending
SELECT id, received_at, source, device, reason, detail, payload, payload_bytes
FROM quarantine
WHERE resolved_at IS NULL AND id > %(after)s
  AND (%(ids)s::bigint[] IS NULL OR id = ANY(%(ids)s::bigint[]))
  AND (%(source)s::text IS NULL OR strpos(source, %(source)s) > 0)
  AND (%(device)s::text IS NULL OR device = %(device)s)
  AND (%(reason)s::text IS NULL OR strpos(reason, %(reason)s) > 0)
  AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR received_at < %(until)s)
ORDER BY id {order} LIMIT %(limit)s;

-- name: renew
UPDATE quarantine q SET reason = r.reason
FROM unnest(%(ids)s::bigint[], %(reasons)s::text[]) AS r (id, reason)
WHERE q.id = r.id AND q.resolved_at IS NULL AND q.reason <> r.reason;

-- name: resolve
UPDATE quarantine SET resolution = %(how)s, resolved_at = %(at)s
WHERE id = ANY(%(ids)s::bigint[]) AND resolved_at IS NULL;

-- name: forget
DELETE FROM quarantine WHERE resolved_at < %(before)s;

-- name: counts
SELECT reason, count(*) FROM quarantine WHERE resolved_at IS NULL
GROUP BY reason ORDER BY count(*) DESC, reason;
