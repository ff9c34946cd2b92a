"""Corrections: a reading gets another value, and what was there stays in the revision log.

A correction is also how a gap is filled by hand: a value for a time that has none is stored with
the flags it is given, ``Quality.ESTIMATED`` for one that nobody measured. Nothing is estimated by
itself, and nothing is deleted: a reading that is wrong beyond repair is corrected to its best
estimate. A measured value that comes after a correction of its time changes nothing, like every
second reading of a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import pandas as pd

from core.errors import StoreError
from core.readings import Quality
from core.timeaxis import DAY, MICROSECOND, from_us, to_us, utc
from store import backend, copybinary, rollups, sqltext, writing
from store.database import Connection, savepoint
from store.frames import frame
from store.series import expect

_SQL = sqltext.load("corrections")
_DAY_US = DAY // MICROSECOND


@dataclass(frozen=True, slots=True)
class Corrected:
    """How many readings got another value or flag, how many are new, how many were so already."""

    changed: int
    added: int
    unchanged: int


def correct(
    connection: Connection, batch: np.ndarray, *, reason: str, by: str, at: datetime
) -> Corrected:
    """Stores the readings of ``batch`` (READING_DTYPE) in place of those there are.

    They get the flag ``Quality.CORRECTED`` beside their own; flags that are stored and not given
    go. What is equal already, value and flags, is left alone and leaves no trace in the log.
    reason, by: why, and who says so; at: when, as the log will tell. All in the transaction of
    ``connection``, or nothing. Raises StoreError without a reason or a name, and as
    ``writing.prepare`` does.
    """
    if not reason.strip() or not by.strip():
        raise StoreError("A correction needs a reason and the name of whoever makes it.")
    flagged = batch.copy()
    if flagged.dtype.names and "quality" in flagged.dtype.names:
        flagged["quality"] |= int(Quality.CORRECTED)
    prepared = writing.prepare(flagged)
    if not len(prepared):
        return Corrected(0, 0, len(batch))
    given = {
        "reason": reason.strip(),
        "by": by.strip(),
        "at": utc(at),
        "corrected": int(Quality.CORRECTED),
    }
    with savepoint(connection):
        backend.ensure(connection, _days(prepared))
        connection.execute(_SQL["lock"])
        connection.execute(_SQL["staging"])
        connection.execute(_SQL["clear"])  # of an earlier correction in the same transaction
        copybinary.send(connection, _SQL["copy"], writing.encode(prepared))
        added = connection.execute(_SQL["add"], given).fetchall()
        changed = connection.execute(_SQL["change"], given).fetchall()
        connection.execute(_SQL["latest"])
        _mark(connection, [*added, *changed])
    return Corrected(len(changed), len(added), len(batch) - len(changed) - len(added))


def _days(prepared: np.ndarray) -> list[date]:
    return [from_us(int(day) * _DAY_US).date() for day in np.unique(prepared["ts_us"] // _DAY_US)]


def _mark(connection: Connection, keys: list[tuple[int, datetime]]) -> None:
    """Tells the roll-ups what changed."""
    ids = np.array([series_id for series_id, _ in keys], dtype=np.int32)
    rollups.mark(connection, ids, np.array([to_us(ts) for _, ts in keys], dtype=np.int64))


def history(connection: Connection, key: str, start: datetime, end: datetime) -> pd.DataFrame:
    """The revisions of readings of ``key`` in [start, end), by time and in the order they were
    made: ts, revised_at, old_value, old_quality (None where there was no reading), new_value,
    new_quality, reason, by_whom. Raises StoreError for a key that is not registered.
    """
    expect(connection, [key])
    given = {"key": key, "start": utc(start), "end": utc(end)}
    return frame(connection.execute(_SQL["history"], given))
