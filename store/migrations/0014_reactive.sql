-- Reactive power that a plan asks of a device beside the active one, and whether it follows that.

ALTER TABLE setpoint
    ADD COLUMN q_mvar float8[], -- null: nothing is asked; NaN where the asset is free
    ADD COLUMN q_refused boolean NOT NULL DEFAULT false,
    ADD CHECK (q_mvar IS NULL OR cardinality(q_mvar) = cardinality(starts));
COMMENT ON COLUMN setpoint.q_refused IS 'the device follows the active power at most';
