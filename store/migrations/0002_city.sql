-- The city: its description, its clock, its accounts.

CREATE TABLE site (
    id text PRIMARY KEY,
    description jsonb NOT NULL,
    network_json text NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- One row each.
CREATE TABLE city_clock (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    origin_wall timestamptz NOT NULL,
    origin_city timestamptz NOT NULL,
    pace float8 NOT NULL CHECK (pace > 0)
);
CREATE TABLE city_beat (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    city_now timestamptz NOT NULL
);

CREATE TABLE account (
    name text PRIMARY KEY,
    role text NOT NULL,
    owner text NOT NULL,
    password_hash text NOT NULL CHECK (password_hash LIKE '$argon2id$%'),
    active boolean NOT NULL,
    sandbox boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE account_session (
    token_hash bytea PRIMARY KEY CHECK (length(token_hash) = 32), -- the token itself is not kept
    account text NOT NULL REFERENCES account ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX account_session_account ON account_session (account);
