"""Readings, written once each however often they come, and read as arrays.

A batch is copied straight into the table. Only when one of its keys is there already, the copy is
undone and the batch goes through a staging table that skips what is there; only when one of its
days has no partition yet, that is made and the batch copied again. Most batches are neither, and
asking beforehand would make all of them pay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from psycopg.errors import CheckViolation, UniqueViolation
from psycopg.sql import Literal

from core.errors import StoreError
from core.readings import READING_DTYPE, Quality
from core.timeaxis import EPOCH, MICROSECOND, floor_to, from_us, to_us, utc
from core.variables import Aggregation, variable
from store import backend, copybinary, sqltext
from store.database import Connection, savepoint
from store.frames import frame
from store.series import Known, expect

_SQL = sqltext.load("readings")
_COLUMNS = (("series_id", ">i4"), ("ts", ">i8"), ("value", ">f8"), ("quality", ">i2"))
_READ = (("series_id", ">i4"), ("ts", ">i8"), ("value", ">f8"))
_DAY_US = 86_400_000_000
_OLDEST_US, _NEWEST_US = 0, 4_102_444_800_000_000  # 1970 to 2100: beyond lie broken clocks
_MOST_CELLS = 50_000_000
_MOST_COUNTED = 10_000


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
    series_id, ts = batch["series_id"], batch["ts_us"]
    if len(batch) and (ts.min() < _OLDEST_US or ts.max() >= _NEWEST_US):
        raise StoreError("A batch of readings holds times outside the years 1970 to 2099.")
    order = np.lexsort((ts, series_id))  # stable: equal keys stay in the order they came
    ordered = batch.take(order)  # many times faster on records than batch[order]
    last = np.ones(len(ordered), dtype=bool)
    last[:-1] = (np.diff(ordered["series_id"]) != 0) | (np.diff(ordered["ts_us"]) != 0)
    return ordered if last.all() else ordered[last]


def encode(prepared: np.ndarray) -> bytearray:
    """A prepared batch as the text of a binary COPY."""
    columns = {name: prepared[name] for name in ("series_id", "value", "quality")}
    columns["ts"] = copybinary.postgres_us(prepared["ts_us"])
    return copybinary.encode(_COLUMNS, columns)


def write(connection: Connection, batch: np.ndarray) -> WriteResult:
    """Stores ``batch`` (READING_DTYPE, shape (n,), any order, duplicates allowed).

    Within the batch the last reading of a key wins; one that is stored already stays. Writing the
    same batch again changes nothing. Committed with the transaction of ``connection``.
    Raises StoreError as ``prepare`` does.
    """
    prepared = prepare(batch)
    if not len(prepared):
        return WriteResult(0, len(batch))
    text = encode(prepared)
    try:
        inserted = _insert(connection, text)
    except CheckViolation:  # the table of readings has no check but the bounds of its partitions
        backend.ensure(connection, _days(prepared))
        inserted = _insert(connection, text)
    return WriteResult(inserted, len(batch) - inserted)


def _days(prepared: np.ndarray) -> list[date]:
    return [from_us(int(day) * _DAY_US).date() for day in np.unique(prepared["ts_us"] // _DAY_US)]


def _insert(connection: Connection, text: bytearray) -> int:
    try:
        with savepoint(connection):  # the attempt can be undone alone
            return copybinary.send(connection, _SQL["copy"], text)
    except UniqueViolation:
        return _merge(connection, text)


def _merge(connection: Connection, text: bytearray) -> int:
    with savepoint(connection):
        connection.execute(_SQL["staging"])
        connection.execute(_SQL["clear"])  # of an earlier batch in the same transaction
        copybinary.send(connection, _SQL["copy_staging"], text)
        return connection.execute(_SQL["merge"]).rowcount


def read(
    connection: Connection,
    keys: Sequence[str],
    start: datetime,
    end: datetime,
    bucket: timedelta | None = None,
    *,
    exclude: Quality = Quality.GOOD,
) -> xr.DataArray:
    """Values of the series ``keys`` in [start, end), dims (time, series), NaN where there is none.

    bucket: None gives every time that any of the series has. Otherwise the time axis is all
    buckets from the one that holds ``start`` on, counted from 1970 UTC, and values become one by
    the aggregation of their variable (mean, sum or last).
    exclude: readings with any of these flags are left out.
    attrs["units"] when the series have one unit in common.
    Raises StoreError for a key that is not registered or more than 50 million cells.
    """
    start, end = utc(start), utc(end)
    series = expect(connection, keys)
    window = {"start": Literal(start), "end": Literal(end), "exclude": Literal(int(exclude))}
    if bucket is None:
        rows = _rows(connection, "raw", series, window)
        axis = np.unique(rows["ts"])
    else:
        window |= {"bucket": Literal(bucket), "origin": Literal(EPOCH)}
        axis = _axis(start, end, bucket)
        _check_size(len(axis), len(keys))
        rows = _binned(connection, series, window)
    _check_size(len(axis), len(keys))
    return _array(keys, series, axis, rows)


def _axis(start: datetime, end: datetime, bucket: timedelta) -> np.ndarray:
    if bucket <= timedelta(0):
        raise StoreError(f"A bucket must last longer than nothing, not {bucket}.")
    first = copybinary.postgres_us(to_us(floor_to(start, bucket)))
    return np.arange(first, copybinary.postgres_us(to_us(end)), bucket // MICROSECOND)


def _check_size(times: int, series: int) -> None:
    if times * series > _MOST_CELLS:
        raise StoreError(
            f"{times:,} times of {series:,} series are too many to read at once; "
            "ask for fewer, for a shorter time or for longer buckets."
        )


def _binned(
    connection: Connection, series: dict[str, Known], window: dict[str, Literal]
) -> np.ndarray:
    parts = []
    for how in Aggregation:
        chosen = {k: s for k, s in series.items() if variable(s.variable).aggregation is how}
        if chosen:
            parts.append(_rows(connection, how.value, chosen, window))
    return np.concatenate(parts) if parts else np.empty(0, copybinary.row_dtype(_READ))


def _rows(
    connection: Connection, name: str, series: dict[str, Known], window: dict[str, Literal]
) -> np.ndarray:
    ids = Literal([s.id for s in series.values()])
    return copybinary.fetch(connection, _SQL[name].format(ids=ids, **window), _READ)


def _array(
    keys: Sequence[str], series: dict[str, Known], axis: np.ndarray, rows: np.ndarray
) -> xr.DataArray:
    numbers = np.array([series[key].id for key in keys], dtype=np.int64)
    unique, place = np.unique(numbers, return_inverse=True)
    table = np.full((len(axis), len(unique)), np.nan)
    across = np.searchsorted(unique, rows["series_id"])
    table[np.searchsorted(axis, rows["ts"]), across] = rows["value"]
    times = copybinary.unix_us(axis.astype(np.int64)).astype("datetime64[us]")
    units = {s.unit for s in series.values()}
    attrs: dict[str, Any] = {"units": units.pop()} if len(units) == 1 else {}
    return xr.DataArray(
        table[:, place],
        coords={"time": times.astype("datetime64[ns]"), "series": list(keys)},
        dims=("time", "series"),
        name="value",
        attrs=attrs,
    )


def latest(connection: Connection, keys: Sequence[str] | None = None) -> pd.DataFrame:
    """The newest reading of each series (of ``keys``, or of all): key, ts, value, quality.

    A series without readings has no row.
    """
    wanted = None if keys is None else list(keys)
    return frame(connection.execute(_SQL["latest"], {"keys": wanted}))


def counts(connection: Connection) -> dict[str, Any]:
    """``rows``; ``exact``, whether they were counted or, beyond some 10,000, estimated by the size
    of the table; and ``last_ts``, the newest time of a reading, None without any.

    Cheap enough to be asked every second.
    """
    rows = _one(connection, "estimate")
    exact = rows < _MOST_COUNTED
    return {
        "rows": _one(connection, "count") if exact else rows,
        "exact": exact,
        "last_ts": _newest(connection),
    }


def _newest(connection: Connection) -> datetime | None:
    day = backend.backend(connection).newest_day(connection)
    if day is None:
        return None
    midnight = datetime.combine(day, time.min, tzinfo=UTC)
    # Beginning of time: when what was written under that day was rolled back or deleted.
    for since in (Literal(midnight), Literal("-infinity")):
        row = connection.execute(_SQL["newest"].format(since=since)).fetchone()
        newest: datetime | None = row[0] if row else None
        if newest is not None:
            return newest
    return None


def _one(connection: Connection, name: str) -> Any:
    row = connection.execute(_SQL[name]).fetchone()
    return row[0] if row else None
