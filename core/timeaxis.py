"""Time inside Verdigrid: aware UTC, labels at the beginning of an interval, local days by zone.

A naive datetime is an error raised at the door; times of files without a zone pass it through
``localize``. Local time exists for display, tariffs and natural days only, its zone always named.
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


def parse_local(text: str, tz: ZoneInfo) -> datetime:
    """An ISO 8601 time, in UTC: by its own zone, or where it names none by clocks in ``tz``.

    Raises TimeError for what is no time, or one that these clocks show twice or never.
    """
    try:
        given = datetime.fromisoformat(text.strip())
    except (ValueError, AttributeError) as error:
        raise TimeError(f"{text!r} is no time; write it as YYYY-MM-DD HH:MM.") from error
    if given.tzinfo is not None:
        return parse(text)
    first, last = localize(np.array([to_us(given.replace(tzinfo=UTC))]), tz)
    if first[0] != last[0]:
        raise TimeError(
            f"Clocks in {tz.key} show {text!r} twice or never; write it with its offset."
        )
    return from_us(int(first[0]))


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


def midnights(start: datetime, end: datetime, tz: ZoneInfo) -> np.ndarray:
    """Where the natural days in ``tz`` that meet [start, end) begin, and where the last one ends.

    Microseconds since 1970 UTC, int64 (n + 1,), ascending; 23 to 25 hours apart. A midnight that
    the clock showed twice is the first of the two.
    """
    first = local_date(start, tz)
    last = local_date(max(utc(end) - MICROSECOND, utc(start)), tz)
    days = np.arange(first.toordinal(), last.toordinal() + 2) - EPOCH.toordinal()
    # A zone that moved over the date line has a day that never was: no bucket of no length.
    found: np.ndarray = np.unique(localize(days * (DAY // MICROSECOND), tz)[0])
    return found


def localize(naive_us: np.ndarray, tz: ZoneInfo) -> tuple[np.ndarray, np.ndarray]:
    """What clocks in ``tz`` showed, as UTC: int64 (n,) twice, the first and the last such instant.

    naive_us: microseconds since 1970-01-01 00:00 on the local clock, int64 (n,).
    Where both are equal the time is certain. Where the first lies before the last the clock was
    put back and showed this time twice; where it lies behind, the clock was put forward and never
    showed it. A zone that changes twice within a day is taken to have changed once, or not.
    """
    naive_us = np.asarray(naive_us, dtype=np.int64)
    if not len(naive_us):
        return naive_us, naive_us
    changes, offsets = _offsets(int(naive_us.min()), int(naive_us.max()), tz)
    # At a change the clock shows the time of the offset before, and jumps to that of the one after.
    left = np.searchsorted(changes + offsets[:-1], naive_us, side="right")
    reached = np.searchsorted(changes + offsets[1:], naive_us, side="right")
    first = naive_us - offsets[np.minimum(left, reached)]
    last = naive_us - offsets[np.maximum(left, reached)]
    return first, last


def _offsets(low_us: int, high_us: int, tz: ZoneInfo) -> tuple[np.ndarray, np.ndarray]:
    """The instants in UTC at which the clock changed (k,), and the offsets around them (k+1,).

    All in microseconds; two days more on either side, because offsets are shorter than that.
    """

    def offset_us(second: int) -> int:
        found = (EPOCH + timedelta(seconds=second)).astimezone(tz).utcoffset()
        return (found or timedelta(0)) // MICROSECOND

    day_s = 86_400
    low, high = low_us // 1_000_000 - 2 * day_s, high_us // 1_000_000 + 2 * day_s
    changes, offsets = [], [offset_us(low)]
    for start in range(low, high, day_s):
        before, after = start, start + day_s
        if offset_us(after) == offsets[-1]:
            continue
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (
                (middle, after) if offset_us(middle) == offsets[-1] else (before, middle)
            )
        changes.append(after * 1_000_000)
        offsets.append(offset_us(after))
    return np.array(changes, dtype=np.int64), np.array(offsets, dtype=np.int64)
