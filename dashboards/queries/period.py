"""The stretch of city time that a view covers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from core.timeaxis import HOUR, QUARTER_HOUR, local_date, local_day


@dataclass(frozen=True, slots=True)
class Period:
    """[start, end) in UTC, with the city's ``now`` inside and the resolution charts ask for."""

    start: datetime
    end: datetime
    now: datetime
    tz: ZoneInfo

    @property
    def bucket(self) -> timedelta:
        """A quarter-hour up to two days, an hour beyond: no chart needs more than ~200 points."""
        return QUARTER_HOUR if self.end - self.start <= timedelta(hours=50) else HOUR


def days(now: datetime, count: int, tz: ZoneInfo) -> Period:
    """The last ``count`` natural days of the city; today, with all its hours, is the last."""
    today = local_date(now, tz)
    start, _ = local_day(today - timedelta(days=count - 1), tz)
    _, end = local_day(today, tz)
    return Period(start, end, now, tz)
