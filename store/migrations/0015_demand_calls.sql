-- Calls of demand response: windows in which the city's exchange has to stay below a limit.

CREATE TABLE demand_call (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL CHECK (name <> ''),
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL CHECK (ends_at > starts_at),
    limit_mw float8 NOT NULL, -- import less export; negative asks for export
    breach_cny_per_mwh float8 NOT NULL CHECK (breach_cny_per_mwh >= 0),
    added_by text NOT NULL,
    added_at timestamptz NOT NULL, -- city time, as everything here
    withdrawn_by text NOT NULL DEFAULT '',
    withdrawn_at timestamptz,
    CHECK ((withdrawn_at IS NULL) = (withdrawn_by = ''))
);
COMMENT ON TABLE demand_call IS 'what is withdrawn stays: a plan made before had to count with it';
CREATE INDEX demand_call_window ON demand_call (ends_at);
