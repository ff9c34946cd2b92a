-- The ledger: appended to, never changed. The rules are carbon/journal.py's; what is here makes
-- them hold against every client.

CREATE TABLE ledger_entry (
    sequence bigint PRIMARY KEY,
    owner text NOT NULL,
    idempotency_key text NOT NULL,
    kind text NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz NOT NULL,
    memo text NOT NULL,
    detail jsonb NOT NULL,
    reverses text UNIQUE, -- at most one reversal of an entry
    recorded_at timestamptz NOT NULL,
    previous bytea NOT NULL CHECK (length(previous) = 32),
    hash bytea NOT NULL UNIQUE CHECK (length(hash) = 32),
    hash_hex text NOT NULL GENERATED ALWAYS AS (encode(hash, 'hex')) STORED UNIQUE,
    UNIQUE (owner, idempotency_key),
    FOREIGN KEY (reverses) REFERENCES ledger_entry (hash_hex),
    CHECK (valid_from <= valid_to)
);
CREATE INDEX ledger_entry_owner ON ledger_entry (owner, sequence);
CREATE INDEX ledger_entry_valid ON ledger_entry (valid_from);

CREATE TABLE ledger_posting (
    sequence bigint NOT NULL REFERENCES ledger_entry,
    line int NOT NULL,
    account text NOT NULL,
    unit text NOT NULL,
    -- The digits that were hashed, without the zeros that numeric(32, 12) would add.
    amount numeric NOT NULL CHECK (scale(amount) = min_scale(amount) AND amount <> 0
                                   AND amount NOT IN ('NaN', 'Infinity', '-Infinity')),
    PRIMARY KEY (sequence, line)
);

-- One row: whoever appends locks it, so that the order of the chain is the order of commits.
CREATE TABLE ledger_head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    sequence bigint NOT NULL,
    hash bytea NOT NULL CHECK (length(hash) = 32)
);
INSERT INTO ledger_head (sequence, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

CREATE FUNCTION ledger_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The ledger is append-only: % on % is refused; post a reversal instead.',
        TG_OP, TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_entry
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER refuse BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger_posting
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();
CREATE TRIGGER refuse BEFORE INSERT OR DELETE OR TRUNCATE ON ledger_head
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse();

CREATE FUNCTION ledger_head_advances() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM ledger_entry
        WHERE sequence = NEW.sequence AND hash = NEW.hash AND NEW.sequence > OLD.sequence
    ) THEN
        RAISE EXCEPTION 'The head of the ledger can only move on to a later entry.'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER advances BEFORE UPDATE ON ledger_head
    FOR EACH ROW EXECUTE FUNCTION ledger_head_advances();

-- At commit, when the postings are complete: they sum to zero for each unit, and the head covers
-- the entry.
CREATE FUNCTION ledger_entry_holds() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wrong text;
BEGIN
    SELECT p.unit INTO wrong FROM ledger_posting p
    WHERE p.sequence = NEW.sequence GROUP BY p.unit HAVING sum(p.amount) <> 0 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The postings of entry % do not sum to 0 in %.', NEW.sequence, wrong
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF (SELECT count(*) < 2 FROM ledger_posting p WHERE p.sequence = NEW.sequence) THEN
        RAISE EXCEPTION 'Entry % needs at least two postings.', NEW.sequence
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.sequence > (SELECT sequence FROM ledger_head) THEN
        RAISE EXCEPTION 'Entry % lies behind the head of the ledger.', NEW.sequence
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER holds AFTER INSERT ON ledger_entry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_entry_holds();
CREATE CONSTRAINT TRIGGER holds AFTER INSERT ON ledger_posting
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION ledger_entry_holds();

CREATE FUNCTION ledger_entry_follows() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head ledger_head;
BEGIN
    SELECT * INTO head FROM ledger_head FOR UPDATE;
    IF NEW.sequence <> 1 + (SELECT coalesce(max(sequence), 0) FROM ledger_entry)
       OR NEW.previous <> coalesce(
            (SELECT hash FROM ledger_entry WHERE sequence = NEW.sequence - 1), head.hash)
    THEN
        RAISE EXCEPTION 'Entry % does not follow the end of the ledger.', NEW.sequence
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER follows BEFORE INSERT ON ledger_entry
    FOR EACH ROW EXECUTE FUNCTION ledger_entry_follows();

-- An append inserts entries, then postings, then moves the head: nothing is added to an entry that
-- the head covers.
CREATE FUNCTION ledger_posting_is_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.sequence <= (SELECT sequence FROM ledger_head) THEN
        RAISE EXCEPTION 'Entry % is complete: no posting can be added to it.', NEW.sequence
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER is_new BEFORE INSERT ON ledger_posting
    FOR EACH ROW EXECUTE FUNCTION ledger_posting_is_new();
