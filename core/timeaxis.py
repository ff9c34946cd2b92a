"""Time inside Verdigrid: aware UTC, labels at the beginning of an interval, local days by zone.

A naive datetime is an error raised at the door. Local time exists for display, tariffs and
natural days only, always with its zone named.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from core.errors import TimeError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
QUARTER_HOUR = timedelta(minutes=15)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)


def zone(name: str) -> ZoneInfo:
    """The time zone of that IANA name; raises TimeError when there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise TimeError(f"Unknown time zone {name!r}.") from error


def utc(ts: datetime) -> datetime:
    """``ts`` in UTC; raises TimeError for a naive one."""
    if ts.tzinfo is None or ts.utcoffset() is None:
        raise TimeError(f"The time {ts.isoformat()} has no zone.")
    return ts.astimezone(UTC)


def parse(text: str) -> datetime:
    """An ISO 8601 time with zone, in UTC; raises TimeError otherwise."""
    try:
        ts = datetime.fromisoformat(text.strip())
    except (ValueError, AttributeError) as error:
        raise TimeError(f"{text!r} is not an ISO 8601 time.") from error
    try:
        return utc(ts)
    except OverflowError as error:
        raise TimeError(f"{text!r} lies outside the calendar.") from error


def to_us(ts: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware time; exact."""
    return (utc(ts) - EPOCH) // MICROSECOND


def from_us(us: int) -> datetime:
    """The aware UTC time of microseconds since 1970-01-01 UTC."""
    return EPOCH + timedelta(microseconds=int(us))


def to_datetime64(ts: datetime) -> np.datetime64:
    """numpy's (zoneless, by convention UTC) form, for xarray coordinates."""
    return np.datetime64(to_us(ts) * 1000, "ns")


def from_datetime64(ts: np.datetime64) -> datetime:
    """The aware UTC time of a numpy time that is UTC by convention."""
    return from_us(int(ts.astype("datetime64[us]").astype(np.int64)))


def floor_to(ts: datetime, resolution: timedelta) -> datetime:
    """The beginning of the interval of ``resolution`` that holds ``ts``, counted in UTC."""
    ts = utc(ts)
    return EPOCH + ((ts - EPOCH) // resolution) * resolution


def steps(start: datetime, end: datetime, resolution: timedelta) -> np.ndarray:
    """Interval beginnings in [start, end) as datetime64[ns], shape (n,).

    Raises TimeError when the interval is empty or no whole number of steps.
    """
    start, end = utc(start), utc(end)
    count, rest = divmod(end - start, resolution)
    if count <= 0 or rest:
        raise TimeError(
            f"{start.isoformat()} to {end.isoformat()} is no whole number of {resolution} steps."
        )
    step_us = resolution // MICROSECOND
    first_us = to_us(start)
    axis: np.ndarray = (first_us + np.arange(count) * step_us).astype("datetime64[us]")
    return axis.astype("datetime64[ns]")


def local_day(day: date, tz: ZoneInfo) -> tuple[datetime, datetime]:
    """Beginning and end, in UTC, of a natural day in ``tz``: 23, 24 or 25 hours apart."""
    start = datetime.combine(day, time.min, tzinfo=tz)
    end = datetime.combine(day + timedelta(days=1), time.min, tzinfo=tz)
    return start.astimezone(UTC), end.astimezone(UTC)


def local_date(ts: datetime, tz: ZoneInfo) -> date:
    """The natural day in ``tz`` that holds ``ts``."""
    return utc(ts).astimezone(tz).date()
