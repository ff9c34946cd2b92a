"""Readings, written once each however often they come.

A batch is copied straight into the table. Only when one of its keys is there already, the copy is
undone and the batch goes through a staging table that skips what is there; only when one of its
days has no partition yet, that is made and the batch copied again. Most batches are neither, and
asking beforehand would make all of them pay. What was stored late is marked for the roll-ups in the
same transaction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
from psycopg.errors import CheckViolation, UniqueViolation

from core.errors import StoreError
from core.readings import READING_DTYPE
from core.timeaxis import from_us
from store import backend, copybinary, rollups, sqltext
from store.database import Connection, savepoint

_SQL = sqltext.load("writing")
_COLUMNS = (("series_id", ">i4"), ("ts", ">i8"), ("value", ">f8"), ("quality", ">i2"))
_KEY = _COLUMNS[:2]
_DAY_US = 86_400_000_000
_OLDEST_US, _NEWEST_US = 0, 4_102_444_800_000_000  # 1970 to 2100: beyond lie broken clocks


@dataclass(frozen=True, slots=True)
class WriteResult:
    """inserted + duplicates is the size of the batch."""

    inserted: int
    duplicates: int


def prepare(batch: np.ndarray) -> np.ndarray:
    """``batch`` in the order of the key, each key once: the last reading of a key wins.

    Raises StoreError for another dtype, NaN or infinite values, or times outside 1970 to 2100.
    """
    if batch.dtype != READING_DTYPE or batch.ndim != 1:
        raise StoreError("A batch of readings must be a one-dimensional array of READING_DTYPE.")
    if not np.isfinite(batch["value"]).all():
        raise StoreError(
            "A batch of readings holds NaN or infinite values; a missing one is no row."
        )
    series_id, ts = batch["series_id"].copy(), batch["ts_us"].copy()  # each column in one piece
    if len(batch) and (ts.min() < _OLDEST_US or ts.max() >= _NEWEST_US):
        raise StoreError("A batch of readings holds times outside the years 1970 to 2099.")
    order = np.lexsort((ts, series_id))  # stable: equal keys stay in the order they came
    ordered = batch.take(order)  # many times faster on records than batch[order]
    series_id, ts = series_id.take(order), ts.take(order)
    again = (series_id[1:] == series_id[:-1]) & (ts[1:] == ts[:-1])  # the one behind has this key
    return ordered[np.append(~again, True)] if again.any() else ordered


def encode(prepared: np.ndarray) -> Iterator[bytes | bytearray]:
    """A prepared batch as the text of a binary COPY, piece by piece."""
    columns = {name: prepared[name] for name in ("series_id", "value", "quality")}
    columns["ts"] = copybinary.postgres_us(prepared["ts_us"])
    return copybinary.stream(_COLUMNS, columns)


def write(connection: Connection, batch: np.ndarray) -> WriteResult:
    """Stores ``batch`` (READING_DTYPE, shape (n,), any order, duplicates allowed).

    Within the batch the last reading of a key wins; one that is stored already stays. Writing the
    same batch again changes nothing. Committed with the transaction of ``connection``.
    Raises StoreError as ``prepare`` does.
    """
    prepared = prepare(batch)
    if not len(prepared):
        return WriteResult(0, len(batch))
    try:
        inserted = _insert(connection, prepared)
    except CheckViolation:  # the table of readings has no check but the bounds of its partitions
        backend.ensure(connection, _days(prepared))
        inserted = _insert(connection, prepared)
    return WriteResult(inserted, len(batch) - inserted)


def _days(prepared: np.ndarray) -> list[date]:
    return [from_us(int(day) * _DAY_US).date() for day in np.unique(prepared["ts_us"] // _DAY_US)]


def _insert(connection: Connection, prepared: np.ndarray) -> int:
    try:
        with savepoint(connection):  # the attempt can be undone alone
            inserted = copybinary.send(connection, _SQL["copy"], encode(prepared))
            rollups.mark(connection, prepared["series_id"], prepared["ts_us"])
            return inserted
    except UniqueViolation:
        return _merge(connection, prepared)


def _merge(connection: Connection, prepared: np.ndarray) -> int:
    with savepoint(connection):
        connection.execute(_SQL["staging"])
        connection.execute(_SQL["clear"])  # of an earlier batch in the same transaction
        copybinary.send(connection, _SQL["copy_staging"], encode(prepared))
        new = copybinary.fetch(connection, _SQL["merge"], _KEY)
        rollups.mark(connection, new["series_id"], copybinary.unix_us(new["ts"]))
        return len(new)
