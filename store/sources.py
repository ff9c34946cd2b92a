"""Where the buckets of a series are read from: the coarsest roll-ups that make them up exactly,
the readings themselves for the rest.

A roll-up is right for a bucket of its own when it was made up to the bucket's end, when no late
reading waits to be added to it, and when none of the readings in it is to be left out. The first
is known beforehand and cuts the range into pieces; the other two are told bucket by bucket, in
the statement that reads them, because only there they hold for the very rows that are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.timeaxis import DAY, HOUR, MICROSECOND, QUARTER_HOUR, to_us
from store.buckets import Buckets, Days, Even
from store.series import Known


@dataclass(frozen=True, slots=True)
class Level:
    """A table of roll-ups, the buckets it holds and until when they were made."""

    name: str
    buckets: Buckets
    rolled_to_us: int


@dataclass(frozen=True, slots=True)
class Piece:
    """[start, end) in microseconds since 1970 UTC, to be read from ``level``; None: readings."""

    start_us: int
    end_us: int
    level: Level | None


@dataclass(frozen=True, slots=True)
class Levels:
    """The roll-ups that one bucket can be made of.

    even: those of a quarter-hour and an hour, the same for all series. days: those of natural
    days in ``zone``, for the series of that zone alone.
    """

    even: Mapping[timedelta, Level]
    zone: str = ""
    days: Level | None = None

    def of(self, series: Known) -> tuple[Level, ...]:
        """Those of one series, the coarsest first: it has roll-ups that are longer than its own
        interval alone.
        """
        found: list[Level] = []
        own = series.resolution or timedelta(0)
        if self.days is not None and series.timezone == self.zone and own < DAY:
            found.append(self.days)
        for length in sorted(self.even, reverse=True):
            if own < length:
                found.append(self.even[length])
        return tuple(found)


def levels(bucket: timedelta | Days, cut: Buckets, rolled_to: datetime) -> Levels:
    """The roll-ups that buckets ``cut`` can be made of. rolled_to: until when they were made."""
    until_us = to_us(rolled_to)
    even = {
        length: Level(name, Even(length // MICROSECOND), until_us)
        for name, length in (("15min", QUARTER_HOUR), ("hour", HOUR))
        if cut.made_of(length // MICROSECOND)
    }
    if isinstance(bucket, Days) and even:  # late readings are told by quarters of an hour
        return Levels(even, bucket.zone, Level("day", cut, until_us))
    if isinstance(bucket, Days) or bucket % DAY:
        return Levels(even)
    return Levels(even, "UTC", Level("day", Even(DAY // MICROSECOND), until_us))


def pieces(start_us: int, end_us: int, coarsest_first: Sequence[Level]) -> list[Piece]:
    """[start, end) without a gap or an overlap, in order, each from the coarsest level that has
    whole buckets there.
    """
    if start_us >= end_us:
        return []
    if not coarsest_first:
        return [Piece(start_us, end_us, None)]
    level, finer = coarsest_first[0], coarsest_first[1:]
    low = level.buckets.ceil(start_us)
    high = level.buckets.floor(min(end_us, level.rolled_to_us))
    if low >= high:
        return pieces(start_us, end_us, finer)
    return [
        *pieces(start_us, low, finer),
        Piece(low, high, level),
        *pieces(high, end_us, finer),
    ]
