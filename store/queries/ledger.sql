-- name: head
-- The lock that makes appends follow each other; held to the end of the transaction.
SELECT sequence, hash FROM ledger_head FOR UPDATE;

-- name: noted_head
SELECT sequence, hash FROM ledger_head;

-- name: by_keys
SELECT e.sequence, e.owner, e.kind, e.idempotency_key, e.valid_from, e.valid_to, e.memo,
       e.reverses, e.detail, e.recorded_at, e.previous, e.hash, p.accounts, p.units, p.amounts
FROM ledger_entry e
JOIN unnest(%(owners)s::text[], %(keys)s::text[]) AS asked (owner, key)
  ON asked.owner = e.owner AND asked.key = e.idempotency_key
CROSS JOIN LATERAL (
    SELECT array_agg(account ORDER BY line) AS accounts, array_agg(unit ORDER BY line) AS units,
           array_agg(amount::text ORDER BY line) AS amounts
    FROM ledger_posting WHERE sequence = e.sequence
) p;

-- name: by_hashes
SELECT e.sequence, e.owner, e.kind, e.idempotency_key, e.valid_from, e.valid_to, e.memo,
       e.reverses, e.detail, e.recorded_at, e.previous, e.hash, p.accounts, p.units, p.amounts
FROM ledger_entry e
CROSS JOIN LATERAL (
    SELECT array_agg(account ORDER BY line) AS accounts, array_agg(unit ORDER BY line) AS units,
           array_agg(amount::text ORDER BY line) AS amounts
    FROM ledger_posting WHERE sequence = e.sequence
) p
WHERE e.hash_hex = ANY(%(hashes)s::text[]);

-- name: reversed
SELECT reverses, sequence FROM ledger_entry WHERE reverses = ANY(%(hashes)s::text[]);

-- name: add_entry
INSERT INTO ledger_entry (sequence, owner, idempotency_key, kind, valid_from, valid_to, memo,
                          detail, reverses, recorded_at, previous, hash)
VALUES (%(sequence)s, %(owner)s, %(idempotency_key)s, %(kind)s, %(valid_from)s, %(valid_to)s,
        %(memo)s, %(detail)s, %(reverses)s, %(recorded_at)s, %(previous)s, %(hash)s);

-- name: add_posting
INSERT INTO ledger_posting (sequence, line, account, unit, amount)
VALUES (%(sequence)s, %(line)s, %(account)s, %(unit)s, %(amount)s::numeric);

-- name: move_head
UPDATE ledger_head SET sequence = %(sequence)s, hash = %(hash)s;

-- name: entries
SELECT e.sequence, e.owner, e.kind, e.idempotency_key, e.valid_from, e.valid_to, e.memo,
       e.reverses, e.detail, e.recorded_at, e.previous, e.hash, p.accounts, p.units, p.amounts
FROM ledger_entry e
CROSS JOIN LATERAL (
    SELECT array_agg(account ORDER BY line) AS accounts, array_agg(unit ORDER BY line) AS units,
           array_agg(amount::text ORDER BY line) AS amounts
    FROM ledger_posting WHERE sequence = e.sequence
) p
WHERE (%(owner)s::text IS NULL OR e.owner = %(owner)s)
  AND (%(start)s::timestamptz IS NULL OR e.valid_to > %(start)s
       OR (e.valid_from = e.valid_to AND e.valid_from = %(start)s))
  AND (%(end)s::timestamptz IS NULL OR e.valid_from < %(end)s)
ORDER BY e.sequence DESC LIMIT %(limit)s;

-- name: page
-- Every entry, also one whose postings are gone: an examination must see it.
SELECT e.sequence, e.owner, e.kind, e.idempotency_key, e.valid_from, e.valid_to, e.memo,
       e.reverses, e.detail, e.recorded_at, e.previous, e.hash, p.accounts, p.units, p.amounts
FROM ledger_entry e
CROSS JOIN LATERAL (
    SELECT array_agg(account ORDER BY line) AS accounts, array_agg(unit ORDER BY line) AS units,
           array_agg(amount::text ORDER BY line) AS amounts
    FROM ledger_posting WHERE sequence = e.sequence
) p
WHERE e.sequence > %(after)s ORDER BY e.sequence LIMIT %(limit)s;

-- name: balances
SELECT e.owner, p.account, p.unit, trim_scale(sum(p.amount))::text
FROM ledger_posting p JOIN ledger_entry e USING (sequence)
WHERE %(owner)s::text IS NULL OR e.owner = %(owner)s
GROUP BY e.owner, p.account, p.unit ORDER BY e.owner, p.account, p.unit;
