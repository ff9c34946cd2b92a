"""The ledger's table: appended to under one lock, so that the chain follows the order of commits.

The rules (balance, canonical bytes, hashes, reversal) are carbon/journal.py's; the triggers of
migration 0004 hold them against every other client as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from psycopg.types.json import Jsonb

from carbon import journal
from carbon.journal import Entry, Head, Posting, StoredEntry
from core.errors import IdempotencyConflictError, LedgerError
from core.timeaxis import utc
from store import sqltext
from store.database import Connection

_SQL = sqltext.load("ledger")
_PAGE = 1_000


def append(
    connection: Connection, entries: Iterable[Entry], *, recorded_at: datetime | None = None
) -> list[StoredEntry]:
    """Posts ``entries`` in their order and returns them as stored.

    An entry whose (owner, idempotency key) is stored already is returned as it is there when the
    content is the same, and raises IdempotencyConflictError when not. Raises LedgerError when an
    entry breaks a rule, or reverses what does not stand. All or nothing, with the transaction.
    recorded_at: the present unless given.
    """
    wanted = list(entries)
    head = _locked_head(connection)
    stored = {_key(s.entry): s for s in _by_keys(connection, wanted)}
    originals = _originals(connection, wanted)
    when = datetime.now(UTC) if recorded_at is None else utc(recorded_at)
    new: list[StoredEntry] = []
    for entry in wanted:
        there = stored.get(_key(entry))
        if there is not None:
            _expect_same(there, entry)
            continue
        sealed = journal.seal(head, entry, when)
        _expect_standing(entry, originals)
        originals[sealed.hash.hex()] = sealed
        stored[_key(entry)] = sealed
        new.append(sealed)
        head = sealed.head
    _insert(connection, new)
    return [stored[_key(entry)] for entry in wanted]


def _key(entry: Entry) -> tuple[str, str]:
    return entry.owner, entry.idempotency_key


def _expect_same(there: StoredEntry, entry: Entry) -> None:
    if journal.canonical(there.entry) != journal.canonical(entry):
        raise IdempotencyConflictError(
            f"{entry.owner!r} has posted {entry.idempotency_key!r} already (entry "
            f"{there.sequence}) with another content: use a new key, or reverse that entry."
        )


def _expect_standing(entry: Entry, originals: dict[str, StoredEntry]) -> None:
    """Takes the original out of ``originals``, so that it is not reversed twice."""
    if entry.reverses is None:
        return
    original = originals.pop(entry.reverses, None)
    if original is None:
        raise LedgerError(
            f"{entry.idempotency_key!r} of {entry.owner!r} reverses no entry that still stands."
        )
    problems = journal.check_reversal(entry, original.entry)
    if problems:
        raise LedgerError(" ".join(problem.message for problem in problems))


def _locked_head(connection: Connection) -> Head:
    row = connection.execute(_SQL["head"]).fetchone()
    assert row is not None
    return Head(row[0], bytes(row[1]))


def head(connection: Connection) -> Head:
    """The end of the chain, to be noted in a second place."""
    row = connection.execute(_SQL["noted_head"]).fetchone()
    assert row is not None
    return Head(row[0], bytes(row[1]))


def _by_keys(connection: Connection, entries: Sequence[Entry]) -> list[StoredEntry]:
    asked = {
        "owners": [entry.owner for entry in entries],
        "keys": [entry.idempotency_key for entry in entries],
    }
    return [_stored(row) for row in connection.execute(_SQL["by_keys"], asked)]


def _originals(connection: Connection, entries: Sequence[Entry]) -> dict[str, StoredEntry]:
    """Entries of the table that ``entries`` want to reverse and that still stand, by hash."""
    asked = {"hashes": [entry.reverses for entry in entries if entry.reverses is not None]}
    if not asked["hashes"]:
        return {}
    gone = {row[0] for row in connection.execute(_SQL["reversed"], asked)}
    found = (_stored(row) for row in connection.execute(_SQL["by_hashes"], asked))
    return {s.hash.hex(): s for s in found if s.hash.hex() not in gone}


def _insert(connection: Connection, new: Sequence[StoredEntry]) -> None:
    if not new:
        return
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["add_entry"], [_entry_row(stored) for stored in new])
        cursor.executemany(_SQL["add_posting"], [r for s in new for r in _posting_rows(s)])
    last = new[-1]
    connection.execute(_SQL["move_head"], {"sequence": last.sequence, "hash": last.hash})


def _entry_row(stored: StoredEntry) -> dict[str, Any]:
    entry = stored.entry
    return {
        "sequence": stored.sequence,
        "owner": entry.owner,
        "idempotency_key": entry.idempotency_key,
        "kind": entry.kind,
        "valid_from": utc(entry.valid_from),
        "valid_to": utc(entry.valid_to),
        "memo": entry.memo,
        "detail": Jsonb(dict(entry.detail)),
        "reverses": entry.reverses,
        "recorded_at": stored.recorded_at,
        "previous": stored.previous,
        "hash": stored.hash,
    }


def _posting_rows(stored: StoredEntry) -> list[dict[str, Any]]:
    return [
        {
            "sequence": stored.sequence,
            "line": line,
            "account": posting.account,
            "unit": posting.unit,
            "amount": journal.decimal_text(posting.amount),  # the digits that were hashed
        }
        for line, posting in enumerate(stored.entry.postings)
    ]


def _stored(row: tuple[Any, ...]) -> StoredEntry:
    sequence, owner, kind, key, valid_from, valid_to, memo, reverses, detail, *rest = row
    recorded_at, previous, digest, accounts, units, amounts = rest
    postings = tuple(
        Posting(account, unit, Decimal(amount))
        for account, unit, amount in zip(accounts or (), units or (), amounts or (), strict=True)
    )
    entry = Entry(
        owner, kind, key, valid_from, valid_to, memo, postings, reverses=reverses, detail=detail
    )
    return StoredEntry(sequence, entry, recorded_at, bytes(previous), bytes(digest))


def entries(
    connection: Connection,
    owner: str | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    limit: int | None = None,
) -> list[StoredEntry]:
    """Entries of ``owner`` (None: of all) whose valid time meets [start, end), newest first."""
    asked = {
        "owner": owner,
        "start": None if start is None else utc(start),
        "end": None if end is None else utc(end),
        "limit": limit,
    }
    return [_stored(row) for row in connection.execute(_SQL["entries"], asked)]


def chain(connection: Connection) -> Iterator[StoredEntry]:
    """All entries in their order, read in pages, for ``journal.verify``."""
    after = 0
    while True:
        rows = connection.execute(_SQL["page"], {"after": after, "limit": _PAGE}).fetchall()
        yield from (_stored(row) for row in rows)
        if len(rows) < _PAGE:
            return
        after = rows[-1][0]


def balances(
    connection: Connection, owner: str | None = None
) -> dict[tuple[str, str, str], Decimal]:
    """Sum of all postings by (owner, account, unit), exact; of ``owner`` or of all."""
    rows = connection.execute(_SQL["balances"], {"owner": owner}).fetchall()
    return {(row[0], row[1], row[2]): Decimal(row[3]) for row in rows}
