"""Readings: one measured value of one series, and batches of them as numpy structured arrays.

``ts`` labels the BEGINNING of the interval the value stands for. A missing value is no row,
never NaN. The unit is the variable's; conversion happened once, in ingest/mapping.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntFlag

import numpy as np

from core.timeaxis import to_us

READING_DTYPE = np.dtype(
    [("series_id", "<i4"), ("ts_us", "<i8"), ("value", "<f8"), ("quality", "<i2")]
)
"""ts_us: microseconds since 1970-01-01 UTC."""


class Quality(IntFlag):
    """What is known against a value; 0 is a good one. Stored as int2: 15 bits at most."""

    GOOD = 0
    OUT_OF_RANGE = 1
    RATE_OF_CHANGE = 2
    FLAT_LINE = 4
    DEVICE_FLAG = 8
    CLOCK_SKEW = 16
    ESTIMATED = 32
    LATE = 64
    MISSING_NEIGHBOUR = 128  # when it came, the interval before it was missing
    CORRECTED = 256  # the value first stored is kept in the revision log


MARK_BITS = 9
"""From this bit on, three bits say which mark the device gave, 0 for none.

A mark always comes with DEVICE_FLAG; what the numbers mean is said in the protocol's file. In a
roll-up, which joins flags bit by bit, marks mean nothing.
"""


@dataclass(frozen=True, slots=True)
class RawReading:
    """A value as the wire gave it: the device and its tag, the vendor's unit, an aware time."""

    device: str
    tag: str
    ts: datetime
    value: float
    unit: str | None = None
    quality: Quality = Quality.GOOD


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something that cannot become a reading: the payload as it came, and why."""

    source: str
    reason: str
    payload: bytes
    received_at: datetime
    detail: dict[str, str] = field(default_factory=dict)


def batch(rows: Iterable[tuple[int, datetime, float, int]]) -> np.ndarray:
    """Readings (series_id, ts, value, quality) as an array of READING_DTYPE, shape (n,)."""
    return np.array([(s, to_us(t), v, q) for s, t, v, q in rows], dtype=READING_DTYPE)


def empty_batch() -> np.ndarray:
    """A batch of no readings."""
    return np.empty(0, dtype=READING_DTYPE)
