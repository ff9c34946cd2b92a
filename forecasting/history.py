"""What was known when: the one door through which measurements enter a forecast.

A value is known once its interval has ended. Every forecast cuts its history here first, so that
nothing after ``known_at`` can have an influence.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import xarray as xr

from core.errors import TimeError
from core.timeaxis import MICROSECOND, to_datetime64

QUANTILES = (0.1, 0.5, 0.9)
"""The quantiles forecast where nothing else is asked."""


def step_of(resolution: timedelta) -> np.timedelta64:
    """A resolution as numpy's nanoseconds."""
    return np.timedelta64((resolution // MICROSECOND) * 1000, "ns")


def resolution_of(times: np.ndarray) -> timedelta:
    """The step of a time axis (datetime64, at least two times); TimeError unless it is regular."""
    steps = np.unique(np.diff(times))
    if len(steps) != 1 or steps[0] <= np.timedelta64(0):
        raise TimeError("The times of a forecast must be regular and rising, two at least.")
    return timedelta(microseconds=int(steps[0] / np.timedelta64(1, "us")))


def known(
    history: xr.DataArray, known_at: datetime, *, resolution: timedelta, days: float | None = None
) -> xr.DataArray:
    """The values on a regular axis whose intervals have ended at ``known_at``; gaps are NaN.

    history: a ``time`` dimension (UTC by convention, beginnings of intervals) and any others.
    days: how far back; None for everything there is. The axis ends with the newest interval that
    can be known, whether it has a value or not, and has no entry when nothing is known.
    """
    step = step_of(resolution)
    last = _floor(to_datetime64(known_at), step) - step
    times = history.time.to_numpy().astype("datetime64[ns]")
    past = times[times <= last]
    if not len(past):
        return history.isel(time=slice(0, 0))
    first = _floor(past.min(), step)
    if days is not None:
        first = max(first, last + step - np.timedelta64(int(days * 86_400e9), "ns"))
    axis = np.arange(first, last + step, step).astype("datetime64[ns]")
    result: xr.DataArray = history.reindex(time=axis).transpose("time", ...)
    return result


def _floor(ts: np.datetime64, step: np.timedelta64) -> np.datetime64:
    ns = ts.astype("datetime64[ns]").astype(np.int64)
    size = step.astype(np.int64)
    return np.datetime64(int(ns // size * size), "ns")


def second_of_day(times: np.ndarray) -> np.ndarray:
    """Seconds since midnight UTC of datetime64 times, int64."""
    ns = times.astype("datetime64[ns]").astype(np.int64)
    seconds: np.ndarray = ns // 1_000_000_000 % 86_400
    return seconds


def local_index(times: np.ndarray, timezone: str) -> pd.DatetimeIndex:
    """Local wall time of datetime64 times that are UTC by convention."""
    return pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(timezone)
