"""Measured and forecast courses: sums over assets that never pass off a part as the whole."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import xarray as xr

from core.timeaxis import to_datetime64
from dashboards.queries.period import Period
from store import forecasts, readings, series
from store.database import Connection

COMPLETE = 0.9
"""Share of the assets that must have reported before their sum is called the city's."""


def measured(
    connection: Connection, keys: Sequence[str], period: Period, bucket: timedelta | None = None
) -> xr.DataArray:
    """(time, series) in the period's buckets up to now; NaN where nothing was measured."""
    end = min(period.end, period.now)
    known = series.known(connection, list(keys))
    if not known or end <= period.start:
        return empty(keys)
    found = readings.read(connection, list(known), period.start, end, bucket or period.bucket)
    return found.reindex(series=list(keys))


def empty(keys: Sequence[str]) -> xr.DataArray:
    """No times at all, for the series ``keys``."""
    return xr.DataArray(
        np.empty((0, len(keys))),
        dims=("time", "series"),
        coords={"time": np.empty(0, "datetime64[ns]"), "series": list(keys)},
    )


def total(values: xr.DataArray) -> xr.DataArray:
    """The sum over ``series`` at each time; NaN where fewer than nine in ten reported.

    Series that never report in the period do not count: a meter that is not installed yet
    must not hide the city.
    """
    alive = values.notnull().any("time")
    reporting = values.notnull().sum("series")
    expected = max(int(alive.sum()), 1)
    return values.sum("series", skipna=True).where(reporting >= COMPLETE * expected)


def forecast(
    connection: Connection, key: str, period: Period, as_of: datetime | None = None
) -> xr.DataArray:
    """(time, quantile) of one forecast series over the period; no times where there is none."""
    if key not in series.known(connection, [key]):
        return xr.DataArray(
            np.empty((0, 0)),
            dims=("time", "quantile"),
            coords={"time": np.empty(0, "datetime64[ns]"), "quantile": np.empty(0)},
        )
    found = forecasts.read(connection, [key], period.start, period.end, as_of=as_of)
    return found.isel(series=0, drop=True).dropna("time", how="all")


def last(values: xr.DataArray) -> tuple[np.datetime64 | None, float | None]:
    """The newest known value of a (time,) course and its label; None, None where none is."""
    known = values.dropna("time")
    if known.sizes["time"] == 0:
        return None, None
    return known["time"].values[-1], float(known.values[-1])


def at(values: xr.DataArray, ts: datetime) -> float | None:
    """The value at the label ``ts``, None where there is none."""
    label = to_datetime64(ts)
    if label not in values.indexes["time"]:
        return None
    value = float(values.sel(time=label))
    return value if np.isfinite(value) else None
