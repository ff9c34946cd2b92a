"""Readings, read as arrays; store/writing.py stores them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any

import numpy as np
import xarray as xr
from psycopg.sql import SQL, Composable, Identifier, Literal

from core.errors import StoreError, TooMuchError
from core.readings import Quality
from core.timeaxis import DAY, HOUR, floor_to, from_us, to_us, utc
from core.variables import variable
from store import backend, blobs, buckets, copybinary, filling, rollups, sources, sqltext
from store.buckets import Buckets, Days
from store.database import Connection
from store.filling import Fill
from store.latest import read as latest
from store.series import Known, expect

__all__ = ["Days", "Fill", "counts", "envelope", "latest", "read"]

_SQL = sqltext.load("readings")
_KEY = (("series_id", "int4send", ">i4"), ("ts", "timestamptz_send", ">i8"))
_AGAIN = (("again", "int4send", ">i4"),)
_VALUE = (*_KEY, ("value", "float8send", ">f8"))
_ENVELOPE = (
    *_KEY,
    ("mean", "float8send", ">f8"),
    ("minimum", "float8send", ">f8"),
    ("maximum", "float8send", ">f8"),
    ("n", "int8send", ">i8"),
)
_MOST_CELLS = 50_000_000
_MOST_COUNTED = 10_000
_ROUND = (
    *(timedelta(seconds=s) for s in (1, 5, 10, 30)),
    *(timedelta(minutes=m) for m in (1, 5, 15, 30)),
    *(timedelta(hours=h) for h in (1, 3, 6, 12)),
    *(timedelta(days=d) for d in (1, 2, 5, 10, 30, 100, 1_000, 10_000, 100_000)),
)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which of the readings: without those of a flag of ``exclude``; ``raw`` as first stored."""

    exclude: Quality
    raw: bool

    def source(self) -> Composable:
        """What stands in for the table of readings."""
        if self.raw:
            return _SQL["first_stored"].format(corrected=Literal(int(Quality.CORRECTED)))
        return _SQL["stored"]

    def doubtful(self) -> Quality:
        """The flags by which a roll-up holds what is not wanted."""
        return self.exclude | Quality.CORRECTED if self.raw else self.exclude


def read(
    connection: Connection,
    keys: Sequence[str],
    start: datetime,
    end: datetime,
    bucket: timedelta | Days | None = None,
    *,
    exclude: Quality = Quality.GOOD,
    raw: bool = False,
    fill: Fill | None = None,
    fill_limit: timedelta = HOUR,
) -> xr.DataArray:
    """Values of the series ``keys`` in [start, end), dims (time, series), NaN where there is none.

    bucket: None gives every time that any of the series has. Otherwise the time axis is all
    buckets from the one that holds ``start`` on, and values become one by the aggregation of their
    variable (mean, sum or last). A timedelta counts from 1970 UTC; ``Days(zone)`` are natural days,
    of 23 to 25 hours. What roll-ups hold is taken from them; the values are those that all
    readings would give, up to the last digits of a sum. (Where readings are deleted by now and
    roll-ups are kept, a bucket that holds a reading to be left out has no value.)
    exclude: readings with any of these flags are left out.
    raw: as they were first stored, before any correction (store/corrections.py).
    fill: gives values to times that have none, also from readings outside [start, end), and adds
    the coordinate ``filled`` (time, series), true for these. ``Fill.PREVIOUS`` holds a value for
    ``fill_limit`` at most, ``Fill.LINEAR`` joins values that are that far apart at most.
    attrs["units"] when the series have one unit in common.
    Raises StoreError for a key that is not registered, TooMuchError for more than 50 million cells,
    TimeError for an unknown zone.
    """
    start, end = utc(start), utc(end)
    series = expect(connection, keys)
    wanted = _Wanted(exclude, raw)
    if fill is None:
        times, table = _values(connection, keys, series, start, end, bucket, wanted)
        return _array(keys, series, times, table)
    if fill_limit <= timedelta(0):
        raise StoreError(f"What is filled must be longer than nothing, not {fill_limit}.")
    parts = [
        _values(connection, keys, series, first, last, bucket, wanted)
        for first, last in _around(start, end, bucket, fill_limit)
    ]
    times = np.concatenate([part[0] for part in parts])
    table, filled = filling.fill(np.concatenate([p[1] for p in parts]), times, fill, fill_limit)
    own = slice(len(parts[0][0]), len(parts[0][0]) + len(parts[1][0]))
    found = _array(keys, series, times[own], table[own])
    return found.assign_coords(filled=(("time", "series"), filled[own]))


def _around(
    start: datetime, end: datetime, bucket: timedelta | Days | None, margin: timedelta
) -> list[tuple[datetime, datetime]]:
    """[start, end) with as much before and after it as can matter, cut at edges of buckets."""
    if bucket is None:
        return [(start - margin, start), (start, end), (end, end + margin)]
    cut = buckets.cut(bucket, start, end)
    first, last = from_us(cut.floor(to_us(start))), from_us(cut.ceil(to_us(end)))
    return [(first - margin, first), (start, end), (last, last + margin)]


def _values(
    connection: Connection,
    keys: Sequence[str],
    series: dict[str, Known],
    start: datetime,
    end: datetime,
    bucket: timedelta | Days | None,
    wanted: _Wanted,
) -> tuple[np.ndarray, np.ndarray]:
    """The time axis, microseconds since 1970 UTC, and the values (times, keys)."""
    if bucket is None:
        _check_expected(series, start, end)
        rows = _native(connection, series, start, end, wanted)
        times = np.unique(rows["ts"]).astype(np.int64)
        _check_size(len(times), len(keys))
    else:
        question = _question(start, end, bucket, wanted, len(keys))
        times = question.times()
        groups: dict[str, list[Known]] = {}
        for known in series.values():
            groups.setdefault(variable(known.variable).aggregation.value, []).append(known)
        parts = [
            _bucketed(connection, question, members, how, _VALUE) for how, members in groups.items()
        ]
        rows = np.concatenate([np.empty(0, blobs.dtype((*_VALUE, *_AGAIN))), *parts])
    (table,) = _tables(keys, series, times, rows, ("value",))
    return copybinary.unix_us(times), table


@dataclass(frozen=True, slots=True)
class _Question:
    """[start, end) in buckets."""

    start: datetime
    end: datetime
    bucket: timedelta | Days
    cut: Buckets
    wanted: _Wanted

    def times(self) -> np.ndarray:
        """The labels of all buckets as PostgreSQL counts them, int64 (n,)."""
        labels = self.cut.labels(to_us(self.start), to_us(self.end))
        found: np.ndarray = copybinary.postgres_us(labels)
        return found


def _question(
    start: datetime, end: datetime, bucket: timedelta | Days, wanted: _Wanted, series: int
) -> _Question:
    shortest = bucket if isinstance(bucket, timedelta) else DAY
    if shortest > timedelta(0):  # before anything of that size is made
        _check_size(max((end - start) // shortest, 0), series)
    return _Question(start, end, bucket, buckets.cut(bucket, start, end), wanted)


def _check_size(times: int, series: int) -> None:
    if times * series > _MOST_CELLS:
        raise TooMuchError(
            f"{times:,} times of {series:,} series are too many to read at once; "
            "ask for fewer, for a shorter time or for longer buckets."
        )


def _check_expected(series: dict[str, Known], start: datetime, end: datetime) -> None:
    """Refuses beforehand what is certain to be too much; instants may be few or many."""
    every = (known.resolution for known in series.values())
    cells = max(sum((end - start) // length for length in every if length), 0)
    _check_size(cells // max(len(series), 1), len(series))


def _native(
    connection: Connection,
    series: dict[str, Known],
    start: datetime,
    end: datetime,
    wanted: _Wanted,
) -> np.ndarray:
    statement = _SQL["native"].format(
        source=wanted.source(),
        ids=Literal([known.id for known in series.values()]),
        start=Literal(start),
        end=Literal(end),
        exclude=Literal(int(wanted.exclude)),
    )
    return blobs.fetch(connection, statement, _VALUE)


def _bucketed(
    connection: Connection,
    question: _Question,
    series: Sequence[Known],
    figures: str,
    fields: blobs.Fields,
) -> np.ndarray:
    """Rows of ``fields`` with the figures of that name, for each bucket that has readings."""
    levels = sources.levels(question.bucket, question.cut, rollups.rolled_to(connection))
    alike: dict[tuple[sources.Level, ...], list[int]] = {}
    for known in series:
        alike.setdefault(levels.of(known), []).append(known.id)
    parts = [np.empty(0, blobs.dtype((*fields, *_AGAIN)))]
    for own, ids in alike.items():
        pieces = sources.pieces(to_us(question.start), to_us(question.end), own)
        if pieces:
            parts.append(_pieced(connection, question, pieces, ids, figures, fields))
    return np.concatenate(parts)


def _pieced(
    connection: Connection,
    question: _Question,
    pieces: Sequence[sources.Piece],
    ids: list[int],
    figures: str,
    fields: blobs.Fields,
) -> np.ndarray:
    """From the roll-ups as they are; where they do not do for a bucket, from its readings."""
    for of_rollups in ("part_of_rollups", "part_of_rollups_and_readings"):
        statement = _SQL["buckets"].format(
            label=question.cut.label(SQL("ts")),
            figures=_SQL[figures],
            parts=SQL(" UNION ALL ").join(
                _part(piece, ids, question.wanted, of_rollups) for piece in pieces
            ),
        )
        rows = blobs.fetch(connection, statement, (*fields, *_AGAIN))
        if not rows["again"].any():
            break
    return rows


def _part(piece: sources.Piece, ids: list[int], wanted: _Wanted, of_rollups: str) -> Composable:
    given = {
        "ids": Literal(ids),
        "start": Literal(from_us(piece.start_us)),
        "end": Literal(from_us(piece.end_us)),
        "exclude": Literal(int(wanted.exclude)),
        "source": wanted.source(),
    }
    if piece.level is None:
        return _SQL["part_of_readings"].format(**given)
    return _SQL[of_rollups].format(
        **given,
        table=Identifier(f"rollup_{piece.level.name}"),
        doubtful=Literal(int(wanted.doubtful())),
        late_label=piece.level.buckets.label(SQL("d.hour + quarter * interval '15 minutes'")),
        until=piece.level.buckets.until(SQL("again.bucket")),
    )


def _tables(
    keys: Sequence[str],
    series: dict[str, Known],
    times: np.ndarray,
    rows: np.ndarray,
    names: Sequence[str],
) -> list[np.ndarray]:
    """The columns ``names`` of ``rows`` as tables (times, keys), NaN where there is no row."""
    numbers = np.array([series[key].id for key in keys], dtype=np.int64)
    unique, place = np.unique(numbers, return_inverse=True)
    down, across = np.searchsorted(times, rows["ts"]), np.searchsorted(unique, rows["series_id"])
    found = []
    for name in names:
        table = np.full((len(times), len(unique)), np.nan)
        table[down, across] = rows[name]
        found.append(table[:, place])
    return found


def _array(
    keys: Sequence[str], series: dict[str, Known], times_us: np.ndarray, table: np.ndarray
) -> xr.DataArray:
    return xr.DataArray(
        table,
        coords=_coordinates(keys, times_us),
        dims=("time", "series"),
        name="value",
        attrs=_units(series),
    )


def _coordinates(keys: Sequence[str], times_us: np.ndarray) -> dict[str, Any]:
    times = times_us.astype("datetime64[us]").astype("datetime64[ns]")
    return {"time": times, "series": list(keys)}


def _units(series: dict[str, Known]) -> dict[str, Any]:
    units = {known.unit for known in series.values()}
    return {"units": units.pop()} if len(units) == 1 else {}


def envelope(
    connection: Connection,
    keys: Sequence[str],
    start: datetime,
    end: datetime,
    pixels: int = 800,
    *,
    exclude: Quality = Quality.GOOD,
) -> xr.Dataset:
    """What a chart of ``pixels`` columns can show of the series ``keys`` in [start, end).

    mean, minimum and maximum of the readings (NaN where there is none) and their number ``n``,
    dims (time, series), in at most ``pixels`` buckets of a round length, which is
    attrs["bucket_s"], counted from 1970 UTC; none is shorter than the shortest interval of the
    series. The coarsest suitable roll-ups are read, as ``read`` does.
    exclude: readings with any of these flags are left out.
    Raises StoreError for a key that is not registered or less than two pixels.
    """
    start, end = utc(start), utc(end)
    series = expect(connection, keys)
    bucket = _round_bucket(series, start, end, pixels)
    question = _question(start, end, bucket, _Wanted(exclude, raw=False), len(keys))
    rows = _bucketed(connection, question, list(series.values()), "envelope", _ENVELOPE)
    times, names = question.times(), ("mean", "minimum", "maximum", "n")
    tables = dict(zip(names, _tables(keys, series, times, rows, names), strict=True))
    numbers = np.nan_to_num(tables.pop("n")).astype(np.int64)
    dims, units = ("time", "series"), _units(series)
    return xr.Dataset(
        {
            **{name: (dims, table, units) for name, table in tables.items()},
            "n": (dims, numbers, {"units": "1"}),
        },
        coords=_coordinates(keys, copybinary.unix_us(times)),
        attrs={"bucket_s": bucket.total_seconds()},
    )


def _round_bucket(
    series: dict[str, Known], start: datetime, end: datetime, pixels: int
) -> timedelta:
    if pixels < 2:
        raise StoreError("A chart has two pixels at least.")
    shortest = min((known.resolution or timedelta(0) for known in series.values()), default=DAY)
    for length in _ROUND:
        fits = end - floor_to(start, length) <= pixels * length
        if length >= shortest and fits:
            return length
    return _ROUND[-1]


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
