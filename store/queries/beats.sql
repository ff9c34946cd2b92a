-- name: extend
-- The newest row alone, and only while the pause is short: a longer one is a time without receiver.
UPDATE receiver_beat SET until = greatest(until, %(now)s)
WHERE receiver = %(receiver)s
  AND since = (SELECT max(since) FROM receiver_beat WHERE receiver = %(receiver)s)
  AND since <= %(now)s AND until >= %(now)s - %(gap)s::interval;

-- name: begin
INSERT INTO receiver_beat (receiver, since, until) VALUES (%(receiver)s, %(now)s, %(now)s)
ON CONFLICT DO NOTHING;

-- name: read
SELECT receiver, since, until FROM receiver_beat
WHERE until >= %(start)s AND since < %(end)s
ORDER BY receiver, since;

-- name: first
SELECT receiver, min(since) FROM receiver_beat GROUP BY receiver;

-- name: forget
DELETE FROM receiver_beat WHERE until < %(before)s;
