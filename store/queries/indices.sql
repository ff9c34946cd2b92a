-- name: save
INSERT INTO environment_index (subject, kind, standard, ts, value, detail)
VALUES (%(subject)s, %(kind)s, %(standard)s, %(ts)s, %(value)s, %(detail)s)
ON CONFLICT (kind, subject, standard, ts) DO UPDATE
SET value = excluded.value, detail = excluded.detail;

-- name: read
SELECT subject, kind, standard, ts, value, detail FROM environment_index
WHERE kind = %(kind)s AND ts >= %(start)s AND ts < %(end)s
  AND (%(subjects)s::text[] IS NULL OR subject = ANY(%(subjects)s::text[]))
  AND (%(standard)s::text IS NULL OR standard = %(standard)s)
ORDER BY ts, subject, standard;

-- name: latest
SELECT DISTINCT ON (subject, standard) subject, kind, standard, ts, value, detail
FROM environment_index
WHERE kind = %(kind)s AND (%(standard)s::text IS NULL OR standard = %(standard)s)
ORDER BY subject, standard, ts DESC;

-- name: last_hour
SELECT max(ts) FROM environment_index WHERE kind = %(kind)s AND subject = %(subject)s;
