"""Quality flags: what a value and its time give away, alone and after the one before.

The value is always kept; a flag says what is known against it. All functions take the columns of
n readings and their rules, and return flags of core.readings.Quality, int16 (n,).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from core.readings import Quality
from core.timeaxis import HOUR, MICROSECOND
from ingest.rules import Ruled

SHORTEST_CHANGE_US = 60e6
"""A change is counted over a minute at least (core.variables.Variable.rate_per_s)."""

_MISSING_AFTER = 1.5
"""Resolutions between two readings from which on one is missing; devices are not punctual."""

_LONG_AGO_US = 1
_FORBIDDEN = np.int16(Quality.CLOCK_SKEW)


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far a reading's time may lie from the city time of its arrival.

    Devices without a good clock drift by minutes: more than ``ahead`` into the future is a wrong
    clock, more than ``refuse_ahead`` no reading at all, because nothing newer could come after it.
    A reading older than ``behind`` came late, after its hour was reported.
    neighbours: whether a reading without the one before it is flagged; not where several receivers
    share the messages of a device, because the other one may have it.
    """

    ahead: timedelta = timedelta(minutes=5)
    refuse_ahead: timedelta = timedelta(days=1)
    behind: timedelta = timedelta(hours=2)
    neighbours: bool = True

    @property
    def too_far_ahead(self) -> str:
        """The reason why such a reading is refused."""
        return f"its time lies more than {self.refuse_ahead / HOUR:g} h ahead of the city's"


STANDARD = Tolerances()


def range_flags(value: np.ndarray, rules: Ruled) -> np.ndarray:
    """OUT_OF_RANGE; the bounds themselves are in range."""
    outside = (value < rules.column("minimum")) | (value > rules.column("maximum"))
    return np.where(outside, np.int16(Quality.OUT_OF_RANGE), np.int16(0))


def clock_flags(age_us: np.ndarray, tolerances: Tolerances) -> np.ndarray:
    """CLOCK_SKEW and LATE; age_us: city time of arrival minus the reading's time."""
    flags = np.zeros(len(age_us), dtype=np.int16)
    flags[age_us < -(tolerances.ahead // MICROSECOND)] = Quality.CLOCK_SKEW
    flags[age_us > tolerances.behind // MICROSECOND] = Quality.LATE
    return flags


class History:
    """What came last of each series, and the flags that follow from it.

    A reading that is not newer than all before it, and one from a wrong clock, gets no such flag
    and leaves no trace. One that is out of range counts as having come, but its value is nothing
    that a later one is compared with.

    Arrays by series id; memory is taken by the pages that are in use.
    """

    def __init__(self) -> None:
        self._seen_us = np.zeros(0, dtype=np.int64)  # time of the newest reading, 0 for none
        self._value_us = np.zeros(0, dtype=np.int64)  # of the newest one within its range
        self._value = np.zeros(0)
        self._since_us = np.zeros(0, dtype=np.int64)  # from when on that value is the same

    def seed(self, latest: np.ndarray) -> None:
        """Go on from the newest reading of each series, READING_DTYPE (n,).

        How long a value had been the same is known only where it was flagged for that.
        """
        usable = latest[(latest["quality"] & _FORBIDDEN) == 0]
        series_id, ts_us = usable["series_id"], usable["ts_us"]
        self._grow(series_id)
        self._seen_us[series_id] = ts_us
        good = (usable["quality"] & Quality.OUT_OF_RANGE) == 0
        flat = (usable["quality"] & Quality.FLAT_LINE) != 0
        self._value_us[series_id] = np.where(good, ts_us, 0)
        self._value[series_id] = usable["value"]
        self._since_us[series_id] = np.where(flat, _LONG_AGO_US, ts_us)

    def flags(self, batch: np.ndarray, rules: Ruled, *, neighbours: bool = True) -> np.ndarray:
        """MISSING_NEIGHBOUR, RATE_OF_CHANGE and FLAT_LINE for readings in the order they came.

        batch: READING_DTYPE (n,) with the flags of ``range_flags`` and ``clock_flags``.
        """
        self._grow(batch["series_id"])
        flags = np.zeros(len(batch), dtype=np.int16)
        rows = _ordered(batch, rules)
        rows = rows.where((rows.quality & _FORBIDDEN) == 0)
        rows = rows.where(_newer(rows, self._seen_us))
        if neighbours:
            flags[rows.place] = self._missing(rows)
        self._seen_us[rows.series_id] = rows.ts_us  # of equal ids the last counts
        rows = rows.where((rows.quality & Quality.OUT_OF_RANGE) == 0)
        flags[rows.place] |= self._changes(rows)
        return flags

    def _grow(self, series_id: np.ndarray) -> None:
        size = int(series_id.max(initial=-1)) + 1
        if size > len(self._seen_us):
            size += size // 4  # new series come one after the other
            for name in ("_seen_us", "_value_us", "_value", "_since_us"):
                old = getattr(self, name)
                new = np.zeros(size, dtype=old.dtype)
                new[: len(old)] = old
                setattr(self, name, new)

    def _missing(self, rows: _Rows) -> np.ndarray:
        before_us = rows.before(rows.ts_us, self._seen_us)
        resolution_us = rows.rules.column("resolution_us")
        far = rows.ts_us - before_us > _MISSING_AFTER * resolution_us
        missing = far & (before_us > 0) & (resolution_us > 0)
        return np.where(missing, np.int16(Quality.MISSING_NEIGHBOUR), np.int16(0))

    def _changes(self, rows: _Rows) -> np.ndarray:
        series_id, ts_us, value = rows.series_id, rows.ts_us, rows.value
        before_us = rows.before(ts_us, self._value_us)
        before = rows.before(value, self._value)
        known = before_us > 0
        passed_us = np.maximum(ts_us - before_us, SHORTEST_CHANGE_US)
        with np.errstate(over="ignore", invalid="ignore"):
            change = np.abs(value - before)
            jump = known & (change > rows.rules.column("rate_per_us") * passed_us)
        since_us = self._since(rows, moved=~known | (value != before))
        flat = ts_us - since_us > rows.rules.column("flat_after_us")
        self._value_us[series_id] = ts_us
        self._value[series_id] = value
        self._since_us[series_id] = since_us
        jumps = np.where(jump, np.int16(Quality.RATE_OF_CHANGE), np.int16(0))
        return jumps | np.where(flat, np.int16(Quality.FLAT_LINE), np.int16(0))

    def _since(self, rows: _Rows, moved: np.ndarray) -> np.ndarray:
        """From when on the value of each row is the same; moved: it differs from the one before."""
        start = np.maximum.accumulate(np.where(moved | rows.first, np.arange(len(moved)), 0))
        # A run begins in the batch, or before it.
        return np.where(moved, rows.ts_us, self._since_us.take(rows.series_id)).take(start)


@dataclass(frozen=True, slots=True)
class _Rows:
    """n readings by series, within each in the order of arrival.

    Columns in one piece each: of records that lie apart every step would cost many times as much.
    place: where they stand in the batch. first: which are the first of their series.
    """

    place: np.ndarray
    series_id: np.ndarray
    ts_us: np.ndarray
    value: np.ndarray
    quality: np.ndarray
    rules: Ruled
    first: np.ndarray

    def where(self, mask: np.ndarray) -> _Rows:
        """Those of ``mask``, bool (n,)."""
        if mask.all():
            return self
        series_id = self.series_id[mask]
        return _Rows(
            self.place[mask],
            series_id,
            self.ts_us[mask],
            self.value[mask],
            self.quality[mask],
            self.rules.of(mask),
            _first(series_id),
        )

    def before(self, column: np.ndarray, held: np.ndarray) -> np.ndarray:
        """What ``column`` says of the reading before of the same series; ``held``, by series id,
        of the first.
        """
        before = np.empty_like(column)
        before[1:] = column[:-1]
        before[self.first] = held.take(self.series_id[self.first])
        return before


def _ordered(batch: np.ndarray, rules: Ruled) -> _Rows:
    order = np.argsort(batch["series_id"], kind="stable")
    series_id, ts_us, value, quality = (
        batch[name].take(order) for name in ("series_id", "ts_us", "value", "quality")
    )
    return _Rows(order, series_id, ts_us, value, quality, rules.of(order), _first(series_id))


def _first(series_id: np.ndarray) -> np.ndarray:
    """Which rows, ordered by series, are the first of their series."""
    first = np.ones(len(series_id), dtype=bool)
    first[1:] = series_id[1:] != series_id[:-1]
    return first


def _newer(rows: _Rows, seen_us: np.ndarray) -> np.ndarray:
    """Which rows are newer than all before them."""
    ts_us, first = rows.ts_us, rows.first
    newer: np.ndarray = ts_us > seen_us.take(rows.series_id)
    if (first[1:] | (ts_us[1:] > ts_us[:-1])).all():
        return newer
    # The running maximum of each series at once: ranks of times, lifted by the series' place.
    _, rank = np.unique(ts_us, return_inverse=True)
    lifted = np.cumsum(first) * (len(ts_us) + 1) + rank
    before = np.maximum.accumulate(lifted)
    newer[1:] &= lifted[1:] > before[:-1]
    return newer
