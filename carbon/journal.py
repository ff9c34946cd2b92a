"""The rules of the ledger: double entry, reversal instead of change, and a hash chain.

Pure: where entries are kept, and who may post, is store's and app's business. An ``Entry`` is
what somebody wants to post, a ``StoredEntry`` is the entry with its place in the chain. Both are
plain values that may be wrong, so that what a database returns can be examined: ``check`` names
what is wrong with an entry, ``seal`` refuses a wrong one, ``verify`` examines a whole chain.

What the chain proves: whoever knows the head (sequence and hash of the last entry) can tell that
no entry up to it was altered, inserted, removed or moved. Whoever can rewrite the whole table can
also write a new chain, so the head must be noted in a second place; ``verify`` takes it.

The hash of an entry covers its sequence, its ``recorded_at`` and everything in it, as one
canonical JSON text (RFC 8785; every value is a string, so no number format can differ):

    hash = SHA-256("verdigrid.ledger.v1" 0x00 || previous hash (32 bytes) || record)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Context, Decimal, Inexact, localcontext
from types import MappingProxyType
from typing import Any

from core.errors import LedgerError, TimeError
from core.findings import Finding
from core.timeaxis import utc

MAX_INTEGER_DIGITS = 20
MAX_DECIMALS = 12
"""Amounts beyond these bounds are refused, so that every sum of a ledger stays exact."""

GENESIS = bytes(32)
"""The previous hash of the first entry."""

REVERSAL = "reversal"
"""The kind of an entry that takes another one back."""

_DOMAIN = b"verdigrid.ledger.v1\x00"
_EXACT = Context(prec=80, traps=[Inexact])


@dataclass(frozen=True, slots=True)
class Posting:
    """``amount`` of ``unit`` added to ``account``; negative amounts take away."""

    account: str
    unit: str
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Entry:
    """One transaction, as its poster states it.

    owner: whose books it belongs to; an idempotency key is unique within an owner.
    kind: what happened, such as ``scope2.hour``.
    valid_from, valid_to: the time the entry is about (aware); equal for an instant.
    postings: at least two, their order kept; per unit they sum to zero.
    reverses: hash (64 hex digits) of the entry taken back, else None.
    detail: where the amounts come from (factor id and value, coverage, method version, ...).
        Strings only: a Decimal enters by ``decimal_text``, never as a float.
    """

    owner: str
    kind: str
    idempotency_key: str
    valid_from: datetime
    valid_to: datetime
    memo: str
    postings: tuple[Posting, ...]
    reverses: str | None = None
    detail: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "postings", tuple(self.postings))
        object.__setattr__(self, "detail", MappingProxyType(dict(self.detail)))


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: how many entries it has, and the hash of the last one."""

    sequence: int = 0
    hash: bytes = GENESIS


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry with its place: ``sequence`` counts from 1 without gaps over all owners."""

    sequence: int
    entry: Entry
    recorded_at: datetime
    previous: bytes
    hash: bytes

    @property
    def head(self) -> Head:
        """The head of the chain that ends with this entry."""
        return Head(self.sequence, self.hash)


def decimal_text(value: Decimal) -> str:
    """The one spelling of a decimal: no exponent, no trailing zeros, no plus, no minus zero.

    Raises LedgerError for NaN, infinities and numbers beyond the ledger's bounds.
    """
    if not isinstance(value, Decimal) or not value.is_finite():
        raise LedgerError(f"{value!r} is no finite decimal number.")
    # Looked at before it is spelled out: 1E+999999 would fill the memory.
    if value and value.adjusted() >= MAX_INTEGER_DIGITS:
        raise LedgerError(f"{value} has more than {MAX_INTEGER_DIGITS} digits before the point.")
    if not value:
        return "0"
    digits, exponent = value.as_tuple().digits, int(value.as_tuple().exponent)
    zeros = len(digits) - len("".join(map(str, digits)).rstrip("0"))
    if exponent + zeros < -MAX_DECIMALS:
        raise LedgerError(f"{value} has more than {MAX_DECIMALS} digits behind the point.")
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _time_text(ts: datetime) -> str:
    try:
        return utc(ts).isoformat(timespec="microseconds").replace("+00:00", "Z")
    except (TimeError, OverflowError) as error:
        raise LedgerError(f"A ledger time cannot be used: {error}") from error


def _json(value: Any) -> bytes:
    """RFC 8785 bytes of nested dicts, lists, strings and None."""

    def ordered(node: Any) -> Any:
        if isinstance(node, dict):
            # RFC 8785 orders keys by UTF-16 code units, Python by code points.
            keys = sorted(node, key=lambda key: key.encode("utf-16-be"))
            return {key: ordered(node[key]) for key in keys}
        return [ordered(item) for item in node] if isinstance(node, list) else node

    try:
        text = json.dumps(ordered(value), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise LedgerError("A text of the entry is no valid Unicode.") from error


def _tree(entry: Entry) -> dict[str, Any]:
    for key, value in entry.detail.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise LedgerError(f"The detail {key!r} must be a text, not {type(value).__name__}.")
    return {
        "owner": entry.owner,
        "kind": entry.kind,
        "idempotency_key": entry.idempotency_key,
        "valid_from": _time_text(entry.valid_from),
        "valid_to": _time_text(entry.valid_to),
        "memo": entry.memo,
        "postings": [
            {"account": p.account, "unit": p.unit, "amount": decimal_text(p.amount)}
            for p in entry.postings
        ],
        "reverses": entry.reverses,
        "detail": dict(entry.detail),
    }


def canonical(entry: Entry) -> bytes:
    """The entry as canonical JSON: equal entries give equal bytes, different ones different bytes.

    0.25 and 0.250000 are equal, and so are two spellings of one instant; the order of postings
    counts. Raises LedgerError for what has no canonical form (NaN, naive times, other types).
    """
    return _json(_tree(entry))


def record(sequence: int, recorded_at: datetime, entry: Entry) -> bytes:
    """What the hash of a stored entry covers, as canonical JSON."""
    return _json(
        {
            "sequence": str(sequence),
            "recorded_at": _time_text(recorded_at),
            "entry": _tree(entry),
        }
    )


def chain_hash(previous: bytes, canonical_record: bytes) -> bytes:
    """The hash (32 bytes) of a record behind ``previous``; LedgerError unless that has 32 bytes."""
    if len(previous) != len(GENESIS):
        raise LedgerError(f"A previous hash has 32 bytes, not {len(previous)}.")
    return hashlib.sha256(_DOMAIN + previous + canonical_record).digest()


def _problem(entry: Entry, what: str, message: str) -> Finding:
    return Finding("ledger entry", what, (entry.owner, entry.idempotency_key), message)


def _texts(entry: Entry) -> list[Finding]:
    named = {"owner": entry.owner, "kind": entry.kind, "idempotency_key": entry.idempotency_key}
    for number, posting in enumerate(entry.postings, 1):
        named[f"postings.{number}.account"] = posting.account
        named[f"postings.{number}.unit"] = posting.unit
    found = [
        _problem(entry, name, f"The {name} is empty or has blanks around it.")
        for name, text in named.items()
        if not text or text != text.strip()
    ]
    every = [*named.values(), entry.memo, *entry.detail, *entry.detail.values()]
    if any("\x00" in text for text in every):
        found.append(_problem(entry, "text", "A text holds a zero byte, which no database keeps."))
    return found


def _times(entry: Entry) -> list[Finding]:
    if entry.valid_to < entry.valid_from:
        return [_problem(entry, "valid_to", "The valid time ends before it begins.")]
    return []


def _amounts(entry: Entry) -> list[Finding]:
    found = []
    if len(entry.postings) < 2:
        found.append(_problem(entry, "postings", "An entry needs at least two postings."))
    for posting in entry.postings:
        if not posting.amount:
            found.append(_problem(entry, "postings", f"{posting.account} is posted nothing."))
    for unit, total in _totals(entry.postings).items():
        if total:
            message = f"The postings in {unit} sum to {decimal_text(total)} instead of 0."
            found.append(_problem(entry, "postings", message))
    return found


def _totals(postings: Iterable[Posting]) -> dict[str, Decimal]:
    totals: dict[str, Decimal] = {}
    with localcontext(_EXACT):
        for posting in postings:
            totals[posting.unit] = totals.get(posting.unit, Decimal(0)) + posting.amount
    return totals


def _hex_hash(entry: Entry) -> list[Finding]:
    if entry.reverses is None:
        return []
    if len(entry.reverses) == 64 and not set(entry.reverses) - set("0123456789abcdef"):
        return []
    return [_problem(entry, "reverses", "It is no hash of 64 lower-case hex digits.")]


def check(entry: Entry) -> list[Finding]:
    """What is wrong with ``entry`` by itself; an empty list when it may be posted."""
    try:
        canonical(entry)
    except LedgerError as error:
        return [_problem(entry, "content", str(error))]
    return _texts(entry) + _times(entry) + _amounts(entry) + _hex_hash(entry)


def check_reversal(entry: Entry, reversed_entry: Entry) -> list[Finding]:
    """What is wrong with ``entry`` as a reversal of ``reversed_entry``."""
    if _taken_back(entry) != _given(reversed_entry):
        message = "A reversal must undo every posting of the same owner's entry, and nothing else."
        return [_problem(entry, "reverses", message)]
    if reversed_entry.reverses is not None:
        return [_problem(entry, "reverses", "A reversal is not reversed: post the entry again.")]
    return []


def _given(entry: Entry) -> bytes:
    tree = _tree(entry)
    return _json([entry.owner, tree["valid_from"], tree["valid_to"], tree["postings"]])


def _taken_back(entry: Entry) -> bytes:
    return _given(replace(entry, postings=_negated(entry.postings)))


def _negated(postings: Iterable[Posting]) -> tuple[Posting, ...]:
    # copy_negate: the unary minus would round to the context's precision.
    return tuple(replace(p, amount=p.amount.copy_negate()) for p in postings)


def seal(head: Head, entry: Entry, recorded_at: datetime) -> StoredEntry:
    """``entry`` as the next one behind ``head``; raises LedgerError when it breaks a rule.

    recorded_at: aware, microseconds at the finest, as the database keeps it.
    """
    problems = check(entry)
    if problems:
        raise LedgerError(
            f"The entry {entry.idempotency_key!r} of {entry.owner!r} cannot be posted: "
            + " ".join(p.message for p in problems)
        )
    recorded_at = utc(recorded_at)
    sequence = head.sequence + 1
    digest = chain_hash(head.hash, record(sequence, recorded_at, entry))
    return StoredEntry(sequence, entry, recorded_at, head.hash, digest)


def reversal(stored: StoredEntry, key: str, memo: str) -> Entry:
    """The entry that takes ``stored`` back; raises LedgerError for a reversal of a reversal."""
    original = stored.entry
    if original.reverses is not None:
        raise LedgerError(
            f"Entry {stored.sequence} is itself a reversal; post the original entry again instead."
        )
    return Entry(
        owner=original.owner,
        kind=REVERSAL,
        idempotency_key=key,
        valid_from=original.valid_from,
        valid_to=original.valid_to,
        memo=memo,
        postings=_negated(original.postings),
        reverses=stored.hash.hex(),
        detail={"reversed_kind": original.kind, "reversed_sequence": str(stored.sequence)},
    )


def balances(entries: Iterable[Entry]) -> dict[tuple[str, str, str], Decimal]:
    """Sum of all postings by (owner, account, unit), exact."""
    total: dict[tuple[str, str, str], Decimal] = {}
    with localcontext(_EXACT):
        for entry in entries:
            for posting in entry.postings:
                key = (entry.owner, posting.account, posting.unit)
                total[key] = total.get(key, Decimal(0)) + posting.amount
    return total


@dataclass(slots=True)
class _Reversals:
    """Which entries can still be reversed: a digest of each, dropped once it is reversed."""

    open: dict[str, bytes] = field(default_factory=dict)

    def problems(self, entry: Entry) -> list[str]:
        if entry.reverses is None:
            return []
        given = self.open.pop(entry.reverses, None)
        if given is None:
            return ["it reverses no earlier entry that still stands"]
        if given != hashlib.sha256(_taken_back(entry)).digest():
            return ["it does not undo the postings of the entry it reverses"]
        return []

    def add(self, stored: StoredEntry) -> None:
        if stored.entry.reverses is None:
            self.open[stored.hash.hex()] = hashlib.sha256(_given(stored.entry)).digest()


def _link_problems(stored: StoredEntry, head: Head) -> list[str]:
    problems = []
    if stored.sequence != head.sequence + 1:
        problems.append(f"sequence {head.sequence + 1} is missing or out of order")
    if stored.previous != head.hash:
        problems.append("it does not link to the hash of the entry before it")
    try:
        digest = chain_hash(
            stored.previous, record(stored.sequence, stored.recorded_at, stored.entry)
        )
    except LedgerError as error:
        return [*problems, f"it cannot be hashed: {error}"]
    if digest != stored.hash:
        problems.append("its content was altered: the hash does not fit")
    return problems


def verify(entries: Iterable[StoredEntry], *, expected_head: Head | None = None) -> list[Finding]:
    """What is wrong with a chain given from its first entry on, in order of sequence.

    Stops at the first broken entry and names its sequence, since nothing behind it is proven.
    expected_head: a head noted elsewhere; the chain must pass through it. Without one, entries
    cut off at the end cannot be missed. An empty list is good news. Reads the chain as a stream.
    """
    head, reversals, met = Head(), _Reversals(), expected_head in (None, Head())
    for stored in entries:
        problems = _link_problems(stored, head)
        if not problems:
            problems += [finding.message for finding in check(stored.entry)]
            problems += reversals.problems(stored.entry)
        if expected_head and stored.sequence == expected_head.sequence:
            met = stored.hash == expected_head.hash
            if not met:
                problems.append("it is not the entry that the noted head names")
        if problems:
            return [_broken(stored.sequence, problem) for problem in problems]
        reversals.add(stored)
        head = stored.head
    if not met and expected_head:
        message = f"the chain ends at {head.sequence}, the noted head is {expected_head.sequence}"
        return [_broken(head.sequence + 1, message)]
    return []


def _broken(sequence: int, problem: str) -> Finding:
    return Finding("ledger", "chain", (sequence,), f"Entry {sequence} is broken: {problem}.")
