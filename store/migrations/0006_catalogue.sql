-- What stands where, searchable: assets of the description and devices that registered themselves.

CREATE TABLE asset (
    id text PRIMARY KEY,
    site text NOT NULL,
    kind text NOT NULL, -- core.sites.AssetKind
    name_en text NOT NULL,
    name_zh text NOT NULL,
    district text NOT NULL,
    owner text NOT NULL,
    lat float8,
    lon float8,
    device text NOT NULL DEFAULT '', -- as on the wire, where it registered itself
    profile text NOT NULL DEFAULT '',
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    words text NOT NULL GENERATED ALWAYS AS (
        lower(id || ' ' || name_en || ' ' || name_zh || ' ' || district || ' ' || owner || ' ' || device)
    ) STORED
);
COMMENT ON COLUMN asset.words IS 'what a search looks at';
CREATE UNIQUE INDEX asset_device ON asset (device) WHERE device <> '';
CREATE INDEX asset_kind ON asset (kind, district);

CREATE TABLE device_tag (
    device text NOT NULL,
    tag text NOT NULL,
    unit text NOT NULL,
    series_key text NOT NULL REFERENCES series (key),
    PRIMARY KEY (device, tag)
);
CREATE INDEX device_tag_series ON device_tag (series_key);

-- Raised in the transaction of every change of series, tags or assets: who holds a copy of them
-- asks for one number to know whether it is still right.
CREATE TABLE catalogue_version (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    version bigint NOT NULL
);
INSERT INTO catalogue_version (version) VALUES (1);

CREATE INDEX series_asset ON series (asset);
