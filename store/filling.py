"""Values for buckets that have none, from those around them.

Done in numpy on the table that was read, not in the query: the table holds every bucket of every
series by then, so that filling is one pass over columns; the query would have to make the same
table first, by joining all buckets with all series, and to send it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType

import numpy as np

from core.timeaxis import MICROSECOND

_AT_ONCE = 4_000_000  # cells: several arrays of integers stand beside the table meanwhile


class Fill(StrEnum):
    """How a bucket without a value gets one."""

    PREVIOUS = "previous"  # holds the last value
    LINEAR = "linear"  # on the straight line between its neighbours


def fill(
    table: np.ndarray, times_us: np.ndarray, how: Fill, limit: timedelta
) -> tuple[np.ndarray, np.ndarray]:
    """``table`` (times, series) with NaN replaced where ``how`` has an answer, and where it was.

    times_us: int64 (times,), ascending. limit: PREVIOUS holds a value for this long at most,
    LINEAR joins two values that are this far apart at most.
    """
    filled = table.copy()
    width = max(_AT_ONCE // max(len(times_us), 1), 1)
    for first in range(0, table.shape[1] if len(times_us) else 0, width):
        part = filled[:, first : first + width]  # a view
        _WAYS[how](part, times_us, limit // MICROSECOND)
    return filled, np.isnan(table) & ~np.isnan(filled)


def _previous(table: np.ndarray, times_us: np.ndarray, limit_us: int) -> None:
    before = _last_known(table)
    there = np.take_along_axis(table, np.maximum(before, 0), axis=0)
    age = times_us[:, None] - times_us[np.maximum(before, 0)]
    wanted = np.isnan(table) & (before >= 0) & (age <= limit_us)
    table[wanted] = there[wanted]


def _linear(table: np.ndarray, times_us: np.ndarray, limit_us: int) -> None:
    last = len(times_us) - 1
    before = _last_known(table)
    after = last - _last_known(table[::-1])[::-1]
    both = (before >= 0) & (after <= last)
    before, after = np.maximum(before, 0), np.minimum(after, last)
    length = times_us[after] - times_us[before]
    wanted = np.isnan(table) & both & (length <= limit_us)
    low = np.take_along_axis(table, before, axis=0)[wanted]
    high = np.take_along_axis(table, after, axis=0)[wanted]
    share = (times_us[:, None] - times_us[before])[wanted] / length[wanted]
    table[wanted] = low * (1 - share) + high * share


def _last_known(table: np.ndarray) -> np.ndarray:
    """The row of the newest value at or before each cell, -1 before the first."""
    rows = np.arange(len(table), dtype=np.int64)[:, None]
    found: np.ndarray = np.maximum.accumulate(np.where(np.isnan(table), -1, rows), axis=0)
    return found


_WAYS: MappingProxyType[Fill, Callable[[np.ndarray, np.ndarray, int], None]] = MappingProxyType(
    {Fill.PREVIOUS: _previous, Fill.LINEAR: _linear}
)
