-- Tokens of machines, and what they sent under which idempotency key.

CREATE TABLE machine_token (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token_hash bytea NOT NULL UNIQUE CHECK (length(token_hash) = 32), -- the token itself is not kept
    account text NOT NULL REFERENCES account ON DELETE CASCADE,
    label text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    seen_at timestamptz,
    revoked_at timestamptz,
    CHECK (created_at < expires_at)
);
COMMENT ON COLUMN machine_token.seen_at IS 'when it was last used, to the minute';
CREATE INDEX machine_token_account ON machine_token (account);

CREATE TABLE machine_request (
    account text NOT NULL REFERENCES account ON DELETE CASCADE,
    key text NOT NULL CHECK (key <> ''),
    started_at timestamptz NOT NULL,
    finished_at timestamptz,
    content_hash bytea CHECK (length(content_hash) = 32),
    report jsonb,
    PRIMARY KEY (account, key),
    CHECK ((finished_at IS NULL) = (content_hash IS NULL) AND (finished_at IS NULL) = (report IS NULL))
);
COMMENT ON TABLE machine_request IS 'one row an idempotency key; unfinished ones were interrupted';
CREATE INDEX machine_request_started ON machine_request (started_at);
