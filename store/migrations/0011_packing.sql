-- From which age on parts of the readings are packed: one for all, because a part holds all kinds.

CREATE TABLE packing (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    after interval CHECK (after >= interval '1 day')
);
COMMENT ON COLUMN packing.after IS 'null: never';
INSERT INTO packing (after) VALUES (interval '7 days');
