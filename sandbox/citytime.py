"""City time: which quarter-hour of the SimBench year a moment of the city's life replays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np

from core.errors import ConfigurationError
from core.timeaxis import EPOCH, QUARTER_HOUR, utc

TIMEZONE = "Asia/Shanghai"
LOCAL = timezone(timedelta(hours=8), "Asia/Shanghai")
"""China keeps no summer time (since 1991), so that a fixed offset is exact for the city."""

CITY_START = datetime(2026, 6, 22, tzinfo=LOCAL).astimezone(UTC)
"""Midnight, a Monday, at which the sandbox city begins to live."""

STEPS_PER_DAY = 96
STEPS_PER_YEAR = 366 * STEPS_PER_DAY
"""The SimBench year is 2016, a leap year."""

_START_STEP = (31 + 29 + 31 + 30 + 31 + 19) * STEPS_PER_DAY
"""The row of 2016-06-20 00:00, also a Monday, in the profiles, whose rows run in UTC+1.

Their printed labels jump with German summer time, their rows do not: the sun of row 0 to 95
stands as in UTC+1. Moving the city 105 degrees east (7 hours) makes UTC+8 of it.
"""

QUARTER_S = 900


def quarter(ts: datetime) -> int:
    """The number of the city's quarter-hour that holds ``ts``; 0 begins at CITY_START."""
    return (utc(ts) - CITY_START) // QUARTER_HOUR


def quarter_start(index: int) -> datetime:
    """The beginning of the city's quarter-hour ``index``, in UTC."""
    return CITY_START + int(index) * QUARTER_HOUR


def quarters(start: datetime, end: datetime) -> np.ndarray:
    """The numbers of the quarter-hours in [start, end), shape (n,), int64.

    Raises ConfigurationError when start or end does not begin a quarter-hour, or none lies
    between them.
    """
    for ts in (start, end):
        if quarter_start(quarter(ts)) != utc(ts):
            raise ConfigurationError(f"{ts.isoformat()} does not begin a quarter-hour.")
    if utc(end) <= utc(start):
        raise ConfigurationError(
            f"The end {end.isoformat()} must come after the start {start.isoformat()}."
        )
    return np.arange(quarter(start), quarter(end), dtype=np.int64)


def profile_rows(quarter_index: np.ndarray) -> np.ndarray:
    """Rows of the SimBench year for the city's quarter-hours; the year repeats."""
    rows: np.ndarray = (np.asarray(quarter_index) + _START_STEP) % STEPS_PER_YEAR
    return rows


def seconds(quarter_index: np.ndarray) -> np.ndarray:
    """Seconds since 1970-01-01 UTC at the beginnings of the quarter-hours, int64."""
    start_s = (CITY_START - EPOCH) // timedelta(seconds=1)
    result: np.ndarray = start_s + np.asarray(quarter_index, dtype=np.int64) * QUARTER_S
    return result


def local_hours(ts_s: np.ndarray) -> np.ndarray:
    """Local hour of the day, 0 to 24 with fractions, of seconds since 1970-01-01 UTC."""
    hours: np.ndarray = (np.asarray(ts_s, dtype=np.float64) / 3600.0 + 8.0) % 24.0
    return hours
