"""Means of concentrations and when they are valid (GB 3095 table 4, HJ 663).

A 1-h mean needs 45 minutes of readings, an 8-h mean 6 valid hours, a daily mean 20 valid hours.
What is not valid is NaN. Every mean is labelled by the BEGINNING of its interval, UTC by
convention; days are natural days of the named zone.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import xarray as xr

from core.errors import TimeError
from core.timeaxis import HOUR, zone

MINIMUM_MINUTES = 45
MINIMUM_OF_8_HOURS = 6
MINIMUM_OF_A_DAY = 20
MINIMUM_8H_MEANS = 14
"""Of the 17 8-h means that lie inside a natural day (HJ 663; not checked against its text)."""
O3_8H_LIMIT = 160.0
"""µg/m3, grade 2: a daily maximum above it counts even with too few 8-h means (HJ 663; not
checked against its text)."""

_WINDOW = 8


def hourly_mean(
    values: xr.DataArray, *, resolution: timedelta, minimum_minutes: float = MINIMUM_MINUTES
) -> xr.DataArray:
    """Hourly means of readings that each stand for ``resolution``.

    values: a ``time`` dimension (any order) and any others; NaN and absent times are missing.
    Returns every hour from the first to the last, NaN where less than ``minimum_minutes`` of the
    hour are covered. Raises TimeError when ``resolution`` does not divide the hour.
    """
    if HOUR % resolution:
        raise TimeError(f"Intervals of {resolution} do not divide the hour.")
    hours = values.time.dt.floor("h").rename("hour")
    grouped = values.groupby(hours)
    minutes = grouped.count("time") * (resolution / timedelta(minutes=1))
    mean = grouped.mean("time", keep_attrs=True).where(minutes >= minimum_minutes)
    result: xr.DataArray = _every_hour(mean.rename(hour="time")).transpose(*values.dims)
    return result


def _every_hour(hourly: xr.DataArray) -> xr.DataArray:
    """The same with NaN rows for the hours that are not there; sorted by time."""
    if hourly.sizes["time"] == 0:
        return hourly
    times = hourly.time.to_numpy()
    axis = np.arange(times.min(), times.max() + np.timedelta64(1, "h"), np.timedelta64(1, "h"))
    return hourly.reindex(time=axis.astype("datetime64[ns]"))


def mean_8h(hourly: xr.DataArray, *, minimum_hours: int = MINIMUM_OF_8_HOURS) -> xr.DataArray:
    """Moving 8-h means of hourly values, labelled by the beginning of the first of the 8 hours.

    Only windows that lie inside the given hours; NaN with fewer than ``minimum_hours`` values.
    """
    complete = _every_hour(hourly)
    if complete.sizes["time"] < _WINDOW:
        return complete.isel(time=slice(0, 0))
    rolled = complete.rolling(time=_WINDOW, min_periods=minimum_hours).mean(keep_attrs=True)
    starts = complete.time.to_numpy()[: -_WINDOW + 1]
    result: xr.DataArray = rolled.isel(time=slice(_WINDOW - 1, None)).assign_coords(time=starts)
    return result


def _day_starts(times: xr.DataArray, timezone: str, name: str) -> xr.DataArray:
    """Beginning (UTC by convention) of the local day of each time."""
    local = pd.DatetimeIndex(times.to_numpy()).tz_localize("UTC").tz_convert(zone(timezone))
    starts = local.normalize().tz_convert("UTC").tz_localize(None)
    return xr.DataArray(starts, dims="time", coords={"time": times.to_numpy()}, name=name)


def daily_mean(
    hourly: xr.DataArray, *, timezone: str, minimum_hours: int = MINIMUM_OF_A_DAY
) -> xr.DataArray:
    """Means of natural days, ``time`` being the beginning of the day; NaN where not valid."""
    grouped = hourly.groupby(_day_starts(hourly.time, timezone, "day"))
    mean = grouped.mean("time", keep_attrs=True).where(grouped.count("time") >= minimum_hours)
    result: xr.DataArray = mean.rename(day="time").transpose(*hourly.dims)
    return result


def daily_maximum_8h(
    hourly: xr.DataArray,
    *,
    timezone: str,
    minimum_means: int = MINIMUM_8H_MEANS,
    limit: float = O3_8H_LIMIT,
) -> xr.DataArray:
    """The largest 8-h mean of each natural day: of the windows that lie inside the day.

    NaN with fewer than ``minimum_means`` valid windows, unless the largest is above ``limit``.
    Days are those of ``hourly``, even if no window lies inside one.
    """
    days = np.unique(_day_starts(hourly.time, timezone, "day").to_numpy())
    means = mean_8h(hourly)
    starts = _day_starts(means.time, timezone, "day")
    last_hours = means.time + np.timedelta64(_WINDOW - 1, "h")
    ends = _day_starts(last_hours, timezone, "day")
    inside = np.flatnonzero(starts.to_numpy() == ends.to_numpy())
    if not len(inside):
        return hourly.isel(time=slice(0, 0)).reindex(time=days)
    grouped = means.isel(time=inside).groupby(starts.isel(time=inside))
    largest = grouped.max("time", keep_attrs=True)
    valid = (grouped.count("time") >= minimum_means) | (largest > limit)
    result: xr.DataArray = largest.where(valid).rename(day="time").reindex(time=days)
    return result.transpose(*hourly.dims)


def daily_concentrations(hourly: xr.Dataset, *, timezone: str) -> xr.Dataset:
    """What the daily report judges: daily means, and for ``o3`` the daily maximum 8-h mean."""
    return xr.Dataset(
        {
            str(name): daily_maximum_8h(values, timezone=timezone)
            if name == "o3"
            else daily_mean(values, timezone=timezone)
            for name, values in hourly.data_vars.items()
        }
    )
