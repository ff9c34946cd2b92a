"""Dead letters mended: replayed through ingest, and noted in the quarantine as resolved or not."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from app.wiring import City, StoreSink, read_tag_map
from ingest import protocols
from ingest.filemapping import FileMapping
from ingest.replay import Letter, replay
from store import quarantine
from store.quarantine import Filter, Resolution

PAGE = 500


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of the letters that were replayed; readings are those they held."""

    looked_at: int = 0
    resolved: int = 0
    failed: int = 0
    stored: int = 0
    duplicates: int = 0


def replay_held(
    city: City,
    wanted: Filter,
    *,
    mapping: FileMapping | None = None,
    most: int | None = None,
    progress: Callable[[Mended], None] = lambda _: None,
) -> Mended:
    """Replay the unresolved letters of ``wanted`` (``most`` of them), oldest first.

    mapping: for rows of files that could not be read as they stood. progress: after each page.
    Raises StoreError; pages that were finished before stay.
    """
    with closing(StoreSink(city.database)) as sink:
        return _replay_all(city, sink, wanted, mapping, most, progress)


def _replay_all(
    city: City,
    sink: StoreSink,
    wanted: Filter,
    mapping: FileMapping | None,
    most: int | None,
    progress: Callable[[Mended], None],
) -> Mended:
    found = protocols.find(profiles=city.site.profiles)
    tag_map = read_tag_map(city.database)
    done = Mended()
    after = 0
    while most is None or done.looked_at < most:
        limit = PAGE if most is None else min(PAGE, most - done.looked_at)
        with city.database.connection() as connection:
            held = quarantine.pending(connection, wanted, after=after, limit=limit)
        if not held:
            break
        after = held[-1].id
        letters = [
            Letter(h.id, h.source, h.payload, h.received_at, h.whole, "bundle" in h.detail)
            for h in held
        ]
        report = replay(letters, found, tag_map, sink, mapping=mapping)
        with city.database.connection() as connection:
            resolved = quarantine.resolve(
                connection, report.resolved, Resolution.REPLAYED, city.now()
            )
            quarantine.renew(connection, report.failed)
        done = Mended(
            done.looked_at + len(held),
            done.resolved + resolved,
            done.failed + len(report.failed),
            done.stored + report.stored,
            done.duplicates + report.duplicates,
        )
        progress(done)
    return done


def dismiss_held(city: City, wanted: Filter) -> int:
    """Note the unresolved letters of ``wanted`` as dismissed; how many."""
    dismissed = 0
    while True:
        with city.database.connection() as connection:
            held = quarantine.pending(connection, wanted, limit=PAGE)
            ids = [h.id for h in held]
            dismissed += quarantine.resolve(connection, ids, Resolution.DISMISSED, city.now())
        if not held:
            return dismissed
