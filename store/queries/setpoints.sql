-- name: prepare
INSERT INTO setpoint (run_id, asset, starts, p_mw, valid_until, fallback_mw, q_mvar)
VALUES (%(run_id)s, %(asset)s, %(starts)s, %(p_mw)s, %(valid_until)s, %(fallback_mw)s, %(q_mvar)s)
ON CONFLICT (run_id, asset) DO NOTHING;

-- name: due
-- Of plans in force the newest that has something to send; what older ones have left is overtaken.
SELECT max(s.run_id) FROM setpoint s JOIN run r ON r.id = s.run_id
WHERE s.status IN ('prepared', 'sending') AND r.state IN ('optimal', 'relaxed')
    AND NOT EXISTS (
        SELECT FROM setpoint later
        WHERE later.run_id > s.run_id AND later.status NOT IN ('prepared', 'sending')
    );

-- name: of_run
SELECT asset, starts, p_mw, valid_until, fallback_mw, run_id, issued_at, q_mvar
FROM setpoint WHERE run_id = %(run_id)s ORDER BY asset;

-- name: sending
UPDATE setpoint SET status = 'sending', issued_at = %(issued_at)s, starts = %(starts)s,
    p_mw = %(p_mw)s, q_mvar = %(q_mvar)s
WHERE run_id = %(run_id)s AND asset = %(asset)s AND status IN ('prepared', 'sending');

-- name: sent
-- A fast device has answered meanwhile.
UPDATE setpoint SET status = 'sent' WHERE run_id = %(run_id)s AND status = 'sending';

-- name: acknowledge
UPDATE setpoint SET status = %(answer)s, answered_at = %(at)s, answered_by = %(by)s,
    reason = %(reason)s, q_refused = %(q_refused)s
WHERE asset = %(asset)s AND issued_at = %(issued_at)s;

-- name: in_force_at
SELECT DISTINCT ON (asset) asset, starts, p_mw, valid_until, fallback_mw, run_id, issued_at, q_mvar
FROM setpoint
WHERE issued_at <= %(at)s AND issued_at > %(at)s::timestamptz - interval '3 days'
ORDER BY asset, issued_at DESC;

-- name: newest
SELECT DISTINCT ON (asset) asset, starts, p_mw, valid_until, fallback_mw, run_id, issued_at, q_mvar,
    status, answered_at, answered_by, reason, q_refused
FROM setpoint
WHERE issued_at IS NOT NULL
ORDER BY asset, issued_at DESC;

-- name: forget
DELETE FROM setpoint s USING run r
WHERE r.id = s.run_id AND r.city_at < %(before)s AND r.state <> 'proposed'
    AND EXISTS (
        SELECT FROM setpoint later WHERE later.asset = s.asset AND later.issued_at > s.issued_at
    );
