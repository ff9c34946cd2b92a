"""Import of files: the same mapping and the same table as messages, in large batches.

Importing a file again is harmless: the sink counts what it has already as duplicates.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from core.errors import DecodeError
from core.readings import Rejected
from ingest.columns import BadRow
from ingest.mapping import TagMap
from ingest.protocols import Protocols, find
from ingest.sinks import Sink
from ingest.wire import shown

_log = logging.getLogger(__name__)

QUARANTINE_ROWS = 1_000
"""Rows of one file that are kept one by one; further ones are kept as a count per reason."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the rows of a file; read = stored + duplicates + rejected."""

    read: int = 0
    stored: int = 0
    duplicates: int = 0
    rejected: int = 0


def import_file(
    path: Path,
    sink: Sink,
    tag_map: TagMap,
    progress: Callable[[ImportReport], None] | None = None,
    *,
    received_at: datetime,
    protocols: Protocols | None = None,
) -> ImportReport:
    """Read ``path`` to its end, piece by piece; each piece is committed before the next is read.

    received_at: the time that stands on rejected rows. progress: called after each piece.
    Raises DecodeError when the file cannot be read (what was stored before stays), StoreError
    when the store is away or refuses.
    """
    protocol = (protocols or find()).for_file(path)
    if not path.is_file():
        raise DecodeError(f"There is no file {path}.")
    report = ImportReport()
    quarantine = _Quarantine(path.name, sink, received_at)
    for columns in protocol.read(path):
        batch, unmapped = tag_map.map_columns(columns)
        stored, duplicates = sink.write(batch) if len(batch) else (0, 0)
        bad = [*columns.bad, *unmapped]
        quarantine.add(bad)
        report = ImportReport(
            report.read + columns.rows,
            report.stored + stored,
            report.duplicates + duplicates,
            report.rejected + len(bad),
        )
        if progress is not None:
            progress(report)
    quarantine.close()
    _log.info("file imported", extra={"file": path.name, "stored": report.stored})
    return report


class _Quarantine:
    """Bad rows one by one up to a bound, then a count per reason: a wrong file has millions."""

    def __init__(self, file: str, sink: Sink, now: datetime) -> None:
        self._file, self._sink, self._now = shown(file), sink, now
        self._left = QUARANTINE_ROWS
        self._beyond: Counter[str] = Counter()

    def add(self, rows: list[BadRow]) -> None:
        kept, beyond = rows[: self._left], rows[self._left :]
        self._left -= len(kept)
        self._beyond.update(row.reason for row in beyond)
        if kept:
            self._sink.quarantine([self._entry(row) for row in kept])

    def close(self) -> None:
        if self._beyond:
            self._sink.quarantine(
                [
                    Rejected(self._file, f"{reason} ({count} further rows)", b"", self._now)
                    for reason, count in self._beyond.items()
                ]
            )

    def _entry(self, row: BadRow) -> Rejected:
        detail = {"line": str(row.line)}
        return Rejected(self._file, row.reason, row.text.encode(), self._now, detail)
