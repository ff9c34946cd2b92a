-- Corrections of readings, when receivers were listening, and what became of dead letters.

CREATE TABLE reading_revision (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    series_id int NOT NULL,
    ts timestamptz NOT NULL,
    revised_at timestamptz NOT NULL,
    old_value float8, -- null where there was no reading
    old_quality int2,
    new_value float8 NOT NULL,
    new_quality int2 NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    by_whom text NOT NULL CHECK (by_whom <> ''),
    CHECK ((old_value IS NULL) = (old_quality IS NULL))
);
COMMENT ON TABLE reading_revision IS 'appended to by store/corrections.py; the oldest row of a key holds what was stored first';
CREATE INDEX reading_revision_key ON reading_revision (series_id, ts, id);

CREATE TABLE receiver_beat (
    receiver text NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (receiver, since),
    CHECK (since <= until)
);
COMMENT ON TABLE receiver_beat IS 'when a receiver of readings was listening, in city time; a pause begins a new row';
CREATE INDEX receiver_beat_until ON receiver_beat (until);

ALTER TABLE quarantine
    ADD COLUMN device text NOT NULL DEFAULT '',
    ADD COLUMN resolved_at timestamptz,
    ADD COLUMN resolution text CHECK (resolution IN ('replayed', 'dismissed')),
    ADD CHECK ((resolved_at IS NULL) = (resolution IS NULL));
UPDATE quarantine SET device = detail ->> 'device' WHERE detail ->> 'device' IS NOT NULL;
COMMENT ON COLUMN quarantine.device IS 'as on the wire; empty where the message was not read so far';
COMMENT ON COLUMN quarantine.payload IS 'the first MiB (64 KiB before schema 7); payload_bytes is the whole length';
CREATE INDEX quarantine_device ON quarantine (device, received_at) WHERE device <> '';
CREATE INDEX quarantine_pending ON quarantine (id) WHERE resolved_at IS NULL;
CREATE INDEX quarantine_resolved ON quarantine (resolved_at) WHERE resolved_at IS NOT NULL;
