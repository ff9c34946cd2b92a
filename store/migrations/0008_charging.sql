-- Charging sessions, and the state of connectors. Who charged is never stored.

CREATE TABLE charging_session (
    charger text NOT NULL, -- as on the wire
    transaction text NOT NULL,
    connector int,
    first_at timestamptz NOT NULL, -- of all that was told of it
    last_at timestamptz NOT NULL,
    started_at timestamptz, -- null until the start was told
    ended_at timestamptz, -- null until the end was told
    first_register_at timestamptz,
    first_register_mwh float8,
    last_register_at timestamptz,
    last_register_mwh float8,
    energy_mwh float8 GENERATED ALWAYS AS (
        CASE WHEN last_register_mwh >= first_register_mwh
             THEN last_register_mwh - first_register_mwh END
    ) STORED,
    needs_at timestamptz, -- when the car last said what it needs
    expected_departure timestamptz,
    requested_mwh float8,
    max_p_mw float8,
    PRIMARY KEY (charger, transaction)
);
COMMENT ON COLUMN charging_session.energy_mwh IS 'null with no two readings, or a meter that ran back';
COMMENT ON COLUMN charging_session.max_p_mw IS 'the most that the car can take';
CREATE INDEX charging_session_time ON charging_session (last_at, first_at);
CREATE INDEX charging_session_connector ON charging_session (charger, connector, first_at);
CREATE INDEX charging_session_unended ON charging_session (first_at) WHERE ended_at IS NULL;

CREATE VIEW charging AS
SELECT s.*,
       coalesce(
           (SELECT id FROM asset WHERE asset.device = s.charger AND asset.device <> ''),
           (SELECT split_part(min(series_key), '/', 2) FROM device_tag
            WHERE device_tag.device = s.charger),
           s.charger
       ) AS asset,
       CASE
           WHEN s.ended_at IS NOT NULL THEN 'ended'
           WHEN EXISTS (
               SELECT FROM charging_session AS later
               WHERE later.charger = s.charger
                 AND later.connector = s.connector
                 AND later.first_at > s.last_at
           ) THEN 'overtaken' -- another began, and the end of this one was never told
           ELSE 'open'
       END AS state
FROM charging_session AS s;
COMMENT ON VIEW charging IS 'sessions with the asset of their charger, which is the charger where none has it';

CREATE TABLE connector_status (
    charger text NOT NULL,
    connector text NOT NULL, -- EVSE.connector where chargers count both, 0 for the whole charger
    since timestamptz NOT NULL,
    status text NOT NULL, -- in the words of OCPP
    error text NOT NULL,
    PRIMARY KEY (charger, connector)
);
