-- name: active
SELECT id, rule, subject, severity, value, unit, text_en, text_zh, state, opened_at, updated_at,
       closed_at, acknowledged_by, comment
FROM alert WHERE state <> 'closed' ORDER BY id;

-- name: recent
SELECT id, rule, subject, severity, value, unit, text_en, text_zh, state, opened_at, updated_at,
       closed_at, acknowledged_by, comment
FROM alert ORDER BY updated_at DESC, id DESC LIMIT %(limit)s;

-- name: open
-- Of two processes that see a condition first, one opens the alert and the other updates it.
INSERT INTO alert (rule, subject, severity, value, unit, text_en, text_zh, state, opened_at,
                   updated_at, closed_at, acknowledged_by, comment)
VALUES (%(rule)s, %(subject)s, %(severity)s, %(value)s, %(unit)s, %(text_en)s, %(text_zh)s,
        %(state)s, %(opened_at)s, %(updated_at)s, %(closed_at)s, %(acknowledged_by)s, %(comment)s)
ON CONFLICT (rule, subject) WHERE state <> 'closed' DO UPDATE
SET severity = excluded.severity, value = excluded.value, unit = excluded.unit,
    text_en = excluded.text_en, text_zh = excluded.text_zh, updated_at = excluded.updated_at
RETURNING id, rule, subject, severity, value, unit, text_en, text_zh, state, opened_at, updated_at,
          closed_at, acknowledged_by, comment;

-- name: update
-- An alert acknowledged since it was read stays so, unless its severity rises. A closed one stays
-- closed.
UPDATE alert
SET severity = %(severity)s, value = %(value)s, unit = %(unit)s, text_en = %(text_en)s,
    text_zh = %(text_zh)s, updated_at = %(updated_at)s, closed_at = %(closed_at)s,
    state = CASE
        WHEN alert.state = 'acknowledged' AND %(state)s = 'open'
             AND array_position('{notice,warning,critical}', %(severity)s::text)
                 <= array_position('{notice,warning,critical}', alert.severity)
        THEN 'acknowledged' ELSE %(state)s END
WHERE id = %(id)s AND alert.state <> 'closed'
RETURNING id, rule, subject, severity, value, unit, text_en, text_zh, state, opened_at, updated_at,
          closed_at, acknowledged_by, comment;

-- name: acknowledge
UPDATE alert SET state = 'acknowledged', acknowledged_by = %(by)s, comment = %(comment)s,
    updated_at = %(at)s
WHERE id = %(id)s AND state <> 'closed'
RETURNING id, rule, subject, severity, value, unit, text_en, text_zh, state, opened_at, updated_at,
          closed_at, acknowledged_by, comment;
