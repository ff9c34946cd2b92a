-- name: begin
INSERT INTO charging_session (charger, transaction, first_at, last_at)
VALUES (%(charger)s, %(transaction)s, %(ts)s, %(ts)s)
ON CONFLICT DO NOTHING;

-- name: hold
SELECT charger, transaction, first_at, last_at, connector, started_at, ended_at,
       first_register_at, first_register_mwh, last_register_at, last_register_mwh,
       needs_at, expected_departure, requested_mwh, max_p_mw
FROM charging_session
WHERE charger = %(charger)s AND transaction = %(transaction)s
FOR UPDATE;

-- name: keep
UPDATE charging_session
SET first_at = %(first_at)s,
    last_at = %(last_at)s,
    connector = %(connector)s,
    started_at = %(started_at)s,
    ended_at = %(ended_at)s,
    first_register_at = %(first_register_at)s,
    first_register_mwh = %(first_register_mwh)s,
    last_register_at = %(last_register_at)s,
    last_register_mwh = %(last_register_mwh)s,
    needs_at = %(needs_at)s,
    expected_departure = %(expected_departure)s,
    requested_mwh = %(requested_mwh)s,
    max_p_mw = %(max_p_mw)s
WHERE charger = %(charger)s AND transaction = %(transaction)s;

-- name: keep_status
INSERT INTO connector_status (charger, connector, since, status, error)
VALUES (%(charger)s, %(connector)s, %(since)s, %(status)s, %(error)s)
ON CONFLICT (charger, connector) DO UPDATE
SET since = excluded.since, status = excluded.status, error = excluded.error
WHERE (excluded.since, excluded.status, excluded.error)
      > (connector_status.since, connector_status.status, connector_status.error);

-- name: sessions
SELECT asset, charger, connector, transaction, state, started_at, ended_at, first_at, last_at,
       energy_mwh, expected_departure, requested_mwh, max_p_mw
FROM charging
WHERE first_at < %(end)s AND last_at >= %(start)s
  AND (%(asset)s::text IS NULL OR asset = %(asset)s)
ORDER BY first_at, charger, transaction;

-- name: open_sessions
SELECT asset, charger, connector, transaction, state, started_at, ended_at, first_at, last_at,
       energy_mwh, expected_departure, requested_mwh, max_p_mw
FROM charging
WHERE ended_at IS NULL AND state = 'open'
ORDER BY first_at, charger, transaction;

-- name: statuses
SELECT charger, connector, since, status, error
FROM connector_status
ORDER BY charger, connector;
