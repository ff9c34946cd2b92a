"""Roll-ups of readings to 15 minutes, hours and natural days, right after late data too.

A series has roll-ups that are longer than its own interval. Quarter-hours are made of readings,
hours and days of quarter-hours where the series has them, else of readings; days are those of the
series' own time zone.

Readings of the last hours are not rolled up: who asks reads them themselves. What is, ends at a
time that all writers know, and a reading before it is late. In the transaction that stores a late
reading its hour is marked as dirty; all others cost one question. ``refresh`` moves that time on.
It first announces the new time, then waits for the transactions that may still go by the old one,
and only then counts: nobody is locked out meanwhile. Whatever is interrupted is done by the next
refresh: the announced time and the marks stay until the transaction that does the work commits.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise

import numpy as np
from psycopg.errors import UniqueViolation
from psycopg.sql import SQL, Composable, Identifier, Literal

from core.errors import StoreUnavailableError
from core.timeaxis import (
    DAY,
    EPOCH,
    HOUR,
    MICROSECOND,
    QUARTER_HOUR,
    floor_to,
    from_us,
    midnights,
    zone,
)
from store import backend, copybinary, locks, sqltext
from store.database import Connection, Database

__all__ = [
    "LEVELS",
    "LOCK_NAME",
    "SETTLE",
    "Level",
    "Refreshed",
    "mark",
    "refresh",
    "refresh_under",
    "rolled_to",
    "waiting",
]

LOCK_NAME = "roll-ups"
"""Held while roll-ups are made, and while what they are made of is deleted."""

SETTLE = 2 * HOUR
"""Readings are given this long to come before their hour is rolled up: hourly ones, too, are then
not late."""

_SQL = sqltext.load("rollups")
_MARKS = (("series_id", ">i4"), ("hour", ">i8"))
_HOUR_US = HOUR // MICROSECOND
_MOST_MARKS = 100_000  # hours of a series in one transaction
_LONGEST_DAY = timedelta(hours=26)
_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Level:
    """Roll-ups of one length, in the table of that name."""

    name: str
    width: timedelta

    @property
    def table(self) -> str:
        """Where they are kept."""
        return f"rollup_{self.name}"


LEVELS = (Level("15min", QUARTER_HOUR), Level("hour", HOUR), Level("day", DAY))
_QUARTERS, _HOURS, _DAYS = LEVELS


@dataclass(frozen=True, slots=True)
class Refreshed:
    """Up to when readings are rolled up now, and how many dirty hours were counted anew."""

    rolled_to: datetime
    hours: int


def mark(connection: Connection, series_ids: np.ndarray, ts_us: np.ndarray) -> None:
    """Tells the next refresh what changed: readings (series_ids, ts_us) of shape (n,).

    To be called in every transaction that stores or changes readings; before or after, because
    a refresh waits for the transaction's end. Costs one question unless some of them are late.
    """
    row = connection.execute(_SQL["late_before"]).fetchone()
    late = np.asarray(ts_us) < (row[0] if row else 0)
    if not late.any():
        return
    # Each hour of a series once: hours since 1970 need 21 bits until 2209.
    keys = np.unique(series_ids[late].astype(np.int64) << 21 | ts_us[late] // _HOUR_US)
    hours = copybinary.postgres_us((keys & (2**21 - 1)) * _HOUR_US)
    text = copybinary.encode(_MARKS, {"series_id": keys >> 21, "hour": hours})
    copybinary.send(connection, _SQL["mark"], text)


def rolled_to(connection: Connection) -> datetime:
    """Up to when readings are rolled up; late ones since then wait for the next refresh."""
    return _state(connection)[0]


def waiting(connection: Connection) -> int:
    """How many marks of late readings wait for the next refresh; an hour may have several."""
    row = connection.execute(_SQL["waiting"]).fetchone()
    return int(row[0]) if row else 0


def refresh(database: Database, now: datetime, *, settle: timedelta = SETTLE) -> Refreshed | None:
    """Rolls up what has become older than ``settle`` at ``now``, and dirty hours anew.

    Returns None when another process is about it. In transactions of a day each. Raises
    StoreUnavailableError when a transaction that writes readings does not end.
    """
    with locks.held(database, LOCK_NAME) as lock:
        return refresh_under(lock, now, settle=settle) if lock else None


def refresh_under(lock: locks.Held, now: datetime, *, settle: timedelta = SETTLE) -> Refreshed:
    """``refresh`` by somebody who holds LOCK_NAME already."""
    connection = lock.connection
    connection.execute(_SQL["announce"], {"before": floor_to(now - settle, HOUR)})
    done, announced = _state(connection)
    if done < announced:
        _wait_for_writers(connection)
        days = _days_with_room(connection, done, announced)
        first = min(days, default=announced) if done == EPOCH else done  # nothing is older than all
        for start, end in _slices(days, first, announced):
            _roll_up(connection, start, end)
        connection.execute(_SQL["advance"], {"to": announced})
    hours = 0
    while taken := _again(connection, announced):
        hours += taken
    return Refreshed(announced, hours)


def _state(connection: Connection) -> tuple[datetime, datetime]:
    """Up to when readings are rolled up, and before when they are late."""
    row = connection.execute(_SQL["state"]).fetchone()
    assert row is not None
    return row[0], row[1]


def _wait_for_writers(connection: Connection) -> None:
    """Returns when every transaction that marked by an older time than the announced has ended."""
    older = _writers(connection)
    deadline = time.monotonic() + _WAIT_S
    while older & _writers(connection):
        if time.monotonic() > deadline:
            raise StoreUnavailableError(
                "The roll-ups of readings wait for a transaction that has been writing readings "
                f"for more than {_WAIT_S:.0f} s; they go on when it has ended."
            )
        time.sleep(0.01)


def _writers(connection: Connection) -> set[str]:
    return {row[0] for row in connection.execute(_SQL["writers"])}


def _days_with_room(connection: Connection, start: datetime, end: datetime) -> list[datetime]:
    """The UTC days in [start, end) that may hold readings."""
    days = set()
    for part in backend.backend(connection).parts(connection, "reading"):
        day = max(part.start, floor_to(start, DAY))
        while day < min(part.end, end):
            days.add(day)
            day += DAY
    return sorted(days)


def _slices(
    days: Iterable[datetime], start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """[start, end) cut at both ends of each of ``days``: a slice lies within one of them, or had
    no room for readings, however long it is.
    """
    edges = {edge for day in days for edge in (day, day + DAY) if start < edge < end}
    return list(pairwise(sorted({start, *edges, end})))


def _roll_up(connection: Connection, start: datetime, end: datetime) -> None:
    """Rolls up a slice, and the natural days that end in (start, end]."""
    # Of a slice without room, its first day is enough: readings of before may belong to that.
    # What is stored behind it meanwhile is late and has its marks.
    reach = min(end, start + DAY)
    # Before the transaction, which may take its time: writers of a new day want the same lock.
    _make_room(connection, (start - _LONGEST_DAY, reach))
    try:
        _count_slice(connection, start, end, reach, SQL(""))
    except UniqueViolation:  # somebody has moved the end of the roll-ups back
        _count_slice(connection, start, end, reach, _SQL["replacing"])


def _count_slice(
    connection: Connection, start: datetime, end: datetime, reach: datetime, replacing: SQL
) -> None:
    with connection.transaction():
        connection.execute(_SQL["work_mem"])
        given: dict[str, Composable] = {
            "start": Literal(start),
            "end": Literal(reach),
            "replacing": replacing,
        }
        for level in (_QUARTERS, _HOURS):
            _count(connection, level, _SQL["of_range"], given, start, reach)
        for (name,) in connection.execute(_SQL["zones"]).fetchall():
            for first, last in _days_that_end(name, start, end):
                given |= {"start": Literal(first), "end": Literal(last), "zone": Literal(name)}
                _count(connection, _DAYS, _SQL["of_zone"], given, first, last)
        connection.execute(_SQL["advance"], {"to": end})


def _days_that_end(name: str, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """The natural days in the zone that begin before ``start + DAY`` and end in (start, end]."""
    edges = [from_us(us) for us in midnights(start, min(end, start + DAY), zone(name))]
    return [(first, last) for first, last in pairwise(edges) if start < last <= end]


def _again(connection: Connection, done: datetime) -> int:
    """Takes some of the dirty hours and counts them anew; how many it took."""
    with connection.transaction():
        connection.execute(_SQL["work_mem"])
        connection.execute(_SQL["todo"])
        taken = connection.execute(_SQL["take"].format(most=Literal(_MOST_MARKS))).rowcount
        if not taken:
            return 0
        low, high = _bounds(connection)
        again: dict[str, Composable] = {"replacing": _SQL["replacing"]}
        connection.execute(_SQL["leave"].format(low=Literal(low), high=Literal(high)))
        connection.execute(_SQL["analyze"])
        _make_room(connection, _dirty_times(connection))
        for level in (_QUARTERS, _HOURS):
            _count(connection, level, _SQL["of_dirty_hours"], again, low, high)
        days = _dirty_days(connection, done)
        if days:
            first, last = min(day[0] for day in days), max(day[1] for day in days)
            _count(connection, _DAYS, _SQL["of_dirty_days"], again, first, last)
        return taken


def _bounds(connection: Connection) -> tuple[datetime, datetime]:
    row = connection.execute(_SQL["bounds"]).fetchone()
    assert row is not None
    return row[0], row[1]


def _dirty_times(connection: Connection) -> list[datetime]:
    """A time in each UTC month that holds a dirty hour or may hold the midnight before it."""
    return [row[0] for row in connection.execute(_SQL["times"], {"day": _LONGEST_DAY}).fetchall()]


def _dirty_days(connection: Connection, done: datetime) -> list[tuple[datetime, datetime]]:
    """Notes which natural days the dirty hours belong to, of those that have ended by ``done``."""
    connection.execute(_SQL["todo_days"])
    found: list[tuple[str, datetime, datetime, datetime]] = []
    for name, hour in connection.execute(_SQL["todo_hours"]).fetchall():
        edges = [from_us(us) for us in midnights(hour, hour + HOUR, zone(name))]
        # Two days where midnight is at half past.
        found += [(name, hour, first, last) for first, last in pairwise(edges) if last <= done]
    if found:
        columns = (list(values) for values in zip(*found, strict=True))
        names = ("timezone", "hour", "start", "end")
        connection.execute(_SQL["add_days"], dict(zip(names, columns, strict=True)))
    return [row[2:] for row in found]


def _count(
    connection: Connection,
    level: Level,
    parts: SQL,
    given: dict[str, Composable],
    low: datetime,
    high: datetime,
) -> None:
    """Makes roll-ups of ``level`` for ``parts``: rows (series_id, start, end) in [low, high).

    given: what the text of ``parts`` leaves open, and how roll-ups that are there are replaced.
    """
    width = Literal(level.width)
    for statement, source, column in _sources(level):
        binned = _SQL["binned"].format(width=width, time=Identifier("r", column))
        connection.execute(
            _SQL[statement].format(
                table=Identifier(level.table),
                bucket=_SQL["of_its_day"] if level is _DAYS else binned,
                parts=parts.format(width=width, source=_SQL[source], **given),
                low=Literal(low),
                high=Literal(high),
                replacing=given["replacing"],
            )
        )


def _sources(level: Level) -> tuple[tuple[str, str, str], ...]:
    """How which series get their roll-ups of ``level``, and the time of what these are made of."""
    if level is _QUARTERS:
        return (("from_readings", "has_quarters", "ts"),)
    return (("from_readings", "has_no_quarters", "ts"), ("from_quarters", "has_quarters", "bucket"))


def _make_room(connection: Connection, times: Iterable[datetime]) -> None:
    """Partitions for roll-ups of these times."""
    months = {date(time.year, time.month, 1) for time in times}
    tables = [level.table for level in LEVELS]
    backend.backend(connection).ensure_months(connection, tables, sorted(months))
