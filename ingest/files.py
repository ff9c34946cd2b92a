"""Import of files: the same mapping and the same table as messages, in large batches.

Importing a file again is harmless: the sink counts what it has already as duplicates.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from core.errors import DecodeError
from core.readings import Rejected
from core.timeaxis import MICROSECOND, to_us
from ingest.admission import READINGS, admit
from ingest.badrows import BadRows, Reason
from ingest.columns import Columns
from ingest.filemapping import PLAIN, FileMapping
from ingest.mapping import TagMap
from ingest.protocols import Protocols, find
from ingest.quality import STANDARD, History
from ingest.sinks import Sink

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the readings of a file; read = stored + duplicates + rejected.

    A row of a wide table has many readings. reasons: why the first ones were rejected.
    """

    read: int = 0
    stored: int = 0
    duplicates: int = 0
    rejected: int = 0
    reasons: tuple[Reason, ...] = field(default=(), compare=False)


def import_file(
    path: Path,
    sink: Sink,
    tag_map: TagMap,
    progress: Callable[[ImportReport], None] | None = None,
    *,
    received_at: datetime,
    mapping: FileMapping = PLAIN,
    protocols: Protocols | None = None,
) -> ImportReport:
    """Read ``path`` to its end, piece by piece; each piece is committed before the next is read.

    received_at: the city time; it stands on rejected rows, and what lies more than a day ahead of
    it is one. progress: called after each piece.
    Raises DecodeError when the file cannot be read (what was stored before stays), StoreError
    when the store is away or refuses.
    """
    protocol = (protocols or find()).for_file(path)
    if not path.is_file():
        raise DecodeError(f"There is no file {path}.")
    report = ImportReport()
    bad_rows = BadRows(f"file/{path.name}", received_at)
    rejected: list[Rejected] = []
    history = History()  # of this file: how its values follow each other
    for piece in protocol.read(path, mapping):
        columns = without_future(piece, to_us(received_at))
        admit(columns.names, READINGS, tag_map, sink)
        batch, unmapped = tag_map.map_columns(columns, history=history)
        stored, duplicates = sink.write(batch) if len(batch) else (0, 0)
        rejected += bad_rows.take([*columns.bad, *unmapped])
        report = ImportReport(
            report.read + columns.rows,
            report.stored + stored,
            report.duplicates + duplicates,
            bad_rows.count,
            bad_rows.first,
        )
        if progress is not None:
            progress(report)
    rejected += bad_rows.rest()
    if rejected:  # at the end, so that an import that was cut short and begun again has them once
        sink.quarantine(rejected)
    _log.info("file imported", extra={"file": path.name, "stored": report.stored})
    return report


def without_future(columns: Columns, now_us: int) -> Columns:
    """Without the rows that lie too far ahead: behind them nothing newer could come."""
    mask = columns.ts_us > now_us + STANDARD.refuse_ahead // MICROSECOND
    return columns.refuse(mask, STANDARD.too_far_ahead)
