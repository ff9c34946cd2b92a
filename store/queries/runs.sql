-- name: request
INSERT INTO run (kind, state, requested_by, city_at, summary)
VALUES (%(kind)s, 'requested', %(requested_by)s, %(city_at)s, %(summary)s) RETURNING id;

-- name: take_requested
-- SKIP LOCKED: two workers never take the same run.
UPDATE run SET state = 'running', started_at = clock_timestamp()
WHERE id IN (
    SELECT id FROM run WHERE state = 'requested' AND (%(kind)s::text IS NULL OR kind = %(kind)s)
    ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
RETURNING id, kind, state, requested_by, requested_at, finished_at, city_at, summary, reason;

-- name: start
INSERT INTO run (kind, state, requested_by, city_at, started_at)
VALUES (%(kind)s, 'running', %(requested_by)s, %(city_at)s, clock_timestamp()) RETURNING id;

-- name: finish
-- Finishing again with the same state is a repetition and allowed; another state is not. A run that
-- fails keeps what was asked for.
UPDATE run SET state = %(state)s, summary = coalesce(%(summary)s, summary), reason = %(reason)s, layout = %(layout)s,
    finished_at = coalesce(finished_at, clock_timestamp())
WHERE id = %(id)s AND state IN ('requested', 'running', %(state)s);

-- name: clear_schedule
DELETE FROM schedule WHERE run_id = %(id)s;

-- name: clear_fields
DELETE FROM run_field WHERE run_id = %(id)s;

-- name: copy_schedule
COPY schedule (run_id, asset, variable, ts, value) FROM STDIN;

-- name: add_field
INSERT INTO run_field (run_id, name, coordinate, dims, shape, dtype, attrs, data)
VALUES (%(run_id)s, %(name)s, %(coordinate)s, %(dims)s, %(shape)s, %(dtype)s, %(attrs)s, %(data)s);

-- name: by_id
SELECT id, kind, state, requested_by, requested_at, finished_at, city_at, summary, reason
FROM run WHERE id = %(id)s;

-- name: latest
SELECT id, kind, state, requested_by, requested_at, finished_at, city_at, summary, reason
FROM run WHERE kind = %(kind)s AND state = ANY(%(states)s) ORDER BY id DESC LIMIT 1;

-- name: recent
SELECT id, kind, state, requested_by, requested_at, finished_at, city_at, summary, reason
FROM run WHERE %(kinds)s::text[] IS NULL OR kind = ANY(%(kinds)s::text[])
ORDER BY id DESC LIMIT %(limit)s;

-- name: propose
INSERT INTO run_decision (run_id, decide_by) VALUES (%(id)s, %(decide_by)s)
ON CONFLICT (run_id) DO NOTHING;

-- name: decide
-- One statement, so that of two operators the first decides.
WITH decided AS (
    UPDATE run_decision d
    SET decision = %(decision)s, decided_by = %(by)s, comment = %(comment)s,
        city_at = %(city_at)s, decided_at = clock_timestamp()
    FROM run r
    WHERE d.run_id = %(id)s AND r.id = d.run_id AND r.state = 'proposed' AND d.decision IS NULL
        AND (%(decision)s <> 'approved' OR d.decide_by >= %(city_at)s)
    RETURNING d.run_id
)
UPDATE run SET reason = %(reason)s, state = CASE
    WHEN %(decision)s = 'approved' AND summary ->> 'status' = 'relaxed' THEN 'relaxed'
    ELSE %(state)s END
FROM decided WHERE run.id = decided.run_id;

-- name: lapse
WITH lapsed AS (
    UPDATE run_decision d SET decision = 'lapsed', city_at = %(city_at)s,
        decided_at = clock_timestamp()
    FROM run r
    WHERE r.id = d.run_id AND r.state = 'proposed' AND (
        d.decide_by < %(city_at)s
        OR EXISTS (
            SELECT FROM run newer
            WHERE newer.kind = r.kind AND newer.id > r.id AND newer.state IN ('proposed', 'optimal', 'relaxed')
        )
    )
    RETURNING d.run_id, d.decide_by < %(city_at)s AS late
)
UPDATE run SET state = 'lapsed',
    reason = CASE WHEN late THEN 'Nobody approved it in time.'
             ELSE 'A newer plan came before anybody decided.' END
FROM lapsed WHERE run.id = lapsed.run_id;

-- name: decision
SELECT run_id, decide_by, decision, decided_by, decided_at, city_at, comment
FROM run_decision WHERE run_id = %(id)s;

-- name: decisions
SELECT run_id, decide_by, decision, decided_by, decided_at, city_at, comment
FROM run_decision WHERE run_id = ANY(%(ids)s);

-- name: layout
SELECT layout FROM run WHERE id = %(id)s;

-- name: schedule
SELECT asset, variable, ts, value FROM schedule WHERE run_id = %(id)s;

-- name: fields
SELECT name, coordinate, dims, shape, dtype, attrs, data FROM run_field
WHERE run_id = %(id)s AND starts_with(name, 'grounds/') = %(grounds)s
ORDER BY name;

-- name: abandon
-- Whoever held them is gone: one scheduler runs at a time, and it is just starting.
UPDATE run SET state = 'failed', reason = %(reason)s, finished_at = now()
WHERE state = 'running' AND requested_by <> 'console';

-- name: supersede
-- Only the last days can overlap; older runs were thinned when they were themselves followed. A plan
-- that was approved while its first steps passed takes over what had not begun then.
DELETE FROM schedule s USING run newer, run earlier
WHERE newer.id = %(id)s AND earlier.kind = newer.kind AND earlier.id < newer.id
    AND earlier.city_at > newer.city_at - interval '3 days'
    AND earlier.state <> 'proposed'
    AND s.run_id = earlier.id
    AND s.ts >= (SELECT min(ts) FROM schedule WHERE run_id = newer.id)
    AND s.ts >= coalesce((SELECT city_at FROM run_decision WHERE run_id = newer.id), '-infinity');

-- name: in_force
SELECT s.asset, s.variable, s.ts, s.value
FROM run r JOIN schedule s ON s.run_id = r.id LEFT JOIN run_decision d ON d.run_id = r.id
WHERE r.kind = %(kind)s AND r.state IN ('optimal', 'relaxed')
    AND r.city_at > %(start)s - interval '3 days' AND r.city_at < %(end)s
    AND s.ts >= %(start)s AND s.ts < %(end)s AND s.ts >= coalesce(d.city_at, r.city_at)
    AND (%(as_of)s::timestamptz IS NULL OR coalesce(d.city_at, r.city_at) <= %(as_of)s)
    AND (s.asset = '' OR %(assets)s::text[] IS NULL OR s.asset = ANY(%(assets)s::text[]))
ORDER BY r.id; -- the newest run of a step comes last

-- name: prune_fields
DELETE FROM run_field f USING run r
WHERE r.id = f.run_id AND r.kind = %(kind)s AND r.city_at < %(before)s;
