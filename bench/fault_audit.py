"""The comparison at the end: what was acknowledged against what is in the database."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import isclose

import psycopg

from bench.fault_books import Books, Post, Reading
from bench.fault_city import SENML, factor_of
from bench.fault_mqtt import Flood, written
from core.errors import DecodeError
from core.readings import Quality
from ingest.overflow import BUNDLE, open_bundle

_STORED = """
SELECT t.device, t.tag, (extract(epoch FROM r.ts) * 1000000)::bigint, r.value, r.quality
FROM reading r JOIN series s ON s.id = r.series_id JOIN device_tag t ON t.series_key = s.key
"""
_ROWS = "SELECT count(*) FROM reading"
_QUARANTINE = "SELECT payload, detail FROM quarantine"
_TOKEN = re.compile(rb"poison-\d{8}")
_EXAMPLES = 5

Key = tuple[str, str, int]


@dataclass(slots=True)
class Quarantine:
    """What the quarantine holds. tokens: how often each poison; payloads: of bundles."""

    entries: int = 0
    tokens: Counter[str] = field(default_factory=Counter)
    bundled: set[bytes] = field(default_factory=set)
    counted_only: int = 0


@dataclass(slots=True)
class Audit:
    """The balance of a run. Readings unless said otherwise.

    missing: acknowledged, and neither stored nor, from a device beyond its measure, in a bundle of
    the quarantine. doubled: rows beyond one for a key. wrong: stored with another value.
    unacknowledged: stored although their sender never got an answer. strange: stored and never
    sent. bundled: acknowledged and kept in the quarantine because there were too many.
    poison_missing: acknowledged messages nobody can read that are not in the quarantine.
    poison_again: entries of poison beyond the first. late, late_unflagged: stored with a wrong
    clock, and of them without the flag that says so. by_wire: acknowledged readings.
    """

    sent: int = 0
    acknowledged: int = 0
    posts: int = 0
    repeated: int = 0
    stored: int = 0
    missing: int = 0
    doubled: int = 0
    wrong: int = 0
    unacknowledged: int = 0
    strange: int = 0
    bundled: int = 0
    poison: int = 0
    poison_acknowledged: int = 0
    poison_missing: int = 0
    poison_again: int = 0
    late: int = 0
    late_unflagged: int = 0
    by_wire: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Acknowledged and gone: readings and poison."""
        return self.missing + self.poison_missing

    @property
    def clean(self) -> bool:
        """Whether nothing is lost, doubled or wrong."""
        return not (self.lost or self.doubled or self.wrong or self.strange)

    def note(self, what: str, key: object) -> None:
        """Keep some examples of what is not as it should be."""
        if len(self.examples) < _EXAMPLES:
            self.examples.append(f"{what}: {key}")


def audit(url: str, books: Books) -> Audit:
    """Compare; the posts must not change meanwhile. Raises psycopg.Error."""
    with psycopg.connect(url) as connection:
        stored: dict[Key, tuple[float, int]] = {}
        for device, tag, ts_us, value, quality in connection.execute(_STORED):
            stored[device, tag, ts_us] = value, quality
        rows = connection.execute(_ROWS).fetchone()
        kept = _quarantine(connection)
    found = Audit(stored=len(stored), doubled=(rows[0] if rows else 0) - len(stored))
    _readings(found, books, stored, kept)
    _poison(found, books, kept)
    return found


def _quarantine(connection: psycopg.Connection) -> Quarantine:
    kept = Quarantine()
    for payload, detail in connection.execute(_QUARANTINE):
        kept.entries += 1
        for content in _contents(payload, detail):
            kept.tokens.update({token.decode() for token in _TOKEN.findall(content)})
            kept.bundled.add(content)
        if not payload and "messages" in detail:
            kept.counted_only += int(detail["messages"])
    return kept


def _contents(payload: bytes, detail: dict[str, str]) -> Iterator[bytes]:
    """The messages of an entry."""
    if detail.get("bundle") != BUNDLE:
        yield payload
        return
    try:
        for message in open_bundle(payload):
            yield message.payload
    except DecodeError:
        return


def _readings(
    found: Audit, books: Books, stored: dict[Key, tuple[float, int]], kept: Quarantine
) -> None:
    factors = factor_of()
    left = set(stored)
    for post in books.posts:
        found.posts += 1
        found.repeated += max(post.sent - 1, 0)
        found.sent += len(post.readings)
        if post.acknowledged:
            found.acknowledged += len(post.readings)
            found.by_wire[post.wire] += len(post.readings)
        bundled = _in_a_bundle(post, kept)
        for reading in post.readings:
            key = reading[:3]
            there = stored.get(key)
            if there is None:
                if bundled:
                    found.bundled += 1
                elif post.acknowledged:
                    found.missing += 1
                    found.note("missing", key)
                continue
            left.discard(key)
            found.unacknowledged += not post.acknowledged
            expected = reading.value * factors[post.wire, reading.tag]
            if not isclose(there[0], expected, rel_tol=1e-9, abs_tol=1e-12):
                found.wrong += 1
                found.note(f"{there[0]} in place of {expected}", key)
            _flags(found, reading, there[1])
    found.strange = len(left)
    for key in sorted(left)[:_EXAMPLES]:
        found.note("never sent", key)


def _in_a_bundle(post: Post, kept: Quarantine) -> bool:
    """Whether a pack of the flood was put away whole: then it stands there as it was sent."""
    if len(post.readings) < Flood.PACK:
        return False
    return written(post.wire, post.readings)[1] in kept.bundled


def _flags(found: Audit, reading: Reading, flags: int) -> None:
    """Clocks that are wrong must show."""
    wanted = {
        f"{SENML.stem}late": Quality.LATE,
        f"{SENML.stem}fast": Quality.CLOCK_SKEW,
    }.get(reading.device)
    if wanted is not None:
        found.late += 1
        found.late_unflagged += not flags & wanted


def _poison(found: Audit, books: Books, kept: Quarantine) -> None:
    for post in books.posts:
        if post.token:
            found.poison += 1
            found.poison_acknowledged += post.acknowledged
            entries = kept.tokens[post.token]
            found.poison_again += max(entries - 1, 0)
            if post.acknowledged and not entries:
                found.poison_missing += 1
                found.note("poison is gone", f"{post.wire} {post.token}")
