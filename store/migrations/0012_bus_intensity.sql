-- Carbon intensity of every bus by tracing the power flow, and footprints that say what they use.

CREATE TABLE bus_intensity (
    ts timestamptz PRIMARY KEY, -- the beginning of the hour
    revision int NOT NULL DEFAULT 1 CHECK (revision > 0),
    coverage float8 NOT NULL CHECK (coverage BETWEEN 0 AND 1),
    factor_id text NOT NULL,
    import_kgco2e_per_mwh float8 NOT NULL,
    source_kgco2e float8 NOT NULL,
    losses_kgco2e float8 NOT NULL,
    buses int[] NOT NULL,
    kgco2e_per_mwh float8[] NOT NULL, -- NaN where nothing passed
    contents jsonb NOT NULL,
    CHECK (cardinality(buses) = cardinality(kgco2e_per_mwh))
);
COMMENT ON TABLE bus_intensity IS 'one row an hour: intensities by bus, in the order of buses';
COMMENT ON COLUMN bus_intensity.revision IS 'counts how often the hour was traced';
COMMENT ON COLUMN bus_intensity.coverage IS 'readings there / readings expected';
COMMENT ON COLUMN bus_intensity.contents IS 'by battery: MWh and kgCO2e/MWh held when the hour ends';

ALTER TABLE footprint
    ADD COLUMN method text NOT NULL DEFAULT 'regional'
        CHECK (method IN ('regional', 'traced', 'mixed')),
    ADD COLUMN factor_value numeric, -- kgCO2/kWh; null in rows made before this column
    ADD COLUMN traced_share numeric NOT NULL DEFAULT 0 CHECK (traced_share BETWEEN 0 AND 1),
    ADD COLUMN traced_revision int NOT NULL DEFAULT 0;
COMMENT ON COLUMN footprint.traced_revision IS 'of the bus_intensity used; 0 for none';
