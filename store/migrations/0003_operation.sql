-- What is computed: forecasts, runs with their schedules, indices, footprints, alerts.

CREATE TABLE forecast (
    series_id int NOT NULL REFERENCES series,
    model text NOT NULL,
    known_at timestamptz NOT NULL,
    first_ts timestamptz NOT NULL,
    last_ts timestamptz NOT NULL,
    step interval NOT NULL,
    quantiles float8[] NOT NULL,
    "values" float8[] NOT NULL,
    PRIMARY KEY (series_id, model, known_at)
);
COMMENT ON TABLE forecast IS 'one row a forecast: values run over times first, quantiles second';
CREATE INDEX forecast_window ON forecast (series_id, last_ts);

CREATE VIEW forecast_value AS
SELECT series_id, model, known_at,
       first_ts + step * ((n - 1) / cardinality(quantiles)) AS ts,
       quantiles[1 + (n - 1) % cardinality(quantiles)] AS quantile,
       value
FROM forecast, unnest("values") WITH ORDINALITY AS flat (value, n)
WHERE value <> 'NaN';

CREATE TABLE forecast_score (
    series_id int NOT NULL REFERENCES series,
    model text NOT NULL,
    known_at timestamptz NOT NULL,
    horizon interval NOT NULL,
    metric text NOT NULL,
    value float8 NOT NULL,
    PRIMARY KEY (series_id, model, known_at, horizon, metric)
);

CREATE TABLE run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    state text NOT NULL CHECK (state <> ''),
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    finished_at timestamptz,
    city_at timestamptz NOT NULL,
    summary jsonb NOT NULL DEFAULT '{}',
    reason text NOT NULL DEFAULT '',
    layout jsonb -- dimensions, coordinates and units of the schedule
);
COMMENT ON COLUMN run.state IS 'requested, running, then failed or the status of the result';
CREATE INDEX run_recent ON run (kind, state, id DESC);

CREATE TABLE schedule (
    run_id bigint NOT NULL REFERENCES run ON DELETE CASCADE,
    asset text NOT NULL, -- empty for what concerns the whole site
    variable text NOT NULL,
    ts timestamptz NOT NULL,
    value float8 NOT NULL,
    PRIMARY KEY (run_id, asset, variable, ts)
);

CREATE TABLE run_field (
    run_id bigint NOT NULL REFERENCES run ON DELETE CASCADE,
    name text NOT NULL,
    coordinate boolean NOT NULL,
    dims text[] NOT NULL,
    shape int[] NOT NULL,
    dtype text NOT NULL, -- numpy's, little-endian
    attrs jsonb NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (run_id, name)
);
COMMENT ON TABLE run_field IS 'arrays of the power flow of a run, as they are in memory';

CREATE TABLE environment_index (
    subject text NOT NULL,
    kind text NOT NULL,
    standard text NOT NULL,
    ts timestamptz NOT NULL,
    value float8, -- null where the rules give none
    detail jsonb NOT NULL,
    PRIMARY KEY (kind, subject, standard, ts)
);

CREATE TABLE footprint (
    enterprise text NOT NULL,
    ts timestamptz NOT NULL,
    level text NOT NULL,
    e_mwh numeric NOT NULL,
    kgco2e numeric NOT NULL,
    factor_id text NOT NULL,
    coverage numeric NOT NULL CHECK (coverage BETWEEN 0 AND 1),
    estimated boolean NOT NULL,
    PRIMARY KEY (enterprise, ts, level)
);
COMMENT ON COLUMN footprint.level IS 'whose grid mix; levels state the same emission, never add them';

CREATE TABLE alert (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    rule text NOT NULL,
    subject text NOT NULL,
    severity text NOT NULL CHECK (severity IN ('notice', 'warning', 'critical')),
    value float8 NOT NULL,
    unit text NOT NULL,
    text_en text NOT NULL,
    text_zh text NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'acknowledged', 'closed')),
    opened_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    closed_at timestamptz,
    acknowledged_by text NOT NULL DEFAULT '',
    comment text NOT NULL DEFAULT ''
);
-- The same condition never opens a second alert.
CREATE UNIQUE INDEX alert_active ON alert (rule, subject) WHERE state <> 'closed';
CREATE INDEX alert_recent ON alert (updated_at DESC);
