-- name: add
INSERT INTO quarantine (received_at, source, reason, detail, payload, payload_bytes)
VALUES (%(received_at)s, %(source)s, %(reason)s, %(detail)s, %(payload)s, %(payload_bytes)s);

-- name: recent
SELECT id, received_at, source, reason, detail, payload, payload_bytes
FROM quarantine ORDER BY received_at DESC, id DESC LIMIT %(limit)s;

-- name: counts
SELECT reason, count(*) FROM quarantine GROUP BY reason ORDER BY count(*) DESC, reason;
