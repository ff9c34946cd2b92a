-- Plans that wait for a person, and set-points: what each device was asked, and what it answered.

CREATE TABLE run_decision (
    run_id bigint PRIMARY KEY REFERENCES run ON DELETE CASCADE,
    decide_by timestamptz NOT NULL,
    decision text CHECK (decision IN ('approved', 'refused', 'lapsed')), -- null while it waits
    decided_by text NOT NULL DEFAULT '',
    decided_at timestamptz, -- on the wall
    city_at timestamptz, -- the same moment in the city
    comment text NOT NULL DEFAULT ''
);
COMMENT ON TABLE run_decision IS 'plans that an operator had to approve; who decided, when and why';
COMMENT ON COLUMN run_decision.decide_by IS 'city time after which nobody can approve it any more';
COMMENT ON COLUMN run.state IS
    'requested, running, then failed or the status of the result; proposed, refused or lapsed for an '
    'optimal plan that needs approval and does not have it';

CREATE TABLE setpoint (
    run_id bigint NOT NULL REFERENCES run ON DELETE CASCADE,
    asset text NOT NULL,
    starts timestamptz[] NOT NULL,
    p_mw float8[] NOT NULL, -- NaN where the asset is free
    valid_until timestamptz,
    fallback_mw float8, -- null: as the asset likes
    status text NOT NULL DEFAULT 'prepared'
        CHECK (status IN ('prepared', 'sending', 'sent', 'accepted', 'refused')),
    issued_at timestamptz, -- city time; null until it is sent
    answered_at timestamptz, -- city time
    answered_by text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    PRIMARY KEY (run_id, asset),
    CHECK (cardinality(starts) = cardinality(p_mw)),
    CHECK ((issued_at IS NULL) = (status = 'prepared')),
    CHECK ((answered_at IS NULL) = (status NOT IN ('accepted', 'refused')))
);
COMMENT ON COLUMN setpoint.valid_until IS 'from then on the asset falls back to fallback_mw';
CREATE INDEX setpoint_newest ON setpoint (asset, issued_at DESC) WHERE issued_at IS NOT NULL;
CREATE INDEX setpoint_waiting ON setpoint (run_id) WHERE status IN ('prepared', 'sending');
