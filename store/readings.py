"""Readings, read as arrays; store/writing.py stores them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from psycopg.sql import Literal

from core.errors import StoreError
from core.readings import Quality
from core.timeaxis import EPOCH, MICROSECOND, floor_to, to_us, utc
from core.variables import Aggregation, variable
from store import backend, copybinary, sqltext
from store.database import Connection
from store.frames import frame
from store.series import Known, expect

_SQL = sqltext.load("readings")
_READ = (("series_id", ">i4"), ("ts", ">i8"), ("value", ">f8"))
_MOST_CELLS = 50_000_000
_MOST_COUNTED = 10_000


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
